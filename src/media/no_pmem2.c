/* SPDX-License-Identifier: MIT */
/* For builds without libpmem2. A device-dax node has no msync(2), so it is refused. */
#include "media/addresses.h"

#include "base/error.h"

#include <errno.h>

int media_pmem2_reserve(uint64_t bytes, struct media_pmem2 **out)
{
    (void)bytes;
    *out = NULL;
    return 0;
}

char *media_pmem2_at(const struct media_pmem2 *pmem2)
{
    (void)pmem2;
    return NULL;
}

int media_pmem2_map(struct media_pmem2 *pmem2, int fd, uint64_t from, uint64_t bytes, uint64_t at,
                    bool *persistent)
{
    (void)pmem2, (void)fd, (void)from, (void)bytes, (void)at, (void)persistent;
    return -EOPNOTSUPP;
}

void media_pmem2_flush(const struct media_pmem2 *pmem2, const void *addr, size_t len)
{
    (void)pmem2, (void)addr, (void)len;
}

void media_pmem2_release(struct media_pmem2 *pmem2)
{
    (void)pmem2;
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
