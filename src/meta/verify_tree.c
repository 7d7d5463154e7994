/* SPDX-License-Identifier: MIT */
/*
 * Owns the check of one LMDB tree, page by page from its root. Calls verify.c's reader and base.
 * verify.c says what a valid tree is. Here each number is compared with the room that it points
 * into before it is used. No page is entered twice, so the check ends on any input.
 */
#include "meta/lmdb_file.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_HEADER sizeof(struct lmdb_page)
#define NODE_HEADER sizeof(struct lmdb_node)
#define PROGRESS_PAGES 4096u

struct span {
    const unsigned char *bytes; /* null: no bound */
    size_t len;
};

struct descent {
    struct lmdb_walk *walk;
    const struct lmdb_tree *tree;
    bool is_free;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries; /* counted */
};

struct node {
    struct lmdb_node head;
    struct span key;
    const unsigned char *value; /* of a leaf: where it is, or the number of its overflow page */
};

static int damaged(uint64_t page, const char *what)
{
    return hf_fail(EUCLEAN, "metadata: page %" PRIu64 " %s", page, what);
}

/* --- pages --- */

/* Counts the page as used. */
static int claim(struct lmdb_walk *walk, uint64_t page)
{
    unsigned char bit = (unsigned char)(1u << page % 8);

    if (page < LMDB_FIRST_PAGE || page > walk->meta.last_page)
        return damaged(page, "is named, and is out of range");
    if (walk->seen[page / 8] & bit)
        return damaged(page, "is used twice");
    walk->seen[page / 8] |= bit;
    walk->done++;
    if (walk->progress && walk->done % PROGRESS_PAGES == 0)
        walk->progress(walk->arg, walk->done, walk->meta.last_page + 1);
    return 0;
}

static int read_page(struct lmdb_walk *walk, uint64_t page, unsigned char *buf)
{
    return lmdb_read(walk, page * walk->page_bytes, buf, walk->page_bytes);
}

static unsigned node_count(const struct lmdb_page *head)
{
    return (head->lower - (unsigned)PAGE_HEADER) / 2;
}

static int check_header(const struct descent *down, const struct lmdb_page *head, uint64_t page,
                        unsigned level)
{
    bool leaf = level == down->tree->depth;

    if (head->number != page)
        return damaged(page, "bears another number");
    if (head->flags != (leaf ? LMDB_LEAF : LMDB_BRANCH))
        return damaged(page, "is of the wrong kind for its level");
    if (head->lower < PAGE_HEADER || head->lower % 2 != 0 || head->upper % 2 != 0 ||
        head->lower > head->upper || head->upper > down->walk->page_bytes)
        return damaged(page, "has senseless bounds");
    if (node_count(head) < (leaf ? 1u : 2u))
        return damaged(page, "has too few nodes");
    return 0;
}

/* --- nodes --- */

static size_t value_len(const struct lmdb_node *head)
{
    return head->low | (size_t)head->high << 16;
}

static uint64_t child_page(const struct lmdb_node *head)
{
    return head->low | (uint64_t)head->high << 16 | (uint64_t)head->flags << 32;
}

/* Bytes the node takes in its page, before rounding up to an even number. */
static size_t node_len(const struct lmdb_node *head, bool leaf)
{
    size_t len = NODE_HEADER + head->key_len;

    if (!leaf)
        return len;
    return len + (head->flags & LMDB_NODE_BIG ? sizeof(uint64_t) : value_len(head));
}

/* The largest node LMDB keeps inside a page: two must always fit. */
static size_t node_max(const struct lmdb_walk *walk)
{
    return ((walk->page_bytes - PAGE_HEADER) / 2 & ~(size_t)1) - sizeof(uint16_t);
}

static int get_node(const struct descent *down, const unsigned char *buf, unsigned index, bool leaf,
                    struct node *out)
{
    struct lmdb_page page;
    uint16_t offset;

    memcpy(&page, buf, sizeof page);
    memcpy(&offset, buf + PAGE_HEADER + 2 * (size_t)index, sizeof offset);
    if (offset % 2 != 0 || offset < page.upper || offset > down->walk->page_bytes - NODE_HEADER)
        return damaged(page.number, "has a node outside of it");
    memcpy(&out->head, buf + offset, NODE_HEADER);
    if (leaf && (out->head.flags & ~LMDB_NODE_BIG) != 0)
        return damaged(page.number, "has a node of an unknown kind");
    if (node_len(&out->head, leaf) > node_max(down->walk) ||
        node_len(&out->head, leaf) > down->walk->page_bytes - (size_t)offset)
        return damaged(page.number, "has a node that is too long");
    if (out->head.key_len > LMDB_KEY_MAX || (out->head.key_len == 0 && (leaf || index != 0)) ||
        (down->is_free && (leaf || index != 0) && out->head.key_len != sizeof(uint64_t)))
        return damaged(page.number, "has a key of a wrong length");
    out->key = (struct span){buf + offset + NODE_HEADER, out->head.key_len};
    out->value = out->key.bytes + out->key.len;
    return 0;
}

/* False: some are set already. */
static bool set_bits(uint64_t *bits, size_t first, size_t count)
{
    while (count) {
        size_t n = count < 64 - first % 64 ? count : 64 - first % 64;
        uint64_t mask = (~UINT64_C(0) >> (64 - n)) << first % 64;

        if (bits[first / 64] & mask)
            return false;
        bits[first / 64] |= mask;
        first += n;
        count -= n;
    }
    return true;
}

/* No two nodes overlap, and together they are what the header calls used. Both matter, since LMDB
 * moves the bytes between `upper` and a node when it removes that. */
static int check_layout(const struct descent *down, const unsigned char *buf, bool leaf)
{
    uint64_t taken[LMDB_PAGE_MAX / 2 / 64] = {0};
    struct lmdb_page page;
    struct node node;
    size_t used = 0;

    memcpy(&page, buf, sizeof page);
    for (unsigned i = 0; i < node_count(&page); i++) {
        int rc = get_node(down, buf, i, leaf, &node);
        if (rc)
            return rc;
        size_t first = (size_t)(node.key.bytes - buf) - NODE_HEADER;
        size_t len = (node_len(&node.head, leaf) + 1) & ~(size_t)1;
        if (!set_bits(taken, first / 2, len / 2))
            return damaged(page.number, "has nodes that overlap");
        used += len;
    }
    if (used != down->walk->page_bytes - (size_t)page.upper)
        return damaged(page.number, "has gaps between its nodes");
    return 0;
}

static int compare_keys(const struct descent *down, struct span a, struct span b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    uint64_t x, y;
    int order;

    if (down->is_free) {
        memcpy(&x, a.bytes, sizeof x);
        memcpy(&y, b.bytes, sizeof y);
        return x < y ? -1 : x > y;
    }
    order = memcmp(a.bytes, b.bytes, common);
    return order ? order : a.len < b.len ? -1 : a.len > b.len;
}

/* Keys rise strictly, from `low` (included) to `high` (not). The first key of a branch page stands
 * for "everything before the second" and is never compared. */
static int check_order(const struct descent *down, const unsigned char *buf, bool leaf,
                       struct span low, struct span high)
{
    struct lmdb_page page;
    struct node node;

    memcpy(&page, buf, sizeof page);
    for (unsigned i = leaf ? 0 : 1; i < node_count(&page); i++) {
        int rc = get_node(down, buf, i, leaf, &node);
        if (rc)
            return rc;
        if (low.bytes) {
            int order = compare_keys(down, node.key, low);
            if (order < 0 || (order == 0 && i != 0 && (leaf || i != 1)))
                return damaged(page.number, "has keys out of order");
        }
        low = node.key;
    }
    if (high.bytes && compare_keys(down, low, high) >= 0)
        return damaged(page.number, "has a key beyond its parent's bound");
    return 0;
}

/* --- values --- */

static int claim_overflow(struct descent *down, uint64_t first, size_t len)
{
    struct lmdb_walk *walk = down->walk;
    struct lmdb_page head;
    int rc = claim(walk, first);

    if (rc == 0)
        rc = lmdb_read(walk, first * walk->page_bytes, &head, sizeof head);
    if (rc)
        return rc;
    if (head.number != first || head.flags != LMDB_OVERFLOW)
        return damaged(first, "is not an overflow page");
    if (head.pages < (PAGE_HEADER - 1 + len) / walk->page_bytes + 1 ||
        head.pages > walk->meta.last_page + 1 - first)
        return damaged(first, "begins a run of overflow pages that is too short or too long");
    if (first * walk->page_bytes + PAGE_HEADER + len > walk->file_bytes)
        return damaged(first, "begins a value that reaches beyond the file");
    for (uint64_t page = first + 1; rc == 0 && page < first + head.pages; page++)
        rc = claim(walk, page);
    down->overflow_pages += head.pages;
    return rc;
}

static int list_in_overflow(struct lmdb_walk *walk, uint64_t first, size_t len)
{
    if (walk->list_room < len) {
        unsigned char *list = realloc(walk->list, len);
        if (!list)
            return hf_fail(ENOMEM, "out of memory for a free list of %zu bytes", len);
        walk->list = list;
        walk->list_room = len;
    }
    return lmdb_read(walk, first * walk->page_bytes + PAGE_HEADER, walk->list, len);
}

/* A list of free pages: their number, then the pages, descending. */
static int check_free_list(struct lmdb_walk *walk, uint64_t leaf, const unsigned char *list,
                           size_t len)
{
    uint64_t count, page, above = UINT64_MAX;

    if (len < sizeof count)
        return damaged(leaf, "has a free list without a count");
    memcpy(&count, list, sizeof count);
    if (count > len / sizeof count - 1)
        return damaged(leaf, "has a free list that is longer than its record");
    for (uint64_t i = 1; i <= count; i++) {
        memcpy(&page, list + i * sizeof page, sizeof page);
        if (page >= above)
            return damaged(leaf, "has a free list out of order");
        int rc = claim(walk, page);
        if (rc)
            return rc;
        above = page;
    }
    return 0;
}

static int check_value(struct descent *down, uint64_t leaf, const struct node *node)
{
    const unsigned char *list = node->value;
    size_t len = value_len(&node->head);
    uint64_t overflow, txn;
    int rc;

    down->entries++;
    if (node->head.flags & LMDB_NODE_BIG) {
        memcpy(&overflow, node->value, sizeof overflow);
        rc = claim_overflow(down, overflow, len);
        if (rc == 0 && down->is_free)
            rc = list_in_overflow(down->walk, overflow, len);
        if (rc)
            return rc;
        list = down->walk->list;
    }
    if (!down->is_free)
        return 0;
    memcpy(&txn, node->key.bytes, sizeof txn);
    if (txn == 0 || txn > down->walk->meta.txn)
        return damaged(leaf, "has a free list of a transaction that never was");
    return check_free_list(down->walk, leaf, list, len);
}

/* --- down the tree --- */

static int check_leaf(struct descent *down, uint64_t page, const unsigned char *buf)
{
    struct lmdb_page head;
    struct node node;
    int rc = 0;

    memcpy(&head, buf, sizeof head);
    down->leaf_pages++;
    for (unsigned i = 0; rc == 0 && i < node_count(&head); i++) {
        rc = get_node(down, buf, i, true, &node);
        if (rc == 0)
            rc = check_value(down, page, &node);
    }
    return rc;
}

static int check_page(struct descent *down, uint64_t page, unsigned level, struct span low,
                      struct span high);

static int check_branch(struct descent *down, const unsigned char *buf, unsigned level,
                        struct span low, struct span high)
{
    struct lmdb_page head;
    struct node node, next;
    int rc = 0;

    memcpy(&head, buf, sizeof head);
    down->branch_pages++;
    for (unsigned i = 0; rc == 0 && i < node_count(&head); i++) {
        bool last = i + 1 == node_count(&head);
        rc = get_node(down, buf, i, false, &node);
        if (rc == 0 && !last)
            rc = get_node(down, buf, i + 1, false, &next);
        if (rc == 0)
            rc = check_page(down, child_page(&node.head), level + 1, i == 0 ? low : node.key,
                            last ? high : next.key);
    }
    return rc;
}

/* Recursion is bounded by the depth, which is checked first; one page of memory a level. */
static int check_page(struct descent *down, uint64_t page, unsigned level, struct span low,
                      struct span high)
{
    unsigned char *buf = down->walk->pages + (size_t)(level - 1) * down->walk->page_bytes;
    bool leaf = level == down->tree->depth;
    struct lmdb_page head;
    int rc = claim(down->walk, page);

    if (rc == 0)
        rc = read_page(down->walk, page, buf);
    if (rc)
        return rc;
    memcpy(&head, buf, sizeof head);
    rc = check_header(down, &head, page, level);
    if (rc == 0)
        rc = check_layout(down, buf, leaf);
    if (rc == 0)
        rc = check_order(down, buf, leaf, low, high);
    if (rc)
        return rc;
    return leaf ? check_leaf(down, page, buf) : check_branch(down, buf, level, low, high);
}

int lmdb_check_tree(struct lmdb_walk *walk, const struct lmdb_tree *tree, bool is_free)
{
    static const struct span unbounded;
    struct descent down = {.walk = walk, .tree = tree, .is_free = is_free};
    int rc;

    if (tree->depth > LMDB_DEPTH_MAX || (tree->root == LMDB_NO_ROOT) != (tree->depth == 0))
        return hf_fail(EUCLEAN, "metadata: a tree of depth %u with root %" PRIu64, tree->depth,
                       tree->root);
    rc = tree->depth != 0 ? check_page(&down, tree->root, 1, unbounded, unbounded) : 0;
    if (rc)
        return rc;
    if (down.branch_pages != tree->branch_pages || down.leaf_pages != tree->leaf_pages ||
        down.overflow_pages != tree->overflow_pages || down.entries != tree->entries)
        return hf_fail(EUCLEAN,
                       "metadata: a tree counts %" PRIu64 " records in %" PRIu64
                       " pages and has %" PRIu64 " in %" PRIu64,
                       tree->entries, tree->leaf_pages, down.entries, down.leaf_pages);
    return 0;
}
