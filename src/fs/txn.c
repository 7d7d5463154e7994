/* SPDX-License-Identifier: MIT */
/*
 * Owns write transactions. Those of all processes go through here, under space_mutex, so LMDB's own
 * writer lock is never contended. A process that dies after LMDB's commit, before the bitmap has
 * changed, leaves space_mutex with a dead owner. The next one builds the bitmap again (bitmap.c).
 *
 * The steps that can fail, such as getting memory for the lists, come before the commit.
 */
#include "fs/txn.h"
#include "fs/join.h"

#include "base/error.h"
#include "base/lab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void make_empty(struct fs *fs, struct fs_txn *txn)
{
    txn->fs = fs;
    txn->reservation = NULL;
    txn->joint = false;
    txn->grown_blocks = txn->shrunk_blocks = 0;
    txn->detached = txn->shared = txn->saved = 0;
    txn->freed.count = 0;
    txn->freed.room = TXN_FEW_RUNS;
    txn->freed.more = NULL;
}

/* With space_mutex. */
static int begin_own(struct fs *fs, struct fs_txn *txn)
{
    int rc = meta_begin_write(fs->dax.meta, &txn->meta);

    if (rc)
        fs_space_unlock(fs);
    return rc;
}

int fs_begin(struct fs *fs, struct fs_txn *txn)
{
    int rc = fs_may_write(fs);

    rc = rc ? rc : fs_space_lock(fs);
    if (rc)
        return rc;
    make_empty(fs, txn);
    return begin_own(fs, txn);
}

int fs_begin_joint(struct fs *fs, struct fs_txn *txn)
{
    int rc;

    if (!fs->durable)
        return fs_begin(fs, txn);
    rc = fs_may_write(fs);
    if (rc)
        return rc;
    make_empty(fs, txn);
    txn->joint = true;
    txn->host = txn->committed = NULL;
    rc = fs_join(fs, txn);
    if (rc)
        return rc;
    if (!txn->host)
        return begin_own(fs, txn);
    rc = meta_begin_inside(txn->host->meta, &txn->meta);
    if (rc)
        fs_join_pass_on(txn);
    return rc;
}

int fs_begin_freeing(struct fs *fs, struct fs_txn *txn)
{
    int rc = fs_begin(fs, txn);

    if (rc == 0)
        meta_txn_frees(txn->meta);
    return rc;
}

static struct meta_extent *runs_of(struct fs_runs *runs)
{
    return runs->more ? runs->more : runs->few;
}

static int grow_runs(struct fs_runs *runs)
{
    unsigned room = runs->room * 4;
    struct meta_extent *more = realloc(runs->more, room * sizeof *more);

    if (!more)
        return hf_fail(ENOMEM, "no memory for a list of %u runs of blocks", room);
    if (!runs->more)
        memcpy(more, runs->few, sizeof runs->few);
    runs->more = more;
    runs->room = room;
    return 0;
}

static int add_run(struct fs_runs *runs, const struct meta_extent *run)
{
    int rc = runs->count == runs->room ? grow_runs(runs) : 0;

    if (rc == 0)
        runs_of(runs)[runs->count++] = *run;
    return rc;
}

/* ---- names of blocks ---- */

static int64_t if_so(bool so, uint64_t blocks)
{
    return so ? (int64_t)blocks : 0;
}

static int64_t saved_by(const struct meta_owners *run)
{
    return run->extents ? (int64_t)(run->count * (run->extents - 1)) : 0;
}

static int owners_changed(void *arg, const struct meta_owners *before,
                          const struct meta_owners *after)
{
    struct fs_txn *txn = arg;
    struct meta_extent run = {0, after->block, after->count, false};

    txn->detached += if_so(!after->extents && after->records, run.count) -
                     if_so(!before->extents && before->records, run.count);
    txn->shared += if_so(after->extents > 1, run.count) - if_so(before->extents > 1, run.count);
    txn->saved += saved_by(after) - saved_by(before);
    return after->extents || after->records ? 0 : add_run(&txn->freed, &run);
}

int fs_txn_change_owners(struct fs_txn *txn, uint64_t block, uint64_t count, int extents,
                         int records)
{
    return meta_owners_change(txn->meta, block, count, extents, records, owners_changed, txn);
}

int fs_txn_free(struct fs_txn *txn, const struct meta_extent *run)
{
    return run->shared ? fs_txn_change_owners(txn, run->block, run->count, -1, 0)
                       : add_run(&txn->freed, run);
}

int fs_txn_may_share(struct fs_txn *txn)
{
    struct meta_super super;
    int rc = meta_super_get(txn->meta, &super);

    if (rc || super.incompat & META_INCOMPAT_SHARED)
        return rc;
    super.incompat |= META_INCOMPAT_SHARED;
    return meta_super_put(txn->meta, &super);
}

int fs_txn_share(struct fs_txn *txn, const struct meta_extent *run)
{
    return fs_txn_change_owners(txn, run->block, run->count, 1, 0);
}

int fs_txn_drop(struct fs_txn *txn, const struct meta_detached *record)
{
    struct meta_extent run = {0, record->block, record->count, false};
    int rc = meta_detached_del(txn->meta, record);

    if (rc == 0 && record->shared)
        return fs_txn_change_owners(txn, run.block, run.count, 0, -1);
    txn->detached -= (int64_t)run.count;
    return rc ? rc : add_run(&txn->freed, &run);
}

static void end_txn(struct fs_txn *txn)
{
    fs_space_unlock(txn->fs);
    free(txn->freed.more);
}

static void add_to(uint64_t *number, int64_t more)
{
    if (more) /* relaxed: written under space_mutex, else only shown */
        hf_store_relaxed(number, *number + (uint64_t)more);
}

/* After the commit, and before space_mutex is unlocked. */
static inline void settle_txn(struct fs_txn *txn)
{
    struct fs *fs = txn->fs;
    struct shm_run *run = fs->dax.shm->run;

    for (unsigned i = 0; i < txn->freed.count; i++)
        fs_space_free(fs, runs_of(&txn->freed)[i].block, runs_of(&txn->freed)[i].count);
    add_to(&run->detached_blocks, txn->detached);
    add_to(&run->shared_blocks, txn->shared);
    add_to(&run->saved_blocks, txn->saved);
    if (txn->grown_blocks)
        fs_space_grow(fs, txn->grown_blocks);
    if (txn->shrunk_blocks)
        fs_space_shrink(fs, txn->shrunk_blocks);
    if (txn->reservation)
        fs_reservation_settle(fs, txn->reservation);
}

void fs_txn_prepare(struct fs *fs, struct fs_txn *txn)
{
    make_empty(fs, txn);
}

void fs_txn_settle(struct fs_txn *txn)
{
    settle_txn(txn);
}

void fs_txn_forget(struct fs_txn *txn)
{
    free(txn->freed.more);
}

static int commit_as_guest(struct fs_txn *txn)
{
    int rc = meta_commit(txn->meta);

    if (rc == 0)
        rc = fs_join_await(txn);
    else
        fs_join_pass_on(txn);
    free(txn->freed.more);
    return rc;
}

/* Also commits those of its guests, which others have begun and ended inside it. */
static int commit_as_host(struct fs_txn *txn)
{
    int rc;

    fs_join_let_in(txn);
    rc = meta_commit(txn->meta);
    HF_LAB_AT(HF_LAB_SETTLES);
    for (struct fs_txn *of = txn; rc == 0 && of; of = of->committed)
        settle_txn(of);
    fs_join_tell(txn, rc);
    end_txn(txn);
    return rc;
}

static __attribute__((noinline)) int commit_joint(struct fs_txn *txn)
{
    return txn->host ? commit_as_guest(txn) : commit_as_host(txn);
}

int fs_commit(struct fs_txn *txn)
{
    int rc;

    if (__builtin_expect(txn->joint, 0))
        return commit_joint(txn);
    rc = meta_commit(txn->meta);
    if (rc == 0)
        settle_txn(txn);
    end_txn(txn);
    return rc;
}

void fs_abort(struct fs_txn *txn)
{
    meta_abort(txn->meta);
    if (!txn->joint || !txn->host) {
        end_txn(txn);
        return;
    }
    fs_join_pass_on(txn);
    free(txn->freed.more);
}

int fs_txn_end(struct fs_txn *txn, int rc)
{
    if (rc == 0)
        return fs_commit(txn);
    fs_abort(txn);
    return rc;
}
