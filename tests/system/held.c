/* SPDX-License-Identifier: MIT */
/*
 * hf_held(): finds pins and leases of all processes by range, also more pins than a thread has
 * slots, and none that has ended. The dead do not count, but for devices. And the protocol that it
 * is for: a writer uses a range again when nobody holds it, and no reader sees another object's
 * bytes.
 */
#include "support.h"

#include <errno.h>
#include <holdfast/put.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define MANY 100 /* more than a thread has slots */
#define OBJECT_PAGES 2u
#define RANGES 3u
#define ROUNDS 20000u
#define READERS 2

static struct hf_pool *pool;
static uint32_t *holding;

static void check_own(struct hf_file *file)
{
    struct hf_pin pins[MANY];
    struct hf_lease lease;
    struct iovec iov;

    EXPECT_EQ(hf_held(file, 0, 10 * TEST_PAGE), 0);
    for (unsigned i = 0; i < MANY; i++)
        pins[i] = test_pin(file, 3 * TEST_PAGE + 100, 10, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_held(file, 3 * TEST_PAGE, 1), 1);
    EXPECT_EQ(hf_held(file, 2 * TEST_PAGE, TEST_PAGE), 0);
    EXPECT_EQ(hf_held(file, 2 * TEST_PAGE, TEST_PAGE + 1), 1);
    EXPECT_EQ(hf_held(file, 4 * TEST_PAGE, 6 * TEST_PAGE), 0);
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT_EQ(hf_held(file, 3 * TEST_PAGE, 1), 1);
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    }
    EXPECT_EQ(hf_held(file, 3 * TEST_PAGE, 1), 0);
    lease = test_lease(file, 5 * TEST_PAGE, TEST_PAGE, NULL, &iov, 1);
    EXPECT_EQ(hf_held(file, 5 * TEST_PAGE, 1), 1);
    EXPECT_EQ(hf_lease_state(&lease), HF_LEASE_HELD); /* it is not asked for */
    EXPECT_EQ(hf_lease_release(&lease), 0);
    EXPECT_EQ(hf_held(file, 5 * TEST_PAGE, 1), 0);
    EXPECT_EQ(hf_held(file, 1000 * TEST_PAGE, 1), 0); /* past end of file */
    EXPECT_EQ(hf_held(file, 0, 0), -EINVAL);
}

static void hold(void *arg)
{
    uint32_t flags = *(uint32_t *)arg;
    struct hf_pool *mine = test_pool_open("held");
    struct hf_file *file = test_file(mine, "/file");
    struct iovec iov;

    test_pin(file, 7 * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE | flags, &iov, 1);
    test_raise(holding, 1);
    for (;;)
        pause();
}

static void check_the_dead(struct hf_file *file, uint32_t flags, int after)
{
    pid_t pid;

    test_raise(holding, 0);
    pid = test_fork(hold, &flags);
    test_await(holding, 1);
    EXPECT_EQ(hf_held(file, 7 * TEST_PAGE, 1), 1);
    test_stop(pid);
    EXPECT_EQ(hf_held(file, 7 * TEST_PAGE, 1), 1);
    test_kill(pid);
    EXPECT_EQ(hf_held(file, 7 * TEST_PAGE, 1), after);
    EXPECT_EQ(hf_held(file, 6 * TEST_PAGE, TEST_PAGE), 0);
}

/* ---- the protocol ---- */

struct board {
    uint64_t word; /* number of the object << 8 | its range; 0: none */
    uint32_t done;
    uint64_t reads;
};
static struct board board;

static void read_object(struct hf_file *file)
{
    struct iovec iov[OBJECT_PAGES];
    uint64_t word = test_peek64(&board.word);
    struct hf_pin pin;
    int pieces;

    if (!word)
        return;
    pieces = hf_pin(file, (word & 255) * OBJECT_PAGES * TEST_PAGE, OBJECT_PAGES * TEST_PAGE,
                    HF_PIN_READ, iov, OBJECT_PAGES, &pin);
    EXPECT_OK(pieces);
    if (test_peek64(&board.word) == word) {
        const char *at = iov[0].iov_base;

        EXPECT(test_page_is(at, word >> 8, 0));
        at = iov[0].iov_len == TEST_PAGE ? iov[1].iov_base : at + TEST_PAGE;
        EXPECT(test_page_is(at, word >> 8, 1));
        test_count64(&board.reads, 1);
    }
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void *read_objects(void *arg)
{
    while (!test_peek(&board.done))
        read_object(arg);
    return NULL;
}

static bool fill(struct hf_file *file, uint64_t range, uint64_t number)
{
    struct iovec iov[OBJECT_PAGES];
    struct hf_pin pin = test_pin(file, range * OBJECT_PAGES * TEST_PAGE, OBJECT_PAGES * TEST_PAGE,
                                 HF_PIN_WRITE, iov, OBJECT_PAGES);
    char *at = iov[0].iov_base;

    test_page_fill(at, number, 0);
    test_page_fill(iov[0].iov_len == TEST_PAGE ? iov[1].iov_base : at + TEST_PAGE, number, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_put64(&board.word, number << 8 | range);
    return true;
}

static void check_protocol(void)
{
    struct hf_file *file = test_file_filled(pool, "/heap", 1, RANGES * OBJECT_PAGES);
    pthread_t readers[READERS];
    uint64_t number = 1, now = 0;

    fill(file, now, number);
    for (unsigned i = 0; i < READERS; i++)
        EXPECT_EQ(pthread_create(&readers[i], NULL, read_objects, file), 0);
    for (unsigned round = 0; round < ROUNDS || test_peek64(&board.reads) < ROUNDS / 10; round++) {
        uint64_t next = (now + 1) % RANGES;

        if (hf_held(file, next * OBJECT_PAGES * TEST_PAGE, OBJECT_PAGES * TEST_PAGE) == 0) {
            fill(file, next, ++number);
            now = next;
        }
    }
    test_raise(&board.done, 1);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    EXPECT_EQ(hf_close(file), 0);
}

static void held(void)
{
    struct hf_file *file;

    holding = test_shared(sizeof *holding);
    pool = test_pool_new("held", TEST_MIB(16));
    file = test_file_filled(pool, "/file", 9, 16);
    check_own(file);
    check_the_dead(file, HF_PIN_CPU, 0);
    check_the_dead(file, HF_PIN_RDMA, 1); /* the pool's quarantine is 30 s */
    EXPECT_EQ(hf_close(file), 0);
    check_protocol();
    test_pool_close(pool);
    test_pool_check("held");
}

TEST_SCENARIO(held)
