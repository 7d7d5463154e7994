/* SPDX-License-Identifier: MIT */
/*
 * hf_cancel() and signals end layout changes that wait at a gate or for pins. They have then
 * changed nothing. A thread that does not wait is not found to be cancelled.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PAGES 8
#define ROUNDS 600

static struct hf_pool *pool;
static struct hf_file *file;

struct waiter {
    pthread_t thread;
    struct hf_policy policy;
    uint64_t size;
    uint32_t tid;
    uint32_t done;
    int rc;
};

static void *wait_for_it(void *arg)
{
    struct waiter *waiter = arg;

    test_raise(&waiter->tid, (uint32_t)gettid());
    waiter->rc = hf_truncate(file, waiter->size, &waiter->policy);
    test_raise(&waiter->done, 1);
    return NULL;
}

static void start(struct waiter *waiter, uint64_t size, const struct hf_policy *policy)
{
    *waiter = (struct waiter){.size = size, .policy = *policy};
    EXPECT_EQ(pthread_create(&waiter->thread, NULL, wait_for_it, waiter), 0);
    test_await(&waiter->tid, 1);
}

static int finish(struct waiter *waiter)
{
    pthread_join(waiter->thread, NULL);
    return waiter->rc;
}

/* Cancels once it can be; once is enough. */
static void cancel(const struct waiter *waiter)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    int rc;

    while ((rc = hf_cancel(pool, (pid_t)waiter->tid)) == -ESRCH && !test_peek(&waiter->done)) {
        EXPECT(test_now_ns() < limit);
        test_sleep_ms(1);
    }
    EXPECT_EQ(rc, 0);
}

static uint64_t counted(void)
{
    struct hf_stats stats = {.size = sizeof(stats)};

    EXPECT_EQ(hf_stats(pool, &stats), 0);
    return stats.cancelled;
}

static void check_for_pins(void)
{
    uint64_t before = counted();
    const struct hf_policy policies[] = {test_wait, test_deadline_ms(TEST_PATIENCE_MS),
                                         test_deadline_detach_ms(TEST_PATIENCE_MS)};
    struct waiter waiter;
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    for (unsigned i = 0; i < sizeof(policies) / sizeof(*policies); i++) {
        start(&waiter, 0, &policies[i]);
        cancel(&waiter);
        EXPECT_EQ(finish(&waiter), -EINTR);
        test_expect_pages(file, 1, 0, PAGES);
    }
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(counted() - before, sizeof(policies) / sizeof(*policies));
}

static void check_at_gate(void)
{
    struct waiter first, second;
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    start(&first, 0, &test_wait);
    test_await_waiting(pool, 1);
    start(&second, TEST_PAGE, &test_wait);
    cancel(&second);
    EXPECT_EQ(finish(&second), -EINTR);
    EXPECT_EQ(test_peek(&first.done), 0);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_WAITING), 1);
    cancel(&first);
    EXPECT_EQ(finish(&first), -EINTR);
    test_expect_pages(file, 1, 0, PAGES);
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void spin(uint64_t ns)
{
    uint64_t until = test_now_ns() + ns;

    while (test_now_ns() < until)
        ;
}

/* A cancel that comes while the wait at a gate turns into a wait for a pin is not lost. */
static void check_between(void)
{
    struct waiter first, second;
    struct iovec iov;
    struct hf_pin pins[2];

    for (uint64_t i = 0; i < ROUNDS; i++) {
        pins[0] = test_pin(file, 2 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
        pins[1] = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
        start(&first, TEST_PAGE, &test_wait);
        test_await_waiting(pool, 1);
        start(&second, 0, &test_wait);
        usleep(1000);
        EXPECT_EQ(hf_unpin(&pins[0]), 0);
        spin(i % 100 * 1000);
        cancel(&second);
        EXPECT_EQ(finish(&second), -EINTR);
        EXPECT_EQ(finish(&first), 0);
        EXPECT_EQ(hf_unpin(&pins[1]), 0);
        test_write_pages(file, 1, 0, PAGES);
    }
}

static void check_nobody_waits(void)
{
    const struct hf_policy ms = test_deadline_ms(1);
    struct waiter waiter;

    EXPECT_EQ(hf_cancel(pool, gettid()), -ESRCH);
    EXPECT_EQ(hf_cancel(pool, 1), -ESRCH);
    EXPECT_EQ(hf_cancel(pool, 0), -ESRCH);
    EXPECT_EQ(hf_cancel(pool, -1), -ESRCH);
    EXPECT(strlen(hf_strerror_detail()) > 0);
    start(&waiter, PAGES * TEST_PAGE, &ms);
    EXPECT_EQ(finish(&waiter), 0);
    EXPECT_EQ(hf_cancel(pool, (pid_t)waiter.tid), -ESRCH); /* its thread has ended */
}

static void ignore(int signal)
{
    (void)signal;
}

static void check_signal(void)
{
    struct sigaction action;
    struct waiter first, second;
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    memset(&action, 0, sizeof(action));
    action.sa_handler = ignore;
    EXPECT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    start(&first, 0, &test_wait);
    test_await_waiting(pool, 1);
    start(&second, 0, &test_wait);
    while (
        !test_peek(&second.done)) { /* one that comes between two sleeps is not an interruption */
        pthread_kill(second.thread, SIGUSR1);
        test_sleep_ms(1);
    }
    EXPECT_EQ(finish(&second), -EINTR);
    while (!test_peek(&first.done)) {
        pthread_kill(first.thread, SIGUSR1);
        test_sleep_ms(1);
    }
    EXPECT_EQ(finish(&first), -EINTR);
    test_expect_pages(file, 1, 0, PAGES);
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void cancel_waits(void)
{
    pool = test_pool_new("cancel", TEST_MIB(16));
    file = test_file_filled(pool, "/file", 1, PAGES);
    check_for_pins();
    check_at_gate();
    check_nobody_waits();
    check_signal();
    check_between();
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("cancel");
}

TEST_SCENARIO(cancel_waits)
