/* SPDX-License-Identifier: MIT */
/*
 * Owns what other processes' snapshots cost this one. It waits for LMDB's table of them, clears the
 * slots of dead processes, and bounds what an old snapshot costs. Calls LMDB, shm/bound.h and base.
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
 * serves where /proc does not tell whether the process is stopped.
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

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define LOOK_PAGES 1024u          /* 4 MiB */
#define HELD_PAGES 8192u          /* 32 MiB */
#define HELD_RUNNING_PAGES 65536u /* 256 MiB */

int meta_await_readers(const struct meta *meta)
{
    const struct lmdb_lock *lock = meta->lock_file;

    if (!lock || lock->format != LMDB_LOCK_FORMAT)
        return 0;
    return shm_await_free(meta->shm, (const uint32_t *)(const void *)&lock->readers_mutex,
                          "the table of LMDB's readers");
}

void meta_reap_readers(struct meta *meta)
{
    int dead;

    if (meta_await_readers(meta) == 0)
        mdb_reader_check(meta->env, &dead);
}

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

/* The oldest snapshot was the same through `pages` of growth. That of a dead process goes here. */
static int judge_oldest(struct meta *meta, const struct oldest *oldest, uint64_t pages)
{
    struct shm_waiting waiting = {.holder = oldest->pid};
    char what[96];

    if (pages < LOOK_PAGES)
        return 0;
    meta_reap_readers(meta);
    if (pages < HELD_PAGES || find_oldest(meta).txn != oldest->txn)
        return 0;
    waiting.stopped = shm_thread_stopped(oldest->pid);
    if (!waiting.stopped && pages < HELD_RUNNING_PAGES)
        return 0;
    snprintf(what, sizeof what,
             "an old state of the metadata, with %" PRIu64 " MiB that cannot be used again,",
             pages * meta->page_bytes >> 20);
    return shm_waiting_failed(NULL, &waiting, -EBUSY, what);
}

int meta_held_up(struct meta *meta, uint64_t *last_page)
{
    struct shm_records *shared = meta->shared;
    struct oldest oldest;
    MDB_envinfo info;
    int rc;

    mdb_env_info(meta->env, &info);
    *last_page = info.me_last_pgno;
    if (__builtin_expect(info.me_last_pgno < shared->looked_pages + LOOK_PAGES, 1))
        return 0;
    oldest = find_oldest(meta);
    if (oldest.txn >= info.me_last_txnid || oldest.txn != shared->held_txn) {
        shared->held_txn = oldest.txn;
        shared->held_pages = info.me_last_pgno;
    }
    rc = judge_oldest(meta, &oldest, info.me_last_pgno - shared->held_pages);
    if (rc == 0)
        shared->looked_pages = info.me_last_pgno;
    return rc;
}
