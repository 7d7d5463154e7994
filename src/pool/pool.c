/* SPDX-License-Identifier: MIT */
/*
 * Owns the registry of the pools that this process has open. LMDB allows a process one environment
 * of a file, so a pool is attached once, however often it is opened. Device and inode of its
 * directory identify it. In the child of a fork the registry is empty: the calls refuse the
 * parent's handles there.
 */
#include "pool/pool.h"

#include "base/error.h"
#include "base/fork.h"
#include "dax/client.h"
#include "pool/attach.h"
#include "sync/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct hf_pool *registry;

/* Only this thread exists in the child, so the mutex may be initialized whichever thread had it. */
static void drop_in_child(void)
{
    registry = NULL;
    registry_mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    dax_client_in_child();
    dax_recall_in_child();
    shm_in_child();
}

void pool_watch_forks(void)
{
    hf_fork_watch(drop_in_child);
}

static struct hf_pool *find_open(const struct stat *st)
{
    struct hf_pool *pool = registry;

    while (pool && (pool->dev != st->st_dev || pool->ino != st->st_ino))
        pool = pool->next;
    return pool;
}

static int open_again(struct hf_pool *pool, const char *path, bool readonly, const char *engine)
{
    if (engine && strcmp(pool->fs.dax.engine->name, engine) != 0)
        return hf_fail(EBUSY, "%s is open in this process already, with engine %s", path,
                       pool->fs.dax.engine->name);
    if (pool->fs.dax.readonly != readonly)
        return hf_fail(EBUSY, "%s is open in this process already, %s: close it first", path,
                       readonly ? "for writing" : "for reading only");
    pool->opens++;
    return 0;
}

static int attach_new(const char *path, bool readonly, const char *engine, const struct stat *st,
                      struct hf_pool **out)
{
    struct hf_pool *pool = malloc(sizeof *pool);
    char *dir = realpath(path, NULL);
    int rc = 0;

    if (!pool || !dir)
        rc = hf_fail_errno(errno, "%s", path);
    rc = rc ? rc : pool_attach(&pool->fs, dir, readonly, engine);
    free(dir);
    if (rc) {
        free(pool);
        return rc;
    }
    dax_stacks_begin(&pool->fs.dax);
    pool->opens = 1;
    pool->dev = st->st_dev;
    pool->ino = st->st_ino;
    pool->next = registry;
    registry = pool;
    *out = pool;
    return 0;
}

int pool_open(const char *path, uint32_t flags, const char *engine, struct hf_pool **out)
{
    bool readonly = flags & HF_OPEN_RDONLY;
    struct hf_pool *pool;
    struct stat st;
    int rc;

    if (stat(path, &st))
        return hf_fail_errno(errno, "%s", path);
    if (engine && !sync_engine_find(engine))
        return hf_fail(EOPNOTSUPP, "engine %.23s is not in this Holdfast", engine);
    pool_watch_forks();
    pthread_mutex_lock(&registry_mutex);
    pool = find_open(&st);
    if (!pool) {
        rc = attach_new(path, readonly, engine, &st, out);
    } else {
        rc = open_again(pool, path, readonly, engine);
        if (rc == 0)
            *out = pool;
    }
    pthread_mutex_unlock(&registry_mutex);
    return rc;
}

int pool_open_anonymous(const struct hf_pool_options *options, struct hf_pool **out)
{
    struct hf_pool *pool = malloc(sizeof *pool);
    int rc;

    if (!pool)
        return hf_fail(ENOMEM, "out of memory");
    pool_watch_forks();
    rc = pool_attach_anonymous(&pool->fs, options);
    if (rc) {
        free(pool);
        return rc;
    }
    dax_stacks_begin(&pool->fs.dax);
    pool->opens = 1;
    pool->dev = 0;
    pool->ino = 0;
    pthread_mutex_lock(&registry_mutex);
    pool->next = registry;
    registry = pool;
    pthread_mutex_unlock(&registry_mutex);
    *out = pool;
    return 0;
}

static int check_unused(struct hf_pool *pool)
{
    uint32_t handles = hf_load_acquire(&pool->fs.handles);
    uint64_t pins = shm_process_pins(pool->fs.dax.shm);
    uint64_t puts = shm_process_puts(pool->fs.dax.shm);
    uint32_t registrations = shm_registrations_own(pool->fs.dax.shm);

    if (!handles && !pins && !puts && !registrations)
        return 0;
    dax_stacks_print(&pool->fs.dax, pool->fs.dir);
    return hf_fail(EBUSY,
                   "%u files or directories, %" PRIu64 " pins, %" PRIu64
                   " puts and %u registrations of the memory by this process are still open",
                   handles, pins, puts, registrations);
}

/* One opening less; true: it was the last, and the pool is out of the registry. */
static bool last_opening(struct hf_pool *pool)
{
    struct hf_pool **link = &registry;

    if (--pool->opens)
        return false;
    while (*link != pool)
        link = &(*link)->next;
    *link = pool->next;
    return true;
}

int pool_close(struct hf_pool *pool)
{
    int rc = 0;

    fs_reclaim(&pool->fs);
    pthread_mutex_lock(&registry_mutex);
    while (pool->opens == 1 && (rc = check_unused(pool)) == 0 &&
           (rc = dax_recall_calls(&pool->fs.dax, false)) > 0) {
        pthread_mutex_unlock(&registry_mutex); /* the callback may want it */
        dax_recall_calls(&pool->fs.dax, true);
        pthread_mutex_lock(&registry_mutex);
    }
    if (rc == 0 && last_opening(pool)) {
        dax_stacks_end(&pool->fs.dax);
        pool_detach(&pool->fs);
        free(pool);
    }
    pthread_mutex_unlock(&registry_mutex);
    return rc;
}

/* The process ends. Pools of a parent are not in the registry; one that another thread is opening
 * or closing is its business. */
__attribute__((destructor)) static void at_exit(void)
{
    if (pthread_mutex_trylock(&registry_mutex))
        return;
    for (struct hf_pool *pool = registry; pool; pool = pool->next)
        dax_stacks_print(&pool->fs.dax, pool->fs.dir);
    pthread_mutex_unlock(&registry_mutex);
}
