/* SPDX-License-Identifier: MIT */
/*
 * One thread holds ten thousand pins, far more than it has slots. Every one of them protects its
 * range until it is released, in any order.
 */
#include "support.h"

#include <errno.h>

#define PINS 10000
#define PAGES 100

static struct hf_pin pins[PINS];

static void many_pins(void)
{
    struct test_rng rng = {.state = test_seed()};
    struct hf_pool *pool = test_pool_new("many", TEST_MIB(16));
    struct hf_file *file = test_file_filled(pool, "/file", 1, PAGES);
    unsigned held[PAGES] = {0}, order[PINS];
    struct iovec iov;

    for (unsigned i = 0; i < PINS; i++) {
        pins[i] = test_pin(file, i % PAGES * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
        EXPECT(test_page_is(iov.iov_base, 1, i % PAGES));
        held[i % PAGES]++;
        order[i] = i;
    }
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_HELD), PINS);
    for (unsigned left = PINS; left > 0; left--) {
        unsigned at = (unsigned)test_below(&rng, left), i = order[at], page = i % PAGES;

        if (left % 16 == 0 || held[page] == 1)
            EXPECT_EQ(hf_move(file, page * TEST_PAGE, TEST_PAGE, &test_nowait), -EBUSY);
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
        order[at] = order[left - 1];
        if (--held[page] == 0)
            EXPECT_EQ(hf_move(file, page * TEST_PAGE, TEST_PAGE, &test_nowait), 0);
    }
    test_expect_pages(file, 1, 0, PAGES);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_HELD), 0);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("many");
}

TEST_SCENARIO(many_pins)
