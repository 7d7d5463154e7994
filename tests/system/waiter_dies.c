/* SPDX-License-Identifier: MIT */
/*
 * A thread that is killed while it waits in a layout change waits no more. Another thread that gets
 * its place in the table is not taken for it, neither by hf_cancel() nor by the search for cycles.
 */
#include "support.h"

#include <errno.h>
#include <unistd.h>

static uint32_t *holds, *go;

static void wait_for_ever(void *arg)
{
    struct hf_pool *pool = test_pool_open("pool");

    (void)arg;
    hf_truncate(test_file(pool, "/first"), 0, &test_wait);
}

/* Gets the dead one's place, and holds what it does not wait for. */
static void hold(void *arg)
{
    struct hf_pool *pool = test_pool_open("pool");
    struct hf_file *second = test_file(pool, "/second");
    struct iovec iov;
    struct hf_pin pin = test_pin(second, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    (void)arg;
    EXPECT_EQ(hf_cancel(pool, gettid()), -ESRCH);
    test_raise(holds, 1);
    test_await(go, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(second), 0);
    test_pool_close(pool);
}

static void waiter_dies(void)
{
    const struct hf_policy soon = test_deadline_ms(300);
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(8));
    struct hf_file *first = test_file_filled(pool, "/first", 1, 1);
    struct hf_file *second = test_file_filled(pool, "/second", 2, 1);
    struct iovec iov;
    struct hf_pin pin = test_pin(first, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    pid_t pid;

    holds = test_shared(2 * sizeof(*holds));
    go = holds + 1;
    pid = test_fork(wait_for_ever, NULL);
    test_await_waiting(pool, 1);
    test_kill(pid);
    pid = test_fork(hold, NULL);
    test_await(holds, 1);
    EXPECT_EQ(hf_truncate(second, 0, &soon), -ETIMEDOUT);
    test_raise(go, 1);
    test_join(pid);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(first), 0);
    EXPECT_EQ(hf_close(second), 0);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(waiter_dies)
