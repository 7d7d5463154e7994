/* SPDX-License-Identifier: MIT */
/*
 * Detached blocks that several pins hold, whose ranges nest or cross, come back with the last of
 * their holders and not before. The pins go in all orders, and the blocks are the file's alone or
 * shared. All of it is free in the end, and fsck finds nothing.
 */
#include "support.h"

#include <stdio.h>

#define PAGES 64u
#define PINS 6u

/* Pages [first, end) of each pin: nested, equal, crossing, side by side. */
static const unsigned ranges[PINS][2] = {{0, 64}, {8, 56}, {16, 48}, {16, 48}, {40, 60}, {2, 4}};

static struct hf_pool *pool;

static uint64_t held_pages(unsigned left)
{
    uint64_t count = 0;

    for (unsigned page = 0; page < PAGES; page++) {
        bool held = false;

        for (unsigned i = 0; i < PINS; i++)
            held |= left >> i & 1 && page >= ranges[i][0] && page < ranges[i][1];
        count += held;
    }
    return count;
}

static uint64_t detached_bytes(void)
{
    struct hf_pool_info info = {.size = sizeof info};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.detached_bytes;
}

static void share_with(struct hf_file *file, const char *path)
{
    struct hf_file *other = test_file(pool, path);

    EXPECT_EQ(hf_clone_range(file, 0, other, 0, PAGES * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(other), 0);
}

/* `order` is a number that says in which order the pins go. */
static void repin_in_order(unsigned order, bool shared)
{
    struct hf_file *file = test_file_filled(pool, "/file", 1, PAGES);
    uint64_t free_before = test_free_bytes(pool) + PAGES * TEST_PAGE;
    struct hf_pin pins[PINS];
    unsigned left = (1u << PINS) - 1;

    if (shared)
        share_with(file, "/other");
    for (unsigned i = 0; i < PINS; i++) {
        struct iovec iov[PAGES];

        pins[i] = test_pin(file, ranges[i][0] * TEST_PAGE,
                           (ranges[i][1] - ranges[i][0]) * TEST_PAGE, HF_PIN_READ, iov, PAGES);
    }
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
    if (shared)
        EXPECT_EQ(hf_unlink(pool, "/other", NULL), 0);
    for (unsigned gone = 0; gone < PINS; gone++) {
        unsigned nth = order % (PINS - gone), i = 0;

        order /= PINS - gone;
        for (;; i++)
            if (left >> i & 1 && nth-- == 0)
                break;
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
        left &= ~(1u << i);
        EXPECT_EQ(test_free_bytes(pool), free_before - held_pages(left) * TEST_PAGE);
        EXPECT_EQ(detached_bytes(), held_pages(left) * TEST_PAGE);
    }
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
}

static void all_orders(void)
{
    unsigned orders = test_is_slow() ? 90 : 720; /* of 720 */

    pool = test_pool_new("pool", TEST_MIB(8));
    for (unsigned order = 0; order < orders; order++)
        for (unsigned shared = 0; shared < 2; shared++)
            repin_in_order(order, shared);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(all_orders)
