/* SPDX-License-Identifier: MIT */
/*
 * Owns write transactions. All of a process's and of all processes' go through here, so LMDB's own
 * writer lock is never contended, and a process that dies between LMDB's commit and the bitmap
 * leaves space_mutex with a dead owner: the next one makes the bitmap anew (space.c).
 *
 * What can fail (memory for the lists) fails before the commit.
 */
#include "fs/txn.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int fs_begin(struct fs *fs, struct fs_txn *txn)
{
    int rc;

    if (fs->dax.readonly)
        return hf_fail(EROFS, "the pool is open for reading only");
    rc = fs_space_lock(fs);
    if (rc)
        return rc;
    rc = meta_begin_write(fs->dax.meta, &txn->meta);
    if (rc) {
        fs_space_unlock(fs);
        return rc;
    }
    txn->fs = fs;
    txn->reservation = NULL;
    txn->detached_gone = 0;
    txn->grown_blocks = 0;
    txn->freed.count = txn->held.count = 0;
    txn->freed.room = txn->held.room = TXN_FEW_RUNS;
    txn->freed.more = txn->held.more = NULL;
    return 0;
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

int fs_txn_free(struct fs_txn *txn, const struct meta_extent *run)
{
    return add_run(&txn->freed, run);
}

int fs_txn_hold(struct fs_txn *txn, uint64_t ino, const struct meta_extent *run)
{
    struct meta_detached detached = {run->block, run->count, ino, run->page};
    int rc = meta_detached_put(txn->meta, &detached);

    return rc ? rc : add_run(&txn->held, run);
}

static uint64_t blocks_of(struct fs_runs *runs)
{
    uint64_t blocks = 0;

    for (unsigned i = 0; i < runs->count; i++)
        blocks += runs_of(runs)[i].count;
    return blocks;
}

static void end(struct fs_txn *txn)
{
    fs_space_unlock(txn->fs);
    free(txn->freed.more);
    free(txn->held.more);
}

int fs_commit(struct fs_txn *txn)
{
    struct fs *fs = txn->fs;
    struct shm_run *run = fs->dax.shm->run;
    int rc = meta_commit(txn->meta);

    if (rc == 0) {
        for (unsigned i = 0; i < txn->freed.count; i++)
            fs_space_free(fs, runs_of(&txn->freed)[i].block, runs_of(&txn->freed)[i].count);
        if (txn->held.count ||
            txn->detached_gone) /* relaxed: written under space_mutex, else only shown */
            hf_store_relaxed(&run->detached_blocks,
                             run->detached_blocks + blocks_of(&txn->held) - txn->detached_gone);
        fs_space_extend(fs, txn->grown_blocks);
        if (txn->reservation)
            fs_reservation_settle(fs, txn->reservation);
    }
    end(txn);
    return rc;
}

void fs_abort(struct fs_txn *txn)
{
    meta_abort(txn->meta);
    end(txn);
}
