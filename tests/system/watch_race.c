/* SPDX-License-Identifier: MIT */
/*
 * WATCH.SB: one process writes while another begins to watch. What the watcher reads after that is
 * new, or the write is reported. Each on a processor of its own, with enough stores on their way to
 * be late. That it shows without the heavy barrier is for tests/wrong/steps.c.
 */
#include "support.h"

#include <holdfast/serve.h>
#include <sched.h>
#include <stdio.h>

#define ROUNDS 2000u
#define WORDS 240u /* stores into lines that the other process has read last */

static struct turn {
    uint32_t ready, go, written, stop;
} * turn;

static void stay_on_cpu(int number)
{
    cpu_set_t allowed, one;

    CPU_ZERO(&one);
    EXPECT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    number %= CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && number-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
}

/* For a moment, without a system call. */
static void await(const uint32_t *flag, uint32_t value)
{
    for (unsigned spins = 0; test_peek(flag) < value; spins++)
        if (spins > 1000)
            sched_yield();
}

static void stamp(uint64_t words[WORDS], uint64_t value)
{
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = value;
}

static void write_once_a_round(void *arg)
{
    struct hf_pool *pool = test_pool_open("race");
    struct hf_file *file = test_file(pool, "/file");
    uint64_t words[WORDS];

    (void)arg;
    stay_on_cpu(1);
    for (uint32_t round = 1; !test_peek(&turn->stop); round++) {
        stamp(words, round);
        test_raise(&turn->ready, round);
        await(&turn->go, round);
        EXPECT_EQ(hf_write(file, words, sizeof(words), 0), sizeof(words));
        test_raise(&turn->written, round);
    }
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

/* Begins to watch while the other writes. True: its copy is old, and nobody says so. */
static bool missed(struct hf_pool *pool, struct hf_file *file, uint32_t round, struct test_rng *rng)
{
    struct hf_watch_report report;
    uint64_t words[WORDS];
    bool told = false, new = true;

    EXPECT_EQ(hf_read(file, words, sizeof(words), 0), sizeof(words));
    await(&turn->ready, round);
    test_raise(&turn->go, round);
    for (volatile uint64_t spins = test_below(rng, 400); spins > 0; spins--)
        ;
    EXPECT_EQ(hf_watch(file, 1), 0);
    EXPECT_EQ(hf_read(file, words, sizeof(words), 0), sizeof(words));
    while (test_peek(&turn->written) < round)
        told |= hf_watch_next(pool, 0, &report) == 1;
    told |= hf_watch_next(pool, 0, &report) == 1;
    EXPECT_EQ(hf_watch(file, 0), 0);
    for (unsigned i = 0; i < WORDS; i++)
        new &= words[i] == round;
    return !new && !told;
}

static void watch_race(void)
{
    struct hf_pool *pool = test_pool_new("race", TEST_MIB(8));
    struct hf_file *file = test_file_filled(pool, "/file", 1, 1);
    struct test_rng rng = {test_seed()};
    unsigned misses = 0;
    uint32_t round = 0;
    pid_t writer;

    turn = test_shared(sizeof(*turn));
    writer = test_fork(write_once_a_round, NULL);
    stay_on_cpu(0);
    do
        misses += missed(pool, file, ++round, &rng);
    while (round < ROUNDS);
    test_raise(&turn->stop, 1);
    test_raise(&turn->go, UINT32_MAX);
    test_join(writer);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    printf("%u rounds, %u writes that nobody was told of\n", round, misses);
    EXPECT_EQ(misses, 0);
}

TEST_SCENARIO(watch_race)
