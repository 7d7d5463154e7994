/* SPDX-License-Identifier: MIT */
/*
 * Two processes on one pool see each other's names, sizes, bytes and pins at once, without a sync.
 * That includes bytes that were stored through a pin.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define ROUNDS 300

struct turn {
    uint32_t number;
    uint64_t off;
};
static struct turn *turn;

/* The other process: looks at odd turns at what the first one did. */
static void look(void *arg)
{
    struct hf_pool *pool = test_pool_open("cross");
    struct hf_file *file = NULL, *named = NULL;
    struct iovec iov;
    struct hf_pin pin;
    struct stat st;

    (void)arg;
    EXPECT_EQ(hf_open(pool, "/file", O_RDWR, 0, &file), 0);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        test_await(&turn->number, 2 * i + 1);
        EXPECT_EQ(hf_open(pool, i % 2 ? "/odd" : "/even", O_RDONLY, 0, &named), 0);
        EXPECT_EQ(hf_open(pool, i % 2 ? "/even" : "/odd", O_RDONLY, 0, &named), -ENOENT);
        EXPECT_EQ(test_size(named), i);
        EXPECT_EQ(hf_close(named), 0);
        EXPECT_EQ(hf_fstat(file, &st), 0);
        EXPECT_EQ(st.st_size, (i + 2) * TEST_PAGE);
        test_expect_pages(file, i, i + 1, 1);
        pin = test_pin(file, 0, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
        EXPECT(*(uint32_t *)iov.iov_base == i);
        *(uint32_t *)iov.iov_base = i + 1000000;
        EXPECT_EQ(hf_unpin(&pin), 0);
        EXPECT_EQ(hf_append(file, "tail", 4, &turn->off), 4);
        test_raise(&turn->number, 2 * i + 2);
    }
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void change(struct hf_pool *pool, struct hf_file *file, struct hf_file *named, uint32_t i)
{
    uint32_t back = 0;
    char tail[4];

    EXPECT_EQ(hf_truncate(named, i, NULL), 0);
    EXPECT_EQ(hf_rename(pool, i % 2 ? "/even" : "/odd", i % 2 ? "/odd" : "/even", 0), 0);
    test_write_pages(file, i, i + 1, 1);
    EXPECT_EQ(hf_write(file, &i, sizeof(i), 0), sizeof(i));
    test_raise(&turn->number, 2 * i + 1);
    test_await(&turn->number, 2 * i + 2);
    EXPECT_EQ(hf_read(file, &back, sizeof(back), 0), sizeof(back));
    EXPECT_EQ(back, i + 1000000);
    EXPECT_EQ(turn->off, (i + 2) * TEST_PAGE);
    EXPECT_EQ(hf_read(file, tail, 4, turn->off), 4);
    EXPECT(memcmp(tail, "tail", 4) == 0);
    EXPECT_EQ(hf_truncate(file, (i + 2) * TEST_PAGE, NULL), 0);
}

static void cross_process(void)
{
    struct hf_pool *pool = test_pool_new("cross", TEST_MIB(8));
    struct hf_file *file = test_file(pool, "/file"), *named = test_file(pool, "/odd");
    pid_t child;

    turn = test_shared(sizeof(*turn));
    child = test_fork(look, NULL);
    for (uint32_t i = 0; i < ROUNDS; i++)
        change(pool, file, named, i);
    test_join(child);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(named), 0);
    test_pool_close(pool);
    test_pool_check("cross");
}

TEST_SCENARIO(cross_process)
