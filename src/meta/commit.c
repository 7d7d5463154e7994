/* SPDX-License-Identifier: MIT */
/*
 * Owns the question which transaction is the newest that counts, when the process that committed it
 * has died. Calls LMDB, guard.c, verify.c and base.
 *
 * LMDB commits transaction T by storing roots and numbers into meta page T & 1, and then T into
 * lock.mdb. Through a map (memory pools) the meta page is written by a dozen plain stores, in the
 * order that the compiler chose. Debian's 0.9.24 stores the number before the root of the main
 * tree. If the process is killed between the two, LMDB's next writer goes by the number in the
 * page. It takes that to be the last store, and builds on a page with the root of two transactions
 * ago. Snapshots go by the number in lock.mdb. So writers and snapshots can disagree about T. Then
 * a page table filled from the one and a bitmap made from the other disagree for ever.
 *
 * The rule: T counts from the store of its number into lock.mdb on. It follows that
 *
 *   - T is whole when it counts. The store to lock.mdb comes after all of the page: between them is
 *     a call of the C library, or the release of a lock. The test commit-killed, which stops after
 *     every store, checks that LMDB's compiler keeps this order;
 *   - no process has been told of a T that does not count. Its committer died in the call, and all
 *     others see it only through snapshots;
 *   - every snapshot tells what counts, also a read-only process's, once the committer is known to
 *     be dead. So recovery (dax/gate.c, fs/space.c) looks through a snapshot and needs no writer.
 *
 * One thing is left: no writer may build on a T that does not count. All write transactions begin
 * and end under space_mutex, and a word that all processes share (under_way) is set while LMDB
 * commits. When a transaction is about to begin and the word is set, a commit has not ended. Its
 * process is dead, or LMDB failed to write the page and perhaps to take it back. If the page says T
 * and lock.mdb does not, T is taken back, before LMDB sees it, by storing an older number into its
 * page. That is one store of eight aligned bytes: a process killed before it has done nothing, one
 * killed after it has done all. Only then is the word cleared. So where this fails, the next
 * transaction tries it again. In a durable pool that page is synced before T's pages are used
 * again. Otherwise a power cut could bring T back with pages of its successor.
 *
 * LMDB itself sets the number in lock.mdb in two more places. A writer that finds the last one dead
 * sets it to the number in the page. After what is said above, they are the same. And a process
 * that opens lock.mdb while no other has it open sets it up again. So a process that joins others
 * holds a lock on it before LMDB looks (meta_join()), and the first to attach settles T before.
 *
 * The first to attach (meta_settle()) goes by lock.mdb too. Other processes, dead by now, may have
 * acted on what it said. Then vnodes in the run segment, which is adopted, have sizes from before
 * T. In a memory pool lock.mdb is memory of this boot, where nothing is promised after a power cut.
 * In a durable pool it is believed only if a run segment of this boot says that just this
 * transaction was under way. Else T counts, which is whole there: it was written by one call. A
 * repair empties lock.mdb, since it commits without it. T is taken back only if the transaction
 * before it verifies whole.
 */
#include "meta/env.h"
#include "meta/lmdb_file.h"

#include "base/atomic.h"
#include "base/error.h"
#include "base/descriptor.h"
#include "base/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

/* --- a snapshot that never needs a slot or memory --- */

int meta_look_open(struct meta *meta)
{
    struct meta_txn *txn = &meta->look;
    int lmdb = 0, rc;

    txn->meta = meta;
    rc = meta_take_slot(meta, &txn->lmdb, &lmdb);
    rc = rc ? rc : meta_result(lmdb, "snapshot");
    if (rc)
        return rc;
    rc = lmdb_open_cursor(txn);
    mdb_txn_reset(txn->lmdb);
    return rc;
}

void meta_look_close(struct meta *meta)
{
    if (meta->look.cursor)
        mdb_cursor_close(meta->look.cursor);
    if (meta->look.lmdb)
        mdb_txn_abort(meta->look.lmdb);
}

int meta_begin_look(struct meta *meta, struct meta_txn **out)
{
    struct meta_txn *txn = &meta->look;
    int rc;

    pthread_mutex_lock(&meta->look_mutex);
    rc = meta_refused(meta);
    rc = rc ? rc : meta_result(mdb_txn_renew(txn->lmdb), "snapshot");
    if (rc) {
        pthread_mutex_unlock(&meta->look_mutex);
        return rc;
    }
    rc = lmdb_renew_cursor(txn);
    if (rc) {
        meta_end_look(txn);
        return rc;
    }
    *out = txn;
    return 0;
}

void meta_end_look(struct meta_txn *txn)
{
    mdb_txn_reset(txn->lmdb);
    pthread_mutex_unlock(&txn->meta->look_mutex);
}

/* --- before a write transaction --- */

static int take_back(struct meta *meta, uint64_t newest, uint64_t counted)
{
    if (newest != counted + 1)
        return hf_fail(EUCLEAN,
                       "the pool's metadata are at transaction %" PRIu64
                       ", and lock.mdb says %" PRIu64 ": end "
                       "all processes that have the pool open, then run `holdfast fsck`",
                       newest, counted);
    return lmdb_roll_back(meta->fd, !meta->in_place);
}

int meta_settle_commit(struct meta *meta)
{
    struct meta_txn *txn = &meta->look;
    uint64_t counted;
    MDB_envinfo info;
    int rc;

    if (__builtin_expect(!hf_load_acquire(&meta->shared->under_way), 1))
        return 0;
    pthread_mutex_lock(&meta->look_mutex);
    rc = meta_result(mdb_txn_renew(txn->lmdb), "snapshot");
    if (rc == 0) {
        counted = mdb_txn_id(txn->lmdb);
        mdb_txn_reset(txn->lmdb);
        mdb_env_info(meta->env, &info);
        if (info.me_last_txnid != counted && !HF_LAB_BROKEN(HF_LAB_NO_TAKE_BACK))
            rc = take_back(meta, info.me_last_txnid, counted);
    }
    if (rc == 0)
        hf_store_release(&meta->shared->under_way, UINT64_C(0));
    pthread_mutex_unlock(&meta->look_mutex);
    return rc;
}

/* --- for the first to attach --- */

static int read_super_alone(const char *pool_dir, struct meta_super *super)
{
    struct meta *meta;
    int rc = meta_open_alone(pool_dir, true, &meta);

    if (rc)
        return rc;
    rc = meta_super_read(meta, super);
    meta_close(meta);
    return rc;
}

/* A durable pool's transaction that is whole counts, unless this says otherwise. */
static bool was_under_way(const char *pool_dir, uint64_t number, meta_under_way *under_way,
                          void *arg)
{
    struct meta_super super;

    if (read_super_alone(pool_dir, &super))
        return false;
    if (!(super.flags & META_DURABLE))
        return true;
    return under_way && under_way(arg, super.uuid) == number;
}

bool meta_unfinished(const char *pool_dir, int verified, meta_under_way *under_way, void *arg)
{
    uint64_t newest, counted;

    if ((verified && verified != -EUCLEAN) || lmdb_numbers(pool_dir, &newest, &counted) ||
        newest != counted + 1)
        return false;
    if (verified == 0 && !was_under_way(pool_dir, newest, under_way, arg))
        return false;
    return meta_verify_txn(pool_dir, true, NULL, NULL) == 0;
}

int meta_settle(const char *pool_dir, meta_under_way *under_way, void *arg)
{
    int rc = meta_verify(pool_dir, NULL, NULL);

    if (meta_unfinished(pool_dir, rc, under_way, arg))
        return meta_roll_back(pool_dir);
    return rc;
}

/* --- for processes that join others --- */

/* LMDB locks byte 0, and sets the file up when no other process has that lock. A process's closing
 * of any descriptor drops its locks, so this one is closed after LMDB's. A file that is not set up
 * is nobody's yet: then LMDB may. */
int meta_hold_lock_file(const char *pool_dir, int *fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    char path[META_PATH_MAX];
    uint32_t magic = 0;
    int rc = meta_path(path, pool_dir, "/lock.mdb");

    *fd = -1;
    if (rc)
        return rc;
    *fd = hf_fd_open(path, O_RDONLY, 0);
    if (*fd < 0)
        return errno == ENOENT ? 0 : hf_fail_errno(errno, "%s", path);
    do
        rc = fcntl(*fd, F_OFD_SETLKW, &lock) ? errno : 0;
    while (rc == EINTR);
    if (rc == 0 && pread(*fd, &magic, sizeof magic, 0) == sizeof magic && magic == LMDB_MAGIC)
        return 0;
    close(*fd);
    *fd = -1;
    return rc ? hf_fail_errno(rc, "lock %s", path) : 0;
}
