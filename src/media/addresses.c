/* SPDX-License-Identifier: MIT */
/*
 * Owns a reservation of addresses, and maps parts of a file into it: by mmap(2), or by libpmem2
 * where a store may be persistent. Without libpmem2 a file on persistent memory is a file like
 * others: msync(2) makes its stores persistent, only slower. Calls pmem2.c, the kernel and base.
 */
#include "media/addresses.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

struct media_addresses {
    char *at;
    uint64_t bytes;
    struct media_pmem2 *pmem2; /* null: by mmap(2) alone */
};

static int reserve_by_mmap(struct media_addresses *addresses)
{
    addresses->at =
        mmap(NULL, addresses->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return addresses->at == MAP_FAILED ? hf_fail_map(errno, "all that the pool may grow to") : 0;
}

int media_reserve(enum media_kind kind, uint64_t bytes, struct media_addresses **out)
{
    struct media_addresses *addresses = calloc(1, sizeof *addresses);
    int rc = 0;

    if (!addresses)
        return hf_fail(ENOMEM, "out of memory");
    addresses->bytes = bytes;
    if (kind == MEDIA_FILE || kind == MEDIA_DEVDAX)
        rc = media_pmem2_reserve(bytes, &addresses->pmem2);
    if (rc == 0 && !addresses->pmem2)
        rc = reserve_by_mmap(addresses);
    if (rc)
        free(addresses);
    else
        *out = addresses;
    return rc;
}

char *media_reserved_at(const struct media_addresses *addresses)
{
    return addresses->pmem2 ? media_pmem2_at(addresses->pmem2) : addresses->at;
}

/* One call for the reservation and for all that was mapped over it. */
void media_release(struct media_addresses *addresses)
{
    if (addresses->pmem2)
        media_pmem2_release(addresses->pmem2);
    else
        munmap(addresses->at, addresses->bytes);
    free(addresses);
}

int media_map_part(struct media_addresses *addresses, int fd, uint64_t from, uint64_t bytes,
                   uint64_t at, bool *persistent)
{
    if (addresses->pmem2)
        return media_pmem2_map(addresses->pmem2, fd, from, bytes, at, persistent);
    if (mmap(addresses->at + at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
             (off_t)from) == MAP_FAILED)
        return hf_fail_errno(errno, "map the pool's memory");
    *persistent = false;
    return 0;
}

void media_flush(const struct media_addresses *addresses, const void *addr, size_t len)
{
    HF_BUG_ON(!addresses->pmem2); /* no part was persistent */
    media_pmem2_flush(addresses->pmem2, addr, len);
}
