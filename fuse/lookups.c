/* SPDX-License-Identifier: MIT */
/*
 * Owns what a lookup holds on to for a moment. The kernel looks a name up, then opens, or asks for
 * the attributes, of the inode that it got. When another process replaces the name in between
 * (rename) the inode has gone: -ESTALE. The kernel then tries once more, from the name. If that
 * meets another rename, the program sees the error.
 *
 * So after the first such error, and for a while, each lookup keeps what it found. It keeps an open
 * handle of a file, the attributes of anything else, and also the target of a symbolic link. The
 * second try therefore finds what its lookup found, as on other file systems. While there are no
 * such errors, lookups hold on to nothing. A file that is deleted meanwhile keeps its blocks for
 * HELD_NS at most.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOKUPS 256u /* held at once, of all programs; then the oldest goes */
#define HELD_NS UINT64_C(100000000)

struct lookup {
    uint64_t until_ns; /* 0: empty */
    struct hf_file *file;
    struct stat attr;
    char *target;
};

struct mount_lookups {
    pthread_mutex_t mutex;
    uint64_t hold_until_ns; /* 0: lookups hold on to nothing */
    unsigned next;          /* the oldest */
    struct lookup ring[LOOKUPS];
};

struct mount_lookups *mount_lookups_new(void)
{
    struct mount_lookups *lookups = calloc(1, sizeof *lookups);

    if (lookups)
        pthread_mutex_init(&lookups->mutex, NULL);
    return lookups;
}

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void mount_lookups_lost(struct mount_lookups *lookups)
{
    __atomic_store_n(&lookups->hold_until_ns, clock_ns() + HELD_NS, __ATOMIC_RELAXED);
}

static bool is_holding(const struct mount_lookups *lookups)
{
    uint64_t until_ns = __atomic_load_n(&lookups->hold_until_ns, __ATOMIC_RELAXED);

    return until_ns && clock_ns() < until_ns;
}

/* Closes outside the mutex, since a last close deletes. */
static void release_lookup(struct mount *mount, struct lookup *held)
{
    if (held->file)
        mount_file_close(mount, held->file);
    free(held->target);
}

static void keep_lookup(struct mount *mount, const struct lookup *found)
{
    struct mount_lookups *lookups = mount->lookups;
    struct lookup oldest;

    pthread_mutex_lock(&lookups->mutex);
    oldest = lookups->ring[lookups->next];
    lookups->ring[lookups->next] = *found;
    lookups->next = (lookups->next + 1) % LOOKUPS;
    pthread_mutex_unlock(&lookups->mutex);
    release_lookup(mount, &oldest);
}

/* -ESTALE: it has gone since its name was looked up. */
static int hold_link(struct mount *mount, struct lookup *found)
{
    char target[HF_SYMLINK_MAX + 1];
    ssize_t len = hf_readlinkat(mount->pool, found->attr.st_ino, "", target, sizeof target - 1);

    if (len < 0)
        return (int)len;
    target[len] = '\0';
    found->target = strdup(target);
    return found->target ? 0 : -ENOMEM;
}

static int hold_file(struct mount *mount, struct lookup *found)
{
    int rc = mount_file_open(mount, found->attr.st_ino, "", O_RDONLY, 0, &found->file);

    return rc ? rc : hf_fstat(found->file, &found->attr);
}

int mount_lookup(struct mount *mount, uint64_t parent, const char *name, struct stat *attr)
{
    struct lookup found;
    int rc;

    do {
        found = (struct lookup){.until_ns = clock_ns() + HELD_NS};
        rc = hf_statat(mount->pool, parent, name, HF_AT_NOFOLLOW, &found.attr);
        *attr = found.attr;
        if (rc || !is_holding(mount->lookups))
            return rc;
        if (S_ISREG(attr->st_mode))
            rc = hold_file(mount, &found);
        else if (S_ISLNK(attr->st_mode))
            rc = hold_link(mount, &found);
        if (rc == 0) {
            *attr = found.attr;
            keep_lookup(mount, &found);
        } else {
            release_lookup(mount, &found);
        }
    } while (rc == -ESTALE);
    return 0; /* also when it could not be held */
}

/* The lookup of the inode that is held, under the mutex; null: none. */
static const struct lookup *find_lookup(const struct mount_lookups *lookups, uint64_t ino)
{
    for (unsigned i = 0; i < LOOKUPS; i++)
        if (lookups->ring[i].until_ns && lookups->ring[i].attr.st_ino == ino)
            return &lookups->ring[i];
    return NULL;
}

bool mount_lookup_attr(struct mount_lookups *lookups, uint64_t ino, struct stat *out)
{
    const struct lookup *held;

    pthread_mutex_lock(&lookups->mutex);
    held = find_lookup(lookups, ino);
    if (held) {
        *out = held->attr;
        out->st_nlink = 0;
    }
    pthread_mutex_unlock(&lookups->mutex);
    return held != NULL;
}

ssize_t mount_lookup_target(struct mount_lookups *lookups, uint64_t ino, char *buf, size_t len)
{
    const struct lookup *held;
    ssize_t rc = -ESTALE;

    pthread_mutex_lock(&lookups->mutex);
    held = find_lookup(lookups, ino);
    if (held && held->target) {
        size_t bytes = strlen(held->target);

        rc = (ssize_t)(bytes < len ? bytes : len);
        memcpy(buf, held->target, (size_t)rc);
    }
    pthread_mutex_unlock(&lookups->mutex);
    return rc;
}

bool mount_lookups_expire(struct mount *mount, bool all)
{
    struct mount_lookups *lookups = mount->lookups;
    uint64_t now = clock_ns();
    bool some_left = false;

    for (unsigned i = 0; i < LOOKUPS; i++) {
        struct lookup old = {0};

        pthread_mutex_lock(&lookups->mutex);
        if (lookups->ring[i].until_ns && (all || lookups->ring[i].until_ns <= now)) {
            old = lookups->ring[i];
            lookups->ring[i] = (struct lookup){0};
        }
        some_left |= lookups->ring[i].until_ns != 0;
        pthread_mutex_unlock(&lookups->mutex);
        release_lookup(mount, &old);
    }
    if (!some_left && !is_holding(lookups))
        __atomic_store_n(&lookups->hold_until_ns, UINT64_C(0), __ATOMIC_RELAXED);
    return some_left;
}

bool mount_lookups_active(const struct mount_lookups *lookups)
{
    return __atomic_load_n(&lookups->hold_until_ns, __ATOMIC_RELAXED) != 0;
}
