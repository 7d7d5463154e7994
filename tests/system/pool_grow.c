/* SPDX-License-Identifier: MIT */
/*
 * A pool grows while two processes use it. Both see the room, what either then puts into the new
 * memory, and each other's pins there.
 */
#include "support.h"

#include <errno.h>

#define OLD TEST_MIB(8)
#define NEW TEST_MIB(64)

struct stage {
    uint32_t number;
};
static struct stage *stage;

static void fill(struct hf_file *file, uint64_t stamp, uint64_t bytes)
{
    test_write_pages(file, stamp, 0, bytes / TEST_PAGE);
}

static void other_process(void *arg)
{
    struct hf_pool *pool = test_pool_open("grow");
    struct hf_file *file = test_file(pool, "/other"), *first;
    struct hf_pool_info info = {.size = sizeof(info)};
    struct iovec iov;
    struct hf_pin pin;

    (void)arg;
    test_write_pages(file, 2, 0, 4);
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    test_raise(&stage->number, 1);
    test_await(&stage->number, 2);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.pool_bytes, NEW);
    EXPECT(test_page_is(iov.iov_base, 2, 0));
    EXPECT_EQ(hf_unpin(&pin), 0);
    first = test_file(pool, "/first");
    test_expect_pages(first, 1, 0, 2 * OLD / TEST_PAGE);
    pin = test_pin(first, 2 * OLD - TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT(test_page_is(iov.iov_base, 1, 2 * OLD / TEST_PAGE - 1));
    EXPECT_EQ(hf_unpin(&pin), 0);
    fill(file, 3, 2 * OLD);
    test_raise(&stage->number, 3);
    EXPECT_EQ(hf_close(first), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void check_bounds(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_grow(pool, OLD / 2), -EINVAL);
    EXPECT_EQ(hf_pool_grow(pool, NEW + 4096), -EINVAL);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.limit_bytes, 64 * OLD);
    EXPECT_EQ(hf_pool_grow(pool, info.limit_bytes + HF_HUGE_BYTES), -ENOSPC);
    EXPECT_EQ(info.pool_bytes, OLD);
}

static void pool_grow(void)
{
    struct hf_pool *pool = test_pool_new("grow", OLD);
    uint64_t free_before = test_free_bytes(pool);
    struct hf_file *file = test_file(pool, "/first"), *other;
    pid_t child;

    stage = test_shared(sizeof(*stage));
    child = test_fork(other_process, NULL);
    test_await(&stage->number, 1);
    check_bounds(pool);
    EXPECT_EQ(hf_pool_grow(pool, NEW), 0);
    EXPECT_EQ(test_free_bytes(pool), free_before + NEW - OLD - 4 * TEST_PAGE);
    fill(file, 1, 2 * OLD);
    test_raise(&stage->number, 2);
    test_await(&stage->number, 3);
    other = test_file(pool, "/other");
    test_expect_pages(other, 3, 0, 2 * OLD / TEST_PAGE);
    test_join(child);
    EXPECT_EQ(hf_close(other), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("grow");
    pool = test_pool_open("grow");
    EXPECT_EQ(test_free_bytes(pool), free_before + NEW - OLD - 4 * OLD);
    test_pool_close(pool);
}

TEST_SCENARIO(pool_grow)
