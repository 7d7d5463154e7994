/* SPDX-License-Identifier: MIT */
/*
 * Addresses by mmap(2) alone, for builds without libpmem2. A file on persistent memory is then a
 * file like others: msync(2) makes its stores persistent, only slower. A device-dax node has no
 * msync, so it is refused. Calls the kernel and base.
 */
#include "media/addresses.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

struct media_addresses {
    char *at;
    uint64_t bytes;
};

int media_reserve(uint64_t bytes, struct media_addresses **out)
{
    struct media_addresses *addresses = malloc(sizeof *addresses);

    if (!addresses)
        return hf_fail(ENOMEM, "out of memory");
    addresses->bytes = bytes;
    addresses->at =
        mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (addresses->at == MAP_FAILED) {
        int error = errno;
        free(addresses);
        return hf_fail_map(error, "all that the pool may grow to");
    }
    *out = addresses;
    return 0;
}

char *media_reserved_at(const struct media_addresses *addresses)
{
    return addresses->at;
}

/* One call for the reservation and for all that was mapped over it. */
void media_release(struct media_addresses *addresses)
{
    munmap(addresses->at, addresses->bytes);
    free(addresses);
}

int media_map_part(struct media_addresses *addresses, int fd, uint64_t from, uint64_t bytes,
                   uint64_t at, bool *persistent)
{
    if (mmap(addresses->at + at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
             (off_t)from) == MAP_FAILED)
        return hf_fail_errno(errno, "map the pool's memory");
    *persistent = false;
    return 0;
}

void media_flush(const struct media_addresses *addresses, const void *addr, size_t len)
{
    (void)addresses, (void)addr, (void)len;
    HF_BUG_ON(true); /* no part was persistent */
}

/* --- devices --- */

int media_device_check(int fd, const char *path)
{
    (void)fd;
    return hf_fail(EOPNOTSUPP,
                   "%s is a device, and this build of Holdfast has no libpmem2 (-Dpmem=disabled), "
                   "which such pools need",
                   path);
}

int media_device_alignment(int fd, uint64_t *out)
{
    (void)out;
    return media_device_check(fd, "the pool's memory");
}

int media_device_bytes(int fd, uint64_t *out)
{
    (void)out;
    return media_device_check(fd, "the pool's memory");
}
