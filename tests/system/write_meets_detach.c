/* SPDX-License-Identifier: MIT */
/*
 * One process writes a file over and over and reads back what it wrote. Another one moves the
 * file's blocks all the time, under policies that detach. hf_write() holds its own pins while it
 * copies. If they were detached like others, an acknowledged write would go into a block that has
 * left the file.
 */
#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGES 12
#define WRITES 20000u
#define MOVES 20000u

struct shared {
    uint32_t stop;
    uint64_t moves;
};
static struct shared *shared;

static void keep_moving(void *arg)
{
    const struct hf_policy soon = test_deadline_detach_ms(0);
    struct hf_pool *pool = test_pool_open("detach");
    struct hf_file *file = test_file(pool, "/file");

    (void)arg;
    while (!test_peek(&shared->stop)) {
        EXPECT_EQ(hf_move(file, 0, PAGES * TEST_PAGE, &test_detach), 0);
        EXPECT_EQ(hf_move(file, 0, PAGES * TEST_PAGE, &soon), 0);
        test_count64(&shared->moves, 2);
    }
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void write_and_read_back(struct hf_file *file, unsigned char value)
{
    static unsigned char bytes[PAGES * HF_BLOCK_BYTES], want[sizeof(bytes)];

    memset(bytes, value, sizeof(bytes));
    memset(want, value, sizeof(want));
    EXPECT_EQ(hf_write(file, bytes, sizeof(bytes), 0), sizeof(bytes));
    EXPECT_EQ(hf_read(file, bytes, sizeof(bytes), 0), sizeof(bytes));
    if (memcmp(bytes, want, sizeof(bytes)) != 0)
        FAIL("what was written last is not in the file");
}

static void write_meets_detach(void)
{
    struct hf_pool *pool = test_pool_new("detach", TEST_MIB(16));
    struct hf_file *file = test_file_filled(pool, "/file", 1, PAGES);
    uint64_t writes = 0;
    pid_t mover;

    shared = test_shared(sizeof(*shared));
    mover = test_fork(keep_moving, NULL);
    while (writes < WRITES || test_peek64(&shared->moves) < MOVES)
        write_and_read_back(file, (unsigned char)++writes);
    test_raise(&shared->stop, 1);
    test_join(mover);
    printf("%" PRIu64 " writes against %" PRIu64 " moves\n", writes, test_peek64(&shared->moves));
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("detach");
}

TEST_SCENARIO(write_meets_detach)
