/* SPDX-License-Identifier: MIT */
/*
 * Owns transactions and each thread's cache of them: a snapshot with its reader slot, and a write
 * transaction object, so that beginning one allocates nothing. Calls LMDB and base.
 *
 * A thread finds its object by the environment's id, which is never used twice. So it never touches
 * the object of an environment that another thread has closed; the close has freed that. The
 * registry of open environments, under one lock, decides which of the two frees an object. A thread
 * that ends while the environment is registered frees it, else the close does. In the child of a
 * fork the registry is empty, so nothing of the parent's is touched.
 *
 * Room. LMDB writes a memory pool's metadata through its map of a sparse file. On a full file
 * system that would be SIGBUS in the middle of a change. In a durable pool a write of the commit
 * would fail. So a writer keeps a stretch of the file after the last used page allocated. Every
 * change is charged with the pages that it may dirty. A file system that copies what is written
 * over (btrfs) may have no room for it all the same; then a durable pool's commit fails.
 *
 * Several threads may have one transaction of LMDB's, in a durable pool (fs/join.c). The thread
 * that began it lends it, and another thread has a transaction inside it, LMDB's nested one. LMDB
 * asks for no thread there. Only the mutex of writers is bound to one, and the first thread both
 * begins and commits. Room and charge go along with the transaction, back and forth.
 *
 * The last pages of that stretch are kept for transactions that free something. So on a file system
 * that others have filled, files can still be deleted, and records of the dead be settled. LMDB
 * takes pages that earlier transactions have freed before new ones, so many deletions need no more
 * than a few of them.
 */
#include "meta/env.h"

#include "base/atomic.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

/* Room is made by this many pages; the charge of one change must fit well into it. */
#define ROOM_PAGES 512u
/* The part of it that is kept for transactions that free. */
#define SPARE_PAGES 128u

struct meta_thread {
    struct meta_txn read;
    struct meta_txn write;
    struct meta_thread *next; /* of the environment; under the registry's lock */
};

struct cached {
    uint64_t id;
    struct meta_thread *thread;
};

struct cache {
    struct cached *slots;
    unsigned used, room;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct meta *registry; /* the open environments */
static struct meta *aside;    /* environments that cannot be closed (guard.c) */
static uint64_t last_id;
static pthread_key_t cache_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static _Thread_local struct cache cache;
static _Thread_local struct cached hot; /* the one used last */

/* --- the registry --- */

static struct meta *registered(uint64_t id)
{
    struct meta *meta = registry;

    while (meta && meta->id != id)
        meta = meta->next;
    return meta;
}

static void free_thread(struct meta_thread *thread)
{
    HF_BUG_ON(thread->read.open || thread->write.open);
    if (thread->read.cursor)
        mdb_cursor_close(thread->read.cursor);
    if (thread->read.lmdb)
        mdb_txn_abort(thread->read.lmdb);
    free(thread);
}

/* Takes it off its environment's list and frees it, unless closing has done so. */
static void drop_thread(uint64_t id, struct meta_thread *thread)
{
    struct meta *meta = registered(id);
    struct meta_thread **link;

    if (!meta)
        return;
    for (link = &meta->threads; *link != thread; link = &(*link)->next)
        HF_BUG_ON(!*link);
    *link = thread->next;
    free_thread(thread);
}

static void thread_exits(void *arg)
{
    struct cache *own = arg;

    pthread_mutex_lock(&registry_lock);
    for (unsigned i = 0; i < own->used; i++)
        drop_thread(own->slots[i].id, own->slots[i].thread);
    pthread_mutex_unlock(&registry_lock);
    free(own->slots);
    *own = (struct cache){0};
    hot = (struct cached){0};
}

static void lock_registry(void)
{
    pthread_mutex_lock(&registry_lock);
}

static void unlock_registry(void)
{
    pthread_mutex_unlock(&registry_lock);
}

static void empty_registry(void)
{
    registry = NULL;
    pthread_mutex_unlock(&registry_lock);
}

static void set_up_registry(void)
{
    HF_BUG_ON(pthread_key_create(&cache_key, thread_exits) != 0);
    HF_BUG_ON(pthread_atfork(lock_registry, unlock_registry, empty_registry) != 0);
}

void meta_register(struct meta *meta)
{
    pthread_once(&once, set_up_registry);
    pthread_mutex_lock(&registry_lock);
    meta->id = ++last_id;
    meta->next = registry;
    registry = meta;
    pthread_mutex_unlock(&registry_lock);
}

void meta_unregister(struct meta *meta)
{
    struct meta **link;

    pthread_mutex_lock(&registry_lock);
    for (link = &registry; *link != meta; link = &(*link)->next)
        HF_BUG_ON(!*link);
    *link = meta->next;
    while (meta->threads) {
        struct meta_thread *thread = meta->threads;
        meta->threads = thread->next;
        free_thread(thread);
    }
    pthread_mutex_unlock(&registry_lock);
}

void meta_put_aside(struct meta *meta)
{
    meta->shared = &meta->own;
    pthread_mutex_lock(&registry_lock);
    meta->next = aside;
    aside = meta;
    pthread_mutex_unlock(&registry_lock);
}

/* --- a thread's cache --- */

static void forget_closed(void)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < cache.used; i++)
        if (registered(cache.slots[i].id))
            cache.slots[kept++] = cache.slots[i];
    cache.used = kept;
}

static int grow_cache(void)
{
    unsigned room = cache.room ? 2 * cache.room : 4;
    struct cached *slots;

    if (cache.used < cache.room)
        return 0;
    slots = realloc(cache.slots, room * sizeof *slots);
    if (!slots)
        return -ENOMEM;
    cache.slots = slots;
    cache.room = room;
    return -pthread_setspecific(cache_key, &cache);
}

static int new_thread(struct meta *meta, struct meta_thread **out)
{
    struct meta_thread *thread = calloc(1, sizeof *thread);
    int rc;

    if (!thread)
        return hf_fail(ENOMEM, "out of memory");
    thread->read.meta = meta;
    thread->write.meta = meta;
    thread->write.write = true;
    pthread_mutex_lock(&registry_lock);
    forget_closed();
    rc = grow_cache();
    if (rc == 0) {
        thread->next = meta->threads;
        meta->threads = thread;
        cache.slots[cache.used++] = (struct cached){meta->id, thread};
    }
    pthread_mutex_unlock(&registry_lock);
    if (rc) {
        free(thread);
        return hf_fail_errno(-rc, "a thread's metadata cache");
    }
    *out = thread;
    return 0;
}

static int thread_of(struct meta *meta, struct meta_thread **out)
{
    int rc;

    if (__builtin_expect(hot.id == meta->id, 1)) {
        *out = hot.thread;
        return 0;
    }
    for (unsigned i = 0; i < cache.used; i++)
        if (cache.slots[i].id == meta->id) {
            hot = cache.slots[i];
            *out = hot.thread;
            return 0;
        }
    rc = new_thread(meta, out);
    if (rc == 0)
        hot = (struct cached){meta->id, *out};
    return rc;
}

void meta_thread_end(struct meta *meta)
{
    pthread_mutex_lock(&registry_lock);
    for (unsigned i = 0; i < cache.used; i++)
        if (cache.slots[i].id == meta->id) {
            drop_thread(meta->id, cache.slots[i].thread);
            cache.slots[i] = cache.slots[--cache.used];
            break;
        }
    pthread_mutex_unlock(&registry_lock);
    if (hot.id == meta->id)
        hot = (struct cached){0};
}

/* --- snapshots --- */

static int first_snapshot(struct meta_txn *txn)
{
    int lmdb = 0, rc = meta_take_slot(txn->meta, &txn->lmdb, &lmdb);

    rc = rc ? rc : meta_result(lmdb, "snapshot");
    if (rc)
        return rc;
    rc = lmdb_open_cursor(txn);
    if (rc) {
        mdb_txn_abort(txn->lmdb);
        txn->lmdb = NULL;
        txn->cursor = NULL;
    }
    return rc;
}

int meta_begin_read(struct meta *meta, struct meta_txn **out)
{
    struct meta_thread *thread;
    struct meta_txn *txn;
    int rc = thread_of(meta, &thread);

    if (rc)
        return rc;
    rc = meta_refused(meta);
    if (rc)
        return rc;
    txn = &thread->read;
    HF_BUG_ON(txn->open);
    if (__builtin_expect(!txn->lmdb, 0)) {
        rc = first_snapshot(txn);
    } else {
        rc = meta_result(mdb_txn_renew(txn->lmdb), "snapshot");
        if (rc == 0) {
            rc = lmdb_renew_cursor(txn);
            if (rc)
                mdb_txn_reset(txn->lmdb);
        }
    }
    if (rc)
        return rc;
    txn->open = true;
    *out = txn;
    return 0;
}

void meta_end_read(struct meta_txn *txn)
{
    HF_BUG_ON(!txn->open || txn->write);
    mdb_txn_reset(txn->lmdb);
    txn->open = false;
}

uint64_t meta_snapshot_number(const struct meta_txn *txn)
{
    return mdb_txn_id(txn->lmdb);
}

/* --- write transactions --- */

/* LMDB's write lock orders all accesses to reserved_pages, so relaxed ones are enough; they are
 * atomic because ThreadSanitizer does not see that lock. */
static uint64_t reserved(const struct meta *meta)
{
    return hf_load_relaxed(&meta->reserved_pages);
}

/* Allocates the file up to `pages`, at most to the end of the map, where LMDB itself stops. */
static int reserve_pages(struct meta *meta, uint64_t pages)
{
    uint64_t from = reserved(meta);
    int rc;

    if (pages > meta->map_pages)
        pages = meta->map_pages;
    if (pages <= from)
        return 0;
    do
        rc = fallocate(meta->fd, FALLOC_FL_KEEP_SIZE, (off_t)(from * meta->page_bytes),
                       (off_t)((pages - from) * meta->page_bytes))
                 ? errno
                 : 0;
    while (rc == EINTR);
    if (rc && rc != EOPNOTSUPP)
        return hf_fail_errno(rc, "no room for the pool's metadata");
    hf_store_relaxed(&meta->reserved_pages, pages);
    return 0;
}

/* On a full file system, the room is what has memory already. A process does not know where the
 * stretch ends that earlier processes allocated. */
static void find_room(struct meta_txn *txn, uint64_t next)
{
    struct meta *meta = txn->meta;
    uint64_t pages = ROOM_PAGES;

    if (__builtin_expect(next + ROOM_PAGES / 2 > reserved(meta), 0))
        while (pages && reserve_pages(meta, next + pages))
            pages /= 2;
    txn->room_pages = reserved(meta) > next ? reserved(meta) - next : 0;
}

void meta_txn_frees(struct meta_txn *txn)
{
    txn->frees = true;
}

void meta_txn_next_part(struct meta_txn *txn)
{
    txn->frees = false;
}

/* Fewer pages than that are left. */
static int make_room(struct meta_txn *txn, uint64_t pages)
{
    int rc = reserve_pages(txn->meta, reserved(txn->meta) + pages + ROOM_PAGES);

    txn->room_pages += rc ? 0 : pages + ROOM_PAGES;
    return rc;
}

static uint64_t spared(const struct meta_txn *txn)
{
    return txn->frees ? 0 : SPARE_PAGES;
}

static int charge(struct meta_txn *txn, uint64_t pages)
{
    txn->room_pages -= pages;
    txn->charged_pages += (uint32_t)pages;
    return 0;
}

/* A transaction that changes much, or has no room; `pages` for the value. */
static __attribute__((noinline)) int charge_more(struct meta_txn *txn, uint64_t pages)
{
    MDB_stat stat;
    int rc = 0;

    if (!txn->write || txn->meta->readonly)
        return hf_fail(EROFS, "the transaction may not write");
    if (txn->charged_pages < ROOM_PAGES / 4)
        pages += 8;
    else if (mdb_stat(txn->lmdb, txn->meta->dbi, &stat) == 0 &&
             txn->charged_pages < stat.ms_branch_pages + stat.ms_leaf_pages)
        pages += 2;
    if (pages + spared(txn) > txn->room_pages)
        rc = make_room(txn, pages);
    return rc ? rc : charge(txn, pages);
}

/* One change dirties the path down to its leaf and may split each page of it. A transaction as a
 * whole dirties no more pages than the tree had, and splits few: from there on it is charged
 * less. */
int meta_charge(struct meta_txn *txn, size_t len)
{
    uint64_t pages = 1 + len / txn->meta->page_bytes;

    if (__builtin_expect(txn->write && !txn->meta->readonly &&
                             txn->charged_pages < ROOM_PAGES / 4 &&
                             pages + 8 + spared(txn) <= txn->room_pages,
                         1))
        return charge(txn, pages + 8);
    return charge_more(txn, pages);
}

/* After a writer's death, LMDB clears the slots of the dead first. Under space_mutex, so no writer
 * dies between the look and that. */
static int begin_in_lmdb(struct meta *meta, MDB_txn **out)
{
    bool clears = meta_writer_died(meta);
    int rc = clears ? meta_readers_begin(meta) : 0;

    if (rc)
        return rc;
    rc = meta_result(mdb_txn_begin(meta->env, NULL, 0, out), "transaction");
    if (clears)
        meta_readers_end(meta);
    return rc;
}

int meta_begin_write(struct meta *meta, struct meta_txn **out)
{
    struct meta_thread *thread;
    struct meta_txn *txn;
    uint64_t last_page;
    int rc = thread_of(meta, &thread);

    if (rc)
        return rc;
    if (meta->readonly)
        return hf_fail(EROFS, "the pool is open for reading only");
    rc = meta_refused(meta);
    rc = rc ? rc : meta_settle_commit(meta);
    rc = rc ? rc : meta_held_up(meta, thread->read.open, &last_page);
    if (rc)
        return rc;
    txn = &thread->write;
    HF_BUG_ON(txn->open);
    rc = begin_in_lmdb(meta, &txn->lmdb);
    if (rc)
        return rc;
    txn->cursor = NULL;
    txn->outer = NULL;
    txn->charged_pages = 0;
    txn->frees = txn->intents_known = false;
    find_room(txn, last_page + 1); /* under space_mutex it is still that */
    txn->open = true;
    *out = txn;
    return 0;
}

/* ---- inside another one ---- */

void meta_lend(struct meta_txn *txn)
{
    HF_BUG_ON(!txn->open || !txn->write || txn->meta->in_place);
    if (txn->cursor && !txn->asserted)
        mdb_cursor_close(txn->cursor);
    txn->cursor = NULL;
}

static void copy_counts(struct meta_txn *to, const struct meta_txn *from)
{
    to->room_pages = from->room_pages;
    to->charged_pages = from->charged_pages;
    to->intents_known = from->intents_known;
    to->intents = from->intents;
    to->intents_of = from->intents_of;
}

int meta_begin_inside(struct meta_txn *outer, struct meta_txn **out)
{
    struct meta_thread *thread;
    struct meta_txn *txn;
    int rc = thread_of(outer->meta, &thread);

    rc = rc ? rc : meta_refused(outer->meta);
    if (rc)
        return rc;
    txn = &thread->write;
    HF_BUG_ON(txn->open);
    rc = meta_result(mdb_txn_begin(outer->meta->env, outer->lmdb, 0, &txn->lmdb), "transaction");
    if (rc)
        return rc;
    txn->cursor = NULL;
    txn->outer = outer;
    txn->frees = false;
    copy_counts(txn, outer);
    txn->open = true;
    *out = txn;
    return 0;
}

/* A transaction in which LMDB has given up is left as it is: guard.c says why. So is the one around
 * it. */
static void mark_closed(struct meta_txn *txn)
{
    HF_BUG_ON(!txn->open || !txn->write);
    txn->open = false;
    txn->meta->stuck |= txn->asserted;
    if (txn->outer)
        txn->outer->asserted |= txn->asserted;
}

/* When it fails, LMDB has undone it, or has marked the outer one as one that cannot commit. */
static int commit_inside(struct meta_txn *txn)
{
    int rc = lmdb_commit(txn);

    if (rc == 0)
        copy_counts(txn->outer, txn);
    mark_closed(txn);
    return rc;
}

/* LMDB frees a write transaction's cursors with it. */
int meta_commit(struct meta_txn *txn)
{
    struct shm_records *shared = txn->meta->shared;
    uint64_t number = mdb_txn_id(txn->lmdb);
    int rc;

    if (txn->outer)
        return commit_inside(txn);
    hf_store_release(&shared->under_way, number);
    rc = lmdb_commit(txn);
    if (rc == 0) { /* else its page may have been written */
        if (__builtin_expect(txn->intents_known && !txn->intents, 0))
            hf_store_release(&shared->no_intents_from, number);
        hf_store_release(&shared->under_way, UINT64_C(0));
    }
    mark_closed(txn);
    return rc;
}

void meta_abort(struct meta_txn *txn)
{
    mark_closed(txn);
    if (!txn->asserted)
        mdb_txn_abort(txn->lmdb);
}
