/* SPDX-License-Identifier: MIT */
/*
 * Page tables: a radix tree for each file, from a page of the file to a block, in nodes of the run
 * segment. It is a cache of the extents: every entry may be missing at any time.
 *
 * Readers (walks) take no lock; a thread that changes a table holds the file's layout mutex. A walk
 * sees each word as it was at some time, in nodes of its own file. A node is freed only when no
 * published walk can be in it (tables_settle() in dax/tables.c, take_table() in dax/shrink.c).
 *
 *   root    node << 12 | how many bits of a page's number the table covers; 0: empty table
 *   entry   at level 0: block << 12 | PRESENT: the byte address in the pool; READONLY: the block
 *           may have other owners, so a walk that wants to write takes the entry for missing.
 *           At level 1: the same with HUGE: 512 blocks from there on; or a child
 *           above:      child node << 12 | NODE; or 0
 */
#ifndef HF_MM_H
#define HF_MM_H

#include "base/atomic.h"
#include "holdfast/holdfast.h"
#include "shm/shm.h"

#include <stdbool.h>
#include <sys/uio.h>

#define MM_PRESENT UINT64_C(1)
#define MM_HUGE UINT64_C(2)
#define MM_NODE UINT64_C(4)
#define MM_READONLY UINT64_C(8)
#define MM_SHIFT 12u
#define MM_FLAGS ((UINT64_C(1) << MM_SHIFT) - 1)
#define MM_BITS 9u
#define MM_HUGE_PAGES 512u
#define MM_LAST_PAGE ((HF_FILE_BYTES_MAX / HF_BLOCK_BYTES) - 1)
#define MM_LEVELS 4u /* that the largest file's table has */

#define MM_MISS 0 /* of a walk: some entry is missing */

/* The pieces of memory under a range, in file order, neighbours merged. */
struct mm_pieces {
    struct iovec *iov;
    int room, count;
};

/* Appends `pages` pages of memory at `at`. False: no room. */
static inline bool mm_piece(struct mm_pieces *pieces, char *at, uint64_t pages)
{
    size_t bytes = pages * HF_BLOCK_BYTES;

    if (pieces->count) {
        struct iovec *last = &pieces->iov[pieces->count - 1];

        if ((char *)last->iov_base + last->iov_len == at) {
            last->iov_len += bytes;
            return true;
        }
    }
    if (pieces->count == pieces->room)
        return false;
    pieces->iov[pieces->count].iov_base = at;
    pieces->iov[pieces->count++].iov_len = bytes;
    return true;
}

/* Cuts whole pages down to the bytes [off, off+len). */
static inline void mm_trim(struct mm_pieces *pieces, uint64_t off, uint64_t len)
{
    uint64_t head = off % HF_BLOCK_BYTES, tail = -(off + len) % HF_BLOCK_BYTES;

    pieces->iov[0].iov_base = (char *)pieces->iov[0].iov_base + head;
    pieces->iov[0].iov_len -= head;
    pieces->iov[pieces->count - 1].iov_len -= tail;
}

/* Where the nodes are: shm->nodes and its mask. */
struct mm_nodes {
    char *first;
    uint64_t mask;
};

/* The node that a root or an entry leads to; in the room of the nodes, whatever the word says. */
static inline uint64_t *mm_node_in(const struct mm_nodes *nodes, uint64_t word)
{
    return (uint64_t *)(nodes->first + (word & nodes->mask));
}
static inline uint64_t *mm_node(const struct shm *shm, uint64_t word)
{
    return (uint64_t *)((char *)shm->nodes + (word & shm->node_mask));
}

/* How many bits of a page's number a root covers; 0: it is empty, or wrong. */
static inline unsigned mm_bits(uint64_t root)
{
    uint64_t bits = root & MM_FLAGS;

    return bits <= MM_LEVELS * MM_BITS && bits % MM_BITS == 0 ? (unsigned)bits : 0;
}

/* The entry for `page`, of level 0 or a huge one; 0: missing. A wrong word may give any entry, but
 * the walk reads only nodes, and ends. Each level is code of its own, so its bound costs
 * nothing. */
static inline uint64_t mm_lookup(const struct mm_nodes *nodes, uint64_t root, uint64_t page)
{
    uint64_t shift = root & MM_FLAGS, entry = root;

    if (__builtin_expect(!root || page >> shift % 64, 0))
        return 0;
#pragma GCC unroll 4
    for (unsigned level = 0; level < MM_LEVELS; level++) {
        shift -= MM_BITS;
        __asm__("" : "+r"(shift) : : "memory"); /* else it would take three registers more */
        /* ENTRY.PUB/p: the entry, and the node it leads to, as they were published.
         * Pairs with ENTRY.PUB/m in mm_install(). Without it: a walk reads a node before it was
         * cleared and takes another file's old entry. */
        entry = hf_load_acquire(mm_node_in(nodes, entry) +
                                (page >> shift % 64 & (SHM_NODE_ENTRIES - 1)));
        if (!(entry & MM_NODE))
            break;
    }
    return entry;
}

/* P3: gathers the memory of pages [first, last]. The number of pieces; MM_MISS; -E2BIG. Entries
 * with a bit of `absent` are missing. */
int mm_walk(const struct shm *shm, char *base, uint64_t root, uint64_t first, uint64_t last,
            uint64_t absent, struct mm_pieces *pieces);

/* --- under the layout mutex --- */

/* Enters pages [page, page+count) as lying on blocks [block, ...), huge where page, block and count
 * allow it; `flags`: MM_READONLY or 0. 0, or -ENOMEM: no node is free; pages that were entered
 * stay. */
int mm_install(struct shm *shm, struct shm_vnode *vnode, uint64_t page, uint64_t block,
               uint64_t count, uint64_t flags);

/* L2: clears every entry of [first, last]. True: one was present. */
bool mm_zap(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last);
/* The same for the whole file: takes the root out; it comes back, 0 if it was empty. */
uint64_t mm_take_root(struct shm_vnode *vnode);
/* Puts a root back that was taken out of a file without one. Its blocks thaw first: a layout change
 * may have frozen any of them before it gave up. */
void mm_put_root(struct shm *shm, struct shm_vnode *vnode, uint64_t root);

/* A node of small entries that was taken out. `word` led to it: a word of level 1, or the root of a
 * table of one level. */
struct mm_leaf {
    uint64_t *link; /* null: there was none */
    uint64_t word;
};
/* L2 for the pages that the node of `page` maps: takes it out, so that a huge entry can stand in
 * its place. It is put back before the mutex is dropped, or freed as the tree mm_leaf_tree(). */
struct mm_leaf mm_take_leaf(const struct shm *shm, struct shm_vnode *vnode, uint64_t page);
void mm_put_leaf(const struct mm_leaf *leaf);
bool mm_has_leaf(const struct shm *shm, struct shm_vnode *vnode, uint64_t page);
/* The root of a table that has that node only. */
static inline uint64_t mm_leaf_tree(const struct mm_leaf *leaf)
{
    return (leaf->word & ~MM_FLAGS) | MM_BITS;
}

/* Frees the vnode's nodes of a root that no walk can be in. */
void mm_free_tree(struct shm *shm, const struct shm_vnode *vnode, uint64_t root);
/* Frees every node that the vnode owns, reachable or not: O(nodes of the pool). */
void mm_free_all(struct shm *shm, struct shm_vnode *vnode);

#endif
