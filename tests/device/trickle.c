/* SPDX-License-Identifier: MIT */
/* What makes a pipe slow: few bytes at a time, and pauses. */
#include "device.h"

#include <string.h>
#include <unistd.h>

void device_trickle(int pipe, unsigned char byte)
{
    struct test_rng rng = {.state = byte};
    unsigned char bytes[TEST_PAGE];

    memset(bytes, byte, sizeof(bytes));
    for (;;) {
        size_t len = 1 + test_below(&rng, sizeof(bytes));

        EXPECT_EQ(write(pipe, bytes, len), len);
        usleep((useconds_t)test_below(&rng, 1500));
    }
}
