/* SPDX-License-Identifier: MIT */
/*
 * Several openings in one process. The same pool twice is one handle, counted twice. Two pools and
 * an anonymous one do not touch each other. Closing with something open is refused.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void check_twice(void)
{
    struct hf_pool *first = test_pool_new("twice", TEST_MIB(8)), *second = NULL;
    char path[512];
    struct hf_file *file;

    snprintf(path, sizeof(path), "%s/../twice/.", test_path("twice"));
    EXPECT_EQ(hf_pool_open(path, 0, &second), 0);
    EXPECT(first == second);
    test_pool_close(first);
    file = test_file_filled(second, "/file", 1, 1);
    EXPECT_EQ(hf_pool_close(second), -EBUSY);
    test_expect_pages(file, 1, 0, 1);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(second);
    test_pool_check("twice");
}

static void check_busy(void)
{
    struct hf_pool *pool = test_pool_new("busy", TEST_MIB(8));
    struct hf_check_result result = {.size = sizeof(result)};
    struct hf_file *file = test_file_filled(pool, "/file", 1, 1);
    struct hf_dir *dir = NULL;
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, 1, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), -EBUSY);
    EXPECT(strlen(hf_strerror_detail()) > 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_opendir(pool, "/", &dir), 0);
    EXPECT_EQ(hf_pool_close(pool), -EBUSY);
    EXPECT_EQ(hf_closedir(dir), 0);
    EXPECT_EQ(hf_pool_check(test_path("busy"), 0, NULL, NULL, NULL, &result), -EBUSY);
    test_pool_close(pool);
    test_pool_check("busy");
}

static void check_two(void)
{
    struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = TEST_MIB(8)};
    struct hf_pool *pools[3] = {test_pool_new("one", TEST_MIB(8)),
                                test_pool_new("two", TEST_MIB(8))};
    struct hf_file *files[3];
    struct hf_pin pins[3];
    struct iovec iov[3];

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pools[2]), 0);
    for (unsigned i = 0; i < 3; i++) {
        files[i] = test_file_filled(pools[i], "/same", i, 16);
        pins[i] = test_pin(files[i], 0, TEST_PAGE, HF_PIN_READ, &iov[i], 1);
    }
    EXPECT_EQ(hf_truncate(files[0], 0, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_unpin(&pins[0]), 0);
    EXPECT_EQ(hf_truncate(files[0], 0, &test_nowait), 0);
    EXPECT_EQ(hf_truncate(files[1], 0, &test_nowait), -EBUSY);
    for (unsigned i = 1; i < 3; i++) {
        EXPECT(test_page_is(iov[i].iov_base, i, 0));
        test_expect_pages(files[i], i, 0, 16);
        EXPECT_EQ(test_pins_in_state(pools[i], HF_PIN_HELD), 1);
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(hf_close(files[i]), 0);
        test_pool_close(pools[i]);
    }
    test_pool_check("one");
    test_pool_check("two");
}

static void check_reopening(void)
{
    test_pool_create("again", TEST_MIB(8));
    for (unsigned i = 0; i < 50; i++) {
        struct hf_pool *pool = test_pool_open("again");
        struct hf_file *file = test_file(pool, "/file");

        if (i > 0)
            test_expect_pages(file, i - 1, 0, 2);
        test_write_pages(file, i, 0, 2);
        EXPECT_EQ(hf_close(file), 0);
        test_pool_close(pool);
    }
    test_pool_check("again");
}

static void pool_handles(void)
{
    check_twice();
    check_busy();
    check_two();
    check_reopening();
}

TEST_SCENARIO(pool_handles)
