/* SPDX-License-Identifier: MIT */
/*
 * Changing a page table, under the file's layout mutex. Each change is one store of one word. So a
 * process killed in between leaves a table that is right, if less full. A node that was allocated
 * and not linked yet is found by its owner word (mm_free_all).
 */
#include "mm/mm.h"

#include "base/error.h"
#include "base/lab.h"
#include "sync/counts.h"

#include <errno.h>

/* Of a page's number, in whole levels. */
static unsigned bits_for(uint64_t page)
{
    unsigned bits = MM_BITS;

    while (page >> bits)
        bits += MM_BITS;
    return bits;
}

static unsigned root_bits(uint64_t root)
{
    return (unsigned)(root & MM_FLAGS);
}

static uint32_t new_node(struct shm *shm, struct shm_vnode *vnode)
{
    return shm_node_alloc(shm, vnode->index);
}

/* Puts roots above the present one until the table reaches `page`. The old root stays where walks
 * that read it find it. */
static int grow_table(struct shm *shm, struct shm_vnode *vnode, uint64_t page)
{
    unsigned want = bits_for(page), have = root_bits(vnode->root);

    while (have < want) {
        uint32_t node = new_node(shm, vnode);

        if (node == SHM_NONE)
            return -ENOMEM;
        if (vnode->root)
            hf_store_relaxed(&shm->nodes[node][0], /* relaxed: the root's store publishes it */
                             (vnode->root & ~MM_FLAGS) | MM_NODE);
        have = vnode->root ? have + MM_BITS : want;
        /* ENTRY.PUB/m: the node is filled before it can be found. Pairs with ENTRY.PUB/p in
         * mm_lookup(). */
        hf_store_release(&vnode->root, (uint64_t)node << MM_SHIFT | have);
    }
    return 0;
}

/* The word for `page` at level 0 or 1 (or a huge entry above it, when there is one). */
static int find_word(struct shm *shm, struct shm_vnode *vnode, uint64_t page, unsigned level,
                     uint64_t **out, unsigned *found)
{
    unsigned bits = root_bits(vnode->root) - MM_BITS;
    uint64_t entry = vnode->root, *word;

    for (;; bits -= MM_BITS) {
        word = mm_node(shm, entry) + (page >> bits & (SHM_NODE_ENTRIES - 1));
        entry = hf_load_relaxed(word); /* relaxed: only holders of the mutex write it */
        if (bits == level * MM_BITS || entry & MM_PRESENT)
            break;
        if (!entry) {
            uint32_t node = new_node(shm, vnode);

            if (node == SHM_NONE)
                return -ENOMEM;
            entry = (uint64_t)node << MM_SHIFT | MM_NODE;
            hf_store_release(word, entry); /* ENTRY.PUB/m */
        }
    }
    *out = word;
    *found = bits / MM_BITS;
    return 0;
}

/* One entry; huge where a whole aligned run begins here and no leaf is in the way. Pages done,
 * -errno. */
static int64_t install_one(struct shm *shm, struct shm_vnode *vnode, uint64_t page, uint64_t block,
                           uint64_t count, uint64_t flags)
{
    bool huge = page % MM_HUGE_PAGES == 0 && block % MM_HUGE_PAGES == 0 && count >= MM_HUGE_PAGES &&
                !shm->counts; /* each block has its own count */
    unsigned level;
    uint64_t *word;
    int rc;

    if (huge) {
        rc = grow_table(shm, vnode, page + MM_HUGE_PAGES);
        rc = rc ? rc : find_word(shm, vnode, page, 1, &word, &level);
        if (rc)
            return rc;
        if (!(hf_load_relaxed(word) & MM_NODE)) { /* relaxed: as in find_word() */
            hf_store_release(word,
                             block << MM_SHIFT | MM_PRESENT | MM_HUGE | flags); /* ENTRY.PUB/m */
            return MM_HUGE_PAGES;
        }
    }
    rc = grow_table(shm, vnode, page);
    rc = rc ? rc : find_word(shm, vnode, page, 0, &word, &level);
    if (rc)
        return rc;
    if (level == 1 && hf_load_relaxed(word) & MM_READONLY & ~flags) { /* relaxed: as above */
        mm_zap(shm, vnode, page, page); /* the huge entry that covers it says too little */
        return install_one(shm, vnode, page, block, 1, flags);
    }
    if (level == 1) /* a huge entry covers it */
        return (int64_t)(MM_HUGE_PAGES - page % MM_HUGE_PAGES);
    /* THAW.PUB/m: the block is thawed before a walk can find it.
     * Pairs with THAW.PUB/p in counts_up(). Without it: a pin is counted from 0, looks like none,
     * and the block is reused under it. */
    if (shm->counts)
        counts_thaw(shm, block);
    hf_store_release(word, block << MM_SHIFT | MM_PRESENT | flags); /* ENTRY.PUB/m */
    return 1;
}

int mm_install(struct shm *shm, struct shm_vnode *vnode, uint64_t page, uint64_t block,
               uint64_t count, uint64_t flags)
{
    shm_assert_held(&vnode->mutex);
    while (count) {
        int64_t done = install_one(shm, vnode, page, block, count, flags);

        if (done < 0)
            return (int)done;
        if ((uint64_t)done > count)
            return 0;
        page += (uint64_t)done;
        block += (uint64_t)done;
        count -= (uint64_t)done;
    }
    return 0;
}

/* A huge entry that goes in part becomes a leaf with the rest: pins beside the zapped pages stay on
 * the fast path. Where no node is free it goes whole. */
static uint64_t split_huge(struct shm *shm, struct shm_vnode *vnode, uint64_t huge, uint64_t from,
                           uint64_t first, uint64_t last)
{
    uint32_t node = new_node(shm, vnode);

    if (node == SHM_NONE)
        return 0;
    for (uint64_t i = 0; i < SHM_NODE_ENTRIES; i++) {
        uint64_t entry = ((huge >> MM_SHIFT) + i) << MM_SHIFT | (huge & MM_FLAGS & ~MM_HUGE);

        if (from + i < first || from + i > last)
            hf_store_relaxed(&shm->nodes[node][i], entry); /* relaxed: the link publishes it */
    }
    return (uint64_t)node << MM_SHIFT | MM_NODE;
}

/* Clears the part of [first, last] that the node covers: its first page is `from`, and each entry
 * covers 1 << `bits` pages. */
static bool zap_node(struct shm *shm, struct shm_vnode *vnode, uint64_t *node, unsigned bits,
                     uint64_t from, uint64_t first, uint64_t last)
{
    uint64_t end = from + (UINT64_C(1) << (bits + MM_BITS)) - 1;
    uint64_t begin = first > from ? first : from, stop = last < end ? last : end;
    bool cleared = false;

    for (uint64_t i = (begin - from) >> bits; i <= (stop - from) >> bits; i++) {
        uint64_t at = from + (i << bits), left = 0;
        uint64_t entry =
            hf_load_relaxed(&node[i]); /* relaxed: only holders of the mutex write it */

        if (entry & MM_NODE) {
            cleared |= zap_node(shm, vnode, mm_node(shm, entry), bits - MM_BITS, at, first, last);
        } else if (entry) {
            if (entry & MM_HUGE && (at < first || at + MM_HUGE_PAGES - 1 > last))
                left = split_huge(shm, vnode, entry, at, first, last);
            /* ENTRY.PUB/m for what is left; PIN.SB/m, the fence that follows, for what goes */
            hf_store_release(&node[i], left);
            cleared = true;
        }
    }
    return cleared;
}

bool mm_zap(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    uint64_t root = vnode->root;

    shm_assert_held(&vnode->mutex);
    if (!root || first >> root_bits(root))
        return false;
    return zap_node(shm, vnode, mm_node(shm, root), root_bits(root) - MM_BITS, 0, first, last);
}

uint64_t mm_take_root(struct shm_vnode *vnode)
{
    uint64_t root = vnode->root;

    shm_assert_held(&vnode->mutex);
    if (root)
        hf_store_relaxed(&vnode->root, UINT64_C(0)); /* relaxed: as in zap_node() */
    return root;
}

static void thaw_node(struct shm *shm, uint64_t word, unsigned bits)
{
    const uint64_t *node = mm_node(shm, word);

    for (unsigned i = 0; i < SHM_NODE_ENTRIES; i++) {
        uint64_t entry = hf_load_relaxed(&node[i]); /* relaxed: as in zap_node() */

        if (entry & MM_NODE && bits)
            thaw_node(shm, entry, bits - MM_BITS);
        else if (entry & MM_PRESENT)
            counts_thaw(shm, entry >> MM_SHIFT);
    }
}

void mm_put_root(struct shm *shm, struct shm_vnode *vnode, uint64_t root)
{
    shm_assert_held(&vnode->mutex);
    if (root && shm->counts && !HF_LAB_BROKEN(HF_LAB_NO_THAW))
        thaw_node(shm, root, root_bits(root) - MM_BITS); /* THAW.PUB/m: as in install_one() */
    hf_store_release(&vnode->root, root);                /* ENTRY.PUB/m */
}

static void free_node(struct shm *shm, uint64_t word, unsigned bits)
{
    const uint64_t *node = mm_node(shm, word);

    for (unsigned i = 0; bits && i < SHM_NODE_ENTRIES; i++)
        if (node[i] & MM_NODE)
            free_node(shm, node[i], bits - MM_BITS);
    shm_node_free(shm, (uint32_t)(word >> MM_SHIFT));
}

void mm_free_tree(struct shm *shm, uint64_t root)
{
    if (root)
        free_node(shm, root, root_bits(root) - MM_BITS);
}

void mm_free_all(struct shm *shm, struct shm_vnode *vnode)
{
    uint32_t owner = vnode->index + 1;

    shm_assert_held(&vnode->mutex);
    for (uint32_t i = 0; i < shm_nodes_high(shm); i++)
        if (hf_load_relaxed(&shm->owners[i]) ==
            owner) /* relaxed: only the mutex's holder adds any */
            shm_node_free(shm, i);
    hf_store_relaxed(&vnode->root, UINT64_C(0)); /* relaxed: as it was, but walks may look */
    vnode->stray_nodes = 0;
}
