/* SPDX-License-Identifier: MIT */
/*
 * storm [--kills N] [--tier] [--beside]: processes with readers and writers on one cache, far more
 * objects than fit. They get, put by copy and in place, remove, hold and iterate; some are killed
 * at random moments, others stopped and continued. Each object that is got must be whole and its
 * key's, as long as it is held. At the end all memory is accounted for. --beside: the pool is
 * trimmed, deduplicated and read through a mount meanwhile (beside.c). Then keys have few versions,
 * so that what was put again is equal to what has left.
 */
#include "beside.h"
#include "objects.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKERS 3u
#define THREADS 2u
#define NUMBERS 600u
#define CAPACITY TEST_MIB(4)

struct storm {
    uint64_t steps, gets;
    uint32_t done;
    uint64_t seed;
    bool tier; /* objects that are evicted go to a second tier, and come back */
    bool beside;
};
static struct storm *storm;

struct worker {
    struct hfc *cache;
    struct test_rng rng;
};

static uint64_t length_of(uint64_t number)
{
    return number % 3 ? 8 + test_mix(number, 1) % 2500 : 8 + test_mix(number, 1) % (64 << 10);
}

static void expect_either(int rc, int other)
{
    if (rc < 0 && rc != other && rc != -ENOSPC && rc != -EBUSY)
        FAIL("%d: %s", rc, hfc_detail());
}

/* One that this process has begun, of whichever thread. */
static void take_begun(struct worker *worker)
{
    struct iovec iov[OBJECT_PIECES];
    struct hfc_fetched fetched;
    int rc = hfc_fetch_next(worker->cache, iov, OBJECT_PIECES, &fetched);

    if (rc <= 0) {
        EXPECT_EQ(rc, 0);
        return;
    }
    if (fetched.pieces < 0) {
        expect_either(fetched.pieces, -ENOENT);
        return;
    }
    object_check(iov, fetched.pieces, fetched.tag, length_of(fetched.tag));
    EXPECT_EQ(hfc_release(&fetched.ref), 0);
    test_count64(&storm->gets, 1);
}

static void begin_fetch(struct worker *worker, uint64_t number)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_ref ref;
    int rc;

    object_key(&key, number, 0);
    rc = hfc_fetch_begin(worker->cache, &key.key, number, iov, OBJECT_PIECES, &ref);
    if (rc > 0)
        EXPECT_EQ(hfc_release(&ref), 0);
    else if (rc != -EAGAIN)
        expect_either(rc, -ENOENT);
    take_begun(worker);
}

/* Holds it for a while, and looks again. */
static void get_and_hold(struct worker *worker, uint64_t number)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_ref ref;
    uint64_t version;
    int pieces;

    object_key(&key, number, 0);
    pieces = storm->tier ? hfc_fetch(worker->cache, &key.key, iov, OBJECT_PIECES, &ref)
                         : hfc_get(worker->cache, &key.key, iov, OBJECT_PIECES, &ref);
    if (pieces < 0) {
        expect_either(pieces, -ENOENT);
        return;
    }
    version = object_check(iov, pieces, number, length_of(number));
    if (test_chance(&worker->rng, 20)) {
        expect_either(object_try_put(worker->cache, number, 0, version + 1, length_of(number)), 0);
        EXPECT_EQ(object_check(iov, pieces, number, length_of(number)), version);
    }
    EXPECT_EQ(hfc_release(&ref), 0);
    test_count64(&storm->gets, 1);
}

static void take_step(struct worker *worker)
{
    uint64_t number = test_below(&worker->rng, NUMBERS);
    uint64_t version = test_random(&worker->rng) >> (storm->beside ? 62 : 2);
    uint64_t what = test_below(&worker->rng, 100);
    struct object_key key;

    object_key(&key, number, 0);
    if (what < 25 && storm->tier)
        begin_fetch(worker, number);
    else if (what < 50)
        get_and_hold(worker, number);
    else if (what < 75)
        expect_either(object_try_put(worker->cache, number, 0, version, length_of(number)), 0);
    else if (what < 90)
        expect_either(object_try_put_in_place(worker->cache, number, 0, version, length_of(number)),
                      0);
    else if (what < 98)
        expect_either(hfc_remove(worker->cache, &key.key), -ENOENT);
    else
        expect_either(hfc_touch(worker->cache, &key.key), -ENOENT);
    test_count64(&storm->steps, 1);
}

static void *work(void *arg)
{
    struct worker worker = *(struct worker *)arg;

    while (!test_peek(&storm->done))
        take_step(&worker);
    return NULL;
}

static void run_worker(void *arg)
{
    struct hf_pool *pool = test_pool_open("storm");
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    struct hfc *cache;
    int rc = hfc_open(pool, "/cache", NULL, &cache);

    if (rc)
        FAIL("open: %d, %s", rc, hfc_detail());
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){cache, {*(uint64_t *)arg + i}};
        EXPECT_EQ(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
}

static pid_t start(void)
{
    storm->seed += 100;
    return test_fork(run_worker, &storm->seed);
}

static void await_steps(uint64_t more)
{
    uint64_t target = test_peek64(&storm->steps) + more;
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;

    while (test_peek64(&storm->steps) < target) {
        if (test_now_ns() > limit)
            FAIL("no step for %u s", TEST_PATIENCE_SECONDS);
        usleep(100);
    }
}

static void print_tier(struct hfc *cache)
{
    struct hfc_tier_stats stats = {.size = sizeof(stats)};

    if (!storm->tier)
        return;
    EXPECT_EQ(hfc_tier_stats(cache, &stats), 0);
    printf("tier: %" PRIu64 " demoted, %" PRIu64 " kept, %" PRIu64 " skipped, %" PRIu64
           " promoted, %" PRIu64 " missed, %" PRIu64 " damaged\n",
           stats.demoted, stats.kept, stats.skipped, stats.promoted, stats.misses, stats.damaged);
    EXPECT(stats.demoted > 0 && stats.promoted > 0);
    EXPECT_EQ(stats.read_errors + stats.write_errors, 0);
}

static void check_end(struct hf_pool *pool, struct hfc *cache)
{
    struct hfc_stats stats;

    for (uint64_t i = 0; i < 200; i++) /* what the dead held is needed */
        object_put(cache, 10000 + i, 0, 1, 64 << 10);
    EXPECT_EQ(hfc_evict(cache, storm->tier ? UINT64_MAX : 0, NULL), 0); /* waits for the disk */
    stats = object_stats(cache);
    EXPECT_EQ(stats.held_bytes, 0);
    EXPECT_EQ(object_check_all(cache, true), stats.objects);
    EXPECT(stats.used_bytes <= CAPACITY);
    printf("storm: %" PRIu64 " steps, %" PRIu64 " objects got, %" PRIu64 " evicted, mended %" PRIu64
           " times\n",
           storm->steps, storm->gets, stats.evictions, stats.mended);
    print_tier(cache);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
    test_pool_check("storm");
}

static unsigned long parse(int argc, char **argv)
{
    static const struct option names[] = {{"kills", required_argument, NULL, 'k'},
                                          {"tier", no_argument, NULL, 't'},
                                          {"beside", no_argument, NULL, 'b'},
                                          {NULL, 0, NULL, 0}};
    unsigned long kills = 30;
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == 'k')
            kills = strtoul(optarg, NULL, 0);
        else if (option == 't')
            storm->tier = true;
        else if (option == 'b')
            storm->beside = true;
        else
            exit(2);
    }
    return kills;
}

static int body(int argc, char **argv)
{
    struct test_rng rng = {test_seed()};
    struct hfc_options options = {
        .size = sizeof(options), .capacity_bytes = CAPACITY, .objects = 1500};
    unsigned long kills;
    struct hf_pool *pool;
    struct hfc *cache;
    pid_t pids[WORKERS];

    storm = test_shared(sizeof *storm);
    storm->seed = test_random(&rng);
    kills = parse(argc, argv);
    pool = test_pool_new("storm", TEST_MIB(32));
    if (storm->tier) {
        options.tier = test_path("disk");
        options.tier_bytes = TEST_MIB(6); /* comes round a few times */
        EXPECT_EQ(mkdir(options.tier, 0700), 0);
    }
    if (hfc_open(pool, "/cache", &options, &cache))
        FAIL("open: %s", hfc_detail());
    if (storm->beside)
        beside_begin("storm");
    for (unsigned i = 0; i < WORKERS; i++)
        pids[i] = start();
    for (unsigned long kill_number = 0; kill_number < kills; kill_number++) {
        unsigned victim = (unsigned)test_below(&rng, WORKERS);

        await_steps(test_below(&rng, 300));
        if (test_chance(&rng, 20)) {
            kill(pids[victim], SIGSTOP);
            usleep((useconds_t)test_below(&rng, 2000));
            kill(pids[victim], SIGCONT);
        }
        test_kill(pids[victim]);
        pids[victim] = start();
        object_check_all(cache, false);
    }
    await_steps(1000);
    test_raise(&storm->done, 1);
    for (unsigned i = 0; i < WORKERS; i++)
        test_join(pids[i]);
    if (storm->beside)
        beside_end();
    check_end(pool, cache);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
