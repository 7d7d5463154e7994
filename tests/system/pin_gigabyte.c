/* SPDX-License-Identifier: MIT */
/*
 * A gigabyte in huge extents is pinned at once, and comes out in one piece or a few. All of it is
 * there, and one page in the middle still protects just itself.
 */
#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BYTES TEST_MIB(1024)
#define PIECES 16

static void check_contents(const struct iovec *iov, int pieces)
{
    uint64_t at = 0;

    for (int i = 0; i < pieces; i++)
        for (size_t in = 0; in < iov[i].iov_len; in += HF_HUGE_BYTES, at += HF_HUGE_BYTES)
            EXPECT(*(uint64_t *)((char *)iov[i].iov_base + in) == at + 1);
}

static void pin_gigabyte(void)
{
    struct hf_pool *pool = test_pool_new("gigabyte", BYTES + TEST_MIB(16));
    struct hf_file *file = test_file(pool, "/file");
    static struct iovec iov[PIECES];
    struct hf_pin pin;
    uint64_t number;
    int pieces;

    EXPECT_EQ(hf_fallocate(file, 0, 0, BYTES, NULL), 0);
    for (uint64_t off = 0; off < BYTES; off += HF_HUGE_BYTES) {
        number = off + 1;
        EXPECT_EQ(hf_write(file, &number, sizeof(number), off), sizeof(number));
    }
    pieces = hf_pin(file, 0, BYTES, HF_PIN_WRITE, iov, PIECES, &pin);
    EXPECT_OK(pieces);
    printf("%d pieces\n", pieces);
    check_contents(iov, pieces);
    EXPECT_EQ(hf_truncate(file, BYTES - 1, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_unpin(&pin), 0);

    pin = test_pin(file, BYTES / 2, TEST_PAGE, HF_PIN_READ, iov, 1);
    EXPECT_EQ(
        hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, BYTES / 2 + TEST_PAGE, TEST_PAGE, &test_nowait),
        0);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, BYTES / 2, TEST_PAGE, &test_nowait), -EBUSY);
    EXPECT_EQ(*(uint64_t *)iov[0].iov_base, BYTES / 2 + 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("gigabyte");
}

TEST_SCENARIO(pin_gigabyte)
