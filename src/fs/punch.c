/* SPDX-License-Identifier: MIT */
/*
 * Owns HF_FALLOC_PUNCH_HOLE and HF_FALLOC_ZERO_RANGE, which differ in what whole pages become:
 * holes, or fresh blocks of zeros. A page that is partly in the range is copied to another block
 * with that part zeroed. All blocks change in one transaction, so a killed process leaves the file
 * as it was before or after. Two cases fall short of that; holdfast(7) names both. A punch in a
 * full pool zeroes the edges in place, two at most. A zeroing that needs more than SHM_RESERVED
 * runs of new blocks takes several transactions behind one gate.
 */
#include "fs/end.h"
#include "fs/fill.h"
#include "fs/layout.h"
#include "fs/unshare.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>

/* A page partly in the range: bytes [from, to) of it become zero. */
struct edge {
    uint64_t page;
    uint64_t from, to; /* of the page; 0, 0: no edge */
};

struct edges {
    struct edge edge[2];
    unsigned count;
};

static void find_edges(struct edges *edges, uint64_t off, uint64_t end)
{
    uint64_t first = off / HF_BLOCK_BYTES, last = (end - 1) / HF_BLOCK_BYTES;
    uint64_t head = off % HF_BLOCK_BYTES, tail = end % HF_BLOCK_BYTES;

    edges->count = 0;
    if (first == last && (head || tail)) {
        edges->edge[edges->count++] = (struct edge){first, head, tail ? tail : HF_BLOCK_BYTES};
        return;
    }
    if (head)
        edges->edge[edges->count++] = (struct edge){first, head, HF_BLOCK_BYTES};
    if (tail)
        edges->edge[edges->count++] = (struct edge){last, 0, tail};
}

/* The memory of a page of the file; null: it is a hole. */
static int page_memory(struct fs_layout *l, uint64_t page, char **out)
{
    struct meta_extent extent;
    int rc = fs_extent_at(l->fs, l->vnode->ino, page, &extent);

    *out = NULL;
    if (rc <= 0)
        return rc;
    return fs_memory(l->fs, extent.block + (page - extent.page), 1, out);
}

/* Bytes of the page that are in the file: past them memory may hold anything. */
static uint64_t bytes_inside(const struct shm_vnode *vnode, uint64_t page)
{
    uint64_t at = page * HF_BLOCK_BYTES;

    if (vnode->size <= at)
        return 0;
    return vnode->size - at < HF_BLOCK_BYTES ? vnode->size - at : HF_BLOCK_BYTES;
}

/* Makes the new content of the edge's page in `to`, from its block; from a hole: zeros. */
static int make_edge(struct fs_layout *l, const struct edge *edge, char *to)
{
    uint64_t inside = bytes_inside(l->vnode, edge->page);
    char *from;
    int rc = page_memory(l, edge->page, &from);

    if (rc)
        return rc;
    memset(to, 0, HF_BLOCK_BYTES);
    if (from) {
        memcpy(to, from, inside < edge->from ? inside : edge->from);
        if (inside > edge->to)
            memcpy(to + edge->to, from + edge->to, inside - edge->to);
    }
    return fs_persist(l->fs, to, HF_BLOCK_BYTES);
}

/* ---- punch ---- */

static int drop_holes(struct fs_layout *l, struct edges *edges)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < edges->count; i++) {
        char *block;
        int rc = page_memory(l, edges->edge[i].page, &block);

        if (rc)
            return rc;
        if (block)
            edges->edge[kept++] = edges->edge[i];
    }
    edges->count = kept;
    return 0;
}

/* Reserves other blocks for the edges, and fills them. -ENOSPC: there are none. */
static int copy_edges(struct fs_layout *l, const struct edges *edges, struct fs_reservation *blocks)
{
    struct fs_reserved_run run;
    char *to;
    int rc = 0;

    while (rc == 0 && blocks->blocks < edges->count)
        rc = fs_reserve(l->fs, edges->edge[0].page, SPACE_NO_GOAL, edges->count - blocks->blocks,
                        blocks);
    for (unsigned i = 0; rc == 0 && i < edges->count && fs_reservation_take(blocks, 1, &run); i++) {
        rc = fs_memory(l->fs, run.block, 1, &to);
        rc = rc ? rc : make_edge(l, &edges->edge[i], to);
    }
    fs_reservation_rewind(blocks);
    return rc;
}

static int punch_copying(struct fs_layout *l, const struct edges *edges, uint64_t from, uint64_t to,
                         struct fs_reservation *blocks)
{
    int rc =
        edges->count ? FS_ALONE : fs_layout_cut(l, from, from < to ? to - from : 0, l->vnode->size);

    if (rc != FS_ALONE)
        return rc;
    rc = fs_layout_begin_joint(l);
    for (unsigned i = 0; rc == 0 && i < edges->count; i++) {
        rc = fs_layout_remove(l, edges->edge[i].page, 1);
        rc = rc ? rc : fs_layout_place(l, edges->edge[i].page, 1, blocks);
    }
    if (rc == 0 && from < to)
        rc = fs_layout_take_out(l, from, to - from);
    return rc ? rc : fs_layout_commit(l, l->vnode->size);
}

static int zero_in_place(struct fs_layout *l, const struct edge *edge)
{
    char *block;
    int rc = page_memory(l, edge->page, &block);

    if (rc || !block)
        return rc;
    memset(block + edge->from, 0, edge->to - edge->from);
    return fs_persist(l->fs, block + edge->from, edge->to - edge->from);
}

static int page_shared(struct fs_layout *l, uint64_t page)
{
    struct meta_extent extent;
    int rc = fs_extent_at(l->fs, l->vnode->ino, page, &extent);

    return rc == 1 ? extent.shared : rc;
}

/* The pool is full. A block that a detached pin holds, or that has another owner, cannot be zeroed
 * under it. */
static int punch_in_place(struct fs_layout *l, const struct edges *edges, uint64_t from,
                          uint64_t to)
{
    int rc = 0;

    for (unsigned i = 0; i < edges->count; i++) {
        rc = page_shared(l, edges->edge[i].page);
        if (rc < 0)
            return rc;
        if (rc || dax_change_holds(&l->change, edges->edge[i].page, edges->edge[i].page))
            return fs_no_space(l->fs, 1);
    }
    rc = fs_layout_begin_joint(l);
    if (rc == 0 && from < to)
        rc = fs_layout_take_out(l, from, to - from);
    rc = rc ? rc : fs_layout_commit(l, l->vnode->size);
    for (unsigned i = 0; rc == 0 && i < edges->count; i++)
        rc = zero_in_place(l, &edges->edge[i]);
    return rc;
}

static int punch(struct fs_layout *l, uint64_t off, uint64_t end, struct fs_reservation *blocks)
{
    uint64_t from = dax_pages_up(off), to = end / HF_BLOCK_BYTES;
    struct edges edges;
    int rc;

    find_edges(&edges, off, end);
    rc = drop_holes(l, &edges);
    rc = rc ? rc : copy_edges(l, &edges, blocks);
    if (rc == -ENOSPC) {
        fs_reservation_drop(l->fs, blocks);
        return punch_in_place(l, &edges, from, to);
    }
    return rc ? rc : punch_copying(l, &edges, from, to, blocks);
}

int fs_punch(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
             const struct hf_policy *policy)
{
    uint64_t end = len < HF_FILE_BYTES_MAX - off ? off + len : HF_FILE_BYTES_MAX;
    struct fs_reservation blocks;
    struct fs_layout l;
    int rc = fs_layout_open(&l, fs, vnode, off / HF_BLOCK_BYTES, (end - 1) / HF_BLOCK_BYTES,
                            HF_CHANGE_PUNCH, policy);

    if (rc)
        return rc;
    fs_reservation_init(&blocks);
    rc = fs_layout_close(&l, punch(&l, off, end, &blocks));
    fs_reservation_drop(fs, &blocks);
    return rc;
}

/* ---- zero range ---- */

struct zeroing {
    struct fs_layout l;
    struct edges edges;
    struct fs_reservation blocks;
    uint64_t page, last; /* still to do */
    uint64_t size;       /* of the file afterwards; 0: as it is */
};

static int reserve_zeros(struct zeroing *z, struct fs *fs, bool unlocked)
{
    uint64_t want = z->last - z->page + 1;
    int rc = 0;

    fs_reservation_init(&z->blocks);
    while (rc == 0 && z->blocks.blocks < want && z->blocks.count < SHM_RESERVED)
        rc = (unlocked ? fs_reserve_hard : fs_reserve)(
            fs, z->page + z->blocks.blocks, SPACE_NO_GOAL, want - z->blocks.blocks, &z->blocks);
    if (rc == -ENOSPC)
        rc = z->blocks.count == SHM_RESERVED ? 0 : fs_no_space(fs, want - z->blocks.blocks);
    /* A look ahead, before anything has changed. */
    if (rc == 0 && fs_space_to_give(fs) < want - z->blocks.blocks)
        rc = fs_no_space(fs, want - z->blocks.blocks);
    return rc ? rc : fs_fill_blocks(fs, &z->blocks, z->page, NULL);
}

/* The edges that have reserved blocks get the bytes of their pages that are to stay. */
static int fill_edges(struct zeroing *z)
{
    struct fs_reserved_run run;
    uint64_t page = z->page;
    int rc = 0;

    while (rc == 0 && fs_reservation_take(&z->blocks, UINT64_MAX, &run)) {
        for (unsigned i = 0; rc == 0 && i < z->edges.count; i++) {
            const struct edge *edge = &z->edges.edge[i];
            char *to;

            if (edge->page < page || edge->page >= page + run.count)
                continue;
            rc = fs_memory(z->l.fs, run.block + (edge->page - page), 1, &to);
            rc = rc ? rc : make_edge(&z->l, edge, to);
        }
        page += run.count;
    }
    fs_reservation_rewind(&z->blocks);
    return rc;
}

static int swap_zeros(struct zeroing *z)
{
    struct fs_layout *l = &z->l;
    uint64_t count = z->blocks.blocks;
    int rc = fill_edges(z);

    rc = rc ? rc : fs_layout_begin_joint(l);
    rc = rc ? rc : fs_layout_remove(l, z->page, count);
    rc = rc ? rc : fs_layout_place(l, z->page, count, &z->blocks);
    rc = rc ? rc : fs_layout_commit(l, z->size > l->vnode->size ? z->size : l->vnode->size);
    if (rc == 0)
        z->page += count;
    return rc;
}

static int zero_all(struct zeroing *z)
{
    uint64_t old_last = z->l.vnode->size / HF_BLOCK_BYTES;
    int rc = 0;

    if (z->size > z->l.vnode->size && old_last < z->page) /* else its page is copied anyway */
        rc = fs_zero_tail(z->l.fs, z->l.vnode, z->size);
    rc = rc ? rc : swap_zeros(z);
    while (rc == 0 && z->page <= z->last) {
        rc = reserve_zeros(z, z->l.fs, false);
        rc = rc ? rc : swap_zeros(z);
    }
    return rc;
}

int fs_zero_range(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                  bool keep_size, const struct hf_policy *policy)
{
    struct zeroing z = {.page = off / HF_BLOCK_BYTES,
                        .last = (off + len - 1) / HF_BLOCK_BYTES,
                        .size = keep_size ? 0 : off + len};
    unsigned looks = 0;
    int rc;

    find_edges(&z.edges, off, off + len);
    for (;;) {
        rc = reserve_zeros(&z, fs, true);
        if (rc == 0)
            rc = fs_layout_open(&z.l, fs, vnode, z.page, z.last, HF_CHANGE_ZERO, policy);
        if (rc == 0)
            rc = fs_layout_close(&z.l, zero_all(&z));
        fs_reservation_drop(fs, &z.blocks);
        if (rc == -EMLINK) /* of the tail, and nothing has been done */
            rc = fs_unshare(fs, vnode, hf_load_acquire(&vnode->size) / HF_BLOCK_BYTES, 1);
        else
            return rc;
        rc = rc ? rc : fs_look_again(&looks);
        if (rc)
            return rc;
    }
}
