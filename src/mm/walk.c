/* SPDX-License-Identifier: MIT */
/* P3, the walk: reads entries without a lock, in as few steps as there are entries. See mm.h. */
#include "mm/mm.h"

#include <errno.h>

/* The entries of one leaf node, or of one run of huge entries, from `page` on. The number of pages
 * done; 0: a miss; -1: no room. */
static int64_t walk_node(const struct shm *shm, char *base, uint64_t node, unsigned level,
                         uint64_t page, uint64_t last, struct mm_pieces *pieces)
{
    uint64_t start = page;
    unsigned shift = MM_BITS * level;

    do {
        uint64_t entry = hf_load_acquire(
            &shm->nodes[node][page >> shift & (SHM_NODE_ENTRIES - 1)]); /* ENTRY.PUB/p */
        uint64_t within = page & ((UINT64_C(1) << shift) - 1);
        uint64_t pages = (UINT64_C(1) << shift) - within;

        if (!(entry & MM_PRESENT))
            break; /* missing, or the run of huge entries ends at a leaf */
        if (pages > last - page + 1)
            pages = last - page + 1;
        if (!mm_piece(pieces, base + ((entry >> MM_SHIFT) + within) * HF_BLOCK_BYTES, pages))
            return -1;
        page += pages;
    } while (page <= last && (page >> shift & (SHM_NODE_ENTRIES - 1)));
    return (int64_t)(page - start);
}

/* The node that holds the entry for `page`: level 1 if that entry is huge, else level 0. */
static bool find_node(const struct shm *shm, uint64_t root, uint64_t page, uint64_t *node,
                      unsigned *level)
{
    unsigned at = (unsigned)(root & 0xff) - 1;
    uint64_t entry = root;

    if (!root || page >> (MM_BITS * (at + 1)))
        return false;
    for (; at > 0; at--) {
        uint64_t next = hf_load_acquire(
            &shm->nodes[entry >> MM_SHIFT]
                       [page >> (MM_BITS * at) & (SHM_NODE_ENTRIES - 1)]); /* ENTRY.PUB/p */

        if (!(next & MM_NODE)) {
            *node = entry >> MM_SHIFT;
            *level = at;
            return (next & MM_PRESENT) != 0;
        }
        entry = next;
    }
    *node = entry >> MM_SHIFT;
    *level = 0;
    return true;
}

int mm_walk(const struct shm *shm, char *base, uint64_t root, uint64_t first, uint64_t last,
            struct mm_pieces *pieces)
{
    uint64_t page = first;

    while (page <= last) {
        uint64_t node;
        unsigned level;
        int64_t done;

        if (!find_node(shm, root, page, &node, &level))
            return MM_MISS;
        done = walk_node(shm, base, node, level, page, last, pieces);
        if (done <= 0)
            return done ? -E2BIG : MM_MISS;
        page += (uint64_t)done;
    }
    return pieces->count;
}
