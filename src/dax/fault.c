/* SPDX-License-Identifier: MIT */
/*
 * Faults: finding the memory under a range in the extents, under the layout mutex, and filling the
 * page table on the way. Extents of a file change only under its mutex. So a snapshot that begins
 * after the mutex was taken shows them as they are. Entries are filled for whole pages below end of
 * file: those that were asked for, and a few around them. None is filled in the range of a closed
 * gate.
 */
#include "dax/fault.h"

#include "base/error.h"
#include "base/lab.h"
#include "base/trace.h"
#include "sync/engine.h"

#include <errno.h>
#include <inttypes.h>

#define AROUND_PAGES 64u /* of a fault: the aligned run of pages that is filled with it */

static uint64_t end_page(const struct shm_vnode *vnode)
{
    return dax_pages_up(hf_load_relaxed(&vnode->size)); /* relaxed: mutex held */
}

/* Cuts [*from, *to) down to what lies between closed gates and holds [first, last]; false: those
 * pages are in a gate themselves. */
static bool between_gates(const struct shm_vnode *vnode, uint64_t first, uint64_t last,
                          uint64_t *from, uint64_t *to)
{
    for (unsigned i = 0; i < SHM_GATES; i++) {
        const struct shm_gate *gate = &vnode->gates[i];

        if (!gate->lane || HF_LAB_BROKEN(HF_LAB_NO_GATE))
            continue;
        if (gate->first <= last && gate->last >= first)
            return false; /* GATE.RULE/p: also for a thread that was let through */
        if (gate->last < first && gate->last + 1 > *from)
            *from = gate->last + 1;
        if (gate->first > last && gate->first < *to)
            *to = gate->first;
    }
    return true;
}

/* Fills the entries around [first, last] that the extent gives. Running out of nodes is not a
 * failure: the pin has its memory, and the next pin comes here again. */
static void fill_entries(struct dax *dax, struct shm_vnode *vnode, const struct meta_extent *extent,
                         uint64_t first, uint64_t last)
{
    uint64_t low = first & ~(uint64_t)(AROUND_PAGES - 1), high = last | (AROUND_PAGES - 1);
    uint64_t from = extent->page, to = extent->page + extent->count, end = end_page(vnode);
    uint64_t huge = first & ~(uint64_t)(MM_HUGE_PAGES - 1), huge_end = last | (MM_HUGE_PAGES - 1);

    if (to > end)
        to = end;
    if (!between_gates(vnode, first, last, &from, &to))
        return;
    if ((extent->block - extent->page) % MM_HUGE_PAGES == 0) { /* room for huge entries */
        low = huge;
        high = huge_end;
    }
    from = from > low ? from : low;
    to = to < high + 1 ? to : high + 1;
    if (from >= to) /* the size is wrong */
        return;
    dax_count(&dax->shm->run->stats.faults, to - from);
    HF_TRACE(fault, vnode->ino, from, to - 1, extent->block + (from - extent->page));
    mm_install(dax->shm, vnode, from, extent->block + (from - extent->page), to - from,
               extent->shared && !HF_LAB_BROKEN(HF_LAB_SHARED_WRITABLE) ? MM_READONLY : 0);
}

int dax_refuse_outside(uint64_t block, uint64_t count)
{
    return hf_fail(EUCLEAN,
                   "blocks %" PRIu64 " to %" PRIu64
                   " are used but not in the pool: run holdfast fsck",
                   block, (block + count - 1));
}

/* A shrink may cut the memory between the two looks. It has stored the smaller size before, and the
 * pool may grow again after it. */
int dax_map_pool(struct dax *dax)
{
    unsigned looks = 0;
    int rc;

    do
        rc = media_map(&dax->media, shm_pool_blocks(dax->shm) * HF_BLOCK_BYTES);
    while (rc == -EUCLEAN && ++looks < MEDIA_LOOKS);
    return rc;
}

static int map_extent(struct dax *dax, const struct meta_extent *extent)
{
    uint64_t blocks = shm_pool_blocks(dax->shm), end = extent->block + extent->count;

    if (end > blocks) /* it may be mapped all the same: the pool was larger */
        return dax_refuse_outside(extent->block, extent->count);
    return end * HF_BLOCK_BYTES <= hf_load_acquire(&dax->media.mapped_bytes) ? 0
                                                                             : dax_map_pool(dax);
}

/* A count does not say through which file a block is pinned (pin_counted.c). */
static bool own_blocks_only(const struct dax *dax, bool own)
{
    return own || !sync_knows_holders(dax->engine);
}

static int next_extent(struct meta_txn *txn, uint64_t ino, uint64_t page, uint64_t last, bool own,
                       struct meta_extent *extent, struct meta_extent *hole)
{
    int rc = meta_extent_find(txn, ino, page, extent);
    uint64_t end = last + 1;

    if (rc && rc != -ENOENT)
        return rc;
    if (rc == 0 && extent->page <= page) {
        if (!own || !extent->shared || HF_LAB_BROKEN(HF_LAB_SHARED_WRITABLE))
            return 0;
        end = extent->page + extent->count < end ? extent->page + extent->count : end;
        *hole = (struct meta_extent){page, extent->block + (page - extent->page), end - page, true};
        return -EMLINK;
    }
    end = rc == 0 && extent->page < end ? extent->page : end;
    *hole = (struct meta_extent){page, 0, end - page, false};
    return -ENODATA;
}

int dax_fault(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last, bool own,
              struct mm_pieces *pieces, struct meta_extent *hole)
{
    struct meta_txn *txn;
    uint64_t page = first;
    int rc = meta_begin_read(dax->meta, &txn);

    shm_assert_held(&vnode->mutex);
    if (rc)
        return rc;
    while (rc == 0 && page <= last) {
        struct meta_extent extent;
        uint64_t to;

        rc = next_extent(txn, vnode->ino, page, last, own_blocks_only(dax, own), &extent, hole);
        rc = rc ? rc : map_extent(dax, &extent);
        if (rc)
            break;
        to = extent.page + extent.count - 1 < last ? extent.page + extent.count - 1 : last;
        fill_entries(dax, vnode, &extent, page, to);
        if (pieces &&
            !mm_piece(pieces,
                      dax->media.base + (extent.block + page - extent.page) * HF_BLOCK_BYTES,
                      to - page + 1))
            rc = hf_fail(E2BIG, "the range lies in more than %d pieces: give more iovecs",
                         pieces->room);
        page = to + 1;
    }
    meta_end_read(txn);
    return rc;
}

void dax_enter(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    struct meta_extent hole;

    shm_assert_held(&vnode->mutex);
    (void)dax_fault(dax, vnode, first, last, false, NULL, &hole);
}
