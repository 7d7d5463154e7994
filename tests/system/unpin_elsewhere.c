/* SPDX-License-Identifier: MIT */
/*
 * Pins that another thread releases than the one that made them, also after that one has ended and
 * after the file was closed. And a pin that is released twice.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define PINS 300

struct batch {
    struct hf_file *file;
    struct hf_pin pins[PINS];
};

static void *pin_batch(void *arg)
{
    struct batch *batch = arg;
    struct iovec iov;

    for (int i = 0; i < PINS; i++)
        batch->pins[i] = test_pin(batch->file, TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    return NULL;
}

static void *unpin_batch(void *arg)
{
    struct batch *batch = arg;

    for (int i = 0; i < PINS; i++)
        EXPECT_EQ(hf_unpin(&batch->pins[i]), 0);
    return NULL;
}

static void in_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;

    EXPECT_EQ(pthread_create(&thread, NULL, body, arg), 0);
    pthread_join(thread, NULL);
}

static void check_threads(struct hf_pool *pool)
{
    static struct batch batch;

    batch.file = test_file_filled(pool, "/file", 1, 4);
    in_thread(pin_batch, &batch);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_HELD), PINS);
    EXPECT_EQ(hf_truncate(batch.file, 0, &test_nowait), -EBUSY);
    in_thread(unpin_batch, &batch);
    EXPECT_EQ(hf_truncate(batch.file, 3 * TEST_PAGE, &test_nowait), 0);

    pin_batch(&batch);
    EXPECT_EQ(hf_close(batch.file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), -EBUSY);
    EXPECT_EQ(hf_pool_close(pool), -EBUSY);
    in_thread(unpin_batch, &batch);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), 0);
}

/* A copy is used up with the original; a later pin in the same slot is another one. */
static void unpin_twice(void *arg)
{
    struct hf_pool *pool = test_pool_open("elsewhere");
    struct hf_file *file = test_file_filled(pool, "/twice", 1, 1);
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1), copy = pin, other;

    (void)arg;
    EXPECT_EQ(hf_unpin(&pin), 0);
    other = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_unpin(&copy), -EINVAL);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_unpin(&other), 0);
    EXPECT_EQ(hf_unpin(&other), -EINVAL);
    memset(&copy, 0, sizeof(copy));
    EXPECT_EQ(hf_unpin(&copy), -EINVAL);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void unpin_elsewhere(void)
{
    struct hf_pool *pool = test_pool_new("elsewhere", TEST_MIB(16));
    int status;

    check_threads(pool);
    test_pool_close(pool);
    status = test_wait_status(test_fork(unpin_twice, NULL));
    if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)) /* as a debug build does */
        EXPECT_EQ(status, 0);
    pool = test_pool_open("elsewhere");
    test_pool_close(pool);
    test_pool_check("elsewhere");
}

TEST_SCENARIO(unpin_elsewhere)
