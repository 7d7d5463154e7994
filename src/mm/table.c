/* SPDX-License-Identifier: MIT */
/*
 * Changing a page table, under the file's layout mutex. Each change is one store of one word. So a
 * process killed in between leaves a table that is right, if less full. A node that was allocated
 * and not linked yet is found by its owner word (mm_free_all).
 *
 * A word may be wrong. mm_node() keeps each step among the nodes. A root that does not cover a
 * whole number of levels is empty. Levels only fall, and a walk of all nodes visits no more than
 * there are. A node that is given back has to be the file's.
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

/* How many a walk can visit, if none is visited twice, and one more. */
static uint64_t all_nodes(const struct shm *shm)
{
    return shm_nodes_high(shm) + UINT64_C(1);
}

static uint32_t new_node(struct shm *shm, struct shm_vnode *vnode)
{
    return shm_node_alloc(shm, shm_vnode_number(shm, vnode));
}

/* Puts roots above the present one until the table reaches `page`. The old root stays where walks
 * that read it find it. */
static int grow_table(struct shm *shm, struct shm_vnode *vnode, uint64_t page)
{
    uint64_t root = hf_load_relaxed(&vnode->root); /* relaxed: as in find_word() */
    unsigned want = bits_for(page), have = mm_bits(root);

    while (have < want) {
        uint32_t node = new_node(shm, vnode);

        if (node == SHM_NONE)
            return -ENOMEM;
        if (have)
            hf_store_relaxed(&shm->nodes[node][0], /* relaxed: the root's store publishes it */
                             (root & ~MM_FLAGS) | MM_NODE);
        else if (root)
            vnode->stray_nodes = 1; /* it is wrong, and leads nowhere */
        have = have ? have + MM_BITS : want;
        root = (uint64_t)node << MM_SHIFT | have;
        /* ENTRY.PUB/m: the node is filled before it can be found. Pairs with ENTRY.PUB/p in
         * mm_lookup(). */
        hf_store_release(&vnode->root, root);
    }
    return 0;
}

/* The word for `page` at level 0 or 1 (or a huge entry above it, when there is one). -ENOMEM: also
 * where the table is not as grow_table() has left it. */
static int find_word(struct shm *shm, struct shm_vnode *vnode, uint64_t page, unsigned level,
                     uint64_t **out, unsigned *found)
{
    uint64_t entry = hf_load_relaxed(&vnode->root), *word; /* relaxed: as below */
    unsigned bits = mm_bits(entry);

    if (bits <= level * MM_BITS)
        return -ENOMEM;
    for (bits -= MM_BITS;; bits -= MM_BITS) {
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
    while (count && page <= MM_LAST_PAGE) {
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

struct zap {
    struct shm *shm;
    struct shm_vnode *vnode;
    uint64_t first, last;
    uint64_t nodes; /* that it may still visit */
};

/* Clears the part of [first, last] that the node covers: its first page is `from`, and each entry
 * covers 1 << `bits` pages. */
static bool zap_node(struct zap *zap, uint64_t *node, unsigned bits, uint64_t from)
{
    uint64_t end = from + (UINT64_C(1) << (bits + MM_BITS)) - 1, first = zap->first;
    uint64_t begin = first > from ? first : from, stop = zap->last < end ? zap->last : end;
    bool cleared = false;

    if (!zap->nodes)
        return true;
    zap->nodes--;
    for (uint64_t i = (begin - from) >> bits; i <= (stop - from) >> bits; i++) {
        uint64_t at = from + (i << bits), left = 0;
        uint64_t entry =
            hf_load_relaxed(&node[i]); /* relaxed: only holders of the mutex write it */

        if (entry & MM_NODE && bits) {
            cleared |= zap_node(zap, mm_node(zap->shm, entry), bits - MM_BITS, at);
        } else if (entry) {
            if (entry & MM_HUGE && bits && (at < first || at + MM_HUGE_PAGES - 1 > zap->last))
                left = split_huge(zap->shm, zap->vnode, entry, at, first, zap->last);
            /* ENTRY.PUB/m for what is left; PIN.SB/m, the fence that follows, for what goes */
            hf_store_release(&node[i], left);
            cleared = true;
        }
    }
    return cleared;
}

bool mm_zap(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    struct zap zap = {shm, vnode, first, last, all_nodes(shm)};
    uint64_t root = hf_load_relaxed(&vnode->root); /* relaxed: as in zap_node() */
    unsigned bits = mm_bits(root);
    bool cleared;

    shm_assert_held(&vnode->mutex);
    if (!bits || first >> bits)
        return false;
    cleared = zap_node(&zap, mm_node(shm, root), bits - MM_BITS, 0);
    if (!zap.nodes) { /* a ring: without the root no entry is left */
        vnode->stray_nodes = 1;
        hf_store_release(&vnode->root, UINT64_C(0)); /* PIN.SB/m, as in zap_node() */
    }
    return cleared;
}

/* The word that leads to the node of small entries for `page`: of level 1, or the root of a table
 * of one level. Null: there is no such node. */
static uint64_t *find_leaf(const struct shm *shm, struct shm_vnode *vnode, uint64_t page)
{
    uint64_t *link = &vnode->root, entry = hf_load_relaxed(link); /* relaxed: as in zap_node() */
    unsigned bits = mm_bits(entry);

    if (!bits || page >> bits)
        return NULL;
    for (bits -= MM_BITS; bits; bits -= MM_BITS) {
        link = mm_node(shm, entry) + (page >> bits & (SHM_NODE_ENTRIES - 1));
        entry = hf_load_relaxed(link); /* relaxed: as in zap_node() */
        if (!(entry & MM_NODE))
            return NULL;
    }
    return link;
}

struct mm_leaf mm_take_leaf(const struct shm *shm, struct shm_vnode *vnode, uint64_t page)
{
    struct mm_leaf leaf = {find_leaf(shm, vnode, page), 0};

    shm_assert_held(&vnode->mutex);
    if (!leaf.link)
        return leaf;
    leaf.word = hf_load_relaxed(leaf.link); /* relaxed: as in zap_node() */
    if (!HF_LAB_BROKEN(HF_LAB_LEAF_STAYS))
        hf_store_release(leaf.link, UINT64_C(0)); /* PIN.SB/m, as in zap_node() */
    return leaf;
}

void mm_put_leaf(const struct mm_leaf *leaf)
{
    hf_store_release(leaf->link, leaf->word); /* ENTRY.PUB/m */
}

bool mm_has_leaf(const struct shm *shm, struct shm_vnode *vnode, uint64_t page)
{
    shm_assert_held(&vnode->mutex);
    return find_leaf(shm, vnode, page) != NULL;
}

uint64_t mm_take_root(struct shm_vnode *vnode)
{
    uint64_t root = hf_load_relaxed(&vnode->root); /* relaxed: as in zap_node() */

    shm_assert_held(&vnode->mutex);
    if (root)
        hf_store_relaxed(&vnode->root, UINT64_C(0)); /* relaxed: as in zap_node() */
    return root;
}

static void thaw_node(struct shm *shm, uint64_t word, unsigned bits, uint64_t *nodes)
{
    const uint64_t *node = mm_node(shm, word);

    for (unsigned i = 0; *nodes && i < SHM_NODE_ENTRIES; i++) {
        uint64_t entry = hf_load_relaxed(&node[i]); /* relaxed: as in zap_node() */

        *nodes -= i == 0;
        if (entry & MM_NODE && bits)
            thaw_node(shm, entry, bits - MM_BITS, nodes);
        else if (entry & MM_PRESENT)
            counts_thaw(shm, entry >> MM_SHIFT);
    }
}

void mm_put_root(struct shm *shm, struct shm_vnode *vnode, uint64_t root)
{
    uint64_t nodes = all_nodes(shm);

    shm_assert_held(&vnode->mutex);
    if (mm_bits(root) && shm->counts && !HF_LAB_BROKEN(HF_LAB_NO_THAW))
        thaw_node(shm, root, mm_bits(root) - MM_BITS, &nodes); /* THAW.PUB/m: as in install_one() */
    hf_store_release(&vnode->root, root);                      /* ENTRY.PUB/m */
}

static void free_node(struct shm *shm, uint32_t owner, uint64_t word, unsigned bits,
                      uint64_t *nodes)
{
    const uint64_t *node = mm_node(shm, word);
    uint32_t number = (uint32_t)((word & shm->node_mask) >> MM_SHIFT);

    if (!*nodes || number >= shm->limits.nodes ||
        hf_load_relaxed(&shm->owners[number]) != owner) /* relaxed: as in mm_free_all() */
        return;
    --*nodes;
    for (unsigned i = 0; bits && i < SHM_NODE_ENTRIES; i++) {
        uint64_t entry = hf_load_relaxed(&node[i]); /* relaxed: no walk is in it */

        if (entry & MM_NODE)
            free_node(shm, owner, entry, bits - MM_BITS, nodes);
    }
    shm_node_free(shm, number);
}

void mm_free_tree(struct shm *shm, const struct shm_vnode *vnode, uint64_t root)
{
    uint64_t nodes = all_nodes(shm);
    unsigned bits = mm_bits(root);

    if (bits)
        free_node(shm, shm_vnode_number(shm, vnode) + 1, root, bits - MM_BITS, &nodes);
}

void mm_free_all(struct shm *shm, struct shm_vnode *vnode)
{
    uint32_t owner = shm_vnode_number(shm, vnode) + 1;

    shm_assert_held(&vnode->mutex);
    for (uint32_t i = 0; i < shm_nodes_high(shm); i++)
        if (hf_load_relaxed(&shm->owners[i]) ==
            owner) /* relaxed: only the mutex's holder adds any */
            shm_node_free(shm, i);
    hf_store_relaxed(&vnode->root, UINT64_C(0)); /* relaxed: as it was, but walks may look */
    vnode->stray_nodes = 0;
}
