/* SPDX-License-Identifier: MIT */
/*
 * While hf_pins() tells of a process's first pin, the process ends, and another one gets its thread
 * entry and pins. The list names each pin's own process.
 */
#include "support.h"

#include <unistd.h>

#define PINS 3

struct shared {
    uint32_t ready[2], pins[2], ends[2];
};

static struct shared *shared;
static pid_t pids[2];

/* The second has the pool open from the beginning, so that it has a process entry of its own. It
 * has no thread entry before it pins. */
static void hold(void *arg)
{
    unsigned self = *(unsigned *)arg;
    struct hf_pool *pool = test_pool_open("pool");
    struct hf_file *file;
    struct hf_pin pin[PINS];
    struct iovec iov;

    EXPECT_EQ(hf_open(pool, "/file", 0, 0, &file), 0);
    test_raise(&shared->ready[self], 1);
    test_await(&shared->pins[self], 1);
    for (unsigned i = 0; i < PINS; i++)
        pin[i] = test_pin(file, self * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    test_raise(&shared->pins[self], 2);
    test_await(&shared->ends[self], 1);
    for (unsigned i = 0; i < PINS; i++)
        EXPECT_EQ(hf_unpin(&pin[i]), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void start(unsigned which)
{
    static unsigned numbers[2] = {0, 1};

    pids[which] = test_fork(hold, &numbers[which]);
    test_await(&shared->ready[which], 1);
}

static void pins(unsigned which)
{
    test_raise(&shared->pins[which], 1);
    test_await(&shared->pins[which], 2);
}

static void ends(unsigned which)
{
    test_raise(&shared->ends[which], 1);
    test_join(pids[which]);
}

static int look(void *arg, const struct hf_pin_info *info)
{
    unsigned *told = arg;

    if (info->pid != pids[info->off / TEST_PAGE])
        FAIL("a pin of page %ju is named as of process %d; the two are %d and %d",
             (uintmax_t)(info->off / TEST_PAGE), info->pid, pids[0], pids[1]);
    if (++*told == 1) {
        EXPECT_EQ(info->pid, pids[0]);
        ends(0);
        pins(1);
    }
    return 0;
}

static void list_changes(void)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(8));
    unsigned told = 0;

    shared = test_shared(sizeof *shared);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/file", 1, 2)), 0);
    start(0);
    start(1);
    pins(0);
    EXPECT_EQ(hf_pins(pool, look, &told), 0);
    EXPECT(told > 1);
    ends(1);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(list_changes)
