/* SPDX-License-Identifier: MIT */
/*
 * Members on a real etcd of three: they join, leave, are killed and stopped, and so are the etcd.
 * No get may return a number that is older than one that was acknowledged before (registers.h), and
 * each key is served again in the end.
 *
 * usage: cluster-etcd [--rounds N] join|tls|storm|unswept
 */
#include "etcds.h"
#include "place.h"
#include "registers.h"
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned rounds = 12;

static struct cluster_members *open_client(bool tls)
{
    struct cluster_members_options options = {.etcd = etcds_urls()};
    struct cluster_members *client;

    if (tls) {
        options.ca = etcds_ca();
        options.cert = etcds_cert();
        options.key = etcds_key();
    }
    EXPECT_OK(cluster_members_open(&options, &client));
    EXPECT_OK(cluster_members_await(client, TEST_PATIENCE_NS));
    return client;
}

/* Waits for an active epoch with exactly these members, a bit each. Returns its number. */
static uint64_t await_members(struct cluster_members *client, unsigned wanted)
{
    uint64_t until = test_now_ns() + TEST_PATIENCE_NS;

    for (;;) {
        const struct cluster_view *view = cluster_view_get(client);
        unsigned there = 0;
        uint64_t epoch = view ? view->epoch : 0;
        bool active = view && view->active;

        for (unsigned i = 0; view && i < view->count; i++)
            there |= 1u << atoi(view->members[i].name + 1);
        cluster_view_put(view);
        if (active && there == wanted)
            return epoch;
        if (test_now_ns() > until)
            FAIL("the members are %#x, not %#x", there, wanted);
        test_sleep_ms(5);
    }
}

static void expect_no_stale(void)
{
    struct register_counts counts = registers_counts();

    printf("%" PRIu64 " gets, %" PRIu64 " puts, %" PRIu64 " stale\n", counts.gets, counts.puts,
           counts.stale);
    EXPECT_EQ(counts.stale, 0);
}

/* One joins another, one leaves, one dies and comes back. */
static void join(bool tls)
{
    struct cluster_members *client;
    uint64_t epoch;
    pid_t pids[3];

    registers_begin(tls);
    pids[0] = registers_start(0);
    client = open_client(tls);
    epoch = await_members(client, 1);
    registers_await_all();
    pids[1] = registers_start(1);
    pids[2] = registers_start(2);
    EXPECT(await_members(client, 7) > epoch);
    registers_await_all();
    registers_leave(0, pids[0]); /* the one that led */
    await_members(client, 6);
    registers_await_all();
    test_kill(pids[1]);
    await_members(client, 4);
    registers_await_all();
    pids[1] = registers_start(1);
    await_members(client, 6);
    registers_await_all();
    cluster_members_close(client);
    expect_no_stale();
}

static void plain_join(void)
{
    join(false);
}

/* TLS with certificates of the test's own. Without one, nobody is let in, and the sentence says
 * so. */
static void tls_join(void)
{
    struct cluster_members_options options;
    struct cluster_members *client;

    join(true);
    options = (struct cluster_members_options){.etcd = etcds_urls()};
    EXPECT_OK(cluster_members_open(&options, &client));
    do {
        EXPECT_EQ(cluster_members_await(client, 200000000), -ETIMEDOUT);
    } while (!strstr(cluster_detail(), "https://127.")); /* meson's time-out ends a long wait */
    printf("without a certificate: %s\n", cluster_detail());
    cluster_members_close(client);
}

/* -------------------------------------------------------------------------- a storm ---- */

static struct storm {
    pid_t pids[REGISTER_MEMBERS];
    bool stopped[REGISTER_MEMBERS];
    struct test_rng rng;
} storm_state;

static void one_member_step(struct storm *s)
{
    unsigned i = (unsigned)test_below(&s->rng, REGISTER_MEMBERS);

    if (!s->pids[i]) {
        s->pids[i] = registers_start(i);
    } else if (s->stopped[i]) {
        EXPECT_EQ(kill(s->pids[i], SIGCONT), 0);
        s->stopped[i] = false;
    } else if (test_chance(&s->rng, 40)) {
        EXPECT_EQ(kill(s->pids[i], SIGSTOP), 0);
        s->stopped[i] = true;
    } else if (test_chance(&s->rng, 60)) {
        test_kill(s->pids[i]);
        s->pids[i] = 0;
    } else {
        registers_leave(i, s->pids[i]);
        s->pids[i] = 0;
    }
}

/* One etcd is killed or stopped, or all are stopped, and they go on. */
static void one_etcd_step(struct storm *s)
{
    unsigned i = (unsigned)test_below(&s->rng, ETCDS);
    unsigned ms = (unsigned)test_below(&s->rng, 2500);

    if (test_chance(&s->rng, 30)) {
        etcds_kill(i);
        test_sleep_ms(ms);
        etcds_start(i);
    } else if (test_chance(&s->rng, 60)) {
        etcds_stop(i);
        test_sleep_ms(ms);
        etcds_continue(i);
    } else {
        for (i = 0; i < ETCDS; i++)
            etcds_stop(i);
        test_sleep_ms(ms);
        for (i = 0; i < ETCDS; i++)
            etcds_continue(i);
    }
}

static void continue_all(struct storm *s)
{
    for (unsigned i = 0; i < REGISTER_MEMBERS; i++) {
        if (s->stopped[i])
            EXPECT_EQ(kill(s->pids[i], SIGCONT), 0);
        s->stopped[i] = false;
        if (!s->pids[i])
            s->pids[i] = registers_start(i);
    }
}

static void storm(void)
{
    struct storm *s = &storm_state;
    struct cluster_members *client;

    s->rng.state = test_seed();
    registers_begin(false);
    continue_all(s);
    client = open_client(false);
    await_members(client, (1u << REGISTER_MEMBERS) - 1);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned step = 0; step < 3; step++) {
            one_member_step(s);
            test_sleep_ms((unsigned)test_below(&s->rng, 900));
        }
        if (test_chance(&s->rng, 50))
            one_etcd_step(s);
        if (round % 4 == 3) {
            continue_all(s);
            await_members(client, (1u << REGISTER_MEMBERS) - 1);
            registers_await_all();
        }
    }
    continue_all(s);
    printf("epoch %" PRIu64 "\n", await_members(client, (1u << REGISTER_MEMBERS) - 1));
    registers_await_all();
    cluster_members_close(client);
    expect_no_stale();
}

/* A member that keeps what was another's for a while must be seen to return old numbers. */
static void unswept(void)
{
    struct cluster_members *client;
    pid_t pids[2];

    registers_never_sweep = true;
    registers_begin(false);
    pids[0] = registers_start(0);
    client = open_client(false);
    await_members(client, 1);
    registers_await_all();
    pids[1] = registers_start(1);
    await_members(client, 3);
    registers_await_all();
    registers_leave(1, pids[1]);
    await_members(client, 1);
    registers_await_all();
    registers_leave(0, pids[0]);
    cluster_members_close(client);
    EXPECT(registers_counts().stale > 0);
}

static int run(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*scene)(void);
    } scenes[] = {{"join", plain_join}, {"tls", tls_join}, {"storm", storm}, {"unswept", unswept}};

    if (argc > 2 && strcmp(argv[1], "--rounds") == 0) {
        rounds = (unsigned)atoi(argv[2]);
        argc -= 2;
        argv += 2;
    }
    for (unsigned i = 0; i < sizeof scenes / sizeof scenes[0] && argc == 2; i++) {
        if (strcmp(argv[1], scenes[i].name) != 0)
            continue;
        scenes[i].scene();
        return 0;
    }
    fprintf(stderr, "usage: cluster-etcd [--rounds N] join|tls|storm|unswept\n");
    return 64;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
