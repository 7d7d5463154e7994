/* SPDX-License-Identifier: MIT */
/*
 * Members that serve caches and find each other by a real etcd, and a client. Members are killed,
 * stopped and started again on their old pools; etcd is stopped. A get returns what was put last,
 * or nothing. Every byte is compared. In the end all is served again.
 *
 * With --replicas, each object is in two members. All are still got after one of them is killed,
 * and after it has come back empty.
 *
 * usage: cluster-served [--rounds N] [--replicas]
 *        cluster-served --alone     as with --replicas, but there are none: this must be seen
 */
#include "etcds.h"
#include "rig.h"
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMBERS 3u
#define OBJECTS 60u
#define LARGE 40000u

static unsigned rounds = 10, replicas = 1;
static bool alone, missed; /* missed: an object that was acknowledged */

static struct shared {
    uint32_t joined[MEMBERS], leaves[MEMBERS];
} * shared;

static struct world {
    struct test_rng rng;
    struct hfx *cluster;
    pid_t pids[MEMBERS];
    bool stopped[MEMBERS];
    uint64_t versions, certain[OBJECTS]; /* the last whose put has returned 0, or may have come */
    uint64_t puts, hits, misses, failures;
} world;

static void be_member(void *arg)
{
    const struct hfc_options cache_options = {.size = sizeof cache_options,
                                              .capacity_bytes = TEST_MIB(8)};
    const struct hfx_etcd etcd = {
        .size = sizeof etcd, .urls = etcds_urls(), .lease_seconds = 1, .replicas = replicas};
    unsigned index = *(unsigned *)arg;
    char name[16], pool_name[16];
    struct hfx_server_options options = {
        .size = sizeof options, .name = name, .secret = RIG_SECRET};
    struct hfx_server *server;
    struct hf_pool *pool;

    snprintf(name, sizeof name, "m%u", index);
    snprintf(pool_name, sizeof pool_name, "pool-%u", index);
    pool = test_pool_open(pool_name);
    EXPECT_OK(hfc_open(pool, "/cache", &cache_options, &options.cache));
    EXPECT_OK(hfx_server_open(&options, &server));
    EXPECT_OK(hfx_server_join(server, &etcd));
    EXPECT_OK(hfx_server_await(server, TEST_PATIENCE_NS));
    test_raise(&shared->joined[index], 1);
    test_await(&shared->leaves[index], 1);
    hfx_server_close(server);
    EXPECT_OK(hfc_close(options.cache));
    test_pool_close(pool);
}

static void start_member(struct world *w, unsigned index)
{
    shared->joined[index] = shared->leaves[index] = 0; /* nobody has that number now */
    w->pids[index] = test_fork(be_member, &index);
}

static size_t length_of(uint64_t number)
{
    return number % 3 == 0 ? LARGE : 64;
}

/* A put that failed may have been done, and may still be. So the number is not used again. */
static void put_one(struct world *w, uint64_t number)
{
    uint64_t version = ++w->versions;
    char bytes[LARGE];
    struct rig_key key;

    rig_fill(bytes, length_of(number), number, version);
    if (hfx_put(w->cluster, rig_key(&key, number), bytes, length_of(number)) == 0) {
        w->certain[number] = version;
        w->puts++;
    } else {
        w->failures++;
    }
}

static bool get_one(struct world *w, uint64_t number)
{
    int64_t version = rig_get(w->cluster, number, LARGE);

    if (version < 0) {
        w->misses++;
        return version == -ENOENT;
    }
    w->hits++;
    if ((uint64_t)version < w->certain[number])
        FAIL("object %" PRIu64 " is version %" PRIi64 ", after %" PRIu64 " was put", number,
             version, w->certain[number]);
    return true;
}

static void use(struct world *w, unsigned count)
{
    while (count-- > 0) {
        uint64_t number = test_below(&w->rng, OBJECTS);

        if (test_chance(&w->rng, 40))
            put_one(w, number);
        else
            get_one(w, number);
    }
}

static void one_step(struct world *w)
{
    unsigned i = (unsigned)test_below(&w->rng, MEMBERS);

    if (!w->pids[i]) {
        start_member(w, i);
    } else if (w->stopped[i]) {
        EXPECT_EQ(kill(w->pids[i], SIGCONT), 0);
        w->stopped[i] = false;
    } else if (test_chance(&w->rng, 40)) {
        EXPECT_EQ(kill(w->pids[i], SIGSTOP), 0);
        w->stopped[i] = true;
    } else if (test_chance(&w->rng, 60)) {
        test_kill(w->pids[i]);
        w->pids[i] = 0;
    } else if (test_peek(&shared->joined[i])) {
        test_raise(&shared->leaves[i], 1);
        test_join(w->pids[i]);
        w->pids[i] = 0;
    }
}

static void stop_etcd(struct world *w)
{
    unsigned first = (unsigned)test_below(&w->rng, ETCDS);
    unsigned last = test_chance(&w->rng, 30) ? first : ETCDS - 1;

    for (unsigned i = first; i <= last; i++)
        etcds_stop(i);
    use(w, 50);
    for (unsigned i = first; i <= last; i++)
        etcds_continue(i);
}

static void await_members(struct world *w, unsigned count)
{
    struct hfx_member member;

    for (uint64_t until = test_now_ns() + TEST_PATIENCE_NS;
         hfx_member(w->cluster, count - 1, &member) != 1 ||
         hfx_member(w->cluster, count, &member) == 1;) {
        EXPECT(test_now_ns() < until);
        test_sleep_ms(5);
    }
}

/* All members are there, and each object is put and got again. */
static void expect_all_served(struct world *w)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (w->stopped[i])
            EXPECT_EQ(kill(w->pids[i], SIGCONT), 0);
        w->stopped[i] = false;
        if (!w->pids[i])
            start_member(w, i);
    }
    await_members(w, MEMBERS);
    for (uint64_t number = 0; number < OBJECTS; number++) {
        uint64_t until = test_now_ns() + TEST_PATIENCE_NS;

        do {
            EXPECT(test_now_ns() < until);
            put_one(w, number);
        } while (w->certain[number] != w->versions || !get_one(w, number));
    }
}

/* What was acknowledged is there: a get may fail while members agree, but must not miss. */
static void expect_all_there(struct world *w)
{
    for (uint64_t number = 0; number < OBJECTS; number++) {
        uint64_t until = test_now_ns() + TEST_PATIENCE_NS;
        int64_t version;

        while ((version = rig_get(w->cluster, number, LARGE)) < 0) {
            missed |= version == -ENOENT;
            if (missed && alone)
                return;
            if (version == -ENOENT)
                FAIL("object %" PRIu64 " is gone with one member", number);
            EXPECT(test_now_ns() < until);
        }
        EXPECT((uint64_t)version >= w->certain[number]);
    }
}

/* Each member once: it is killed, or leaves, and comes back with nothing. */
static void survive_deaths(struct world *w)
{
    for (unsigned i = 0; i < MEMBERS && !missed; i++) {
        expect_all_served(w);
        if (i == 1) {
            test_raise(&shared->leaves[i], 1);
            test_join(w->pids[i]);
        } else {
            test_kill(w->pids[i]);
        }
        w->pids[i] = 0;
        expect_all_there(w);
        await_members(w, MEMBERS - 1);
        expect_all_there(w);
        start_member(w, i);
        await_members(w, MEMBERS);
        expect_all_there(w);
        expect_all_there(w);
    }
}

/* One that is told another number of copies than the others have. */
static void be_other(void *arg)
{
    const struct hfc_options cache_options = {.size = sizeof cache_options,
                                              .capacity_bytes = TEST_MIB(2)};
    const struct hfx_etcd etcd = {
        .size = sizeof etcd, .urls = etcds_urls(), .lease_seconds = 1, .replicas = 1};
    struct hfx_server_options options = {
        .size = sizeof options, .name = "other", .secret = RIG_SECRET};
    struct hfx_server *server;
    struct hf_pool *pool;

    (void)arg;
    test_pool_create("pool-other", TEST_MIB(16));
    pool = test_pool_open("pool-other");
    EXPECT_OK(hfc_open(pool, "/cache", &cache_options, &options.cache));
    EXPECT_OK(hfx_server_open(&options, &server));
    EXPECT_OK(hfx_server_join(server, &etcd));
    do
        EXPECT_EQ(hfx_server_await(server, 50000000), -ETIMEDOUT);
    while (!strstr(hfx_detail(), "the cluster has 2 copies"));
    hfx_server_close(server);
    EXPECT_OK(hfc_close(options.cache));
    test_pool_close(pool);
}

static void open_client(struct world *w)
{
    const struct hfx_etcd etcd = {.size = sizeof etcd, .urls = etcds_urls()};
    struct hfx_options options = {.size = sizeof options,
                                  .etcd = &etcd,
                                  .members = "m0=127.0.0.1:1",
                                  .secret = RIG_SECRET,
                                  .timeout_ns = TEST_PATIENCE_NS};

    EXPECT_EQ(hfx_open(&options, &w->cluster), -EINVAL);
    EXPECT(strstr(hfx_detail(), "exclude each other"));
    options.members = NULL;
    EXPECT_OK(hfx_open(&options, &w->cluster)); /* waits for the first member */
    EXPECT_OK(hfx_close(w->cluster));
    options.timeout_ns = 300000000;
    while (hfx_open(&options, &w->cluster) == -ETIMEDOUT)
        ;
    EXPECT(hfx_epoch(w->cluster) > 0);
}

static int run(int argc, char **argv)
{
    struct world *w = &world;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--replicas") == 0)
            replicas = 2;
        else if (strcmp(argv[i], "--alone") == 0)
            alone = true;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = (unsigned)atoi(argv[++i]);
    }
    w->rng.state = test_seed();
    shared = test_shared(sizeof *shared);
    etcds_begin(false);
    for (unsigned i = 0; i < MEMBERS; i++) {
        char name[16];

        snprintf(name, sizeof name, "pool-%u", i);
        test_pool_create(name, TEST_MIB(24));
        start_member(w, i);
    }
    open_client(w);
    expect_all_served(w);
    for (unsigned round = 0; round < rounds && !alone; round++) {
        for (unsigned step = 0; step < 3; step++) {
            one_step(w);
            use(w, 30);
        }
        if (test_chance(&w->rng, 30))
            stop_etcd(w);
        if (round % 4 == 3)
            expect_all_served(w);
    }
    expect_all_served(w);
    if (replicas > 1 || alone)
        survive_deaths(w);
    if (replicas > 1)
        test_join(test_fork(be_other, NULL));
    EXPECT(missed == alone);
    printf("epoch %" PRIu64 ": %" PRIu64 " puts, %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64
           " puts failed\n",
           hfx_epoch(w->cluster), w->puts, w->hits, w->misses, w->failures);
    EXPECT_OK(hfx_close(w->cluster));
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
