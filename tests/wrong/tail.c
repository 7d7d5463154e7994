/* SPDX-License-Identifier: MIT */
/*
 * Orders of steps of a pool that grows over what a killed shrink has left past its end. The file
 * there has its old length and old bytes; a file that gets the blocks must find zeros.
 */
#include "steps.h"

#include <fcntl.h>
#include <holdfast/compact.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* As a process leaves it that is killed after the smaller size was recorded: the file has its old
 * length, and what was in it. */
static void leave_tail(uint64_t from, uint64_t bytes)
{
    char page[HF_BLOCK_BYTES];
    int fd = open(test_path("tail/data"), O_WRONLY | O_CLOEXEC);

    EXPECT_OK(fd);
    memset(page, THEIRS, sizeof(page));
    for (uint64_t off = from; off < bytes; off += sizeof(page))
        EXPECT_EQ(pwrite(fd, page, sizeof(page), (off_t)off), sizeof(page));
    close(fd);
}

/* And the pool for it. */
static void prepare_tail(void)
{
    EXPECT_EQ(hf_close(victim), 0);
    EXPECT_EQ(hf_close(other), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
    test_remove_tree(test_path("tail")); /* of the turn before */
    pool = test_engine_pool(engine, "tail", TEST_MIB(8));
}

/* A file gets all that is free, and must find zeros there. */
static void use_tail(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_file *file = test_file(pool, "/all");
    struct iovec iov;

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.pool_bytes, TEST_MIB(16));
    EXPECT_EQ(hf_fallocate(file, 0, 0, info.free_bytes, NULL), 0);
    for (uint64_t off = 0; off < info.free_bytes; off += TEST_PAGE) {
        struct hf_pin pin = test_pin(file, off, TEST_PAGE, HF_PIN_READ, &iov, 1);

        harmed |= !test_is_zero(iov.iov_base, TEST_PAGE);
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
}

void grow_over_tail(bool unused)
{
    (void)unused;
    prepare_tail();
    EXPECT_EQ(hf_pool_grow(pool, TEST_MIB(16)), 0);
    EXPECT_EQ(hf_pool_shrink(pool, TEST_MIB(8), NULL), 0);
    leave_tail(TEST_MIB(8), TEST_MIB(16));
    EXPECT_EQ(hf_pool_grow(pool, TEST_MIB(16)), 0);
    use_tail();
}

static void *grow_stepped(void *unused)
{
    hf_lab_stepped = true;
    EXPECT_EQ(hf_pool_grow(pool, TEST_MIB(16)), 0);
    hf_lab_stepped = false;
    return unused;
}

/* The growth has made the memory longer when the shrink comes. What is cut off by that is used when
 * the growth goes on. */
void grow_beside_shrink(bool unused)
{
    pthread_t grower;

    (void)unused;
    prepare_tail();
    EXPECT_EQ(hf_pool_grow(pool, TEST_MIB(12)), 0);
    stand_at(HF_LAB_GROWS);
    EXPECT_EQ(pthread_create(&grower, NULL, grow_stepped, NULL), 0);
    test_await(&walked, 1);
    EXPECT_EQ(hf_pool_shrink(pool, TEST_MIB(8), NULL), 0);
    leave_tail(TEST_MIB(8), TEST_MIB(16));
    test_raise(&go, 1);
    pthread_join(grower, NULL);
    use_tail();
}
