/* SPDX-License-Identifier: MIT */
/*
 * stop [ROW]
 *
 * A process is stopped (SIGSTOP) with the cache's lock, in a put, or with an object that it has
 * got. Or it has the pool's mutex of the file of objects. Another process makes every call of
 * holdfast/cache.h, each in a thread of its own. A call that needs nothing of it does as ever.
 * Another one ends, and when it fails, it names the process that is stopped. No more is evicted
 * than the calls need. Then that process goes on, or is killed, and everything goes on.
 *
 * A bound is only told from a hang: a call that has not ended after LOOKS_AT_MOST, each a
 * millisecond or more after the one before.
 */
#include "cache/lab.h"
#include "objects.h"
#include "pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define LOOKS_AT_MOST 60000u
#define OBJECTS 100u /* put; the cache has room for fewer */
#define LARGE KIB(16)
#define SMALL 100u
#define PREPARED 2u /* puts that were begun before the other process was stopped */

static struct {
    uint32_t ready, go, tabled;
    uint32_t refused; /* calls that ended because the other process is stopped */
    pid_t victim;
} * shared;

static struct hf_pool *pool;
static struct hfc *cache, *spare;
static struct hfc_put *prepared[PREPARED];
static struct object_key a_key, cold_key, new_keys[8]; /* cold: its pages are not present */

/* ---- the calls ---- */

enum need { NOTHING, FILE_MUTEX, LOCK }; /* a call that needs the lock may need the mutex too */

struct call {
    const char *name;
    long (*make)(void);
    enum need need;
    pthread_t thread;
    uint32_t ended;
    long rc;
    char sentence[512];
};

static long put_large(void)
{
    return object_try_put(cache, 1000, 0, 1, LARGE);
}

static long put_small(void)
{
    return object_try_put(cache, 1001, 0, 1, SMALL);
}

static long put_in_place(void)
{
    return object_try_put_in_place(cache, 1002, 0, 1, LARGE);
}

static long begin_and_abort(void)
{
    struct iovec iov[OBJECT_PIECES];
    struct hfc_put *put;
    int pieces =
        hfc_put_begin(cache, &new_keys[0].key, LARGE, HF_PIN_CPU, iov, OBJECT_PIECES, &put);

    if (pieces > 0)
        hfc_put_abort(put);
    return pieces;
}

static long commit_prepared(void)
{
    return hfc_put_commit(prepared[0], LARGE);
}

/* It may leave the memory to the next put, and does not say so. */
static long abort_prepared(void)
{
    hfc_put_abort(prepared[1]);
    return 0;
}

static long remove_it(void)
{
    long rc = hfc_remove(cache, &a_key.key);

    return rc == -ENOENT ? 0 : rc; /* evicted */
}

static long evict_it(void)
{
    return hfc_evict(cache, HF_BLOCK_BYTES, NULL);
}

static long quota_it(void)
{
    return hfc_quota(cache, 1, TEST_MIB(1));
}

static long stats_it(void)
{
    struct hfc_stats stats = {.size = sizeof(stats)};

    return hfc_stats(cache, &stats);
}

static long open_it(void)
{
    struct hfc *more;
    long rc = hfc_open(pool, "/cache", NULL, &more);

    if (rc == 0)
        EXPECT_EQ(hfc_close(more), 0);
    return rc;
}

static long close_it(void)
{
    return hfc_close(spare);
}

static long get(const struct object_key *key)
{
    struct iovec iov[OBJECT_PIECES];
    struct hfc_ref ref;
    long pieces = hfc_get(cache, &key->key, iov, OBJECT_PIECES, &ref);

    if (pieces > 0)
        EXPECT_EQ(hfc_release(&ref), 0);
    return pieces == -ENOENT ? 0 : pieces;
}

static long get_it(void)
{
    return get(&a_key);
}

static long get_cold(void)
{
    return get(&cold_key);
}

static long get_many(void)
{
    struct iovec iov[OBJECT_PIECES];
    struct hfc_got got;
    long count = hfc_get_many(cache, &a_key.key, 1, 0, iov, OBJECT_PIECES, &got);

    if (count == 1)
        EXPECT_EQ(hfc_release(&got.ref), 0);
    return count;
}

static long exists_it(void)
{
    uint8_t where;

    return hfc_exists(cache, &a_key.key, 1, &where);
}

static long touch_it(void)
{
    long rc = hfc_touch(cache, &a_key.key);

    return rc == -ENOENT ? 0 : rc;
}

static long fetch_it(void)
{
    struct iovec iov[OBJECT_PIECES];
    struct hfc_ref ref;
    long pieces = hfc_fetch(cache, &a_key.key, iov, OBJECT_PIECES, &ref);

    if (pieces > 0)
        EXPECT_EQ(hfc_release(&ref), 0);
    return pieces == -ENOENT ? 0 : pieces;
}

static long fetch_by_begin(void)
{
    struct iovec iov[OBJECT_PIECES];
    struct hfc_fetched fetched;
    struct hfc_ref ref;
    long pieces = hfc_fetch_begin(cache, &a_key.key, 1, iov, OBJECT_PIECES, &ref);

    if (pieces > 0)
        EXPECT_EQ(hfc_release(&ref), 0);
    EXPECT_OK(hfc_fetch_fd(cache));
    EXPECT_EQ(hfc_fetch_next(cache, iov, OBJECT_PIECES, &fetched), 0);
    return pieces == -ENOENT ? 0 : pieces;
}

static long next_it(void)
{
    struct hfc_entry entry;
    uint64_t cursor = 0;

    return hfc_next(cache, &cursor, &entry);
}

static long tier_stats_it(void)
{
    struct hfc_tier_stats stats = {.size = sizeof(stats)};
    long rc = hfc_tier_stats(cache, &stats);

    return rc == -ENOENT ? 0 : rc;
}

static long peek_it(void)
{
    struct hfc_stats stats = {.size = sizeof(stats)};
    struct hfc_tier_stats tier = {.size = sizeof(tier)};

    return hfc_peek(pool, "/cache", &stats, &tier);
}

static struct call calls[] = {
    {.name = "put", .make = put_large, .need = LOCK},
    {.name = "put small", .make = put_small, .need = LOCK},
    {.name = "put in place", .make = put_in_place, .need = LOCK},
    {.name = "put, given up", .make = begin_and_abort, .need = LOCK},
    {.name = "commit", .make = commit_prepared, .need = LOCK},
    {.name = "abort", .make = abort_prepared, .need = LOCK},
    {.name = "remove", .make = remove_it, .need = LOCK},
    {.name = "evict", .make = evict_it, .need = LOCK},
    {.name = "quota", .make = quota_it, .need = LOCK},
    {.name = "stats", .make = stats_it, .need = LOCK},
    {.name = "open", .make = open_it, .need = LOCK},
    {.name = "close", .make = close_it},
    {.name = "get", .make = get_it, .need = FILE_MUTEX}, /* the first pin of a thread */
    {.name = "get cold", .make = get_cold, .need = FILE_MUTEX},
    {.name = "get many", .make = get_many},
    {.name = "exists", .make = exists_it},
    {.name = "touch", .make = touch_it},
    {.name = "fetch", .make = fetch_it, .need = FILE_MUTEX},
    {.name = "fetch, begun", .make = fetch_by_begin, .need = FILE_MUTEX},
    {.name = "next", .make = next_it},
    {.name = "tier stats", .make = tier_stats_it},
    {.name = "peek", .make = peek_it},
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

static void *make_call(void *arg)
{
    struct call *call = arg;

    call->rc = call->make();
    if (call->rc < 0)
        snprintf(call->sentence, sizeof(call->sentence), "%s", hfc_detail());
    test_raise(&call->ended, 1);
    return NULL;
}

static void await_call(struct call *call)
{
    for (unsigned looks = 0; !test_peek(&call->ended); looks++) {
        if (looks == LOOKS_AT_MOST)
            FAIL("%s hangs", call->name);
        test_sleep_ms(1);
    }
    EXPECT_EQ(pthread_join(call->thread, NULL), 0);
}

/* ---- the rows ---- */

static void stop_here(enum cache_lab_point point)
{
    if (point != CACHE_LAB_TAKES)
        return;
    cache_lab_at = NULL;
    raise(SIGSTOP);
}

static void stop_with_lock(void)
{
    cache_lab_at = stop_here;
    EXPECT_EQ(put_large(), 0);
}

static void stop_in_put(void)
{
    struct iovec iov[OBJECT_PIECES];
    struct hfc_put *put;

    EXPECT_OK(hfc_put_begin(cache, &new_keys[1].key, LARGE, HF_PIN_CPU, iov, OBJECT_PIECES, &put));
    raise(SIGSTOP);
    hfc_put_abort(put);
}

static void stop_with_object(void)
{
    struct iovec iov[OBJECT_PIECES];
    struct hfc_ref ref;

    EXPECT_OK(hfc_get(cache, &a_key.key, iov, OBJECT_PIECES, &ref));
    raise(SIGSTOP);
    EXPECT_EQ(hfc_release(&ref), 0);
}

static void stop_with_file(void)
{
    struct hf_file *file;

    EXPECT_EQ(hf_open(pool, "/cache/data", O_RDWR, 0, &file), 0);
    EXPECT_EQ(dax_lock_any(&pool->fs.dax, file->vnode), 0);
    raise(SIGSTOP);
    dax_unlock(&pool->fs.dax, file->vnode);
    EXPECT_EQ(hf_close(file), 0);
}

static const struct row {
    const char *name;
    void (*act)(void);
    bool lock, file; /* it has that */
} rows[] = {
    {.name = "lock", .act = stop_with_lock, .lock = true},
    {.name = "put", .act = stop_in_put},
    {.name = "object", .act = stop_with_object},
    {.name = "file", .act = stop_with_file, .file = true},
};

static const struct row *row;

static void judge_call(const struct call *call)
{
    char victim[32];

    if (call->rc >= 0) {
        if (call->need == LOCK && row->lock && call->make != abort_prepared)
            FAIL("%s has succeeded without the lock", call->name);
        return;
    }
    snprintf(victim, sizeof(victim), "process %d ", (int)shared->victim);
    if (call->rc != -EBUSY || !((row->lock && call->need == LOCK) || (row->file && call->need)))
        FAIL("%s gave %ld: %s", call->name, call->rc, call->sentence);
    if (!strstr(call->sentence, victim) || !strstr(call->sentence, "stopped"))
        FAIL("%s names no stopped process: %s", call->name, call->sentence);
    test_count(&shared->refused);
}

/* ---- the processes ---- */

static void open_all(void)
{
    pool = test_pool_open("stop");
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    object_key(&a_key, OBJECTS - 1, 0);
    object_key(&cold_key, OBJECTS - 2, 0);
    for (unsigned i = 0; i < 8; i++)
        object_key(&new_keys[i], 2000 + i, 0);
}

static void prepare(void)
{
    struct iovec iov[OBJECT_PIECES];

    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &spare), 0);
    EXPECT_EQ(get(&a_key), 1); /* its pages are present from now on */
    for (unsigned i = 0; i < PREPARED; i++) {
        int pieces = hfc_put_begin(cache, &new_keys[4 + i].key, LARGE, HF_PIN_CPU, iov,
                                   OBJECT_PIECES, &prepared[i]);

        EXPECT_OK(pieces);
        object_fill(iov, pieces, 2000 + 4 + i, 1);
    }
}

static void victim(void *arg)
{
    (void)arg;
    open_all();
    test_raise(&shared->ready, 1);
    test_await(&shared->go, 1);
    row->act();
}

/* All that was held is free, and the cache takes objects. */
static void go_on(uint64_t evictions)
{
    EXPECT(object_stats(cache).evictions - evictions <= 2 * CALLS);
    for (uint64_t i = 0; i < OBJECTS; i++)
        object_put(cache, i, 0, 2, LARGE);
    EXPECT_EQ(object_stats(cache).held_bytes, 0);
    EXPECT_EQ(object_check_all(cache, true), object_stats(cache).objects);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
}

static void other(void *arg)
{
    uint64_t evictions;

    (void)arg;
    open_all();
    prepare();
    evictions = object_stats(cache).evictions;
    test_raise(&shared->ready, 2);
    test_await(&shared->go, 2);
    EXPECT_EQ(get(&a_key), 1);
    for (unsigned i = 0; i < CALLS; i++)
        EXPECT_EQ(pthread_create(&calls[i].thread, NULL, make_call, &calls[i]), 0);
    for (unsigned i = 0; i < CALLS; i++)
        await_call(&calls[i]);
    for (unsigned i = 0; i < CALLS; i++)
        judge_call(&calls[i]);
    test_raise(&shared->tabled, 1);
    test_await(&shared->go, 3);
    go_on(evictions);
}

static void fill(void *arg)
{
    (void)arg;
    pool = test_pool_new("stop", TEST_MIB(16));
    cache = object_cache(pool, TEST_MIB(1), HFC_FIFO, 800);
    for (uint64_t i = 0; i < OBJECTS; i++)
        object_put(cache, i, 0, 1, i % 4 ? LARGE : SMALL);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
}

static void experiment(bool kills)
{
    pid_t process;
    int status;

    memset(shared, 0, sizeof(*shared));
    test_join(test_fork(fill, NULL));
    shared->victim = test_fork(victim, NULL);
    test_await(&shared->ready, 1);
    process = test_fork(other, NULL);
    test_await(&shared->ready, 2);
    test_raise(&shared->go, 1);
    EXPECT_EQ(waitpid(shared->victim, &status, WUNTRACED), shared->victim);
    EXPECT(WIFSTOPPED(status));
    test_raise(&shared->go, 2);
    while (!test_peek(&shared->tabled)) {
        if (waitpid(process, &status, WNOHANG) == process)
            FAIL("%s: the other process failed", row->name);
        test_sleep_ms(1);
    }
    EXPECT_EQ(kill(shared->victim, kills ? SIGKILL : SIGCONT), 0);
    status = test_wait_status(shared->victim);
    EXPECT(kills || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    test_raise(&shared->go, 3);
    test_join(process);
    test_pool_check("stop");
    test_remove_tree(test_path("stop"));
    printf("%s, then %s: %u calls refused\n", row->name, kills ? "killed" : "continued",
           test_peek(&shared->refused));
}

static int body(int argc, char **argv)
{
    shared = test_shared(sizeof(*shared));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (argc > 1 && strcmp(argv[1], rows[i].name) != 0)
            continue;
        row = &rows[i];
        experiment(false);
        experiment(true);
        EXPECT(!row->lock || test_peek(&shared->refused) > 0);
    }
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
