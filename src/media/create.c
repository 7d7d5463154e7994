/* SPDX-License-Identifier: MIT */
/*
 * Makes POOL/data: the file, or the link to the one that the user named. Also makes it longer while
 * no process has it mapped. Calls space.c, the kernel and base. A file that it made is removed
 * again when a later step fails. One that was there before (empty, or a device) stays, cut back to
 * nothing.
 *
 * A file survives a power cut when it was synced, and so was the directory that has its name. Both
 * are, before any process relies on them.
 */
#include "media/space.h"

#include "base/descriptor.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZERO_STEP_BYTES (UINT64_C(1) << 30)

/* Returns a descriptor. `made`: the file did not exist before. */
static int open_target(const char *path, bool *made)
{
    int fd = hf_fd_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

    *made = fd >= 0;
    if (fd < 0 && errno == EEXIST)
        fd = hf_fd_open(path, O_RDWR | O_NONBLOCK, 0);
    return fd < 0 ? hf_fail_errno(errno, "%s", path) : fd;
}

static int must_be_empty(int fd, const char *path)
{
    struct stat st;

    if (fstat(fd, &st))
        return hf_fail_errno(errno, "%s", path);
    if (st.st_size != 0)
        return hf_fail(EEXIST, "%s is not empty", path);
    return 0;
}

/* Memory of a device is as its last user left it. */
static int zero_device(int fd, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes;) {
        size_t step = bytes - done < ZERO_STEP_BYTES ? bytes - done : ZERO_STEP_BYTES;
        void *part = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)done);
        if (part == MAP_FAILED)
            return hf_fail_errno(errno, "map the device");
        memset(part, 0, step);
        munmap(part, step);
        done += step;
    }
    return 0;
}

static int fill(int fd, const char *path, uint64_t bytes, mode_t mode)
{
    enum media_kind kind;
    int rc = media_detect(fd, path, &kind);

    if (rc == 0 && kind != MEDIA_DEVDAX)
        rc = must_be_empty(fd, path);
    if (rc == 0)
        rc = media_extend(fd, kind, bytes);
    if (rc)
        return rc;
    if (kind == MEDIA_DEVDAX)
        return zero_device(fd, bytes); /* a device's owner and mode are the administrator's */
    /* A file that was made instead of a lost one has no page at all: see media_look(). */
    if (kind != MEDIA_HUGETLBFS && pwrite(fd, "", 1, 0) != 1)
        return hf_fail_errno(errno, "write to %s", path);
    if (fchmod(fd, mode))
        return hf_fail_errno(errno, "chmod %s", path);
    if (kind == MEDIA_FILE && fsync(fd))
        return hf_fail_errno(errno, "fsync %s", path);
    return 0;
}

/* The directory of a path that ends in a name. */
static int sync_parent(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (!slash)
        return media_sync_path(".");
    snprintf(parent, sizeof parent, "%.*s", (int)(slash == path ? 1 : slash - path), path);
    return media_sync_path(parent);
}

static int make_link(const char *data_path, const char *link_path)
{
    char *absolute = realpath(data_path, NULL);
    int rc = 0;

    if (!absolute)
        return hf_fail_errno(errno, "%s", data_path);
    if (symlink(absolute, link_path))
        rc = hf_fail_errno(errno, "link %s", link_path);
    free(absolute);
    return rc;
}

int media_create(const char *pool_dir, const char *data_path, uint64_t bytes, mode_t mode)
{
    char own[PATH_MAX];
    const char *path = data_path ? data_path : own;
    bool made;
    int fd, rc;

    if ((size_t)snprintf(own, sizeof own, "%s/data", pool_dir) >= sizeof own)
        return hf_fail(ENAMETOOLONG, "the pool's path is too long");
    fd = open_target(path, &made);
    if (fd < 0)
        return fd;
    rc = data_path ? make_link(data_path, own) : 0;
    if (rc == 0) {
        rc = fill(fd, path, bytes, mode);
        rc = rc || !made ? rc : sync_parent(path);
        rc = rc ? rc : media_sync_path(pool_dir);
        if (rc && data_path)
            unlink(own);
    }
    if (rc && made)
        unlink(path);
    close(fd);
    return rc;
}

static int open_data(const char *pool_dir, char path[PATH_MAX], enum media_kind *kind)
{
    int fd, rc;

    if ((size_t)snprintf(path, PATH_MAX, "%s/data", pool_dir) >= PATH_MAX)
        return hf_fail(ENAMETOOLONG, "the pool's path is too long");
    fd = hf_fd_open(path, O_RDWR | O_NONBLOCK, 0);
    if (fd < 0)
        return hf_fail_errno(errno, "%s", path);
    rc = media_detect(fd, path, kind);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

int media_file_bytes(const char *pool_dir, uint64_t *out)
{
    char path[PATH_MAX];
    enum media_kind kind;
    int fd = open_data(pool_dir, path, &kind), rc = 0;

    if (fd < 0)
        return fd;
    if (kind == MEDIA_DEVDAX)
        *out = UINT64_MAX;
    else
        rc = media_length(fd, kind, out);
    close(fd);
    return rc;
}

int media_lengthen(const char *pool_dir, uint64_t bytes)
{
    char path[PATH_MAX];
    enum media_kind kind;
    int fd = open_data(pool_dir, path, &kind), rc;

    if (fd < 0)
        return fd;
    rc = media_extend(fd, kind, bytes);
    if (rc == 0 && kind == MEDIA_FILE && fsync(fd))
        rc = hf_fail_errno(errno, "fsync %s", path);
    close(fd);
    return rc;
}
