/* SPDX-License-Identifier: MIT */
/*
 * Owns reading directories. The library goes on after a name, the kernel from a number: an open directory remembers the name behind
 * each number it has given out since the last rewind, so that a program can come back to any place, whatever was made or removed
 * meanwhile.
 */
#include "mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct directory {
    struct hf_dir *dir;
    uint64_t ino;
    pthread_mutex_t mutex;
    uint64_t at;         /* the number of the library's place; 0: the start */
    uint64_t told, room; /* numbers given out: 1 to told */
    size_t *starts;      /* of their names, in text */
    char *text;
    size_t text_len, text_room;
};

#define NAMES_BYTES_MAX                                                                            \
    ((size_t)256 << 20) /* of all open directories: no user may have us take all memory */

static size_t names_bytes;

static struct directory *directory_of(const struct fuse_file_info *fi)
{
    return (struct directory *)(uintptr_t)fi->fh;
}

static void close_directory(struct directory *d)
{
    __atomic_sub_fetch(&names_bytes, d->text_len, __ATOMIC_RELAXED);
    hf_closedir(d->dir);
    pthread_mutex_destroy(&d->mutex);
    free(d->starts);
    free(d->text);
    free(d);
}

void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_enter(req);
    struct directory *d = calloc(1, sizeof *d);
    ssize_t rc = d ? hf_opendirat(mount->pool, ino, "", &d->dir) : -ENOMEM;

    if (!mount_leave(req, &rc)) {
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
    mount_enter(req);
    close_directory(directory_of(fi));
    mount_reply(req, 0);
}

/* Names are in their transactions: there is nothing that lags behind. */
void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    (void)ino, (void)data_only, (void)fi;
    mount_enter(req);
    mount_reply(req, 0);
}

/* ---- places ---- */

static void *grown(void *array, size_t want, size_t *room, size_t item)
{
    size_t more = *room ? *room * 2 : 64;
    void *bigger;

    while (more < want)
        more *= 2;
    bigger = realloc(array, more * item);
    if (bigger)
        *room = more;
    return bigger;
}

/* What came behind number `n` is not so any more. */
static void forget_from(struct directory *d, uint64_t n)
{
    size_t len = n < d->told ? d->starts[n] : d->text_len;

    __atomic_sub_fetch(&names_bytes, d->text_len - len, __ATOMIC_RELAXED);
    d->text_len = len;
    d->told = n;
}

static int remember(struct directory *d, const char *name)
{
    size_t len = strlen(name) + 1;

    if (__atomic_add_fetch(&names_bytes, len, __ATOMIC_RELAXED) > NAMES_BYTES_MAX) {
        __atomic_sub_fetch(&names_bytes, len, __ATOMIC_RELAXED);
        return -ENOMEM;
    }
    if (d->told == d->room) {
        size_t *starts = grown(d->starts, d->told + 1, &d->room, sizeof *starts);

        if (!starts)
            return -ENOMEM;
        d->starts = starts;
    }
    if (d->text_len + len > d->text_room) {
        char *text = grown(d->text, d->text_len + len, &d->text_room, 1);

        if (!text)
            return -ENOMEM;
        d->text = text;
    }
    memcpy(d->text + d->text_len, name, len);
    d->starts[d->told++] = d->text_len;
    d->text_len += len;
    return 0;
}

/* The dots have no place in the order of names: who wants to go on behind one of them begins anew and skips. */
static int go_to(struct directory *d, uint64_t number)
{
    struct hf_dirent entry;
    int rc;

    if (number > d->told) /* never given out, or forgotten */
        number = d->told;
    if (number == 0)
        forget_from(d, 0);
    if (number > 2)
        rc = hf_seekdir(d->dir, d->text + d->starts[number - 1]);
    else
        rc = hf_seekdir(d->dir, NULL);
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

/* False: it does not fit. An entry that is removed before its attributes are read is left to a lookup. */
static bool add(struct listing *l, const struct hf_dirent *found, uint64_t number)
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

/* An entry that does not fit is read again next time. Where the directory has changed since, numbers are given out anew. */
static int list(struct directory *d, struct listing *l)
{
    struct hf_dirent entry;
    int rc;

    while ((rc = hf_readdir(d->dir, &entry)) == 1) {
        bool known = d->at < d->told && strcmp(d->text + d->starts[d->at], entry.name) == 0;
        size_t len = l->len;

        if (!add(l, &entry, d->at + 1))
            return go_to(d, d->at);
        if (!known) {
            forget_from(d, d->at < d->told ? d->at : d->told);
            rc = remember(d, entry.name);
        }
        if (rc < 0) { /* without a number the kernel could not go on after it */
            l->len = len;
            return rc;
        }
        d->at++;
    }
    return rc;
}

static void reply_listing(fuse_req_t req, size_t room, off_t off, struct fuse_file_info *fi,
                          bool plus)
{
    struct mount *mount = mount_enter(req);
    struct directory *d = directory_of(fi);
    struct listing listing = {.req = req, .mount = mount, .plus = plus, .room = room};
    ssize_t rc = 0;

    listing.buf = malloc(room);
    if (!listing.buf)
        rc = -ENOMEM;
    pthread_mutex_lock(&d->mutex);
    if (rc == 0 && (off == 0 || (uint64_t)off != d->at))
        rc = go_to(d, (uint64_t)off);
    rc = rc ? rc : list(d, &listing);
    pthread_mutex_unlock(&d->mutex);
    if (mount_leave(req, &rc)) {
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
