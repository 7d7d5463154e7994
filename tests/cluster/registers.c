/* SPDX-License-Identifier: MIT */
#include "registers.h"

#include "etcds.h"
#include "place.h"
#include "support.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct shared {
    uint64_t begun[REGISTERS];        /* the number of the last put that began */
    uint64_t acknowledged[REGISTERS]; /* the highest */
    uint64_t gets[REGISTERS], puts[REGISTERS], stale;
    uint32_t leaves[REGISTER_MEMBERS];
} * shared;

static bool tls;
bool registers_never_sweep;

/* Of one member's process. */
static struct member {
    unsigned number;
    char name[16];
    struct cluster_members *members;
    pthread_mutex_t mutex;
    uint64_t held[REGISTERS]; /* 0: nothing */
} self = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static bool drop_foreign(void *arg, const struct cluster_view *view)
{
    (void)arg;
    for (uint64_t key = 0; key < REGISTERS && !registers_never_sweep; key++) {
        if (view && cluster_place_is(view, &key, sizeof key, self.name))
            continue;
        pthread_mutex_lock(&self.mutex);
        self.held[key] = 0;
        pthread_mutex_unlock(&self.mutex);
    }
    return true;
}

static void raise_to(uint64_t *highest, uint64_t number)
{
    uint64_t seen = test_peek64(highest);

    while (seen < number && !__atomic_compare_exchange_n(highest, &seen, number, false,
                                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        ;
}

/* A put that another one has overtaken gives up: the order of the two would not be known. */
static void put_one(uint64_t key)
{
    uint64_t number = __atomic_add_fetch(&shared->begun[key], 1, __ATOMIC_ACQ_REL);

    if (!cluster_serve_begin(self.members, &key, sizeof key))
        return;
    if (test_peek64(&shared->begun[key]) == number) {
        pthread_mutex_lock(&self.mutex);
        self.held[key] = number;
        pthread_mutex_unlock(&self.mutex);
        cluster_serve_end(self.members);
        raise_to(&shared->acknowledged[key], number);
        test_count64(&shared->puts[key], 1);
    } else {
        cluster_serve_end(self.members);
    }
}

static void get_one(uint64_t key)
{
    uint64_t floor = test_peek64(&shared->acknowledged[key]), number;

    if (!cluster_serve_begin(self.members, &key, sizeof key))
        return;
    pthread_mutex_lock(&self.mutex);
    number = self.held[key];
    pthread_mutex_unlock(&self.mutex);
    cluster_serve_end(self.members);
    test_count64(&shared->gets[key], 1);
    if (number == 0 || number >= floor)
        return;
    test_count64(&shared->stale, 1);
    if (!registers_never_sweep)
        printf("%s returns %" PRIu64 " of key %" PRIu64 ", after %" PRIu64 " was acknowledged\n",
               self.name, number, key, floor);
}

static void serve(void *arg)
{
    struct cluster_members_options options = {.etcd = etcds_urls(),
                                              .name = self.name,
                                              .address = "192.0.2.1:1",
                                              .ttl_seconds = 1,
                                              .sweep = drop_foreign};
    struct test_rng rng;

    self.number = *(unsigned *)arg;
    rng.state = test_mix(self.number, (uint64_t)getpid());
    snprintf(self.name, sizeof self.name, "m%u", self.number);
    memset(self.held, 0xff, sizeof self.held); /* an old pool, which must not be seen */
    for (unsigned i = 0; i < REGISTERS; i++)
        self.held[i] = 1;
    if (tls) {
        options.ca = etcds_ca();
        options.cert = etcds_cert();
        options.key = etcds_key();
    }
    EXPECT_OK(cluster_members_open(&options, &self.members));
    while (!test_peek(&shared->leaves[self.number])) {
        uint64_t key = test_below(&rng, REGISTERS);

        if (test_chance(&rng, 30))
            put_one(key);
        else
            get_one(key);
        if (test_chance(&rng, 5))
            usleep(500);
    }
    cluster_members_close(self.members);
}

void registers_begin(bool with_tls)
{
    tls = with_tls;
    shared = test_shared(sizeof *shared);
    etcds_begin(tls);
}

pid_t registers_start(unsigned member)
{
    test_raise(&shared->leaves[member], 0);
    return test_fork(serve, &member);
}

void registers_leave(unsigned member, pid_t pid)
{
    test_raise(&shared->leaves[member], 1);
    test_join(pid);
}

void registers_await_all(void)
{
    uint64_t gets[REGISTERS], puts[REGISTERS], until = test_now_ns() + TEST_PATIENCE_NS;

    for (unsigned key = 0; key < REGISTERS; key++) {
        gets[key] = test_peek64(&shared->gets[key]);
        puts[key] = test_peek64(&shared->puts[key]);
    }
    for (unsigned key = 0; key < REGISTERS;) {
        if (test_peek64(&shared->gets[key]) > gets[key] &&
            test_peek64(&shared->puts[key]) > puts[key])
            key++;
        else if (test_now_ns() > until)
            FAIL("key %u is not served any more", key);
        else
            test_sleep_ms(5);
    }
}

struct register_counts registers_counts(void)
{
    struct register_counts counts = {.stale = test_peek64(&shared->stale)};

    for (unsigned key = 0; key < REGISTERS; key++) {
        counts.gets += test_peek64(&shared->gets[key]);
        counts.puts += test_peek64(&shared->puts[key]);
    }
    return counts;
}
