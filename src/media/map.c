/* SPDX-License-Identifier: MIT */
/*
 * Owns the mapping: one reservation of addresses, filled from its front with segments. Calls
 * addresses.c, space.c and base.
 *
 * Every kind is mapped in the same way. hugetlbfs needs addresses that are multiples of its pages,
 * which media_alignment() sees to. Block 0 is put on a multiple of 2 MiB at least, so that an
 * aligned run of 512 blocks can be one huge entry.
 *
 * A segment is never unmapped before the pool is closed, and addresses never move. So readers need
 * no lock. They load mapped_bytes with acquire, and may touch what lies below it.
 */
#include "media/addresses.h"
#include "media/space.h"

#include "base/atomic.h"
#include "base/descriptor.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct media_private {
    pthread_mutex_t lock; /* over mapped_bytes, and what is mapped */
    struct media_addresses *addresses;
    size_t front_bytes; /* of the reservation, unused: what alignment costs */
};

static int reserve_addresses(struct media *media)
{
    struct media_private *own = media->private;
    uint64_t alignment, address;
    int rc = media_alignment(media->fd, media->kind, &alignment);

    if (rc)
        return rc;
    rc = media_reserve(media->kind, media->limit_bytes + alignment, &own->addresses);
    if (rc)
        return rc;
    address = (uintptr_t)media_reserved_at(own->addresses);
    own->front_bytes = (alignment - address % alignment) % alignment;
    media->base = media_reserved_at(own->addresses) + own->front_bytes;
    return 0;
}

static int add_segment(struct media *media, uint64_t bytes)
{
    struct media_private *own = media->private;
    uint64_t from = media->mapped_bytes;
    bool persistent;
    int rc = media_map_part(own->addresses, media->fd, from, bytes - from, own->front_bytes + from,
                            &persistent);

    if (rc)
        return rc;
    if (media->kind == MEDIA_FILE && persistent)
        media->kind = MEDIA_PMEM;
    /* Advice: without huge pages in the kernel, all works with small ones. */
    if (media->kind == MEDIA_TMPFS || media->kind == MEDIA_MEMFD)
        madvise(media->base + from, bytes - from, MADV_HUGEPAGE);
    hf_store_release(&media->mapped_bytes, bytes);
    return 0;
}

static int map_up_to(struct media *media, uint64_t bytes)
{
    uint64_t length;
    int rc;

    if (bytes <= media->mapped_bytes)
        return 0;
    if (bytes > media->limit_bytes)
        return hf_fail(ENOSPC, "the pool was made to grow to %" PRIu64 " MiB at most",
                       (media->limit_bytes >> 20));
    rc = media_length(media->fd, media->kind, &length);
    if (rc)
        return rc;
    if (length < bytes)
        return hf_fail(EUCLEAN,
                       "the pool's memory has %" PRIu64 " bytes, and its metadata say %" PRIu64,
                       length, bytes);
    return add_segment(media, bytes);
}

int media_map(struct media *media, uint64_t bytes)
{
    int rc;

    if (bytes <= hf_load_acquire(&media->mapped_bytes))
        return 0;
    pthread_mutex_lock(&media->private->lock);
    rc = map_up_to(media, bytes);
    pthread_mutex_unlock(&media->private->lock);
    return rc;
}

/* --- opening --- */

/* Takes over fd, also when it fails. */
static int map_memory(int fd, enum media_kind kind, uint64_t bytes, uint64_t limit_bytes,
                      struct media *out)
{
    struct media media = {.limit_bytes = limit_bytes, .kind = kind, .fd = fd};
    int rc;

    media.private = calloc(1, sizeof *media.private);
    if (!media.private) {
        close(fd);
        return hf_fail(ENOMEM, "out of memory");
    }
    pthread_mutex_init(&media.private->lock, NULL);
    rc = reserve_addresses(&media);
    if (rc == 0)
        rc = map_up_to(&media, bytes);
    if (rc)
        media_close(&media);
    else
        *out = media;
    return rc;
}

int media_open(const char *pool_dir, uint64_t bytes, uint64_t limit_bytes, struct media *out)
{
    char path[PATH_MAX];
    enum media_kind kind;
    int fd, rc;

    if ((size_t)snprintf(path, sizeof path, "%s/data", pool_dir) >= sizeof path)
        return hf_fail(ENAMETOOLONG, "the pool's path is too long");
    fd = hf_fd_open(path, O_RDWR | O_NONBLOCK, 0);
    if (fd < 0)
        return hf_fail_errno(errno, "%s", path);
    rc = media_detect(fd, path, &kind);
    if (rc) {
        close(fd);
        return rc;
    }
    return map_memory(fd, kind, bytes, limit_bytes, out);
}

int media_open_memfd(uint64_t bytes, uint64_t limit_bytes, struct media *out)
{
    int fd = hf_fd_memfd("holdfast", MFD_ALLOW_SEALING), rc;

    if (fd < 0)
        return hf_fail_errno(errno, "memfd");
    rc = media_extend(fd, MEDIA_MEMFD, bytes);
    if (rc == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
        rc = hf_fail_errno(errno, "memfd");
    if (rc) {
        close(fd);
        return rc;
    }
    return map_memory(fd, MEDIA_MEMFD, bytes, limit_bytes, out);
}

int media_grow(struct media *media, uint64_t from, uint64_t bytes)
{
    int rc;

    if (media->kind == MEDIA_DEVDAX)
        return hf_fail(EOPNOTSUPP, "a device cannot grow");
    if (bytes < from)
        return hf_fail(EINVAL, "the memory has %" PRIu64 " bytes already", from);
    if (bytes > media->limit_bytes)
        return hf_fail(ENOSPC, "the pool was made to grow to %" PRIu64 " MiB at most",
                       (media->limit_bytes >> 20));
    rc = media_extend_from(media->fd, media->kind, from, bytes);
    return rc ? rc : media_map(media, bytes);
}

int media_bytes(const struct media *media, uint64_t *bytes)
{
    return media_length(media->fd, media->kind, bytes);
}

bool media_can_be_cut(const struct media *media)
{
    return media->kind != MEDIA_MEMFD && media->kind != MEDIA_PMEM && media->kind != MEDIA_DEVDAX;
}

int media_cut(struct media *media, uint64_t bytes)
{
    uint64_t now;
    int rc = media_bytes(media, &now);

    if (rc || now <= bytes || media->kind == MEDIA_DEVDAX)
        return rc;
    if (!media_can_be_cut(media))
        return media_punch(media, bytes, now - bytes);
    return ftruncate(media->fd, (off_t)bytes) ? hf_fail_errno(errno, "the pool's memory") : 0;
}

int media_sync(struct media *media)
{
    if (media->kind != MEDIA_FILE && media->kind != MEDIA_PMEM)
        return 0;
    return fsync(media->fd) ? hf_fail_errno(errno, "fsync of the pool's memory") : 0;
}

int media_persist(struct media *media, const void *addr, size_t len)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)addr & ~(page - 1);

    switch (media->kind) {
    case MEDIA_PMEM:
    case MEDIA_DEVDAX:
        media_flush(media->private->addresses, addr, len);
        return 0;
    case MEDIA_FILE:
        /* Not by libpmem2, which aborts the process when the disk has an error. */
        if (msync((void *)from, len + ((uintptr_t)addr - from), MS_SYNC))
            return hf_fail_errno(errno, "the pool's data file");
        return 0;
    default:
        return 0;
    }
}

void media_close(struct media *media)
{
    struct media_private *own = media->private;

    if (own->addresses)
        media_release(own->addresses);
    close(media->fd);
    pthread_mutex_destroy(&own->lock);
    free(own);
    *media = (struct media){.fd = -1};
}

const char *media_kind_name(enum media_kind kind)
{
    static const char *const names[] = {
        [MEDIA_TMPFS] = "tmpfs", [MEDIA_HUGETLBFS] = "hugetlbfs", [MEDIA_FILE] = "file",
        [MEDIA_MEMFD] = "memfd", [MEDIA_DEVDAX] = "device-dax",   [MEDIA_PMEM] = "pmem",
    };

    return names[kind];
}
