/* SPDX-License-Identifier: MIT */
/*
 * Owns giving back later: detached blocks after their last pin, and what dead processes had. Any
 * process can do all of it at any time. Doing it twice does no harm, since each transaction looks
 * again whether the blocks are still to be freed. Until a process does it, the pool only has fewer
 * free blocks. The next first process to attach does all that is left.
 */
#include "base/error.h"
#include "base/futex.h"
#include "base/lab.h"
#include "fs/orphan.h"
#include "fs/put_left.h"
#include "fs/txn.h"
#include "fs/vnode.h"
#include "sync/engine.h"

#include <errno.h>
#include <stdlib.h>

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

/* Of blocks that were shared when they were detached. Sets *end after those that it has freed.
 * -ENOENT: no such record begins at `block`. None that begins before it covers it either: a layout
 * change cuts records, earlier ones too, wherever one of their holders begins or ends. */
static int free_shared(struct fs_txn *txn, const struct meta_detached *run, uint64_t block,
                       uint64_t *end)
{
    uint64_t done = block - run->block;
    struct meta_detached record = {block, run->count - done, run->ino, run->page + done, true};
    struct meta_detached rest;
    int rc = meta_detached_get(txn->meta, &record, &rest);

    if (rc)
        return rc;
    if (rest.count < record.count)
        record.count = rest.count;
    rest.block += record.count;
    rest.page += record.count;
    rest.count -= record.count;
    *end = rest.block;
    rc = fs_txn_drop(txn, &record);
    return rc == 0 && rest.count ? meta_detached_put(txn->meta, &rest) : rc;
}

/* The same of blocks that were the file's alone. */
static int free_alone(struct fs_txn *txn, const struct meta_detached *run, uint64_t block,
                      uint64_t *end)
{
    struct meta_detached record;
    int rc = find_covering(txn->meta, block, &record);

    if (rc)
        return rc;
    if (!same_place(&record, run, block))
        return -ENOENT;
    *end = fs_min(record.block + record.count, run->block + run->count);
    return cut_record(txn, &record, block, *end);
}

/* The first block after this one that a record begins with; `end` if there is none before it. */
static int next_record(struct meta_txn *txn, uint64_t block, uint64_t end, uint64_t *out)
{
    struct meta_detached record;
    int rc = meta_detached_from(txn, block + 1, &record);

    *out = rc == 0 && record.block < end ? record.block : end;
    return rc == -ENOENT ? 0 : rc;
}

/* The holders of a run cut it into pieces with a record each, and may all have gone at once. Blocks
 * that no record has there were freed before, and may be another file's by now. They must not be
 * freed again. */
static int free_run(struct fs_txn *txn, const struct meta_detached *run)
{
    uint64_t block = run->block, end = run->block + run->count;
    int rc = 0;

    while (rc == 0 && block < end) {
        rc = free_shared(txn, run, block, &block);
        if (rc == -ENOENT)
            rc = free_alone(txn, run, block, &block);
        if (rc == -ENOENT)
            rc = next_record(txn->meta, block, end, &block);
    }
    return rc;
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

#define UNCLAIMED_BATCH 4096u /* runs that are looked at in a transaction */

/* Blocks that holds of this segment speak for, in order and apart from each other. */
struct claims {
    struct claim {
        uint64_t first, end;
    } * all;
    size_t count;
};

static int order_claims(const void *left, const void *right)
{
    const struct claim *a = left, *b = right;

    HF_LAB_AT(HF_LAB_COMPARES);
    return a->first < b->first ? -1 : a->first > b->first;
}

static void merge_claims(struct claims *claims)
{
    size_t kept = 0;

    qsort(claims->all, claims->count, sizeof *claims->all, order_claims);
    for (size_t i = 0; i < claims->count; i++) {
        const struct claim *claim = &claims->all[i];

        if (kept && claim->first <= claims->all[kept - 1].end) {
            if (claim->end > claims->all[kept - 1].end)
                claims->all[kept - 1].end = claim->end;
        } else {
            claims->all[kept++] = *claim;
        }
    }
    claims->count = kept;
}

/* -ENOMEM. A hold that a wrong segment gives too many blocks claims all that follow. */
static int gather_claims(const struct shm *shm, struct claims *claims)
{
    uint32_t high = shm_holds_high(shm);

    claims->count = 0;
    claims->all = calloc((size_t)high + 1, sizeof *claims->all);
    if (!claims->all)
        return hf_fail(ENOMEM, "no memory to look at %u holds", high);
    for (uint32_t i = 0; i < high; i++) {
        const struct shm_hold *hold = &shm->holds[i];
        uint32_t state = hf_load_acquire(&hold->state);
        uint64_t first = hf_load_acquire(&hold->block);
        uint64_t end = first + (hold->range.last - hold->range.first) + 1;

        HF_LAB_AT(HF_LAB_COMPARES);
        if (SHM_HOLD_KIND(state) == SHM_HOLD_DETACHED || shm_hold_is_put(state))
            claims->all[claims->count++] = (struct claim){first, end > first ? end : UINT64_MAX};
    }
    merge_claims(claims);
    HF_LAB_AT(HF_LAB_CLAIMS);
    return 0;
}

static bool is_claimed(const struct claims *claims, const struct meta_detached *run)
{
    size_t low = 0, high = claims->count;

    while (low < high) { /* the first that ends after the run begins */
        size_t middle = low + (high - low) / 2;

        HF_LAB_AT(HF_LAB_COMPARES);
        if (claims->all[middle].end <= run->block)
            low = middle + 1;
        else
            high = middle;
    }
    return low < claims->count && claims->all[low].first < run->block + run->count;
}

/* -ENOENT: there is none after `run`. */
static int free_next_unclaimed(struct fs_txn *txn, const struct claims *claims,
                               struct meta_detached *run)
{
    int rc = run->count ? meta_detached_after(txn->meta, run, run)
                        : meta_detached_from(txn->meta, 0, run);

    if (rc == 0 && !is_claimed(claims, run))
        rc = free_run(txn, run);
    return rc;
}

/* One transaction, from the run after *run on. 1: that was all. Under space_mutex, a hold comes
 * before its record: so a live put or detached run is seen to be claimed. Between two transactions
 * a put may have ended, and another begun on the same blocks, with a record that looks the same. So
 * each transaction looks at the holds itself. */
static int free_some_unclaimed(struct fs *fs, struct meta_detached *run)
{
    bool early = HF_LAB_BROKEN(HF_LAB_CLAIMS_EARLY);
    struct claims claims;
    struct fs_txn txn;
    int rc = early ? gather_claims(fs->dax.shm, &claims) : 0, all;

    rc = rc ? rc : fs_begin_freeing(fs, &txn);
    if (rc)
        return rc;
    if (!early)
        rc = gather_claims(fs->dax.shm, &claims);
    for (unsigned i = 0; i < UNCLAIMED_BATCH && rc == 0; i++)
        rc = free_next_unclaimed(&txn, &claims, run);
    free(claims.all);
    all = rc == -ENOENT;
    rc = fs_txn_end(&txn, all ? 0 : rc);
    return rc ? rc : all;
}

/* Frees the detached runs that no record of this segment speaks for. */
static int free_unclaimed(struct fs *fs)
{
    struct meta_detached run = {0};
    int rc;

    while ((rc = free_some_unclaimed(fs, &run)) == 0)
        ;
    return rc < 0 ? rc : 0;
}

/* A living change has the mutex until it is done, or has failed. So nobody waits for the mutex
 * here. The vnode is opened as for a deletion, which does not sweep in turn to make room. */
static void finish_file(struct fs *fs, uint64_t ino)
{
    struct shm_bound before = shm_bound;
    struct shm_vnode *vnode;
    int rc;

    shm_bound = (struct shm_bound){.patience = SHM_PATIENCE_NONE};
    rc = fs_vnode_open_orphan(fs, ino, &vnode);
    shm_bound = before;
    if (rc)
        return;
    if (dax_lock_now(&fs->dax, vnode)) {
        if (fs_steps_settle(fs, vnode))
            hf_store_release(&fs->dax.shm->run->reclaim, 1u);
        dax_unlock(&fs->dax, vnode);
    }
    if (shm_vnode_put(fs->dax.shm, vnode) && hf_load_acquire(&vnode->orphan))
        fs_orphan_delete(fs, ino);
}

static int next_intent(struct fs *fs, uint64_t *ino)
{
    struct meta_intent intent;
    struct meta_txn *txn;
    int rc = meta_begin_read(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = meta_intent_next(txn, *ino, &intent);
    meta_end_read(txn);
    *ino = rc ? 0 : intent.ino;
    return rc;
}

/* Takes the steps that are left of changes of all files (vnode.c). */
static void sweep_steps(struct fs *fs)
{
    shm_assert_none_held();
    for (uint64_t ino = 0; next_intent(fs, &ino) == 0; ino++)
        finish_file(fs, ino);
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
    sweep_steps(fs);
    if (hf_load_acquire(&run->ghost_gone))
        hf_store_release(&run->reclaim, 1u);
    fs_trim_follow(fs);
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
    sweep_steps(fs);
}
