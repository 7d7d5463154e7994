/* SPDX-License-Identifier: MIT */
/* A callback of a recall that ends its thread: the callbacks after it come, and the pool closes. */
#include "support.h"

#include <pthread.h>

#define LEASES 3u

static struct hf_lease leases[LEASES];
static uint32_t calls;

static void release_and_exit(void *arg, const struct hf_recall *recall)
{
    (void)recall;
    test_count(&calls);
    EXPECT_EQ(hf_lease_release(arg), 0);
    pthread_exit(NULL);
}

static void run(void)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(8));
    struct hf_file *file = test_file_filled(pool, "/a", 1, LEASES);
    struct iovec iov[4];

    for (unsigned i = 0; i < LEASES; i++) {
        const struct hf_lease_options options = {
            .size = sizeof(options), .recall = release_and_exit, .arg = &leases[i]};

        leases[i] = test_lease(file, i * TEST_PAGE, TEST_PAGE, &options, iov, 4);
    }
    for (unsigned i = 0; i < LEASES; i++)
        EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, i * TEST_PAGE, TEST_PAGE, &test_wait),
                  0);
    EXPECT_EQ(test_peek(&calls), LEASES);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

TEST_SCENARIO(run)
