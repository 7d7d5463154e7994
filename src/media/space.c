/* SPDX-License-Identifier: MIT */
/*
 * Owns what a file or device is as memory: its kind, its length, and making it longer. Calls the
 * kernel, pmem2.c (for devices) and base.
 *
 * Memory that is promised must be there when it is touched: a shared mapping of a file that cannot
 * get a page is SIGBUS. Files on a disk and on hugetlbfs are therefore allocated whole at once. A
 * file on tmpfs stays sparse, since it would take all of the machine's memory otherwise. There the
 * free space is only looked at.
 */
#include "media/space.h"

#include "base/descriptor.h"
#include "base/error.h"
#include "media/addresses.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ALIGNMENT_BYTES (UINT64_C(2) << 20)

int media_detect(int fd, const char *path, enum media_kind *out)
{
    struct stat st;
    struct statfs fs;

    if (fstat(fd, &st) || fstatfs(fd, &fs))
        return hf_fail_errno(errno, "%s", path);
    if (S_ISCHR(st.st_mode)) {
        int rc = media_device_check(fd, path);

        if (rc)
            return rc;
        *out = MEDIA_DEVDAX;
        return 0;
    }
    if (!S_ISREG(st.st_mode))
        return hf_fail(EOPNOTSUPP, "%s is neither a file nor a device-dax node", path);
    if (fs.f_type == TMPFS_MAGIC)
        *out = MEDIA_TMPFS;
    else if (fs.f_type == HUGETLBFS_MAGIC)
        *out = MEDIA_HUGETLBFS;
    else
        *out = MEDIA_FILE;
    return 0;
}

int media_alignment(int fd, enum media_kind kind, uint64_t *out)
{
    uint64_t bytes = 0;
    struct statfs fs;
    int rc = 0;

    if (kind == MEDIA_DEVDAX)
        rc = media_device_alignment(fd, &bytes);
    else if (kind == MEDIA_HUGETLBFS)
        rc = fstatfs(fd, &fs) ? hf_fail_errno(errno, "statfs") : 0;
    if (rc)
        return rc;
    if (kind == MEDIA_HUGETLBFS)
        bytes = (uint64_t)fs.f_bsize;
    *out = bytes > ALIGNMENT_BYTES ? bytes : ALIGNMENT_BYTES;
    return 0;
}

/* Directories that may be searched and not read: all of their file system is synced instead. A file
 * system that knows no syncing of a directory says EINVAL. */
int media_sync_path(const char *path)
{
    int fd = hf_fd_open(path, O_RDONLY | O_NONBLOCK, 0), rc;

    if (fd < 0 && errno == EACCES) {
        sync();
        return 0;
    }
    if (fd < 0)
        return hf_fail_errno(errno, "%s", path);
    rc = fsync(fd) && errno != EINVAL ? hf_fail_errno(errno, "fsync %s", path) : 0;
    close(fd);
    return rc;
}

int media_length(int fd, enum media_kind kind, uint64_t *out)
{
    struct stat st;

    if (kind == MEDIA_DEVDAX)
        return media_device_bytes(fd, out);
    if (fstat(fd, &st))
        return hf_fail_errno(errno, "stat of the pool's memory");
    *out = (uint64_t)st.st_size;
    return 0;
}

int media_look(const char *pool_dir, uint64_t *bytes, bool *empty)
{
    char path[PATH_MAX];
    enum media_kind kind;
    struct stat st;
    int fd, rc;

    if ((size_t)snprintf(path, sizeof path, "%s/data", pool_dir) >= sizeof path)
        return hf_fail(ENAMETOOLONG, "the pool's path is too long");
    fd = hf_fd_open(path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return hf_fail_errno(errno, "%s", path);
    rc = media_detect(fd, path, &kind);
    rc = rc ? rc : media_length(fd, kind, bytes);
    if (rc == 0 && fstat(fd, &st))
        rc = hf_fail_errno(errno, "%s", path);
    if (rc == 0)
        *empty = kind != MEDIA_DEVDAX && kind != MEDIA_HUGETLBFS && st.st_blocks == 0;
    close(fd);
    return rc;
}

static int look_at_tmpfs(int fd, uint64_t wanted)
{
    struct statfs fs;
    uint64_t there;

    if (fstatfs(fd, &fs))
        return hf_fail_errno(errno, "statfs");
    there = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    if (fs.f_blocks != 0 && there < wanted) /* 0 blocks: a tmpfs without a limit */
        return hf_fail(ENOSPC,
                       "%" PRIu64 " MiB are wanted and %" PRIu64 " MiB are free on the tmpfs",
                       wanted >> 20, there >> 20);
    return 0;
}

static int allocate_file(int fd, enum media_kind kind, uint64_t from, uint64_t bytes)
{
    int rc;

    /* The C library's own loop for file systems without fallocate(2) would write to hugetlbfs,
     * which cannot be written to. */
    do {
        if (kind == MEDIA_HUGETLBFS)
            rc = fallocate(fd, 0, (off_t)from, (off_t)(bytes - from)) ? errno : 0;
        else
            rc = posix_fallocate(fd, (off_t)from, (off_t)(bytes - from));
    } while (rc == EINTR);
    if (rc == 0)
        return 0;
    if (ftruncate(fd, (off_t)from))
        return hf_fail_errno(errno, "the pool's memory could not be cut back to its size");
    return hf_fail_errno(rc, "%" PRIu64 " MiB of memory", (bytes - from) >> 20);
}

int media_extend(int fd, enum media_kind kind, uint64_t bytes)
{
    return media_extend_from(fd, kind, UINT64_MAX, bytes);
}

int media_extend_from(int fd, enum media_kind kind, uint64_t from, uint64_t bytes)
{
    uint64_t alignment, now;
    int rc = media_alignment(fd, kind, &alignment);

    if (rc == 0)
        rc = media_length(fd, kind, &now);
    if (rc)
        return rc;
    if (bytes % alignment != 0)
        return hf_fail(EINVAL,
                       "%" PRIu64 " bytes are not a multiple of this memory's pages of %" PRIu64
                       " bytes",
                       bytes, alignment);
    if (kind == MEDIA_PMEM && from < now) /* it may have a hole there */
        now = from;
    if (now >= bytes)
        return 0;
    switch (kind) {
    case MEDIA_DEVDAX:
        return hf_fail(ENOSPC, "the device has %" PRIu64 " MiB", now >> 20);
    case MEDIA_TMPFS:
        rc = look_at_tmpfs(fd, bytes - now);
        if (rc)
            return rc;
        break;
    case MEDIA_MEMFD:
        break;
    default:
        return allocate_file(fd, kind, now, bytes);
    }
    return ftruncate(fd, (off_t)bytes) ? hf_fail_errno(errno, "the pool's memory") : 0;
}
