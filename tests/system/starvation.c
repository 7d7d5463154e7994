/* SPDX-License-Identifier: MIT */
/*
 * Eight threads pin the same page again and again, so that at nearly every instant somebody holds
 * it; layout changes of that page must still come through, one after the other.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#define THREADS 8
#define CHANGES 200

struct crowd {
    struct hf_file *file;
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
        test_sleep_ms(1);
        EXPECT_EQ(hf_unpin(&pin), 0);
        test_count64(&crowd->pins, 1);
    }
    return NULL;
}

static void starvation(void)
{
    const struct hf_policy in_time = test_deadline_ms(test_is_slow() ? 60000 : 10000);
    struct hf_pool *pool = test_pool_new("crowd", TEST_MIB(16));
    struct crowd crowd = {.file = test_file_filled(pool, "/file", 1, 1)};
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, keep_pinning, &crowd), 0);
    while (test_peek64(&crowd.pins) < THREADS)
        test_sleep_ms(1);
    for (int i = 0; i < CHANGES; i++) {
        EXPECT_EQ(hf_truncate(crowd.file, 0, &in_time), 0);
        test_write_pages(crowd.file, (uint64_t)i, 0, 1);
        EXPECT_EQ(hf_move(crowd.file, 0, TEST_PAGE, &in_time), 0);
        test_expect_pages(crowd.file, (uint64_t)i, 0, 1);
    }
    test_raise(&crowd.stop, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%d layout changes against %llu pins\n", 2 * CHANGES, (unsigned long long)crowd.pins);
    EXPECT_EQ(hf_close(crowd.file), 0);
    test_pool_close(pool);
    test_pool_check("crowd");
}

TEST_SCENARIO(starvation)
