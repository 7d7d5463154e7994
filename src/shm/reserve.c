/* SPDX-License-Identifier: MIT */
/*
 * Owns which parts of the segment have memory. The segment is a sparse file. When its file system
 * is full, a touch of a hole raises SIGBUS, even for a read. So each part is given memory before
 * its first touch. The parts that every process looks at get it when the segment is made, the
 * bitmap when the pool gets its size. An entry of a table gets it before the mark rises that says
 * which entries may be in use. When there is no memory, the call that needs it fails.
 *
 * Memory once given stays until the segment is removed, so no other process need ask again.
 */
#include "base/error.h"
#include "base/populate.h"
#include "shm/private.h"

#include <errno.h>

#define PAGE UINT64_C(4096)
#define FEW_BYTES (4 * PAGE) /* of each table at once */

int shm_no_room(void)
{
    return hf_fail(ENOSPC, "the file system that has the pool's run segment is full");
}

/* An older kernel gives memory at the touch, as ever. */
int shm_reserve(const void *from, uint64_t bytes)
{
    return hf_populate(from, bytes) == -ENOSPC ? shm_no_room() : 0;
}

int shm_reserve_entry(const void *table, size_t entry_bytes, uint64_t count, uint32_t *mark,
                      uint64_t at)
{
    uint64_t chunk = PAGE / entry_bytes ? PAGE / entry_bytes : 1;
    uint32_t was = hf_load_acquire(mark);
    int rc;

    if (at < was)
        return 0;
    if (chunk > count - at)
        chunk = count - at;
    rc = shm_reserve((const char *)table + at * entry_bytes, chunk * entry_bytes);
    if (rc == 0 && at == was) /* else entries between have no memory yet */
        (void)hf_cas_acq_rel(mark, was, (uint32_t)(at + chunk));
    return rc;
}

int shm_reserve_space(const struct shm *shm, uint64_t blocks)
{
    uint64_t groups = (blocks + SHM_GROUP_BLOCKS - 1) / SHM_GROUP_BLOCKS;
    int rc = shm_reserve(shm->group_free, groups * sizeof *shm->group_free);

    rc = rc ? rc : shm_reserve(shm->block_bits, groups * (SHM_GROUP_BLOCKS / 8));
    rc = rc ? rc : shm_reserve(shm->group_backed, groups * sizeof *shm->group_backed);
    if (rc == 0 && shm->counts)
        rc = shm_reserve(shm->counts, blocks * sizeof *shm->counts);
    return rc;
}

/* The first entries of each table: a process that comes when the file system is full can open a
 * file and delete it. */
static int reserve_few(const char *base, const struct shm_run *header)
{
    uint64_t row = (header->limits.processes + 63) / 64 * sizeof(uint64_t);
    uint64_t asks = header->at_watches + header->limits.vnodes * row;
    const uint64_t tables[] = {
        header->at_lanes,    header->at_vnodes, header->at_open,   header->at_watches, asks,
        header->at_watchers, header->at_holds,  header->at_owners, header->at_nodes};
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < sizeof tables / sizeof *tables; i++)
        rc = shm_reserve(base + tables[i], FEW_BYTES);
    return rc;
}

int shm_reserve_first(const void *base, const struct shm_run *header)
{
    uint64_t processes = header->limits.processes * sizeof(struct shm_process);
    int rc = shm_reserve(base, header->at_processes + processes);

    rc = rc ? rc
            : shm_reserve((const char *)base + header->at_hash,
                          (header->hash_mask + UINT64_C(1)) * sizeof(uint32_t));
    return rc ? rc : reserve_few(base, header);
}

/* Vnodes that share a page, with what goes with each of them. */
int shm_reserve_vnode(struct shm *shm, uint32_t at)
{
    uint32_t *mark = &shm->run->vnodes_reserved;
    uint64_t left = shm->limits.vnodes - at, chunk = PAGE / sizeof *shm->vnodes;
    uint64_t row = (uint64_t)at * shm->open_words, words;
    int rc;

    if (at < hf_load_acquire(mark))
        return 0;
    chunk = left < chunk ? left : chunk;
    words = chunk * shm->open_words;
    rc = shm_reserve(shm->open + row, words * sizeof *shm->open);
    rc = rc ? rc : shm_reserve(shm->watches + row, words * sizeof *shm->watches);
    rc = rc ? rc : shm_reserve(shm->asks + row, words * sizeof *shm->asks);
    if (rc == 0 && shm->recent.entries)
        rc = shm_reserve(shm->recent.entries + at, chunk * sizeof *shm->recent.entries);
    return rc ? rc
              : shm_reserve_entry(shm->vnodes, sizeof *shm->vnodes, shm->limits.vnodes, mark, at);
}
