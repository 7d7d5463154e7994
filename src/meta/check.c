/* SPDX-License-Identifier: MIT */
/*
 * Owns a run of `holdfast fsck` over the metadata: the order of its steps, what is reported, and
 * the one transaction that holds every repair. Calls the rest of the folder.
 *
 * What a repair must obey:
 *   1. One run is enough: a second one finds nothing. Rounds go over all records until one finds
 *      nothing more to repair. Only then is anything committed, so this needs no argument about
 *      which repair makes which other one necessary.
 *   2. A pool that is called clean works. Opening accepts every record, each file reads, and names
 *      can be made and removed. Each block is either free or named by a record. So each bound that
 *      a decoder or fs has is looked at here, by the same code where that is possible.
 *   3. A record that another one vouches for stays. An inode and the entry that leads to it vouch
 *      for each other. So do extents and the inode's number of blocks, and a directory and those
 *      that call it parent. A field that disagrees with two others is the wrong one
 *      (check_inodes.c, check_blocks.c). So is the number in a key (check_moved.c). What holds any
 *      file's data and has no place gets one in lost+found.
 *   4. Of several claims to a block, the one that its inode does not vouch for loses. Where all are
 *      vouched for alike, nobody loses: the later gets a copy. Where there is no room for a copy it
 *      gets a hole, and the report says so.
 *   5. A directory that is an orphan is not dropped while anything is in it.
 *   6. What opening refuses is reported. It is set right where other records, the memory or a new
 *      pool's default say how. Otherwise the sentence says what to do.
 *   7. All repairs are one transaction: a check that fails or is killed half way has changed
 *      nothing. (A copy of blocks is written before, to blocks that no record keeps.) The one
 *      exception is a file that LMDB must not see. There the only repair is to go back to the
 *      transaction before, and only when that one verifies whole. A transaction that does not count
 *      (commit.c) is not a problem of the pool. It is taken back first, also without repair, as
 *      opening the pool would.
 *   8. Memory that is not there is reported and nothing is taken away for it: the records say what
 *      to look for in a copy.
 */
#include "meta/check.h"
#include "meta/lmdb_file.h"

#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUNDS_MAX 32u

/* --- a round --- */

static void begin_round(struct checker *check)
{
    struct meta_check *request = check->request;

    request->inodes = request->extents = request->dirents = request->blocks_used = 0;
    check->inode_count = check->claim_count = check->owners_count = 0;
    check->last_block = check->intents = 0;
    check->lost_found = 0;
    check->moved_from = check->moved_to = 0;
    check->super_changed = check->moved = check->again = false;
}

static int look_at_pool(struct checker *check)
{
    MDB_stat stat;
    int rc;

    begin_round(check);
    if (mdb_stat(check->txn->lmdb, check->meta->dbi, &stat) == 0)
        check->records = stat.ms_entries;
    rc = check_super(check);
    rc = rc ? rc : check_survey(check);
    if (rc)
        return rc;
    check_size(check);
    check_numbers(check);
    rc = check_moved(check);
    if (rc == 0 && !check->again)
        rc = check_types(check);
    if (rc == 0 && !check->again)
        rc = check_records(check);
    if (rc == 0 && !check->again)
        rc = check_blocks(check);
    if (rc == 0 && !check->again) {
        check->request->inodes = check->inode_count;
        check_counts(check);
        rc = check_attributes(check);
        rc = rc ? rc : check_names(check);
    }
    if (rc == 0 && check->super_changed && check->request->repair)
        rc = meta_super_put(check->txn, &check->super);
    return rc;
}

/* Until a round finds nothing to repair: only then is it known that the next run will not
 * either. */
static int repair_once(struct checker *check)
{
    struct meta_check *request = check->request;
    uint64_t before = request->repaired, repaired;
    unsigned round = 0;
    int rc = meta_begin_write(check->meta, &check->txn);

    if (rc)
        return rc;
    do {
        repaired = request->repaired;
        rc = look_at_pool(check);
        if (rc == 0 && round++ == ROUNDS_MAX)
            rc = hf_fail(EUCLEAN, "the repairs do not come to an end, so nothing was changed");
    } while (rc == 0 && request->repaired != repaired);
    if (rc == 0)
        check_memory(check);
    if (rc || request->repaired == before) {
        meta_abort(check->txn);
        return rc;
    }
    rc = meta_commit(check->txn);
    return rc ? rc : meta_sync(check->meta);
}

/* Alone, this changes nothing that anybody sees: new blocks are zeroed before they are used. A
 * super record that cannot be read stays: then copies do without. */
static int raise_fresh(struct checker *check)
{
    struct meta_super super;
    int rc = meta_begin_write(check->meta, &check->txn);

    check->fresh_raised = true;
    check->fresh_before = check->super.fresh_block;
    if (rc)
        return rc;
    if (meta_super_get(check->txn, &super)) {
        meta_abort(check->txn);
        return 0;
    }
    super.fresh_block = super.pool_bytes / META_BLOCK_BYTES;
    rc = meta_super_put(check->txn, &super);
    if (rc) {
        meta_abort(check->txn);
        return rc;
    }
    rc = meta_commit(check->txn);
    return rc ? rc : meta_sync(check->meta);
}

/* Once more, when copies are to be made in blocks that were never used. */
static int look_and_repair(struct checker *check)
{
    struct meta_check *request = check->request;
    uint64_t problems = request->problems, repaired = request->repaired;
    int rc = repair_once(check);

    if (rc != -EAGAIN || !check->wants_fresh)
        return rc;
    check->repeated = request->problems - problems;
    request->problems = problems;
    request->repaired = repaired;
    rc = raise_fresh(check);
    return rc ? rc : repair_once(check);
}

static int look_only(struct checker *check)
{
    int rc = meta_begin_read(check->meta, &check->txn);

    if (rc)
        return rc;
    rc = look_at_pool(check);
    if (rc == 0)
        check_memory(check);
    meta_end_read(check->txn);
    return rc;
}

static void page_progress(void *arg, uint64_t done, uint64_t total)
{
    struct meta_check *request = arg;

    if (request->progress)
        request->progress(request->arg, CHECK_PROGRESS_PAGES * done / total, CHECK_PROGRESS_TOTAL);
}

/* Reports what is wrong with the newest transaction, and goes back to the one before. */
static int go_back(struct checker *check, const char *pool_dir)
{
    struct meta_check *request = check->request;
    char wrong[256];
    bool sound;
    int rc;

    snprintf(wrong, sizeof wrong, "%s", hf_error_sentence());
    sound = meta_verify_txn(pool_dir, true, page_progress, request) == 0;
    rc = sound && request->repair ? meta_roll_back(pool_dir) : -EUCLEAN;
    if (rc == 0) {
        check_problem(check, true, "%s: the pool is as it was before the last change", wrong);
        return 0;
    }
    check_problem(check, false, "%s", wrong);
    if (!sound)
        return hf_fail(EUCLEAN, "the metadata file is damaged beyond repair");
    if (!request->repair)
        return hf_fail(EUCLEAN,
                       "the metadata file is damaged; repair can go back to the state before "
                       "the last change");
    return rc;
}

/* 0 when LMDB may open the file, perhaps one transaction earlier. */
static int check_pages(struct checker *check, const char *pool_dir)
{
    struct meta_check *request = check->request;
    int rc = meta_verify_txn(pool_dir, false, page_progress, request);

    if (meta_unfinished(pool_dir, rc, request->under_way, request->under_way_arg))
        return meta_roll_back(pool_dir);
    return rc == -EUCLEAN ? go_back(check, pool_dir) : rc;
}

/* lock.mdb still names the newest transaction of before the repair, which committed without it. */
static void drop_lock(const char *pool_dir)
{
    char path[META_PATH_MAX];

    if (meta_path(path, pool_dir, "/lock.mdb") == 0)
        unlink(path);
}

int meta_check(const char *pool_dir, struct meta_check *request)
{
    struct checker check = {.request = request, .placeless = UINT64_MAX};
    uint64_t repaired;
    int rc;

    request->inodes = request->extents = request->dirents = request->blocks_used = 0;
    request->problems = request->repaired = 0;
    rc = check_pages(&check, pool_dir);
    if (rc == 0)
        rc = meta_open_alone(pool_dir, !request->repair, &check.meta);
    if (rc)
        return rc;
    repaired = request->repaired;
    rc = request->repair ? look_and_repair(&check) : look_only(&check);
    if (rc)
        request->repaired = repaired;
    meta_close(check.meta);
    if (rc == 0 && request->repaired)
        drop_lock(pool_dir);
    free(check.inodes);
    free(check.claims);
    free(check.owners);
    if (rc == 0 && request->progress)
        request->progress(request->arg, CHECK_PROGRESS_TOTAL, CHECK_PROGRESS_TOTAL);
    return rc;
}
