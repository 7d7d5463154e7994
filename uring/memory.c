/* SPDX-License-Identifier: MIT */
/*
 * The pool's memory in the ring's table of buffers: entry first_buffer + i has the bytes from i <<
 * buffer_shift on. The last entry may be short. When the pool has grown, it is put in again, and is
 * longer. Requests that run keep the old one until they end, and both have the same pages.
 */
#include "private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define KERNEL_BUFFERS_MAX 16384u /* in one table */

/* By number, since the ring may be gone in the program's own struct. */
static int update(const struct hf_uring *uring, uint32_t entry, void *base, uint64_t bytes)
{
    struct iovec piece = {base, bytes};
    struct io_uring_rsrc_update2 argument = {
        .offset = uring->first_buffer + entry, .data = (uintptr_t)&piece, .nr = 1};
    int rc = io_uring_register((unsigned)uring->fd, IORING_REGISTER_BUFFERS_UPDATE, &argument,
                               sizeof argument);

    return rc < 0 ? rc : 0;
}

static uint64_t entries_of(const struct hf_uring *uring, uint64_t bytes)
{
    return (bytes + (UINT64_C(1) << uring->buffer_shift) - 1) >> uring->buffer_shift;
}

int memory_make_table(struct hf_uring *uring, uint64_t limit_bytes)
{
    uint64_t entries = uring->first_buffer + entries_of(uring, limit_bytes);
    struct io_uring_rsrc_register argument = {.flags = IORING_RSRC_REGISTER_SPARSE};
    int rc;

    /* Beyond that, growth is refused when it comes. */
    if (entries > KERNEL_BUFFERS_MAX)
        entries = KERNEL_BUFFERS_MAX;
    argument.nr = (uint32_t)entries;
    rc = io_uring_register((unsigned)uring->fd, IORING_REGISTER_BUFFERS2, &argument,
                           sizeof argument);
    if (rc == -EBUSY)
        return uring_fail(rc, "the ring has a table of buffers already: give HF_URING_HAS_TABLE, "
                              "and first_buffer, from which on it has room");
    if (rc == -EEXIST)
        return uring_fail(rc, "the ring is another thread's (IORING_SETUP_SINGLE_ISSUER)");
    if (rc < 0)
        return uring_fail(rc, "the kernel makes no table of %" PRIu64 " buffers: %s", entries,
                          strerror(-rc));
    uring->made_table = true;
    return 0;
}

static int refused(const struct hf_uring *uring, uint32_t entry, int rc)
{
    if (rc == -ENOMEM)
        return uring_fail(rc,
                          "the kernel locks no more memory for this user, after %" PRIu64
                          " bytes of the pool: raise RLIMIT_MEMLOCK (ulimit -l)",
                          uring->registered_bytes);
    if (rc == -ENXIO || rc == -EINVAL)
        return uring_fail(-EINVAL, "the ring's table of buffers has no entry %u",
                          uring->first_buffer + entry);
    return uring_fail(rc, "the kernel does not register the pool's memory: %s", strerror(-rc));
}

int memory_register(struct hf_uring *uring)
{
    struct hf_pool_memory memory = {.size = sizeof memory};
    int rc = hf_pool_memory(uring->pool, &memory);

    if (rc)
        return uring_fail_pool(rc);
    uring->base = memory.base;
    while (uring->registered_bytes < memory.bytes) {
        uint64_t entry = uring->registered_bytes >> uring->buffer_shift;
        uint64_t start = entry << uring->buffer_shift, bytes = memory.bytes - start;

        if (bytes > UINT64_C(1) << uring->buffer_shift)
            bytes = UINT64_C(1) << uring->buffer_shift;
        if (uring->first_buffer + entry >= KERNEL_BUFFERS_MAX)
            return uring_fail(-E2BIG, "the pool needs more than the %u buffers that a ring has",
                              KERNEL_BUFFERS_MAX);
        rc = update(uring, (uint32_t)entry, uring->base + start, bytes);
        if (rc)
            return refused(uring, (uint32_t)entry, rc);
        uring->registered_bytes = start + bytes;
    }
    return 0;
}

void memory_withdraw(struct hf_uring *uring)
{
    uint64_t entries = entries_of(uring, uring->registered_bytes);

    for (uint64_t i = 0; i < entries; i++)
        update(uring, (uint32_t)i, NULL, 0);
    uring->registered_bytes = 0;
}

void memory_drop_table(const struct hf_uring *uring)
{
    if (uring->made_table)
        io_uring_register((unsigned)uring->fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

int memory_entry_of_all(struct hf_uring *uring, const struct iovec *pieces, int count,
                        uint32_t *entry)
{
    uint64_t first = UINT64_MAX;
    bool one = true;

    for (int i = 0; i < count; i++) {
        uint64_t start = (uint64_t)((char *)pieces[i].iov_base - uring->base);
        uint64_t end = start + pieces[i].iov_len;

        if (end > uring->registered_bytes) {
            int rc = memory_register(uring);

            if (rc)
                return rc;
            if (end > uring->registered_bytes)
                return uring_fail(-EINVAL, "the file is not of the pool of this ring");
        }
        if (i == 0)
            first = start >> uring->buffer_shift;
        one = one && start >> uring->buffer_shift == first &&
              (end - 1) >> uring->buffer_shift == first;
    }
    *entry = one ? uring->first_buffer + (uint32_t)first : URING_NONE;
    return 0;
}
