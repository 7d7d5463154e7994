/* SPDX-License-Identifier: MIT */
/*
 * Layout changes of ranges that no pin overlaps wait for nobody, and a waiting one leaves the rest
 * of the file usable. No time is measured: NOWAIT would fail where there is anything to wait for.
 */
#include "change.h"

#include <errno.h>

static void check_beside_a_pin(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/beside", 9, 64);
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 10, 100, HF_PIN_WRITE, &iov, 1);

    EXPECT_EQ(hf_truncate(file, 60 * TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_truncate(file, 59 * TEST_PAGE + 100, &test_nowait), 0);
    EXPECT_EQ(hf_truncate(file, 80 * TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, TEST_PAGE, TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 3 * TEST_PAGE + 5, 5000, &test_nowait), 0);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 7 * TEST_PAGE, TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, TEST_PAGE, TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_INSERT_RANGE, TEST_PAGE, TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_move(file, TEST_PAGE, 30 * TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_fallocate(file, 0, 0, 90 * TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 4000, 200, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE - 1, &test_nowait), -EBUSY);
    test_expect_pages(file, 9, 0, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_truncate(file, TEST_PAGE - 1, &test_nowait), 0);
    EXPECT_EQ(hf_close(file), 0);
}

struct beside {
    struct hf_file *file;
    uint32_t done;
};

/* Everything a thread without pins may do outside a closed gate. */
static void *use_the_rest(void *arg)
{
    struct beside *beside = arg;
    struct hf_file *file = beside->file;
    struct iovec iov;
    struct hf_pin pin;

    test_write_pages(file, 5, CHANGE_FIRST + CHANGE_COUNT, 2);
    test_expect_pages(file, 5, CHANGE_FIRST + CHANGE_COUNT, 2);
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_write_pages(file, 6, CHANGE_PAGES, 4);
    EXPECT_EQ(hf_truncate(file, (CHANGE_PAGES + 8) * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_append(file, "x", 1, NULL), 1);
    test_raise(&beside->done, 1);
    return NULL;
}

static void check_beside_a_waiting_change(struct hf_pool *pool)
{
    struct beside beside = {.file = change_prepare(pool, "/gate")};
    struct change_thread change = {.pool = pool, .file = beside.file, .kind = CHANGE_PUNCH};
    struct iovec iov;
    struct hf_pin pin = test_pin(beside.file, 5 * TEST_PAGE, 1, HF_PIN_READ, &iov, 1);
    pthread_t thread;

    change_start(&change);
    test_await_waiting(pool, 1);
    EXPECT_EQ(pthread_create(&thread, NULL, use_the_rest, &beside), 0);
    test_await(&beside.done, 1);
    pthread_join(thread, NULL);
    EXPECT_EQ(test_peek(&change.done), 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(change_finish(&change), 0);
    test_expect_zeros(beside.file, CHANGE_FIRST * TEST_PAGE, CHANGE_COUNT * TEST_PAGE);
    test_expect_pages(beside.file, 5, CHANGE_FIRST + CHANGE_COUNT, 2);
    EXPECT_EQ(hf_close(beside.file), 0);
}

static void range_independence(void)
{
    struct hf_pool *pool = test_pool_new("ranges", TEST_MIB(16));

    check_beside_a_pin(pool);
    check_beside_a_waiting_change(pool);
    test_pool_close(pool);
    test_pool_check("ranges");
}

TEST_SCENARIO(range_independence)
