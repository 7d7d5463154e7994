/* SPDX-License-Identifier: MIT */
/*
 * Owns reading directories. The library goes on after a name, the kernel from a number. So an open
 * directory gives each name a number when it is first listed, and keeps it. A program can come back
 * to any place, whatever was made, removed or listed again meanwhile. This holds also after it has
 * gone back to the start. The names are forgotten when a program begins at the start, but only when
 * they have become many (REWOUND_BYTES).
 */
#include "private.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* A name that was listed, also a node of the tree of names. */
struct place {
    uint64_t number;
    char name[];
};

struct directory {
    struct hf_dir *dir;
    uint64_t ino;
    pthread_mutex_t mutex;
    uint64_t at; /* the number of the name that the library's place follows; 0: the start */
    uint64_t count, room;
    struct place **places; /* by number, from 1 to count */
    void *by_name;         /* tsearch(3) */
    size_t bytes;
};

#define PLACE_BYTES 64u /* beside the name, with what the tree takes */
#define REWOUND_BYTES ((size_t)16 << 20)
/* Of all open directories: no user may make the server take all memory. */
#define NAMES_BYTES_MAX ((size_t)256 << 20)

static size_t names_bytes;

static struct directory *directory_of(const struct fuse_file_info *fi)
{
    return (struct directory *)(uintptr_t)fi->fh;
}

static void forget_names(struct directory *d)
{
    tdestroy(d->by_name, free);
    __atomic_sub_fetch(&names_bytes, d->bytes, __ATOMIC_RELAXED);
    d->by_name = NULL;
    d->bytes = 0;
    d->count = 0;
}

static void close_directory(struct directory *d)
{
    forget_names(d);
    hf_closedir(d->dir);
    pthread_mutex_destroy(&d->mutex);
    free(d->places);
    free(d);
}

void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_call_enter(req);
    struct directory *d = calloc(1, sizeof *d);
    ssize_t rc = d ? hf_opendirat(mount->pool, ino, "", &d->dir) : -ENOMEM;

    if (!mount_call_leave(req, &rc)) {
        free(d);
        return;
    }
    if (rc) {
        free(d);
        fuse_reply_err(req, (int)-rc);
        return;
    }
    d->ino = ino;
    pthread_mutex_init(&d->mutex, NULL);
    fi->fh = (uint64_t)(uintptr_t)d;
    if (fuse_reply_open(req, fi) == -ENOENT)
        close_directory(d);
}

void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    mount_call_enter(req);
    close_directory(directory_of(fi));
    mount_call_reply(req, 0);
}

/* A name is synced in its transaction, so there is nothing left to sync. */
void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    (void)ino, (void)data_only, (void)fi;
    mount_call_enter(req);
    mount_call_reply(req, 0);
}

/* ---- places ---- */

static int compare_names(const void *a, const void *b)
{
    const struct place *left = a, *right = b;

    return strcmp(left->name, right->name);
}

static int grow_names(struct directory *d)
{
    uint64_t room = d->room ? d->room * 2 : 64;
    struct place **places;

    if (d->count < d->room)
        return 0;
    places = reallocarray(d->places, room, sizeof(*places));
    if (!places)
        return -ENOMEM;
    d->places = places;
    d->room = room;
    return 0;
}

static void drop_place(struct directory *d, struct place *place)
{
    size_t bytes = PLACE_BYTES + strlen(place->name);

    __atomic_sub_fetch(&names_bytes, bytes, __ATOMIC_RELAXED);
    d->bytes -= bytes;
    free(place);
}

static struct place *new_place(struct directory *d, const char *name)
{
    size_t len = strlen(name), bytes = PLACE_BYTES + len;
    struct place *place = malloc(sizeof(*place) + len + 1);

    if (!place)
        return NULL;
    memcpy(place->name, name, len + 1);
    d->bytes += bytes;
    if (__atomic_add_fetch(&names_bytes, bytes, __ATOMIC_RELAXED) <= NAMES_BYTES_MAX)
        return place;
    drop_place(d, place);
    return NULL;
}

/* Gives a name its number, which it keeps from then on. */
static int number_name(struct directory *d, const char *name, uint64_t *number)
{
    union {
        struct place place;
        char bytes[sizeof(struct place) + HF_NAME_MAX + 1];
    } key;
    struct place **found, *place;

    memcpy(key.place.name, name, strlen(name) + 1);
    found = tfind(&key.place, &d->by_name, compare_names);
    if (found) {
        *number = (*found)->number;
        return 0;
    }
    place = grow_names(d) == 0 ? new_place(d, name) : NULL;
    if (!place)
        return -ENOMEM;
    if (!tsearch(place, &d->by_name, compare_names)) {
        drop_place(d, place);
        return -ENOMEM;
    }
    d->places[d->count++] = place;
    *number = place->number = d->count;
    return 0;
}

/* The dots have no place in the order of names. So the listing goes on after one of them by
 * beginning at the start and skipping it. */
static int go_to(struct directory *d, uint64_t number)
{
    struct hf_dirent entry;
    int rc;

    if (number > d->count) /* never given out, or forgotten */
        number = d->count;
    if (number == 0 && d->bytes > REWOUND_BYTES)
        forget_names(d);
    rc = hf_seekdir(d->dir, number > 2 ? d->places[number - 1]->name : NULL);
    for (uint64_t i = 0; rc == 0 && number <= 2 && i < number; i++)
        rc = hf_readdir(d->dir, &entry) < 0 ? -EIO : 0;
    if (rc == 0)
        d->at = number;
    return rc;
}

/* ---- entries ---- */

struct listing {
    fuse_req_t req;
    struct mount *mount;
    bool plus; /* with attributes */
    char *buf;
    size_t len, room;
};

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* False: it does not fit. An entry that is removed before its attributes are read is left to a
 * lookup. */
static bool add_entry(struct listing *l, const struct hf_dirent *found, uint64_t number)
{
    struct fuse_entry_param entry = {0};
    char *to = l->buf + l->len;
    size_t room = l->room - l->len, used;

    entry.attr.st_ino = found->ino;
    entry.attr.st_mode = found->type;
    if (!l->plus) {
        used = fuse_add_direntry(l->req, to, room, found->name, &entry.attr, (off_t)number);
    } else {
        struct stat attr;

        if (!is_dot(found->name) &&
            hf_statat(l->mount->pool, found->ino, "", HF_AT_NOFOLLOW, &attr) == 0) {
            entry.attr = attr;
            entry.ino = found->ino;
        }
        used = fuse_add_direntry_plus(l->req, to, room, found->name, &entry, (off_t)number);
    }
    if (used > room)
        return false;
    l->len += used;
    return true;
}

/* An entry that does not fit is read again next time. */
static int list_entries(struct directory *d, struct listing *l)
{
    struct hf_dirent entry;
    int rc;

    while ((rc = hf_readdir(d->dir, &entry)) == 1) {
        uint64_t number;

        rc = number_name(d, entry.name, &number);
        if (rc) {
            go_to(d, d->at); /* it comes again */
            return rc;
        }
        if (!add_entry(l, &entry, number))
            return go_to(d, d->at);
        d->at = number;
    }
    return rc;
}

static void reply_listing(fuse_req_t req, size_t room, off_t off, struct fuse_file_info *fi,
                          bool plus)
{
    struct mount *mount = mount_call_enter(req);
    struct directory *d = directory_of(fi);
    struct listing listing = {.req = req, .mount = mount, .plus = plus, .room = room};
    ssize_t rc = 0;

    listing.buf = malloc(room);
    if (!listing.buf)
        rc = -ENOMEM;
    pthread_mutex_lock(&d->mutex);
    if (rc == 0 && (off == 0 || (uint64_t)off != d->at))
        rc = go_to(d, (uint64_t)off);
    rc = rc ? rc : list_entries(d, &listing);
    pthread_mutex_unlock(&d->mutex);
    if (mount_call_leave(req, &rc)) {
        if (rc < 0 && !listing.len)
            fuse_reply_err(req, (int)-rc);
        else
            fuse_reply_buf(req, listing.buf, listing.len);
    }
    free(listing.buf);
}

void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t room, off_t off, struct fuse_file_info *fi)
{
    (void)ino;
    reply_listing(req, room, off, fi, false);
}

void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t room, off_t off,
                    struct fuse_file_info *fi)
{
    (void)ino;
    reply_listing(req, room, off, fi, true);
}
