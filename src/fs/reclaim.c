/* SPDX-License-Identifier: MIT */
/*
 * Owns giving back later: detached blocks after their last pin, and what dead processes had. Any
 * process can do all of it at any time. Doing it twice does no harm, since each transaction looks
 * again whether the blocks are still to be freed. Until a process does it, the blocks are only
 * missing; the next first process to attach does all that is left.
 */
#include "base/error.h"
#include "base/futex.h"
#include "fs/orphan.h"
#include "fs/put_left.h"
#include "fs/txn.h"
#include "sync/engine.h"

#include <errno.h>

/* The detached record that covers `block` and is not shared: the last one that begins at or before
 * it. Looks back twice as far each time, since records are mostly found where they began. */
static int find_covering(struct meta_txn *txn, uint64_t block, struct meta_detached *out)
{
    struct meta_detached next;
    uint64_t back = 0;
    int rc;

    for (;;) {
        rc = meta_detached_from(txn, block - back, out);
        if (rc && rc != -ENOENT) /* the last record of all may begin before it, and cover it */
            return rc;
        if (rc == 0 && out->block <= block)
            break;
        if (back == block)
            return -ENOENT;
        back = back ? back * 2 : 1;
        back = back < block ? back : block;
    }
    while ((rc = meta_detached_after(txn, out, &next)) == 0 && next.block <= block)
        *out = next;
    if (rc && rc != -ENOENT)
        return rc;
    return out->block + out->count > block ? 0 : -ENOENT;
}

/* Takes the part [from, to) out of the record. */
static int cut_record(struct fs_txn *txn, const struct meta_detached *record, uint64_t from,
                      uint64_t to)
{
    uint64_t end = record->block + record->count;
    struct meta_detached left = *record, right = *record;
    struct meta_extent freed = {0, from, to - from, false};
    int rc = 0;

    left.count = from - record->block;
    right.block = to;
    right.count = end - to;
    right.page += to - record->block;
    if (left.count)
        rc = meta_detached_put(txn->meta, &left);
    else
        rc = meta_detached_del(txn->meta, record);
    if (rc == 0 && right.count)
        rc = meta_detached_put(txn->meta, &right);
    txn->detached -= (int64_t)(to - from);
    return rc ? rc : fs_txn_free(txn, &freed);
}

/* The record has the block where the run had it: the same page of the same file. */
static bool same_place(const struct meta_detached *record, const struct meta_detached *run,
                       uint64_t block)
{
    return !record->shared && record->ino == run->ino &&
           record->page + (block - record->block) == run->page + (block - run->block);
}

/* The record of a run that was shared when it was detached begins where the run does. */
static int free_shared(struct fs_txn *txn, const struct meta_detached *run)
{
    struct meta_detached record = *run, rest;
    int rc;

    record.shared = true;
    rc = meta_detached_get(txn->meta, &record, &record);
    if (rc)
        return rc;
    rest = record;
    record.count = record.count < run->count ? record.count : run->count;
    rest.block += record.count;
    rest.page += record.count;
    rest.count -= record.count;
    rc = fs_txn_drop(txn, &record);
    return rc == 0 && rest.count ? meta_detached_put(txn->meta, &rest) : rc;
}

/* The first block after this one that a record begins with; `end` if there is none before it. */
static int next_record(struct meta_txn *txn, uint64_t block, uint64_t end, uint64_t *out)
{
    struct meta_detached record;
    int rc = meta_detached_from(txn, block + 1, &record);

    *out = rc == 0 && record.block < end ? record.block : end;
    return rc == -ENOENT ? 0 : rc;
}

/* Blocks that no record has there were freed before, and may be another file's by now. They must
 * not be freed again. */
static int free_run(struct fs_txn *txn, const struct meta_detached *run)
{
    uint64_t block = run->block, end = run->block + run->count;
    struct meta_detached record;
    int shared = free_shared(txn, run);

    if (shared != -ENOENT)
        return shared;

    while (block < end) {
        int rc = find_covering(txn->meta, block, &record);
        uint64_t to;

        if (rc == -ENOENT || (rc == 0 && !same_place(&record, run, block))) {
            rc = next_record(txn->meta, block, end, &block);
            if (rc)
                return rc;
            continue;
        }
        to = record.block + record.count < end ? record.block + record.count : end;
        rc = rc ? rc : cut_record(txn, &record, block, to);
        if (rc)
            return rc;
        block = to;
    }
    return 0;
}

static int free_gone(void *arg, const struct meta_detached *runs, size_t count)
{
    struct fs *fs = arg;
    struct fs_txn txn;
    int rc = fs_begin_freeing(fs, &txn);

    if (rc)
        return rc;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = free_run(&txn, &runs[i]);
    return fs_txn_end(&txn, rc);
}

/* --- left from before all processes had died --- */

static bool is_claimed(const struct shm *shm, const struct meta_detached *run)
{
    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        const struct shm_hold *hold = &shm->holds[i];
        uint64_t end = hold->block + (hold->range.last - hold->range.first) + 1;

        uint32_t state = hf_load_acquire(&hold->state);

        if ((SHM_HOLD_KIND(state) == SHM_HOLD_DETACHED || shm_hold_is_put(state)) &&
            hold->block < run->block + run->count && end > run->block)
            return true;
    }
    return false;
}

static int next_detached(struct fs *fs, const struct meta_detached *after,
                         struct meta_detached *run)
{
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = after->count ? meta_detached_after(txn, after, run) : meta_detached_from(txn, 0, run);
    meta_end_read(txn);
    return rc;
}

/* Under space_mutex, under which a hold comes before its record: a live put or detached run is seen
 * to be claimed. The run itself was read before. A put of it may have ended since, and another
 * begun on the same blocks: its record looks the same. */
static int free_if_unclaimed(struct fs *fs, const struct meta_detached *run)
{
    struct fs_txn txn;
    int rc = fs_begin_freeing(fs, &txn);

    if (rc)
        return rc;
    if (is_claimed(fs->dax.shm, run)) {
        fs_abort(&txn);
        return 0;
    }
    return fs_txn_end(&txn, free_run(&txn, run));
}

/* Frees the detached runs that no record of this segment speaks for. */
static int free_unclaimed(struct fs *fs)
{
    struct meta_detached run = {0};
    int rc;

    while ((rc = next_detached(fs, &run, &run)) == 0)
        if ((rc = free_if_unclaimed(fs, &run)) != 0)
            return rc;
    return rc == -ENOENT ? 0 : rc;
}

void fs_reclaim(struct fs *fs)
{
    struct shm_run *run = fs->dax.shm->run;
    uint64_t quarantine_ends = hf_load_acquire(&run->quarantine_ends_ns);
    bool sweep;

    shm_assert_none_held();
    if (fs->dax.readonly)
        return;
    if (quarantine_ends && hf_now_ns() >= quarantine_ends)
        shm_reap(fs->dax.shm);
    fs_puts_sweep(fs);
    /* Stored when all are free: a process that is killed before, or fails, leaves it to the next.
     * Two at once do no harm. */
    if (hf_load_acquire(&run->ghost_gone) && free_unclaimed(fs) == 0)
        hf_store_release(&run->ghost_gone, 0u);
    /* With an engine that counts pins, deleted files may have been pinned. Blocks that a quarantine
     * has detached are in holds. */
    sweep = !sync_knows_holders(fs->dax.engine) && hf_load_acquire(&run->reclaim);
    dax_reclaim(&fs->dax, free_gone, fs);
    if (sweep)
        fs_orphans_sweep(fs);
    if (hf_load_acquire(&run->ghost_gone))
        hf_store_release(&run->reclaim, 1u);
}

static bool any_residue(const struct shm *shm)
{
    uint32_t used = shm_lanes_used(shm);

    for (uint32_t i = 0; i < used; i++)
        if (hf_load_acquire(&shm->lanes[i].owner) == SHM_LANE_RESIDUE ||
            hf_load_acquire(&shm->lanes[i].residue))
            return true;
    return false;
}

void fs_reap(struct fs *fs)
{
    shm_assert_none_held();
    shm_reap(fs->dax.shm);
    meta_reap_readers(fs->dax.meta); /* also of processes that another one has reaped */
    if (fs->dax.readonly)
        return;
    if (any_residue(fs->dax.shm) && fs_space_lock(fs) == 0) {
        fs_space_sweep(fs);
        fs_space_unlock(fs);
    }
    fs_orphans_sweep(fs);
}
