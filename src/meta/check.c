/* SPDX-License-Identifier: MIT */
/*
 * Owns a run of `holdfast fsck` over the metadata: the order of its steps, what is reported, and
 * the one transaction that holds every repair. Calls the rest of the folder.
 *
 * Nothing is changed before everything has been looked at: repairs go into one write transaction,
 * committed at the end, so a check that fails or is killed half way has changed nothing. The one
 * exception is a file that LMDB must not see: there the only repair is to go back to the
 * transaction before, and only when that one verifies whole. A transaction that does not count (commit.c) is no
 * problem of the pool: a repair begins with taking it back, as opening the pool would.
 */
#include "meta/check.h"
#include "meta/lmdb_file.h"

#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What progress counts to: a third for the pages, the rest for the records, read twice. */
#define PROGRESS_TOTAL 3000u
#define PROGRESS_PAGES 1000u
#define PROGRESS_STEP 4096u

#define POLICY_KINDS 5u /* HF_POLICY_DEADLINE_DETACH */

/* --- reporting --- */

bool check_problem(struct checker *check, bool can_repair, const char *format, ...)
{
    bool repair = can_repair && check->request->repair;
    char sentence[512];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    if (repair && len >= 0 && (size_t)len < sizeof sentence)
        snprintf(sentence + len, sizeof sentence - (size_t)len, " (repaired)");
    check->request->problems++;
    check->request->repaired += repair;
    if (check->request->report)
        check->request->report(check->request->arg, sentence);
    return repair;
}

void check_count_record(struct checker *check)
{
    struct meta_check *request = check->request;

    check->records_done++;
    if (request->progress && check->records_done % PROGRESS_STEP == 0 && check->records != 0)
        request->progress(request->arg,
                          PROGRESS_PAGES + (PROGRESS_TOTAL - PROGRESS_PAGES) *
                                               (check->records_done < 2 * check->records
                                                    ? check->records_done
                                                    : 2 * check->records) /
                                               (2 * check->records),
                          PROGRESS_TOTAL);
}

static void page_progress(void *arg, uint64_t done, uint64_t total)
{
    struct meta_check *request = arg;

    if (request->progress)
        request->progress(request->arg, PROGRESS_PAGES * done / total, PROGRESS_TOTAL);
}

/* --- the table of inodes --- */

struct check_inode *check_find(struct checker *check, uint64_t ino)
{
    size_t low = 0, high = check->inode_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (check->inodes[middle].ino < ino)
            low = middle + 1;
        else
            high = middle;
    }
    return low < check->inode_count && check->inodes[low].ino == ino ? &check->inodes[low] : NULL;
}

int check_add(struct checker *check, const struct check_inode *inode, struct check_inode **out)
{
    if (check->inode_count == check->inode_room) {
        size_t room = check->inode_room ? 2 * check->inode_room : 1024;
        struct check_inode *inodes = realloc(check->inodes, room * sizeof *inodes);
        if (!inodes)
            return hf_fail(ENOMEM, "out of memory for %zu inodes", room);
        check->inodes = inodes;
        check->inode_room = room;
    }
    check->inodes[check->inode_count] = *inode;
    *out = &check->inodes[check->inode_count++];
    return 0;
}

/* --- the super record --- */

static int read_super(struct checker *check)
{
    const struct meta_check *request = check->request;
    int rc = meta_super_get(check->txn, &check->super);

    if (rc == -EUCLEAN)
        check_problem(check, false, "%s", hf_error_sentence());
    if (rc)
        return rc;
    check->pool_blocks = check->super.pool_bytes / META_BLOCK_BYTES;
    if (request->data_bytes != 0 && request->data_bytes < check->super.pool_bytes)
        check_problem(check, false, "the memory has %llu bytes, and the super record says %llu",
                      (unsigned long long)request->data_bytes,
                      (unsigned long long)check->super.pool_bytes);
    if ((check->super.policy_kind == 0 || check->super.policy_kind > POLICY_KINDS) &&
        check_problem(check, true,
                      "the pool's policy is of unknown kind %u; repair makes it to wait",
                      check->super.policy_kind)) {
        check->super.policy_kind = 1;
        check->super_changed = true;
    }
    if (check->super.quarantine_ns > META_QUARANTINE_NS_MAX &&
        check_problem(check, true, "the pool's quarantine is %llu ns; repair makes it the default",
                      (unsigned long long)check->super.quarantine_ns)) {
        check->super.quarantine_ns = 0;
        check->super_changed = true;
    }
    check->used = calloc(1, check->pool_blocks / 8 + 1);
    return check->used ? 0
                       : hf_fail(ENOMEM, "out of memory for %llu blocks",
                                 (unsigned long long)check->pool_blocks);
}

static void compare_super(struct checker *check)
{
    struct meta_super *super = &check->super;
    uint64_t last_ino = check->inode_count ? check->inodes[check->inode_count - 1].ino : 0;

    if (super->inodes != check->inode_count &&
        check_problem(check, true, "the super record counts %llu inodes, and there are %zu",
                      (unsigned long long)super->inodes, check->inode_count)) {
        super->inodes = check->inode_count;
        check->super_changed = true;
    }
    if (super->next_ino <= last_ino &&
        check_problem(check, true, "the next inode number is %llu, and %llu is in use",
                      (unsigned long long)super->next_ino, (unsigned long long)last_ino)) {
        super->next_ino = last_ino + 1;
        check->super_changed = true;
    }
    /* Which blocks behind it are still zero is then unknown: none is taken to be. */
    if (super->fresh_block < check->last_block &&
        check_problem(check, true,
                      "block %llu is in use, and blocks from %llu on are said to be "
                      "unused so far",
                      (unsigned long long)check->last_block - 1,
                      (unsigned long long)super->fresh_block)) {
        super->fresh_block = check->pool_blocks;
        check->super_changed = true;
    }
}

/* --- the run --- */

static int look(struct checker *check)
{
    MDB_stat stat;
    int rc = read_super(check);

    if (rc)
        return rc;
    if (mdb_stat(check->txn->lmdb, check->meta->dbi, &stat) == 0)
        check->records = stat.ms_entries;
    rc = check_records(check);
    if (rc)
        return rc;
    check->request->inodes = check->inode_count;
    compare_super(check);
    rc = check_names(check);
    if (rc)
        return rc;
    return check->super_changed ? meta_super_put(check->txn, &check->super) : 0;
}

static int look_and_repair(struct checker *check)
{
    int rc = meta_begin_write(check->meta, &check->txn);

    if (rc)
        return rc;
    rc = look(check);
    if (rc || check->request->repaired == 0) {
        meta_abort(check->txn);
        return rc;
    }
    rc = meta_commit(check->txn);
    return rc ? rc : meta_sync(check->meta);
}

static int look_only(struct checker *check)
{
    int rc = meta_begin_read(check->meta, &check->txn);

    if (rc)
        return rc;
    rc = look(check);
    meta_end_read(check->txn);
    return rc;
}

/* 0 when LMDB may open the file, perhaps one transaction earlier. */
static int check_pages(struct checker *check, const char *pool_dir)
{
    struct meta_check *request = check->request;
    int rc = meta_verify_txn(pool_dir, false, page_progress, request);

    if (meta_unfinished(pool_dir, rc, request->under_way, request->under_way_arg)) {
        if (request->repair)
            return meta_roll_back(pool_dir);
        if (rc)
            return hf_fail(EUCLEAN, "a process was killed while it changed the metadata: repair, "
                                    "or opening the pool, takes that change back");
    }
    if (rc != -EUCLEAN)
        return rc;
    check_problem(check, false, "%s", hf_error_sentence());
    if (meta_verify_txn(pool_dir, true, page_progress, request) != 0)
        return hf_fail(EUCLEAN, "the metadata file is damaged beyond repair");
    if (!request->repair)
        return hf_fail(EUCLEAN,
                       "the metadata file is damaged; repair can go back to the state before "
                       "the last change");
    rc = meta_roll_back(pool_dir);
    if (rc == 0)
        check_problem(check, true, "repair goes back to the state before the last change");
    return rc;
}

/* lock.mdb says what the newest transaction was before the repair, which did without it. */
static void renew_lock(const char *pool_dir)
{
    char path[META_PATH_MAX];

    if (meta_reset_lock(pool_dir) && meta_path(path, pool_dir, "/lock.mdb") == 0)
        unlink(path);
}

int meta_check(const char *pool_dir, struct meta_check *request)
{
    struct checker check = {.request = request};
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
        renew_lock(pool_dir);
    free(check.used);
    free(check.inodes);
    free(check.kept);
    if (rc == 0 && request->progress)
        request->progress(request->arg, PROGRESS_TOTAL, PROGRESS_TOTAL);
    return rc;
}
