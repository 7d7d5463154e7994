/* SPDX-License-Identifier: MIT */
/*
 * A pin that lives on after its blocks have left the file takes no more room in the tables.
 * Truncates of its file go on taking entries out and putting them in, and use no more nodes for it.
 * So pins of all files stay on the fast path. After the unpin, the nodes that it has kept go with
 * the next truncate.
 */
#include "support.h"

#include <errno.h>

#define TRUNCATES 12000 /* more than the pool has nodes, at 3 a table */
#define FILE_BYTES TEST_MIB(4)

static void fill_and_cut(struct hf_file *file)
{
    struct iovec iov;
    struct hf_pin pin;

    EXPECT_EQ(hf_write(file, "x", 1, 0), 1);
    EXPECT_EQ(hf_write(file, "x", 1, FILE_BYTES), 1);
    pin = test_pin(file, 0, 1, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    pin = test_pin(file, FILE_BYTES, 1, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
}

/* The pages have entries: each of them was pinned before. */
static void expect_fast(struct hf_file *file)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, 1, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_pin(file, 0, 1, HF_PIN_READ | HF_PIN_NOWAIT, &iov, 1, &pin), 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void detached_tables(void)
{
    const struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = TEST_MIB(8), .max_files = 16};
    struct hf_file *cut, *other;
    struct hf_pool *pool;
    struct iovec iov;
    struct hf_pin old;

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    cut = test_file(pool, "/cut");
    other = test_file_filled(pool, "/other", 1, 1);
    EXPECT_EQ(hf_write(cut, "old", 3, 0), 3);
    old = test_pin(cut, 0, 3, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_truncate(cut, 0, &test_detach), 0);
    for (unsigned i = 0; i < TRUNCATES; i++)
        fill_and_cut(cut);
    expect_fast(other);
    EXPECT_EQ(hf_write(cut, "new", 3, 0), 3);
    expect_fast(cut);
    EXPECT(((const char *)iov.iov_base)[0] == 'o');

    EXPECT_EQ(hf_unpin(&old), 0);
    for (unsigned i = 0; i < TRUNCATES; i++)
        fill_and_cut(cut);
    expect_fast(other);
    EXPECT_EQ(hf_close(cut), 0);
    EXPECT_EQ(hf_close(other), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

TEST_SCENARIO(detached_tables)
