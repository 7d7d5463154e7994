/* SPDX-License-Identifier: MIT */
/* Rows of a pool that grows and shrinks. */
#include "kill.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>

void kill_grow(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_pool_grow(pool, 2 * KILL_POOL_BYTES), 0);
}

void kill_move_to_new_end(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_file *b = test_file(pool, "/b"), *ballast;

    EXPECT_EQ(hf_open(pool, "/dir", O_RDWR | O_TMPFILE, 0600, &ballast), 0);
    EXPECT_EQ(hf_fallocate(ballast, 0, 0, test_free_bytes(pool), NULL), 0);
    kill_grow(pool, file);
    EXPECT_EQ(hf_move(file, 0, 5 * TEST_PAGE + 1000, &test_wait), 0);
    EXPECT_EQ(hf_move(b, 0, 3 * TEST_PAGE, &test_wait), 0);
    EXPECT_EQ(hf_close(b), 0);
    EXPECT_EQ(hf_close(ballast), 0);
}

void kill_shrink(struct hf_pool *pool, struct hf_file *file)
{
    (void)file;
    EXPECT_EQ(hf_pool_shrink(pool, KILL_POOL_BYTES, &test_wait), 0);
}

/* What was cut comes back, and holds zeros (kill_account()). */
void kill_shrink_and_grow(struct hf_pool *pool, struct hf_file *file)
{
    kill_shrink(pool, file);
    kill_step(pool);
    kill_grow(pool, file);
}

/* Where another process has moved the page meanwhile, the pin is in no way of it. */
void kill_shrink_in_vain(struct hf_pool *pool, struct hf_file *file)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    struct iovec iov;
    struct hf_pin pin = test_pin(file, TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    bool moved;
    int rc;

    EXPECT_EQ(hf_pool_memory(pool, &memory), 0);
    moved = (uint64_t)((char *)iov.iov_base - (char *)memory.base) < KILL_POOL_BYTES;
    rc = hf_pool_shrink(pool, KILL_POOL_BYTES, &test_nowait);
    EXPECT(rc == -EBUSY || (rc == 0 && moved));
    EXPECT_EQ(hf_unpin(&pin), 0);
}
