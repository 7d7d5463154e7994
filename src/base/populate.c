/* SPDX-License-Identifier: MIT */
/*
 * Owns asking the kernel for the memory of a sparse file's pages. A touch of a page that gets none
 * raises SIGBUS, a read as well as a store. Asked in this way, the kernel returns an error.
 */
#include "base/populate.h"

#include <errno.h>
#include <sys/mman.h>

#define PAGE UINT64_C(4096)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static int populate(const void *from, uint64_t bytes, int advice)
{
    uintptr_t begin = (uintptr_t)from & ~(uintptr_t)(PAGE - 1);
    uintptr_t end = ((uintptr_t)from + bytes + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    int rc;

    if (bytes == 0)
        return 0;
    do
        rc = madvise((void *)begin, end - begin, advice) ? errno : 0;
    while (rc == EAGAIN || rc == EINTR);
    return rc == 0 ? 0 : rc == EINVAL ? -EOPNOTSUPP : -ENOSPC;
}

int hf_populate(const void *from, uint64_t bytes)
{
    return populate(from, bytes, MADV_POPULATE_WRITE);
}

int hf_populate_around(const void *from, uint64_t bytes)
{
    return populate(from, bytes, MADV_POPULATE_READ);
}

int hf_collapse(const void *from, uint64_t bytes)
{
    return madvise((void *)(uintptr_t)from, bytes, MADV_COLLAPSE) ? -errno : 0;
}
