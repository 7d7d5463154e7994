/* SPDX-License-Identifier: MIT */
/*
 * Owns what other processes' snapshots cost this one. It waits for LMDB's table of them, clears the
 * slots of dead processes, and bounds what an old snapshot costs. Calls LMDB, shm and base.
 *
 * LMDB takes a mutex of its own for that table, and waits for it without a bound. A process may be
 * stopped with it. So it is taken only by a thread that has the segment's readers_mutex, which is
 * waited for as every lock of ours is. A thread that has that finds LMDB's free, since a process
 * that is stopped with LMDB's has ours too. Only a tool of LMDB's takes its mutex alone. For that
 * case its word is looked at as well, before and after ours was taken; the instructions between
 * that look and LMDB's are left. LMDB takes it for the first snapshot of a thread, to clear slots,
 * and when a write transaction begins after a writer's death. The first process to attach is alone,
 * and does without ours until the segment stands.
 *
 * LMDB uses no page again that a snapshot may still read. A snapshot lasts for some microseconds,
 * but its process can be stopped in the middle, for any time. Then each transaction takes new
 * pages: a GiB in a quarter of a minute. When the map or the file system is full, no process can
 * change anything. So a writer looks at the snapshots whenever the file has grown by LOOK_PAGES.
 * When the oldest one is the same at two looks, those of dead processes go. When it stays the same
 * through HELD_PAGES of growth, and its process is stopped, no transaction begins: -EBUSY, with a
 * sentence that names the process. The first transaction after that process went on, or ended,
 * begins as ever, and finds all those pages to use.
 *
 * A process that runs ends its snapshot, so it is given more: HELD_RUNNING_PAGES. That bound also
 * serves where /proc does not tell whether the process is stopped. But on a busy machine it may
 * have to wait for a processor, while writers go on and use up a small file system. LMDB's file
 * never becomes smaller again. So at each look a writer waits for it, for half a moment.
 *
 * The snapshot cannot simply be taken away. Its process may go on at any instruction, and LMDB
 * there trusts what it reads in a page. A page that a writer has used meanwhile would lead it
 * anywhere, before it could learn that its snapshot is void.
 *
 * The numbers are in shared memory, so that short-lived processes, of which none grows the file by
 * much, see the growth of all. They are under space_mutex, as all write transactions are.
 */
#include "meta/env.h"
#include "meta/lmdb_file.h"

#include "base/atomic.h"
#include "base/error.h"
#include "base/futex.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdio.h>
#include <time.h>

#define LOOK_PAGES 512u           /* 2 MiB */
#define HELD_PAGES 8192u          /* 32 MiB */
#define HELD_RUNNING_PAGES 65536u /* 256 MiB */
#define WAIT_TRIES 50u            /* of a millisecond */

#define READERS "the table of LMDB's readers"

/* ---- LMDB's mutexes ---- */

/* The first word of one in lock.mdb; null: it is not known where it is. */
static const uint32_t *word_in_lock_file(const struct meta *meta, size_t at)
{
    const struct lmdb_lock *lock = meta->lock_file;

    if (!lock || lock->format != LMDB_LOCK_FORMAT)
        return NULL;
    return (const uint32_t *)(const void *)((const char *)lock + at);
}

static bool is_taken(const uint32_t *word)
{
    uint32_t value = word ? hf_load_acquire(word) : 0;

    return value & FUTEX_TID_MASK && !(value & FUTEX_OWNER_DIED);
}

bool meta_writer_died(const struct meta *meta)
{
    const uint32_t *word = word_in_lock_file(meta, offsetof(struct lmdb_lock, writer_mutex));

    return word && hf_load_acquire(word) & FUTEX_OWNER_DIED;
}

static int lock_readers(struct meta *meta)
{
    bool died;
    int rc;

    if (!meta->readers_mutex || HF_LAB_BROKEN(HF_LAB_READERS_UNLOCKED))
        return 0;
    rc = shm_lock(meta->shm, meta->readers_mutex, READERS, &died);
    if (rc == 0 && died)
        shm_lock_mended(meta->readers_mutex); /* it protects nothing but the order */
    return rc;
}

int meta_readers_begin(struct meta *meta)
{
    const uint32_t *word = word_in_lock_file(meta, offsetof(struct lmdb_lock, readers_mutex));
    int rc;

    for (;;) {
        rc = word ? shm_await_free(meta->shm, word, READERS) : 0;
        rc = rc ? rc : lock_readers(meta);
        if (rc || !is_taken(word))
            break;
        meta_readers_end(meta);
    }
    if (rc == 0)
        HF_LAB_AT(HF_LAB_READERS);
    return rc;
}

void meta_readers_end(struct meta *meta)
{
    if (meta->readers_mutex && !HF_LAB_BROKEN(HF_LAB_READERS_UNLOCKED))
        shm_unlock(meta->readers_mutex);
}

void meta_reap_readers(struct meta *meta)
{
    int dead;

    if (meta_readers_begin(meta))
        return;
    mdb_reader_check(meta->env, &dead);
    meta_readers_end(meta);
}

static int begin_snapshot(struct meta *meta, MDB_txn **out, int *lmdb)
{
    int rc = meta_readers_begin(meta);

    *out = NULL;
    if (rc)
        return rc;
    *lmdb = mdb_txn_begin(meta->env, NULL, MDB_RDONLY, out);
    meta_readers_end(meta);
    return 0;
}

int meta_take_slot(struct meta *meta, MDB_txn **out, int *lmdb)
{
    int rc = begin_snapshot(meta, out, lmdb);

    if (rc == 0 && *lmdb == MDB_READERS_FULL) { /* the slots of the dead are worth a second try */
        meta_reap_readers(meta);
        rc = begin_snapshot(meta, out, lmdb);
    }
    return rc;
}

/* ---- old snapshots ---- */

struct oldest {
    uint64_t txn; /* UINT64_MAX: no snapshot is open */
    uint32_t pid;
};

/* A line of LMDB's list: pid, thread, number of the transaction; "-": none. Its first line is a
 * heading. */
static int note_reader(const char *line, void *arg)
{
    struct oldest *oldest = arg;
    uint64_t txn;
    uint32_t pid;

    if (sscanf(line, "%" SCNu32 " %*s %" SCNu64, &pid, &txn) == 2 && txn < oldest->txn)
        *oldest = (struct oldest){txn, pid};
    return 0;
}

static struct oldest find_oldest(struct meta *meta)
{
    struct oldest oldest = {.txn = UINT64_MAX};

    mdb_reader_list(meta->env, note_reader, &oldest);
    return oldest;
}

/* It has not ended after a wait; none for a process that is stopped. */
static bool outlasts_wait(struct meta *meta, const struct oldest *oldest)
{
    const struct timespec pause = {0, HF_NS_PER_MS};

    for (unsigned i = 0; i < WAIT_TRIES && !shm_thread_stopped(oldest->pid); i++) {
        nanosleep(&pause, NULL);
        if (find_oldest(meta).txn != oldest->txn)
            return false;
    }
    return true;
}

/* The oldest snapshot was the same through `pages` of growth. That of a dead process goes here. */
static int judge_oldest(struct meta *meta, const struct oldest *oldest, uint64_t pages, bool reads)
{
    struct shm_waiting waiting = {.holder = oldest->pid};
    char what[96];

    if (pages < LOOK_PAGES)
        return 0;
    meta_reap_readers(meta);
    if (find_oldest(meta).txn != oldest->txn)
        return 0;
    if ((!reads && !outlasts_wait(meta, oldest)) || pages < HELD_PAGES)
        return 0;
    waiting.stopped = shm_thread_stopped(oldest->pid);
    if (!waiting.stopped && pages < HELD_RUNNING_PAGES)
        return 0;
    snprintf(what, sizeof what,
             "an old state of the metadata, with %" PRIu64 " MiB that cannot be used again,",
             pages * meta->page_bytes >> 20);
    return shm_waiting_failed(NULL, &waiting, -EBUSY, what);
}

/* LOOK_PAGES have come since the last look. */
static __attribute__((noinline)) int look_at_oldest(struct meta *meta, bool reads,
                                                    const MDB_envinfo *info)
{
    struct shm_records *shared = meta->shared;
    struct oldest oldest = find_oldest(meta);
    int rc;

    if (oldest.txn >= info->me_last_txnid || oldest.txn != shared->held_txn) {
        shared->held_txn = oldest.txn;
        shared->held_pages = info->me_last_pgno;
    }
    rc = judge_oldest(meta, &oldest, info->me_last_pgno - shared->held_pages, reads);
    if (rc == 0)
        shared->looked_pages = info->me_last_pgno;
    return rc;
}

int meta_held_up(struct meta *meta, bool reads, uint64_t *last_page)
{
    MDB_envinfo info;

    mdb_env_info(meta->env, &info);
    *last_page = info.me_last_pgno;
    return __builtin_expect(info.me_last_pgno < meta->shared->looked_pages + LOOK_PAGES, 1)
               ? 0
               : look_at_oldest(meta, reads, &info);
}
