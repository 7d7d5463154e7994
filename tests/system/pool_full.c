/* SPDX-License-Identifier: MIT */
/*
 * A pool filled to its last block: -ENOSPC from everything that needs one, nothing damaged, and
 * all space back when files go.
 */
#include "support.h"

#include <errno.h>

static uint64_t fill_up(struct hf_file *file)
{
    uint64_t page[TEST_PAGE / sizeof(uint64_t)], count = 0;

    for (;; count++) {
        ssize_t rc;

        test_page_fill(page, 8, count);
        rc = hf_write(file, page, sizeof(page), count * TEST_PAGE);
        if (rc != (ssize_t)sizeof(page)) {
            EXPECT_EQ(rc, -ENOSPC);
            return count;
        }
    }
}

static void check_refusals(struct hf_pool *pool, struct hf_file *sparse)
{
    struct iovec iov;
    struct hf_pin pin;

    EXPECT_EQ(hf_write(sparse, "x", 1, 0), -ENOSPC);
    EXPECT_EQ(hf_append(sparse, "x", 1, NULL), -ENOSPC);
    EXPECT_EQ(hf_fallocate(sparse, 0, 0, 9 * TEST_PAGE, NULL), -ENOSPC);
    EXPECT_EQ(hf_fallocate(sparse, HF_FALLOC_ZERO_RANGE, 0, TEST_PAGE, NULL), -ENOSPC);
    EXPECT_EQ(hf_pin(sparse, 0, TEST_PAGE, HF_PIN_READ, &iov, 1, &pin), -ENOSPC);
    EXPECT_EQ(test_size(sparse), 10 * TEST_PAGE);
    test_expect_zeros(sparse, 0, 10 * TEST_PAGE);
    EXPECT_EQ(test_free_bytes(pool), 0);
}

static void pool_full(void)
{
    struct hf_pool *pool = test_pool_new("full", TEST_MIB(8));
    uint64_t before = test_free_bytes(pool), count, second;
    struct hf_file *file = test_file(pool, "/file"), *sparse = test_file(pool, "/sparse");
    static unsigned char two_pages[2 * HF_BLOCK_BYTES];

    EXPECT_EQ(hf_truncate(sparse, 10 * TEST_PAGE, NULL), 0);
    count = fill_up(file);
    EXPECT_EQ(test_free_bytes(pool), 0);
    EXPECT_EQ(count, before / TEST_PAGE);
    check_refusals(pool, sparse);
    EXPECT_EQ(hf_move(file, 0, TEST_PAGE, NULL), -ENOSPC);
    test_expect_pages(file, 8, 0, count);

    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_write(sparse, two_pages, sizeof(two_pages), 0), TEST_PAGE);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    second = fill_up(file);
    EXPECT_EQ(second, count - 1);
    test_expect_pages(file, 8, 0, second);

    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    EXPECT_EQ(hf_unlink(pool, "/sparse", NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(sparse), 0);
    EXPECT_EQ(test_free_bytes(pool), before);
    test_pool_close(pool);
    test_pool_check("full");
    pool = test_pool_open("full");
    EXPECT_EQ(test_free_bytes(pool), before);
    test_pool_close(pool);
}

TEST_SCENARIO(pool_full)
