/* SPDX-License-Identifier: MIT */
/*
 * Blocks that a process freed just before it was killed are room for the very next call that looks
 * how much there is. A truncate is killed after each of its changes. Where the file has shrunk, all
 * that it had can be allocated for another one.
 */
#include "support.h"
#include "trap.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL "pool"

static struct trap_log *record;
static uint64_t kill_at;

static void truncate_and_die(void *arg)
{
    struct hf_pool *pool = test_pool_open(POOL);
    struct hf_file *file = test_file(pool, "/big");

    (void)arg;
    trap_arm(test_path(POOL), kill_at, record, false);
    EXPECT_EQ(hf_truncate(file, 0, &test_wait), 0);
    trap_disarm();
    _exit(0);
}

/* All that is free goes to /big. */
static void fill(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/big");

    EXPECT_EQ(hf_fallocate(file, 0, 0, test_free_bytes(pool), NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void allocate_as_much(struct hf_pool *pool, uint64_t bytes)
{
    struct hf_file *file = test_file(pool, "/other");

    EXPECT_EQ(hf_fallocate(file, 0, 0, bytes, NULL), 0);
    EXPECT_EQ(hf_truncate(file, 0, &test_wait), 0);
    EXPECT_EQ(hf_close(file), 0);
}

/* True: it was killed. */
static bool try_this(void)
{
    struct hf_pool *pool;
    struct stat st;
    uint64_t bytes;
    int status;

    test_pool_create(POOL, TEST_MIB(8));
    pool = test_pool_open(POOL);
    EXPECT_EQ(hf_close(test_file(pool, "/other")), 0);
    fill(pool);
    EXPECT_EQ(hf_stat(pool, "/big", 0, &st), 0);
    bytes = (uint64_t)st.st_size;
    status = test_wait_status(test_fork(truncate_and_die, NULL));
    EXPECT_EQ(hf_stat(pool, "/big", 0, &st), 0);
    if (st.st_size == 0)
        allocate_as_much(pool, bytes);
    test_pool_close(pool);
    test_remove_tree(test_path(POOL));
    return WIFSIGNALED(status);
}

static void room(void)
{
    if (!trap_possible())
        test_skip("no store can be trapped here");
    record = test_shared(sizeof(*record));
    while (try_this())
        kill_at++;
    printf("killed after each of %" PRIu64 " changes\n", kill_at);
    EXPECT(kill_at > 10);
}

TEST_SCENARIO(room)
