/* SPDX-License-Identifier: MIT */
/*
 * A move of a whole file waits for a pin, with the page table taken out. The holder of that pin is
 * let through and writes to a shared page, in one piece or in two. The page gets a block of its
 * own. Then the move gives up: the file has what was written, for a pin and for a read.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define OLD 1
#define NEW 2
#define PAGES 3

struct mover {
    struct hf_file *file;
    uint32_t tid, ended;
    int rc;
};

static void *move(void *arg)
{
    struct mover *mover = arg;

    test_raise(&mover->tid, (uint32_t)gettid());
    mover->rc = hf_move(mover->file, 0, PAGES * TEST_PAGE, &test_wait);
    test_raise(&mover->ended, 1);
    return NULL;
}

static void expect_new(struct hf_file *file, uint32_t flags)
{
    struct iovec iov;
    struct hf_pin pin;
    int rc = hf_pin(file, 0, TEST_PAGE, flags, &iov, 1, &pin);

    if (rc == -EAGAIN && flags & HF_PIN_NOWAIT)
        return; /* there is no entry */
    EXPECT_EQ(rc, 1);
    EXPECT(test_page_is(iov.iov_base, NEW, 0));
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void write_in_two(struct hf_file *file)
{
    char page[4096];

    test_page_fill(page, NEW, 0);
    EXPECT_EQ(hf_write(file, page + 100, sizeof(page) - 100, 100), sizeof(page) - 100);
    EXPECT_EQ(hf_write(file, page, 100, 0), 100);
}

static void write_beside_move(bool whole)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(8));
    struct hf_file *file = test_file_filled(pool, "/file", OLD, PAGES), *clone;
    struct mover mover = {.file = file};
    struct hf_pin held, all;
    struct iovec iov[PAGES];
    pthread_t thread;

    clone = test_file(pool, "/clone");
    EXPECT_EQ(hf_clone_range(file, 0, clone, 0, 0, &test_wait), 0);
    all = test_pin(file, 0, PAGES * TEST_PAGE, HF_PIN_READ, iov, PAGES); /* fills the entries */
    EXPECT_EQ(hf_unpin(&all), 0);
    held = test_pin(file, (PAGES - 1) * TEST_PAGE, TEST_PAGE, HF_PIN_READ, iov, 1);
    EXPECT_EQ(pthread_create(&thread, NULL, move, &mover), 0);
    test_await_waiting(pool, 1);
    if (whole)
        test_write_pages(file, NEW, 0, 1);
    else
        write_in_two(file);
    while (!test_peek(&mover.ended)) {
        hf_cancel(pool, (pid_t)test_peek(&mover.tid));
        sched_yield();
    }
    EXPECT_EQ(pthread_join(thread, NULL), 0);
    EXPECT_EQ(mover.rc, -EINTR);
    expect_new(file, HF_PIN_NOWAIT);
    expect_new(file, HF_PIN_READ);
    test_expect_pages(file, NEW, 0, 1);
    expect_new(file, HF_PIN_WRITE);
    test_expect_pages(clone, OLD, 0, PAGES);
    EXPECT_EQ(hf_unpin(&held), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(clone), 0);
    test_pool_close(pool);
    test_pool_check("pool");
    test_remove_tree(test_path("pool"));
}

static void scenario(void)
{
    write_beside_move(true);
    write_beside_move(false);
}

TEST_SCENARIO(scenario)
