/* SPDX-License-Identifier: MIT */
/* P3, the walk: reads entries without a lock, in as few steps as there are entries. See mm.h. */
#include "mm/mm.h"

#include "base/lab.h"

#include <errno.h>

/* The entries of one node, leaves or huge ones, from `page` on. The number of pages done; 0: a
 * miss; -1: no room. */
static int64_t walk_node(char *base, const uint64_t *node, unsigned shift, uint64_t page,
                         uint64_t last, uint64_t absent, struct mm_pieces *pieces)
{
    uint64_t start = page, within = page & ((UINT64_C(1) << shift) - 1);

    do {
        uint64_t entry =
            hf_load_acquire(&node[page >> shift & (SHM_NODE_ENTRIES - 1)]); /* ENTRY.PUB/p */
        uint64_t pages = (UINT64_C(1) << shift) - within;
        uintptr_t at;

        if ((entry & (MM_PRESENT | absent)) != MM_PRESENT)
            break; /* missing, or the run of huge entries ends at a leaf */
        if (pages > last - page + 1)
            pages = last - page + 1;
        /* a number, since a wrong entry leads anywhere; pieces outside are refused later */
        at = (uintptr_t)base + (entry & ~MM_FLAGS) + within * HF_BLOCK_BYTES;
        if (!mm_piece(pieces, (char *)at, pages))
            return -1;
        page += pages;
        within = 0;
    } while (page <= last && (page >> shift & (SHM_NODE_ENTRIES - 1)));
    return (int64_t)(page - start);
}

/* The node that holds the entry for `page`: with *shift 0 a leaf, else one of huge entries. */
static const uint64_t *find_node(const struct shm *shm, uint64_t root, uint64_t page,
                                 unsigned *shift)
{
    unsigned bits = mm_bits(root);
    const uint64_t *node = mm_node(shm, root);

    if (!bits || page >> bits)
        return NULL;
    for (bits -= MM_BITS; bits; bits -= MM_BITS) {
        uint64_t next =
            hf_load_acquire(&node[page >> bits & (SHM_NODE_ENTRIES - 1)]); /* ENTRY.PUB/p */

        if (!(next & MM_NODE))
            break;
        node = mm_node(shm, next);
    }
    *shift = bits;
    return bits <= MM_BITS ? node : NULL;
}

int mm_walk(const struct shm *shm, char *base, uint64_t root, uint64_t first, uint64_t last,
            uint64_t absent, struct mm_pieces *pieces)
{
    uint64_t page = first;

    while (page <= last) {
        unsigned shift;
        const uint64_t *node = find_node(shm, root, page, &shift);
        int64_t done;

        if (!node)
            return MM_MISS;
        HF_LAB_AT(HF_LAB_DESCENDS);
        done = walk_node(base, node, shift, page, last, absent, pieces);
        if (done <= 0)
            return done ? -E2BIG : MM_MISS;
        page += (uint64_t)done;
    }
    return pieces->count;
}
