/* SPDX-License-Identifier: MIT */
/*
 * The directory of the second tier. It has one file, `objects`, whose first block says which cache
 * it belongs to. hfc_open() makes the file where it is missing: then nothing that the index names
 * is found there, and each is a miss.
 *
 * When a cache is made, a directory that it cannot use is an error. Later it is a fault that
 * hfc_tier_stats() tells, and the cache goes on without. So a disk that is broken or not mounted
 * takes no cache down.
 */
#include "tier.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FILE_NAME_BYTES (TIER_PATH_MAX + 32)

/* Of any kind of file system: one that refuses O_DIRECT gets copies through the page cache. */
static int open_direct(const char *path, int flags)
{
    int fd = open(path, flags | O_DIRECT | O_CLOEXEC, 0600);

    if (fd < 0 && errno == EINVAL)
        fd = open(path, (flags & ~(O_CREAT | O_EXCL)) | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && flags & O_CREAT)
        fd = open(path, flags | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

static int fault(const char *path, int rc)
{
    return cache_fail(rc, "second tier: %s: %s", path, strerror(-rc));
}

/* There a read may go on when its process is dead, into memory that is another's by then. */
static bool is_remote(int fd)
{
    static const uint32_t types[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  SMB2_SUPER_MAGIC,
                                     CIFS_SUPER_MAGIC, CEPH_SUPER_MAGIC, V9FS_MAGIC,
                                     AFS_SUPER_MAGIC,  AFS_FS_MAGIC,     CODA_SUPER_MAGIC};
    struct statfs st;

    if (fstatfs(fd, &st))
        return true;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if ((uint32_t)st.f_type == types[i])
            return true;
    return false;
}

static int check_super(int fd, const char *path, uint64_t id, uint64_t blocks)
{
    struct tier_super *super;
    void *block = NULL;
    ssize_t got;
    int rc = 0;

    if (is_remote(fd))
        return cache_fail(-EOPNOTSUPP,
                          "second tier: %s is on a network's file system: give a directory of a "
                          "disk of this machine",
                          path);
    if (posix_memalign(&block, CACHE_PAGE, CACHE_PAGE))
        return cache_fail(-ENOMEM, "no memory for a block");
    got = pread(fd, block, CACHE_PAGE, 0);
    super = block;
    if (got < 0)
        rc = fault(path, -errno);
    else if (got != (ssize_t)CACHE_PAGE || super->magic != TIER_MAGIC)
        rc = cache_fail(-EEXIST,
                        "second tier: %s is not a file of a cache's second tier: remove it, or "
                        "give another directory",
                        path);
    else if (super->format != TIER_FORMAT)
        rc = cache_fail(-EOPNOTSUPP, "second tier: %s has format %u of a newer version", path,
                        super->format);
    else if (super->id != id)
        rc = cache_fail(-EEXIST,
                        "second tier: %s is of another cache: give another directory, or remove "
                        "the file if that cache is gone",
                        path);
    else if (super->blocks != blocks)
        rc = cache_fail(-EUCLEAN,
                        "second tier: %s has the wrong size in its first block: remove it", path);
    free(block);
    return rc;
}

static int make_objects(const char *path, uint64_t id, uint64_t blocks)
{
    char temporary[FILE_NAME_BYTES + 16];
    void *block = NULL;
    int fd, rc = 0;

    snprintf(temporary, sizeof temporary, "%s.%d", path, (int)getpid());
    if (posix_memalign(&block, CACHE_PAGE, CACHE_PAGE))
        return cache_fail(-ENOMEM, "no memory for a block");
    memset(block, 0, CACHE_PAGE);
    *(struct tier_super *)block =
        (struct tier_super){.magic = TIER_MAGIC, .format = TIER_FORMAT, .id = id, .blocks = blocks};
    unlink(temporary); /* of a dead process with our number */
    fd = open_direct(temporary, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0) {
        rc = fault(temporary, fd);
    } else {
        ssize_t wrote = pwrite(fd, block, CACHE_PAGE, 0);

        if (wrote != (ssize_t)CACHE_PAGE)
            rc = fault(temporary, wrote < 0 ? -errno : -ENOSPC);
        else if (link(temporary, path) && errno != EEXIST) /* EEXIST: another was faster */
            rc = fault(path, -errno);
        close(fd);
        unlink(temporary);
    }
    free(block);
    return rc;
}

int tier_look(const struct hfc_options *options, uint64_t id)
{
    char path[FILE_NAME_BYTES];
    int fd, rc;

    if (!options->tier)
        return 0;
    if (access(options->tier, R_OK | W_OK | X_OK))
        return fault(options->tier, -errno);
    snprintf(path, sizeof path, "%s/objects", options->tier);
    fd = open_direct(path, O_RDWR);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return fault(path, fd);
    rc = check_super(fd, path, id, options->tier_bytes / CACHE_PAGE - 1);
    close(fd);
    return rc;
}

int tier_open_to_read(const struct hfc *cache)
{
    char path[FILE_NAME_BYTES];
    int fd, rc;

    snprintf(path, sizeof path, "%s/objects", cache_tier(cache)->path);
    fd = open_direct(path, O_RDONLY);
    if (fd < 0)
        return fault(path, fd);
    rc = check_super(fd, path, cache->seed, cache_tier(cache)->blocks);
    if (rc)
        close(fd);
    return rc ? rc : fd;
}

static int attach_objects(const struct hfc *cache, const char *path)
{
    uint64_t blocks = cache_tier(cache)->blocks;
    int fd = open_direct(path, O_RDWR), rc = 0;

    if (fd == -ENOENT) {
        rc = make_objects(path, cache->seed, blocks);
        fd = rc ? rc : open_direct(path, O_RDWR);
    }
    if (rc)
        return rc;
    if (fd < 0)
        return fault(path, fd);
    rc = check_super(fd, path, cache->seed, blocks);
    if (rc)
        close(fd);
    return rc ? rc : fd;
}

void tier_open(struct hfc *cache)
{
    char path[FILE_NAME_BYTES];
    int fd, rc;

    if (!cache->tier_at)
        return;
    snprintf(path, sizeof path, "%s/objects", cache_tier(cache)->path);
    fd = attach_objects(cache, path);
    rc = fd < 0 ? fd : tier_io_make(cache, fd, &cache->tier_io);
    if (rc) {
        if (fd >= 0)
            close(fd);
        snprintf(cache->tier_fault, sizeof cache->tier_fault, "%s", hfc_detail());
    }
}
