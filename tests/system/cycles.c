/* SPDX-License-Identifier: MIT */
/*
 * Layout changes that wait for each other's pins, leases and gates in a cycle. Only the one that
 * began to wait last gets -EDEADLK, and the others go on once it has released what it holds. Among
 * threads, among processes, through a gate, through a callback, under a stream of wake-ups. Where
 * there is no cycle nobody gets it.
 */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#define MEMBERS_MAX 5u

static struct hf_pool *pool;

static const char *path_of(unsigned member)
{
    static const char *const paths[] = {"/0", "/1", "/2", "/3", "/4"};

    return paths[member];
}

static struct hf_stats stats_of_pool(void)
{
    struct hf_stats stats = {.size = sizeof(stats)};

    EXPECT_EQ(hf_stats(pool, &stats), 0);
    return stats;
}

/* --------------------------------------------------------------------------------- cycles --- */

/* Member i holds file i and changes file i + 1, the last one file 0. */
struct member {
    unsigned index, of;
    bool by_lease;
    struct hf_policy policy;
    uint32_t holds, go;
    int rc;
    uint64_t ns;
    pthread_t thread;
    pid_t pid;
};

static void be_member(struct member *member, struct hf_pool *its_pool)
{
    struct hf_file *mine = test_file(its_pool, path_of(member->index));
    struct hf_file *next = test_file(its_pool, path_of((member->index + 1) % member->of));
    struct hf_lease lease;
    struct hf_pin pin;
    struct iovec iov;
    uint64_t since;

    if (member->by_lease)
        lease = test_lease(mine, 0, TEST_PAGE, NULL, &iov, 1);
    else
        pin = test_pin(mine, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    test_raise(&member->holds, 1);
    test_await(&member->go, 1);
    since = test_now_ns();
    member->rc = hf_fallocate(next, HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, &member->policy);
    member->ns = test_now_ns() - since;
    if (member->by_lease)
        EXPECT_EQ(hf_lease_release(&lease), 0);
    else
        EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(mine), 0);
    EXPECT_EQ(hf_close(next), 0);
}

static void *thread_member(void *arg)
{
    be_member(arg, pool);
    return NULL;
}

static void process_member(void *arg)
{
    struct hf_pool *its_pool = test_pool_open("cycles");

    be_member(arg, its_pool);
    test_pool_close(its_pool);
}

static void begin_members(struct member *members, unsigned count, bool processes)
{
    for (unsigned i = 0; i < count; i++) {
        struct member *member = &members[i];

        member->index = i;
        member->of = count;
        if (processes)
            member->pid = test_fork(process_member, member);
        else
            EXPECT_EQ(pthread_create(&member->thread, NULL, thread_member, member), 0);
        test_await(&member->holds, 1);
    }
}

/* One after the other begins to wait, so that the last is the youngest. */
static void let_wait(struct member *members, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        test_raise(&members[i].go, 1);
        if (i + 1 < count)
            test_await_waiting(pool, i + 1);
    }
}

static void end_members(struct member *members, unsigned count, bool processes)
{
    for (unsigned i = 0; i < count; i++)
        if (processes)
            test_join(members[i].pid);
        else
            pthread_join(members[i].thread, NULL);
}

static void expect_youngest(const struct member *members, unsigned count, const char *what)
{
    for (unsigned i = 0; i < count; i++)
        EXPECT_EQ(members[i].rc, i + 1 == count ? -EDEADLK : 0);
    printf("%u %s: -EDEADLK after %.1f ms\n", count, what, (double)members[count - 1].ns / 1e6);
}

static void check_cycle(unsigned count, bool processes, bool by_lease, const char *what)
{
    struct member *members = test_shared(MEMBERS_MAX * sizeof(*members));
    uint64_t deadlocks = stats_of_pool().deadlocks;

    for (unsigned i = 0; i < count; i++) {
        members[i].by_lease = by_lease;
        members[i].policy = i % 2 ? test_deadline_ms(TEST_PATIENCE_MS) : test_wait;
    }
    begin_members(members, count, processes);
    let_wait(members, count);
    end_members(members, count, processes);
    expect_youngest(members, count, what);
    EXPECT_EQ(stats_of_pool().deadlocks - deadlocks, 1);
}

/* A deadline before the first look ends it; one that detaches is not a part of a cycle. */
static void check_deadlines(void)
{
    struct member members[2] = {{.policy = test_wait}, {.policy = test_deadline_ms(1)}};
    uint64_t deadlocks = stats_of_pool().deadlocks;

    begin_members(members, 2, false);
    let_wait(members, 2);
    end_members(members, 2, false);
    EXPECT_EQ(members[0].rc, 0);
    EXPECT_EQ(members[1].rc, -ETIMEDOUT);

    members[0] = (struct member){.policy = test_wait};
    members[1] = (struct member){.policy = test_deadline_detach_ms(200)};
    begin_members(members, 2, false);
    let_wait(members, 2);
    end_members(members, 2, false);
    EXPECT_EQ(members[0].rc, 0);
    EXPECT_EQ(members[1].rc, 0);
    EXPECT_EQ(stats_of_pool().deadlocks, deadlocks);
}

/* ------------------------------------------------------------------------------- wake-ups --- */

struct stream {
    pthread_t thread;
    struct hf_file *held, *waited;
    uint32_t stop;
    uint64_t pins;
};

/* A thread that holds a pin is let through the gate, and each of its pins wakes the waiter. */
static void *keep_waking(void *arg)
{
    struct stream *stream = arg;
    struct iovec iov;
    struct hf_pin held = test_pin(stream->held, 0, TEST_PAGE, HF_PIN_READ, &iov, 1), pin;

    while (!test_peek(&stream->stop)) {
        pin = test_pin(stream->waited, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
        EXPECT_EQ(hf_unpin(&pin), 0);
        test_count64(&stream->pins, 1);
    }
    EXPECT_EQ(hf_unpin(&held), 0);
    return NULL;
}

static void check_spurious_wakes(void)
{
    struct member members[2] = {{.policy = test_wait}, {.policy = test_wait}};
    struct stream streams[2];
    struct hf_file *aside = test_file_filled(pool, "/aside", 1, 1);

    for (unsigned i = 0; i < 2; i++) {
        streams[i] = (struct stream){.held = aside, .waited = test_file(pool, path_of(i))};
        EXPECT_EQ(pthread_create(&streams[i].thread, NULL, keep_waking, &streams[i]), 0);
    }
    begin_members(members, 2, false);
    let_wait(members, 2);
    pthread_join(members[1].thread, NULL);
    for (unsigned i = 0; i < 2; i++) {
        test_raise(&streams[i].stop, 1);
        pthread_join(streams[i].thread, NULL);
        EXPECT_EQ(hf_close(streams[i].waited), 0);
    }
    pthread_join(members[0].thread, NULL);
    printf("%" PRIu64 " and %" PRIu64 " wake-ups\n", streams[0].pins, streams[1].pins);
    expect_youngest(members, 2, "under wake-ups");
    EXPECT_EQ(hf_close(aside), 0);
}

/* ----------------------------------------------------------------------------------- gates --- */

/* Holds a pin, then changes something, in its turn. */
struct actor {
    const char *holds, *changes;
    uint64_t change_page;
    uint32_t holding, go, done;
    int rc;
    pthread_t thread;
};

static void *act(void *arg)
{
    struct actor *actor = arg;
    struct hf_file *mine = test_file(pool, actor->holds);
    struct hf_file *other = test_file(pool, actor->changes);
    struct iovec iov;
    struct hf_pin pin = test_pin(mine, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    test_raise(&actor->holding, 1);
    test_await(&actor->go, 1);
    actor->rc = hf_fallocate(other, HF_FALLOC_ZERO_RANGE, actor->change_page * TEST_PAGE,
                             2 * TEST_PAGE, NULL);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(mine), 0);
    EXPECT_EQ(hf_close(other), 0);
    test_raise(&actor->done, 1);
    return NULL;
}

static void begin_actor(struct actor *actor)
{
    EXPECT_EQ(pthread_create(&actor->thread, NULL, act, actor), 0);
    test_await(&actor->holding, 1);
}

/* 0 waits for the pin of 2; 1 at the gate of 0, since its range overlaps; 2 for the pin of 1. */
static void check_gate(const unsigned order[3])
{
    struct actor actors[3] = {{.holds = "/3", .changes = "/0"},
                              {.holds = "/1", .changes = "/0", .change_page = 1},
                              {.holds = "/0", .changes = "/1"}};

    for (unsigned i = 0; i < 3; i++)
        begin_actor(&actors[i]);
    for (unsigned i = 0; i < 3; i++) {
        test_raise(&actors[order[i]].go, 1);
        if (i < 2)
            test_await_waiting(pool, i + 1);
    }
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(actors[i].thread, NULL);
        EXPECT_EQ(actors[i].rc == -EDEADLK || actors[i].rc == 0, true);
    }
    EXPECT_EQ(!actors[0].rc + !actors[1].rc + !actors[2].rc, 2);
    printf("through a gate: %d %d %d\n", actors[0].rc, actors[1].rc, actors[2].rc);
}

/* All gates of a file are closed, one of them because of a pin of this thread: it waits for the
 * others. */
static void check_all_gates(void)
{
    enum { GATES = 4 };
    struct hf_file *file = test_file_filled(pool, "/gates", 1, 2 * GATES + 2);
    struct hf_pin pins[GATES];
    struct actor actors[GATES + 1];
    struct iovec iov;

    for (unsigned i = 0; i < GATES; i++)
        actors[i] = (struct actor){.holds = "/3", .changes = "/gates", .change_page = 2 * i};
    actors[GATES] =
        (struct actor){.holds = "/gates", .changes = "/gates", .change_page = 2 * GATES};
    for (unsigned i = 0; i < GATES; i++)
        pins[i] = test_pin(file, 2 * i * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    begin_actor(&actors[GATES]); /* holds page 0 too */
    for (unsigned i = 0; i < GATES; i++) {
        begin_actor(&actors[i]);
        test_raise(&actors[i].go, 1);
        test_await_waiting(pool, i + 1);
    }
    test_raise(&actors[GATES].go, 1);
    test_sleep_ms(60);
    EXPECT_EQ(test_peek(&actors[GATES].done), 0);
    for (unsigned i = GATES; i-- > 0;)
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    for (unsigned i = 0; i <= GATES; i++) {
        pthread_join(actors[i].thread, NULL);
        EXPECT_EQ(actors[i].rc, 0);
    }
    EXPECT_EQ(hf_close(file), 0);
}

static void act_elsewhere(void *arg)
{
    pool = test_pool_open("cycles");
    act(arg);
    test_pool_close(pool);
}

struct twice {
    uint32_t first_done;
    int first_rc, second_rc;
};

static void *change_twice(void *arg)
{
    struct hf_file *files[2] = {test_file(pool, "/0"), test_file(pool, "/2")};
    struct twice *twice = arg;

    twice->first_rc =
        hf_fallocate(files[0], HF_FALLOC_ZERO_RANGE, TEST_PAGE, 2 * TEST_PAGE, &test_wait);
    test_raise(&twice->first_done, 1);
    twice->second_rc = hf_fallocate(files[1], HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, &test_wait);
    EXPECT_EQ(hf_close(files[0]), 0);
    EXPECT_EQ(hf_close(files[1]), 0);
    return NULL;
}

/* The process that waited at a gate is stopped while it opens: it waits for that gate's owner no
 * more. */
static void check_gate_of_before(void)
{
    struct actor *actor = test_shared(sizeof(*actor));
    struct hf_file *file = test_file(pool, "/0");
    struct twice twice = {.first_done = 0};
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 2 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    pthread_t thread;
    pid_t pid;

    *actor = (struct actor){.holds = "/2", .changes = "/0"};
    pid = test_fork(act_elsewhere, actor);
    test_await(&actor->holding, 1);
    EXPECT_EQ(pthread_create(&thread, NULL, change_twice, &twice), 0);
    test_await_waiting(pool, 1);
    test_raise(&actor->go, 1);
    test_await_waiting(pool, 2);
    test_stop(pid);
    EXPECT_EQ(hf_unpin(&pin), 0);
    for (int i = 0; i < 1000 && !test_peek(&twice.first_done); i++) {
        test_sleep_ms(10); /* it may have been stopped in the middle of a look, with a mutex */
        if (i % 20 == 19)
            EXPECT_EQ(kill(pid, SIGCONT), 0);
        if (i % 20 == 0)
            EXPECT_EQ(kill(pid, SIGSTOP), 0);
    }
    test_await(&twice.first_done, 1);
    test_sleep_ms(200);
    EXPECT_EQ(kill(pid, SIGCONT), 0);
    pthread_join(thread, NULL);
    test_join(pid);
    EXPECT_EQ(twice.first_rc, 0);
    EXPECT_EQ(twice.second_rc, 0);
    EXPECT_EQ(actor->rc, 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void change_elsewhere(void *arg)
{
    struct actor *actor = arg;
    struct hf_file *other;

    pool = test_pool_open("cycles");
    other = test_file(pool, actor->changes);
    actor->rc = hf_fallocate(other, HF_FALLOC_ZERO_RANGE, actor->change_page * TEST_PAGE,
                             2 * TEST_PAGE, &test_wait);
    EXPECT_EQ(hf_close(other), 0);
    test_pool_close(pool);
}

/* The owner of the gate is killed while the process that waits there is stopped. A thread that gets
 * the owner's lane does not own the gate. */
static void check_gate_of_dead(void)
{
    struct actor *actors = test_shared(3 * sizeof(*actors));
    struct hf_file *file = test_file(pool, "/0");
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 2 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    pid_t pids[3];

    actors[0] = (struct actor){.changes = "/0", .change_page = 1};
    actors[1] = (struct actor){.holds = "/2", .changes = "/0"};
    actors[2] = (struct actor){.changes = "/2"};
    pids[1] = test_fork(act_elsewhere, &actors[1]);
    test_await(&actors[1].holding, 1);
    pids[0] = test_fork(change_elsewhere, &actors[0]);
    test_await_waiting(pool, 1);
    test_raise(&actors[1].go, 1);
    test_await_waiting(pool, 2);
    EXPECT_EQ(kill(pids[1], SIGSTOP), 0);
    test_kill(pids[0]);
    pids[2] = test_fork(change_elsewhere, &actors[2]);
    test_sleep_ms(400); /* several looks for a cycle */
    EXPECT_EQ(kill(pids[1], SIGCONT), 0);
    test_join(pids[1]);
    test_join(pids[2]);
    EXPECT_EQ(actors[1].rc, 0);
    EXPECT_EQ(actors[2].rc, 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
}

/* ---------------------------------------------------------------------------------- leases --- */

struct called {
    struct hf_lease lease;
    struct hf_file *other; /* changed in the callback; null: none */
    uint32_t calls;
    int rc;
};

static void call_back(void *arg, const struct hf_recall *recall)
{
    struct called *called = arg;

    (void)recall;
    if (called->other)
        called->rc = hf_fallocate(called->other, HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, &test_wait);
    EXPECT_EQ(hf_lease_release(&called->lease), 0);
    test_count(&called->calls);
}

/* Both hold what the other changes, but by leases that are released at a recall. */
static void check_callbacks_make_none(void)
{
    struct hf_file *files[2] = {test_file(pool, "/0"), test_file(pool, "/1")};
    struct called called[2] = {{.calls = 0}};
    struct iovec iov;

    for (unsigned i = 0; i < 2; i++) {
        const struct hf_lease_options options = {
            .size = sizeof(options), .recall = call_back, .arg = &called[i]};

        called[i].lease = test_lease(files[i], 0, TEST_PAGE, &options, &iov, 1);
    }
    for (unsigned i = 0; i < 2; i++)
        EXPECT_EQ(hf_fallocate(files[i], HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, &test_wait), 0);
    for (unsigned i = 0; i < 2; i++) {
        test_await(&called[i].calls, 1);
        EXPECT_EQ(hf_close(files[i]), 0);
    }
}

/* The callback waits for a pin of the thread that waits for the lease. */
static void check_through_callback(void)
{
    struct hf_file *leased = test_file(pool, "/0"), *pinned = test_file(pool, "/1");
    struct called called = {.other = pinned};
    const struct hf_lease_options options = {
        .size = sizeof(options), .recall = call_back, .arg = &called};
    struct iovec iov;
    struct hf_pin pin;

    called.lease = test_lease(leased, 0, TEST_PAGE, &options, &iov, 1);
    pin = test_pin(pinned, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_fallocate(leased, HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, &test_wait), 0);
    EXPECT_EQ(called.rc, -EDEADLK);
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_await(&called.calls, 1);
    EXPECT_EQ(hf_close(leased), 0);
    EXPECT_EQ(hf_close(pinned), 0);
}

/* ------------------------------------------------------------------------------ no cycles --- */

#define ORDERED_THREADS 4
#define ORDERED_ROUNDS 600u

/* Pins files in their order, and changes one behind all that it holds: no cycle can come. */
static void *go_in_order(void *arg)
{
    struct test_rng rng = {*(const uint64_t *)arg};
    struct hf_file *files[MEMBERS_MAX];
    struct hf_pin pins[MEMBERS_MAX];
    struct iovec iov;
    int rc;

    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        files[i] = test_file(pool, path_of(i));
    for (unsigned round = 0; round < ORDERED_ROUNDS; round++) {
        unsigned last = (unsigned)test_below(&rng, MEMBERS_MAX), count = 0;

        for (unsigned i = 0; i < last; i++)
            if (test_chance(&rng, 50))
                pins[count++] = test_pin(files[i], test_below(&rng, 3) * TEST_PAGE, TEST_PAGE,
                                         HF_PIN_READ, &iov, 1);
        rc = hf_fallocate(files[last], HF_FALLOC_ZERO_RANGE, test_below(&rng, 3) * TEST_PAGE,
                          TEST_PAGE, &test_wait);
        EXPECT_EQ(rc, 0);
        if (test_chance(&rng, 5))
            test_sleep_ms(30); /* longer than it takes for the others to look for cycles */
        while (count > 0)
            EXPECT_EQ(hf_unpin(&pins[--count]), 0);
    }
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        EXPECT_EQ(hf_close(files[i]), 0);
    return NULL;
}

static void go_in_order_all(uint64_t seed)
{
    pthread_t threads[ORDERED_THREADS];
    uint64_t seeds[ORDERED_THREADS];

    for (unsigned i = 0; i < ORDERED_THREADS; i++) {
        seeds[i] = test_mix(seed, i);
        EXPECT_EQ(pthread_create(&threads[i], NULL, go_in_order, &seeds[i]), 0);
    }
    for (unsigned i = 0; i < ORDERED_THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void go_in_order_elsewhere(void *arg)
{
    pool = test_pool_open("cycles");
    go_in_order_all(*(const uint64_t *)arg);
    test_pool_close(pool);
}

static void check_none(uint64_t seed)
{
    uint64_t deadlocks = stats_of_pool().deadlocks, other = test_mix(seed, 99);
    pid_t pid = test_fork(go_in_order_elsewhere, &other);

    go_in_order_all(seed);
    test_join(pid);
    EXPECT_EQ(stats_of_pool().deadlocks, deadlocks);
    printf("in order: %" PRIu64 " waits\n", stats_of_pool().drains_waited);
}

static void cycles(void)
{
    static const unsigned orders[2][3] = {{0, 1, 2}, {0, 2, 1}};
    uint64_t seed = test_seed();

    pool = test_pool_new("cycles", TEST_MIB(16));
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        EXPECT_EQ(hf_close(test_file_filled(pool, path_of(i), i, 3)), 0);
    check_cycle(2, true, false, "processes");
    check_cycle(3, true, true, "processes with leases");
    check_none(seed);
    check_gate_of_before();
    check_gate_of_dead();
    check_cycle(2, false, false, "threads");
    check_cycle(3, false, false, "threads");
    check_cycle(5, false, false, "threads");
    check_cycle(2, false, true, "threads with leases");
    check_deadlines();
    check_spurious_wakes();
    check_gate(orders[0]);
    check_gate(orders[1]);
    check_all_gates();
    check_callbacks_make_none();
    check_through_callback();
    test_pool_close(pool);
    test_pool_check("cycles");
}

TEST_SCENARIO(cycles)
