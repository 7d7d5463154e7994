/* SPDX-License-Identifier: MIT */
/*
 * A layout change that waits uses no processor. It ends with -EINTR when a signal handler ran, and
 * has then changed nothing. The same is true of a pin that waits at a gate.
 */
#include "change.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define WAIT_MS 200

static void on_signal(int signal)
{
    (void)signal;
}

static void catch_signals(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = on_signal;
    EXPECT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
}

static void check_processor_time(struct hf_pool *pool, struct hf_file *file)
{
    struct change_thread change = {.pool = pool, .file = file, .kind = CHANGE_MOVE};
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 5 * TEST_PAGE, 1, HF_PIN_READ, &iov, 1);

    change_start(&change);
    test_await_waiting(pool, 1);
    test_sleep_ms(WAIT_MS);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(change_finish(&change), 0);
    EXPECT(change.wall_ns >= WAIT_MS * UINT64_C(1000000));
    EXPECT(change.cpu_ns < (test_is_slow() ? 150 : 50) * UINT64_C(1000000));
}

static void check_interrupted(struct hf_pool *pool, struct hf_file *file, struct hf_policy policy)
{
    struct change_thread change = {
        .pool = pool, .file = file, .kind = CHANGE_TRUNCATE, .policy = policy};
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 5 * TEST_PAGE, 1, HF_PIN_READ, &iov, 1);

    change_start(&change);
    test_await_waiting(pool, 1);
    while (!test_peek(&change.done)) { /* it may be a step away from its sleep still */
        pthread_kill(change.thread, SIGUSR1);
        test_sleep_ms(10);
    }
    EXPECT_EQ(change_finish(&change), -EINTR);
    change_expect_before(pool, "/file");
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_WAITING), 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
}

struct waiting_pin {
    struct hf_file *file;
    uint32_t started, done;
    int rc;
};

static void *pin_at_gate(void *arg)
{
    struct waiting_pin *waiting = arg;
    struct iovec iov;
    struct hf_pin pin;

    test_raise(&waiting->started, 1);
    waiting->rc = hf_pin(waiting->file, 5 * TEST_PAGE, 1, HF_PIN_READ, &iov, 1, &pin);
    test_raise(&waiting->done, 1);
    return NULL;
}

static void check_pin_interrupted(struct hf_pool *pool, struct hf_file *file)
{
    struct change_thread change = {.pool = pool, .file = file, .kind = CHANGE_MOVE};
    struct waiting_pin waiting = {.file = file};
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 5 * TEST_PAGE, 1, HF_PIN_READ, &iov, 1);
    pthread_t thread;

    change_start(&change);
    test_await_waiting(pool, 1);
    EXPECT_EQ(pthread_create(&thread, NULL, pin_at_gate, &waiting), 0);
    test_await(&waiting.started, 1);
    test_sleep_ms(20);
    while (!test_peek(&waiting.done)) {
        pthread_kill(thread, SIGUSR1);
        test_sleep_ms(10);
    }
    pthread_join(thread, NULL);
    EXPECT_EQ(waiting.rc, -EINTR);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_HELD), 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(change_finish(&change), 0);
}

static void waiting_is_cheap(void)
{
    struct hf_pool *pool = test_pool_new("cheap", TEST_MIB(16));
    struct hf_file *file = change_prepare(pool, "/file");

    catch_signals();
    check_processor_time(pool, file);
    check_interrupted(pool, file, test_wait);
    check_interrupted(pool, file, test_deadline_ms(TEST_PATIENCE_MS));
    check_interrupted(pool, file, test_deadline_detach_ms(TEST_PATIENCE_MS));
    check_pin_interrupted(pool, file);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("cheap");
}

TEST_SCENARIO(waiting_is_cheap)
