/* SPDX-License-Identifier: MIT */
/*
 * Threads on one handle: each puts, gets and removes objects of its own, and gets those of others.
 * They do so by one call, by many, and by requests that any thread may take when they have ended. A
 * server of this process has a part of the keys. While the threads work, members are listed and one
 * of them is killed. Then what the threads own may be missing, and is never older or another
 * object.
 */
#include "rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 6u
#define OBJECTS 12u /* of each thread */
#define BEGUN 8u
#define MEMBERS 2u /* processes of the rig */

static const size_t lengths[] = {64, 8192, 40000, 200000};
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))
#define LONGEST 200000u

static struct shared {
    struct rig *rig;
    struct hfx *cluster;
    unsigned rounds;
    bool may_miss;
    uint32_t begun, taken; /* requests of all threads */
    pthread_barrier_t ready, killed;
} shared;

struct worker {
    pthread_t thread;
    unsigned index;
    struct test_rng rng;
    uint64_t versions[OBJECTS]; /* that was put last; 0: nothing, or perhaps something */
    char *bytes, *more[BEGUN];
};

static size_t length_of(uint64_t number)
{
    return lengths[number % LENGTHS];
}

static uint64_t own_number(struct worker *w)
{
    return w->index + THREADS * test_below(&w->rng, OBJECTS);
}

/* An error of a member that was killed, where that is allowed. */
static bool is_lost(int64_t rc)
{
    if (rc == -ENOTCONN || rc == -ETIMEDOUT || rc == -EPROTO || rc == -ECANCELED ||
        rc == -ECONNREFUSED) {
        EXPECT(shared.may_miss);
        return true;
    }
    return false;
}

static void put_own(struct worker *w, uint64_t version)
{
    uint64_t number = own_number(w);
    struct rig_key key;
    int rc;

    rig_fill(w->bytes, length_of(number), number, version);
    rc = hfx_put(shared.cluster, rig_key(&key, number), w->bytes, length_of(number));
    w->versions[number / THREADS] = rc ? 0 : version;
    if (rc && !is_lost(rc))
        FAIL("a put: %s", hfx_detail());
}

static void check_got(const struct worker *w, uint64_t number, const void *bytes, int64_t got)
{
    uint64_t want = w->versions[number / THREADS], version;

    if (is_lost(got))
        return;
    if (got == -ENOENT) {
        EXPECT(number % THREADS != w->index || want == 0);
        return;
    }
    EXPECT_EQ(got, length_of(number));
    version = rig_version(bytes, (size_t)got, number);
    if (number % THREADS == w->index && want)
        EXPECT_EQ(version, want);
}

/* Often of another thread. */
static void get_any(struct worker *w)
{
    uint64_t number = test_below(&w->rng, (uint64_t)THREADS * OBJECTS);
    struct rig_key key;

    check_got(w, number, w->bytes,
              hfx_get(shared.cluster, rig_key(&key, number), w->bytes, LONGEST));
}

static void remove_own(struct worker *w)
{
    uint64_t number = own_number(w);
    struct rig_key key;
    int rc = hfx_remove(shared.cluster, rig_key(&key, number));

    EXPECT(rc == 0 || rc == -ENOENT || is_lost(rc));
    w->versions[number / THREADS] = 0;
    if (!is_lost(rc)) {
        ssize_t len = hfx_length(shared.cluster, &key.key);

        EXPECT(len == -ENOENT || is_lost(len));
    }
}

static void get_batch(struct worker *w)
{
    struct hfx_request requests[BEGUN];
    struct rig_key keys[BEGUN];
    uint64_t numbers[BEGUN];
    int64_t results[BEGUN];

    for (unsigned i = 0; i < BEGUN; i++) {
        numbers[i] = test_below(&w->rng, (uint64_t)THREADS * OBJECTS);
        requests[i] = (struct hfx_request){HFX_GET,    0,       *rig_key(&keys[i], numbers[i]),
                                           w->more[i], LONGEST, 0};
    }
    EXPECT_OK(hfx_batch(shared.cluster, requests, BEGUN, results));
    for (unsigned i = 0; i < BEGUN; i++)
        check_got(w, numbers[i], w->more[i], results[i]);
}

/* Lengths only, since any thread may take what another has begun. */
static void begin_some(struct worker *w)
{
    struct hfx_request requests[BEGUN];
    struct hfx_result ended[3];
    struct rig_key keys[BEGUN];
    int got;

    for (unsigned i = 0; i < BEGUN; i++) {
        uint64_t number = test_below(&w->rng, (uint64_t)THREADS * OBJECTS);

        requests[i] =
            (struct hfx_request){HFX_LENGTH, 0, *rig_key(&keys[i], number), NULL, 0, number};
    }
    EXPECT_OK(hfx_begin(shared.cluster, requests, BEGUN));
    for (unsigned i = 0; i < BEGUN; i++)
        test_count(&shared.begun);
    got = hfx_next(shared.cluster, 0, ended, 3);
    EXPECT_OK(got);
    for (int i = 0; i < got; i++) {
        EXPECT(ended[i].result == -ENOENT || is_lost(ended[i].result) ||
               ended[i].result == (int64_t)length_of(ended[i].tag));
        test_count(&shared.taken);
    }
}

static int count_one(void *arg, const struct hfc_entry *entry)
{
    unsigned *seen = arg;

    EXPECT(entry->key_len > 7);
    return ++*seen == 20;
}

static void look(void)
{
    struct hfx_counts counts = {.size = sizeof(counts)};
    struct hfx_member member, owner;
    struct rig_key key;
    unsigned seen = 0;

    EXPECT_OK(hfx_owner(shared.cluster, rig_key(&key, 1), &owner));
    EXPECT_EQ(hfx_epoch(shared.cluster), hfx_epoch(shared.cluster));
    for (unsigned i = 0; hfx_member(shared.cluster, i, &member) == 1; i++) {
        int rc = hfx_each(shared.cluster, i, count_one, &seen);

        EXPECT(rc >= 0 || is_lost(rc));
        rc = hfx_counts(shared.cluster, i, &counts);
        EXPECT(rc == 0 || is_lost(rc));
    }
}

static void work(struct worker *w, uint64_t version)
{
    switch (test_below(&w->rng, 6)) {
    case 0:
        get_batch(w);
        break;
    case 1:
        begin_some(w);
        break;
    case 2:
        remove_own(w);
        break;
    case 3:
        look();
        break;
    default:
        put_own(w, version);
    }
    get_any(w);
}

static void *run_worker(void *arg)
{
    struct worker *w = arg;

    pthread_barrier_wait(&shared.ready);
    for (unsigned round = 1; round <= shared.rounds; round++) {
        if (round == shared.rounds / 2)
            pthread_barrier_wait(&shared.killed);
        work(w, round);
    }
    return NULL;
}

static void take_the_rest(void)
{
    struct hfx_result ended[16];

    while (test_peek(&shared.taken) < test_peek(&shared.begun)) {
        int got = hfx_next(shared.cluster, TEST_PATIENCE_NS, ended, 16);

        EXPECT(got > 0);
        shared.taken += (unsigned)got;
    }
}

/* With `kills`, the last member of the rig is killed while the threads are in their calls. */
static void run_threads(uint64_t seed, bool kills)
{
    static struct worker workers[THREADS];

    shared.may_miss = kills;
    pthread_barrier_init(&shared.ready, NULL, THREADS);
    pthread_barrier_init(&shared.killed, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++) {
        struct worker *w = &workers[i];

        *w = (struct worker){.index = i, .rng = {test_mix(seed, i)}, .bytes = malloc(LONGEST)};
        for (unsigned j = 0; j < BEGUN; j++)
            w->more[j] = malloc(LONGEST);
        EXPECT_EQ(pthread_create(&w->thread, NULL, run_worker, w), 0);
    }
    pthread_barrier_wait(&shared.killed);
    if (kills)
        test_kill(shared.rig->member[MEMBERS - 1].pid);
    for (unsigned i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_join(workers[i].thread, NULL), 0);
        free(workers[i].bytes);
        for (unsigned j = 0; j < BEGUN; j++)
            free(workers[i].more[j]);
    }
    take_the_rest();
}

/* ---- a member in this process ---- */

static struct hfx_server *open_server(struct hf_pool **pool, struct hfc **cache)
{
    const struct hf_pool_options pool_options = {.size = sizeof(pool_options),
                                                 .pool_bytes = TEST_MIB(48)};
    const struct hfc_options cache_options = {.size = sizeof(cache_options),
                                              .capacity_bytes = TEST_MIB(32)};
    struct hfx_server_options options = {
        .size = sizeof(options), .name = "here", .secret = RIG_SECRET};
    struct hfx_server *server;

    EXPECT_OK(hf_pool_open_anonymous(&pool_options, pool));
    EXPECT_OK(hfc_open(*pool, "/cache", &cache_options, cache));
    options.cache = *cache;
    EXPECT_OK(hfx_server_open(&options, &server));
    return server;
}

/* The members of the rig do not know of this one. A key that is theirs by the longer list is theirs
 * by their own too. */
static void open_shared(struct hfx_server *server)
{
    char members[sizeof(shared.rig->members) + 256];
    const struct hfx_options options = {.size = sizeof(options),
                                        .members = members,
                                        .secret = RIG_SECRET,
                                        .timeout_ns = TEST_PATIENCE_NS,
                                        .server = server};

    snprintf(members, sizeof(members), "%s,here=%s", shared.rig->members,
             hfx_server_address(server));
    EXPECT_OK(hfx_server_start(server, members));
    EXPECT_OK(hfx_open(&options, &shared.cluster));
}

static void scenario(void)
{
    const uint64_t seed = test_seed();
    struct hfx_server *server;
    struct hf_pool *pool;
    struct hfc *cache;

    shared.rounds = test_is_slow() ? 60 : 200;
    shared.rig = rig_new(MEMBERS, TEST_MIB(32), 0);
    server = open_server(&pool, &cache);
    open_shared(server);
    run_threads(seed, false);
    run_threads(test_mix(seed, 1), true);
    EXPECT_OK(hfx_close(shared.cluster));
    hfx_server_close(server);
    EXPECT_OK(hfc_close(cache));
    EXPECT_OK(hf_pool_close(pool));
    for (unsigned i = 0; i + 1 < MEMBERS; i++)
        test_kill(shared.rig->member[i].pid);
}

TEST_SCENARIO(scenario)
