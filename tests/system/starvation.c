/* SPDX-License-Identifier: MIT */
/*
 * Eight threads pin the same page again and again, as fast as they can, or so that it is held at
 * nearly every instant. Layout changes of that page must still come through, one after the other.
 * Says how long they took.
 */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS 8
#define CHANGES 200

struct crowd {
    struct hf_file *file;
    unsigned hold_ms;
    uint32_t stop;
    uint64_t pins;
};

static void *keep_pinning(void *arg)
{
    struct crowd *crowd = arg;
    struct iovec iov;
    struct hf_pin pin;

    while (!test_peek(&crowd->stop)) {
        int rc = hf_pin(crowd->file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1, &pin);

        if (rc == -EFAULT)
            continue;
        EXPECT_EQ(rc, 1);
        if (crowd->hold_ms)
            test_sleep_ms(crowd->hold_ms);
        EXPECT_EQ(hf_unpin(&pin), 0);
        test_count64(&crowd->pins, 1);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Until they are all at it again. */
static void await_crowd(const struct crowd *crowd)
{
    uint64_t pins = test_peek64(&crowd->pins);

    while (test_peek64(&crowd->pins) < pins + THREADS)
        usleep(100);
}

static void change(struct crowd *crowd, uint64_t ns[CHANGES])
{
    const struct hf_policy in_time = test_deadline_ms(TEST_PATIENCE_MS);

    for (unsigned i = 0; i < CHANGES; i++) {
        uint64_t since;

        await_crowd(crowd);
        since = test_now_ns();
        EXPECT_EQ(hf_truncate(crowd->file, 0, &in_time), 0);
        ns[i] = test_now_ns() - since;
        test_write_pages(crowd->file, i, 0, 1);
        EXPECT_EQ(hf_move(crowd->file, 0, TEST_PAGE, &in_time), 0);
        test_expect_pages(crowd->file, i, 0, 1);
    }
}

static void check_crowd(struct hf_pool *pool, unsigned hold_ms)
{
    struct crowd crowd = {.file = test_file_filled(pool, "/file", 1, 1), .hold_ms = hold_ms};
    pthread_t threads[THREADS];
    uint64_t ns[CHANGES];

    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, keep_pinning, &crowd), 0);
    change(&crowd, ns);
    test_raise(&crowd.stop, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    qsort(ns, CHANGES, sizeof(*ns), compare);
    printf("pins held for %u ms: %u truncates against %" PRIu64
           " pins: median %.3f ms, worst %.3f ms\n",
           hold_ms, CHANGES, crowd.pins, (double)ns[CHANGES / 2] / 1e6,
           (double)ns[CHANGES - 1] / 1e6);
    EXPECT_EQ(hf_close(crowd.file), 0);
}

static void starvation(void)
{
    struct hf_pool *pool = test_pool_new("crowd", TEST_MIB(16));

    check_crowd(pool, 0);
    check_crowd(pool, 1);
    test_pool_close(pool);
    test_pool_check("crowd");
}

TEST_SCENARIO(starvation)
