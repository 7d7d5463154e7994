/* SPDX-License-Identifier: MIT */
/*
 * Owns which parts of a pool's memory the system has pages for: giving them back, getting them, and
 * how much is there. Calls the kernel, space.c and base.
 *
 * A part that was given back reads as zeros, and a touch of it gets new memory. Where the system
 * has none left, such a touch is SIGBUS. So media_back() gets it before anybody touches it: that
 * fails with -ENOSPC instead.
 *
 * On a disk, the kernel may keep a huge run of the file as one piece of its cache. A store into any
 * page of that piece then wants blocks of the disk for all of it. With a hole in the piece, a page
 * that has its block raises SIGBUS on a full disk (ext4, Linux 6.18). So whole huge runs are given
 * back there, and got again.
 *
 * The kernel says what is there for the whole file at once. Where it also says it by place
 * (SEEK_DATA), a hole is sure to hold zeros.
 */
#include "media/space.h"

#include "base/error.h"
#include "base/populate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define RUN_BYTES (UINT64_C(2) << 20) /* a huge run, of which the memory is a multiple */
#define STAT_BYTES 512u               /* st_blocks */
/* What is allocated at once. A signal ends fallocate(2) on tmpfs, which then takes back what it has
 * done. So a larger part would never be done in a process that gets signals all the time. */
#define PART_BYTES RUN_BYTES
#define PAGE_BYTES 4096u

int media_unit(const struct media *media, uint64_t *bytes)
{
    struct statfs fs;

    if (media->kind == MEDIA_DEVDAX)
        return hf_fail(EOPNOTSUPP,
                       "the pool's memory is a device (device-dax), which gives nothing back");
    *bytes = media_knows_holes(media) ? PAGE_BYTES : RUN_BYTES;
    if (media->kind != MEDIA_HUGETLBFS)
        return 0;
    if (fstatfs(media->fd, &fs))
        return hf_fail_errno(errno, "statfs of the pool's memory");
    *bytes = (uint64_t)fs.f_bsize;
    return 0;
}

bool media_is_on_disk(const struct media *media)
{
    return media->kind == MEDIA_FILE || media->kind == MEDIA_PMEM;
}

bool media_may_be_full(const struct media *media)
{
    return media->kind != MEDIA_MEMFD && media->kind != MEDIA_DEVDAX;
}

bool media_knows_holes(const struct media *media)
{
    return media->kind == MEDIA_TMPFS || media->kind == MEDIA_MEMFD;
}

int media_resident(const struct media *media, uint64_t *bytes)
{
    struct stat st;

    if (fstat(media->fd, &st))
        return hf_fail_errno(errno, "stat of the pool's memory");
    *bytes =
        media->kind == MEDIA_DEVDAX ? media->mapped_bytes : (uint64_t)st.st_blocks * STAT_BYTES;
    return 0;
}

uint64_t media_room(const struct media *media)
{
    uint64_t bytes = 0;
    struct statfs fs;

    if (!(media_sparse(media) || media_is_on_disk(media)) || fstatfs(media->fd, &fs) ||
        fs.f_blocks == 0 /* a tmpfs without a limit */ || media_resident(media, &bytes))
        return UINT64_MAX;
    return bytes + (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
}

int media_punch(struct media *media, uint64_t off, uint64_t bytes)
{
    int rc;

    do
        rc = fallocate(media->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
                       (off_t)bytes)
                 ? errno
                 : 0;
    while (rc == EINTR);
    if (rc == EOPNOTSUPP || rc == ENOSYS)
        return hf_fail(EOPNOTSUPP, "the file system that has the pool's memory takes none back "
                                   "(no FALLOC_FL_PUNCH_HOLE)");
    return rc ? hf_fail_errno(rc, "giving back %" PRIu64 " bytes of the pool's memory", bytes) : 0;
}

/* ---- by place ---- */

static uint64_t seek(const struct media *media, uint64_t off, uint64_t end, int whence)
{
    off_t at = lseek(media->fd, (off_t)off, whence);

    return at < 0 || (uint64_t)at > end ? end : (uint64_t)at;
}

uint64_t media_next_memory(const struct media *media, uint64_t off, uint64_t end)
{
    return media->kind == MEDIA_HUGETLBFS ? off : seek(media, off, end, SEEK_DATA);
}

uint64_t media_next_hole(const struct media *media, uint64_t off, uint64_t end)
{
    return media->kind == MEDIA_HUGETLBFS ? end : seek(media, off, end, SEEK_HOLE);
}

uint64_t media_next_allocated(const struct media *media, uint64_t off, uint64_t end)
{
    struct {
        struct fiemap map;
        struct fiemap_extent extent;
    } at = {.map = {.fm_start = off, .fm_length = end - off, .fm_extent_count = 1}};

    if (!media_is_on_disk(media) || ioctl(media->fd, FS_IOC_FIEMAP, &at))
        return media_next_memory(media, off, end);
    if (at.map.fm_mapped_extents == 0 || at.extent.fe_logical >= end)
        return end;
    return at.extent.fe_logical > off ? at.extent.fe_logical : off;
}

/* Nothing here looks for a hole: in a file without any, that is a walk to its end. */
uint64_t media_end_of_memory(const struct media *media, uint64_t off, uint64_t end)
{
    while (off < end) {
        uint64_t run = (end - 1) / RUN_BYTES * RUN_BYTES;

        run = run > off ? run : off;
        if (media_next_memory(media, run, end) < end)
            break;
        end = run;
    }
    return end;
}

/* ---- before a touch ---- */

static int allocate_part(const struct media *media, uint64_t off, uint64_t bytes)
{
    int rc;

    do
        rc = fallocate(media->fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)bytes) ? errno : 0;
    while (rc == EINTR);
    return rc;
}

/* A file system that cannot allocate punches no holes either. */
static int allocate(const struct media *media, uint64_t off, uint64_t bytes)
{
    uint64_t end = off + bytes, part;
    int rc = 0;

    for (; rc == 0 && off < end; off += part) {
        part = end - off < PART_BYTES ? end - off : PART_BYTES;
        rc = allocate_part(media, off, part);
    }
    return rc == EOPNOTSUPP ? 0 : rc;
}

static int allocate_runs(const struct media *media, uint64_t off, uint64_t bytes)
{
    uint64_t from = off / RUN_BYTES * RUN_BYTES;
    uint64_t end = (off + bytes + RUN_BYTES - 1) / RUN_BYTES * RUN_BYTES;

    return allocate(media, from, end - from);
}

static int populate_part(const struct media *media, uint64_t off, uint64_t bytes)
{
    const char *at = media->base + off;
    bool empty = media_next_memory(media, off, off + bytes) == off + bytes;

    return empty ? hf_populate(at, bytes) : hf_populate_around(at, bytes);
}

int media_back(const struct media *media, uint64_t off, uint64_t bytes)
{
    int rc;

    if (!media_may_be_full(media))
        return 0;
    rc = media_sparse(media) ? -populate_part(media, off, bytes) : allocate_runs(media, off, bytes);
    if (media_sparse(media) && rc == EOPNOTSUPP)
        rc = allocate(media, off, bytes);
    if (rc == ENOSPC || rc == EDQUOT || rc == ENOMEM)
        return hf_fail(ENOSPC,
                       "the file system that has the pool's memory is full: %" PRIu64
                       " KiB wanted (remove other files there)",
                       bytes >> 10);
    return rc ? hf_fail_errno(rc, "memory for %" PRIu64 " KiB of the pool", bytes >> 10) : 0;
}

bool media_back_huge(const struct media *media, uint64_t off, uint64_t bytes)
{
    const char *at = media->base + off;

    if (!media_knows_holes(media))
        return false;
    for (uint64_t run = 0; run < bytes; run += RUN_BYTES)
        if (hf_populate(at + run, PAGE_BYTES))
            return false;
    return hf_collapse(at, bytes) == 0;
}
