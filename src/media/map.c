/* SPDX-License-Identifier: MIT */
/*
 * Owns the mapping: one reservation of addresses, filled from its front with segments. Calls
 * libpmem2, space.c and base.
 *
 * Every kind is mapped by libpmem2, which knows when a store on it is persistent (it tries MAP_SYNC
 * and reads the platform's flush domains). It maps hugetlbfs as well, once addresses are multiples
 * of its pages, which media_alignment() sees to. Block 0 is put on a multiple of 2 MiB at least, so
 * that an aligned run of 512 blocks can be one huge entry.
 *
 * A segment is never unmapped before the pool is closed, and addresses never move. So readers need
 * no lock. They load mapped_bytes with acquire, and may touch what lies below it.
 */
#include "media/space.h"

#include "base/atomic.h"
#include "base/descriptor.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libpmem2.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct segment {
    struct pmem2_map *map;
    struct segment *next;
};

struct media_private {
    pthread_mutex_t lock; /* over the segments and mapped_bytes */
    struct pmem2_vm_reservation *reservation;
    size_t front_bytes; /* of the reservation, unused: what alignment costs */
    struct segment *segments;
    pmem2_persist_fn persist;
};

/* --- the reservation --- */

static int reserve_addresses(struct media *media)
{
    struct media_private *own = media->private;
    uint64_t alignment, address;
    int rc = media_alignment(media->fd, media->kind, &alignment);

    if (rc)
        return rc;
    rc = pmem2_vm_reservation_new(&own->reservation, NULL, media->limit_bytes + alignment);
    if (rc == -ENOMEM)
        return hf_fail_map(ENOMEM, "all that the pool may grow to");
    if (rc)
        return media_pmem2_result(rc, "addresses for the pool's limit");
    address = (uintptr_t)pmem2_vm_reservation_get_address(own->reservation);
    own->front_bytes = (alignment - address % alignment) % alignment;
    media->base = (char *)pmem2_vm_reservation_get_address(own->reservation) + own->front_bytes;
    return 0;
}

/* --- segments --- */

static int configure(struct media *media, uint64_t from, uint64_t bytes, struct pmem2_config **out)
{
    struct media_private *own = media->private;
    struct pmem2_config *config;
    int rc = pmem2_config_new(&config);

    if (rc)
        return rc;
    rc = pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE);
    if (rc == 0)
        rc = pmem2_config_set_offset(config, from);
    if (rc == 0)
        rc = pmem2_config_set_length(config, bytes - from);
    if (rc == 0)
        rc = pmem2_config_set_vm_reservation(config, own->reservation, own->front_bytes + from);
    if (rc)
        pmem2_config_delete(&config);
    else
        *out = config;
    return rc;
}

static int map_segment(struct media *media, uint64_t from, uint64_t bytes, struct pmem2_map **out)
{
    struct pmem2_source *source;
    struct pmem2_config *config;
    int rc = pmem2_source_from_fd(&source, media->fd);

    if (rc)
        return media_pmem2_result(rc, "the pool's memory");
    rc = configure(media, from, bytes, &config);
    if (rc == 0) {
        hf_fd_guard_begin(); /* it looks into files of the system */
        rc = pmem2_map_new(out, config, source);
        hf_fd_guard_end();
        pmem2_config_delete(&config);
    }
    pmem2_source_delete(&source);
    return media_pmem2_result(rc, "map the pool's memory");
}

/* A file whose stores need no page-wise write-back is persistent memory. */
static void learn_kind(struct media *media, struct pmem2_map *map)
{
    if (media->kind == MEDIA_FILE && pmem2_map_get_store_granularity(map) != PMEM2_GRANULARITY_PAGE)
        media->kind = MEDIA_PMEM;
    media->private->persist = pmem2_get_persist_fn(map);
}

static int add_segment(struct media *media, uint64_t bytes)
{
    uint64_t from = media->mapped_bytes;
    struct segment *segment = malloc(sizeof *segment);
    int rc;

    if (!segment)
        return hf_fail(ENOMEM, "out of memory");
    rc = map_segment(media, from, bytes, &segment->map);
    if (rc) {
        free(segment);
        return rc;
    }
    segment->next = media->private->segments;
    media->private->segments = segment;
    learn_kind(media, segment->map);
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

int media_grow(struct media *media, uint64_t bytes)
{
    int rc;

    if (media->kind == MEDIA_DEVDAX)
        return hf_fail(EOPNOTSUPP, "a device cannot grow");
    if (bytes < hf_load_acquire(&media->mapped_bytes))
        return hf_fail(EINVAL, "a pool cannot shrink");
    if (bytes > media->limit_bytes)
        return hf_fail(ENOSPC, "the pool was made to grow to %" PRIu64 " MiB at most",
                       (media->limit_bytes >> 20));
    rc = media_extend(media->fd, media->kind, bytes);
    return rc ? rc : media_map(media, bytes);
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
        media->private->persist(addr, len);
        return 0;
    case MEDIA_FILE:
        /* Not libpmem2's function: that aborts the process when the disk has an error. */
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

    while (own->segments) {
        struct segment *segment = own->segments;
        own->segments = segment->next;
        pmem2_map_delete(&segment->map);
        free(segment);
    }
    if (own->reservation)
        pmem2_vm_reservation_delete(&own->reservation);
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
