/* SPDX-License-Identifier: MIT */
/*
 * A file loses its last name while another process has it open only to watch it. The watcher is
 * told first and closes the file, and when the call returns the blocks are free. In a lab build the
 * watcher stands still between the two halves of its close until the call has returned, or waits. A
 * call that does not wait for a watcher that has stopped watching but not closed yet must be
 * caught.
 *
 * usage: last-name ENGINE [--steps | --expect-caught]
 */
#include "support.h"

#ifdef HF_LAB
#include "base/lab.h"
#endif

#include <holdfast/serve.h>
#include <stdio.h>
#include <string.h>

#define PAGES 16u
#define ROUNDS 500u
#define ROUNDS_IN_STEPS 20u

static struct turn {
    uint32_t go, done; /* rounds */
    uint32_t early;    /* times that blocks were not free yet */
    uint32_t returned; /* the last call that has, its round */
    uint32_t awaits;   /* times that a call went to sleep */
} * turn;

#ifdef HF_LAB
static uint32_t round_now;

/* In the process that takes names, and in the one that watches. */
static void stand(enum hf_lab_point point)
{
    uint32_t awaits = test_peek(&turn->awaits);

    if (point == HF_LAB_AWAITS)
        test_count(&turn->awaits);
    else if (point == HF_LAB_UNWATCHED)
        while (test_peek(&turn->returned) < round_now && test_peek(&turn->awaits) < awaits + 2)
            test_sleep_ms(1);
}

static void take_steps(uint32_t round, bool on)
{
    round_now = round;
    hf_lab_stepped = on;
    hf_lab_at = stand;
}
#else
static void take_steps(uint32_t round, bool on)
{
    (void)round, (void)on;
}
#endif

static uint64_t free_bytes(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.free_bytes;
}

/* Unlinks the file, or renames another one over it. A call that had to wait for too long may have
 * given up. */
static void take_names(void *arg)
{
    const uint32_t *rounds = arg;
    struct hf_pool *pool = test_pool_open("last-name");

    for (uint32_t round = 1; round <= *rounds; round++) {
        uint64_t all, start, took;

        test_await(&turn->go, round);
        all = free_bytes(pool) + PAGES * TEST_PAGE;
        start = test_now_ns();
        take_steps(round, true);
        if (round % 2)
            EXPECT_EQ(hf_unlink(pool, "/named", NULL), 0);
        else
            EXPECT_EQ(hf_rename(pool, "/other", "/named", 0), 0);
        took = test_now_ns() - start;
        turn->early += free_bytes(pool) != all && took < HF_WATCH_WAIT_NS;
        test_raise(&turn->returned, round);
        while (free_bytes(pool) != all)
            test_sleep_ms(1);
        test_raise(&turn->done, round);
    }
    test_pool_close(pool);
}

static void lose_name(struct hf_pool *pool, uint32_t round)
{
    struct hf_file *file = test_file_filled(pool, "/named", 1, PAGES);
    struct hf_watch_report report;
    struct stat st;

    EXPECT_EQ(hf_close(test_file(pool, "/other")), 0);
    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(hf_watch(file, 1), 0);
    test_raise(&turn->go, round);
    EXPECT_EQ(hf_watch_next(pool, UINT64_MAX, &report), 1);
    EXPECT_EQ(report.ino, st.st_ino);
    EXPECT_EQ(report.off, 0);
    EXPECT_EQ(report.len, UINT64_MAX);
    take_steps(round, true);
    EXPECT_EQ(hf_close(file), 0);
    take_steps(round, false);
    while (test_peek(&turn->done) < round)
        EXPECT_OK(hf_watch_next(pool, 1000000, &report));
}

static int last_name(int argc, char **argv)
{
    bool catch = argc > 2 && strcmp(argv[2], "--expect-caught") == 0;
    bool steps = argc > 2 && strcmp(argv[2], "--steps") == 0;
    uint32_t rounds = catch ? UINT32_MAX : steps ? ROUNDS_IN_STEPS : ROUNDS, round = 0;
    struct hf_pool *pool;
    pid_t child;

    if (argc < 2)
        return 2;
#ifdef HF_LAB
    hf_lab_break = catch ? HF_LAB_STEPS | HF_LAB_NO_CLOSE_WAIT : steps ? HF_LAB_STEPS : 0;
#endif
    turn = test_shared(sizeof(*turn));
    pool = test_engine_pool(test_engine(argv[1]), "last-name", TEST_MIB(8));
    child = test_fork(take_names, &rounds);
    while (round < rounds && !turn->early)
        lose_name(pool, ++round);
    if (round < rounds)
        test_kill(child);
    else
        test_join(child);
    test_pool_close(pool);
    printf("%u rounds, blocks that were not free at once in %u\n", round, turn->early);
    EXPECT_EQ(turn->early != 0, catch);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, last_name);
}
