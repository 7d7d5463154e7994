/* SPDX-License-Identifier: MIT */
/*
 * Detached blocks that several pins hold, whose ranges nest or cross, come back with the last of
 * their holders and not before. The pins go in all orders, and the blocks are the file's alone or
 * shared. Shared ones come back to the file too, by a clone, and leave it under more pins. All of
 * it is free in the end, and fsck finds nothing, also when the holder was killed.
 */
#include "support.h"

#include <stdio.h>
#include <unistd.h>

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

static const struct way {
    bool shared;
    unsigned first; /* pins that are there when the blocks leave for the first time; 0: all are */
} ways[] = {{false, 0}, {true, 0}, {true, 007}, {true, 070}, {true, 025}};

static void clone_all(struct hf_file *from, struct hf_file *to)
{
    EXPECT_EQ(hf_clone_range(from, 0, to, 0, PAGES * TEST_PAGE, NULL), 0);
}

static void add_pins(struct hf_file *file, struct hf_pin *pins, unsigned which)
{
    for (unsigned i = 0; i < PINS; i++) {
        struct iovec iov[PAGES];

        if (which >> i & 1)
            pins[i] = test_pin(file, ranges[i][0] * TEST_PAGE,
                               (ranges[i][1] - ranges[i][0]) * TEST_PAGE, HF_PIN_READ, iov, PAGES);
    }
}

/* All blocks of the file leave it, all pins there. */
static void detach_all(struct hf_file *file, struct hf_pin *pins, const struct way *way)
{
    struct hf_file *other = way->shared ? test_file(pool, "/other") : NULL;

    if (other)
        clone_all(file, other);
    if (way->first) {
        add_pins(file, pins, way->first);
        EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
        clone_all(other, file);
    }
    add_pins(file, pins, ((1u << PINS) - 1) & ~way->first);
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
    if (other) {
        EXPECT_EQ(hf_close(other), 0);
        EXPECT_EQ(hf_unlink(pool, "/other", NULL), 0);
    }
}

/* `order` is a number that says in which order the pins go. */
static void repin_in_order(unsigned order, const struct way *way)
{
    struct hf_file *file = test_file_filled(pool, "/file", 1, PAGES);
    uint64_t free_before = test_free_bytes(pool) + PAGES * TEST_PAGE;
    struct hf_pin pins[PINS];
    unsigned left = (1u << PINS) - 1;

    detach_all(file, pins, way);
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

static void die_with_pins(void *way)
{
    struct hf_pin pins[PINS];

    pool = test_pool_open("pool");
    detach_all(test_file_filled(pool, "/file", 1, PAGES), pins, way);
    _exit(0);
}

static void all_orders(void)
{
    unsigned orders = test_is_slow() ? 90 : 720; /* of 720 */

    pool = test_pool_new("pool", TEST_MIB(8));
    for (unsigned order = 0; order < orders; order++)
        for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
            repin_in_order(order, &ways[i]);
    test_pool_close(pool);
    test_pool_check("pool");
    for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        test_join(test_fork(die_with_pins, (void *)&ways[i]));
        test_pool_check("pool");
    }
}

TEST_SCENARIO(all_orders)
