/* SPDX-License-Identifier: MIT */
/*
 * A file with many extents is deleted in steps. Between each two of them another process makes and
 * removes a name, while the deletion stands there: so it holds nothing that others need. No step
 * takes more than 1,024 extents. A process that is killed between two steps leaves the file without
 * a name, and its blocks come back.
 */
#include "support.h"

#include "base/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define STEP 1024u
#define STEPS 4u
#define EXTENTS (STEPS * STEP + 10)

struct shared {
    uint32_t asked, done; /* name changes */
    uint32_t stands;
    uint64_t free_bytes; /* as the other process saw them */
};
static struct shared *shared;
static struct hf_pool *pool;
static unsigned steps;
static bool stops;     /* for ever, at its second step */
static uint64_t shown; /* free bytes at the last step */

static void change_names(void *arg)
{
    struct hf_pool *mine = test_pool_open("pool");

    (void)arg;
    for (uint32_t n = 1;; n++) {
        struct hf_file *file;

        test_await(&shared->asked, n);
        EXPECT_EQ(hf_open(mine, "/beside", O_RDWR | O_CREAT, 0600, &file), 0);
        EXPECT_EQ(hf_close(file), 0);
        EXPECT_EQ(hf_unlink(mine, "/beside", NULL), 0);
        shared->free_bytes = test_free_bytes(mine);
        test_raise(&shared->done, n);
    }
}

static void at_point(enum hf_lab_point point)
{
    if (point != HF_LAB_DELETES)
        return;
    steps++;
    if (stops && steps == 2) {
        test_raise(&shared->stands, 1);
        for (;;)
            pause();
    }
    test_raise(&shared->asked, test_peek(&shared->asked) + 1);
    test_await(&shared->done, test_peek(&shared->asked));
    EXPECT_EQ(shared->free_bytes - shown, STEP * TEST_PAGE);
    shown += STEP * TEST_PAGE;
}

/* Every other page is a hole. */
static struct hf_file *make_many(void)
{
    struct hf_file *file = test_file(pool, "/many");

    EXPECT_EQ(hf_fallocate(file, 0, 0, 2 * EXTENTS * TEST_PAGE, NULL), 0);
    for (unsigned i = 0; i < EXTENTS; i++)
        EXPECT_EQ(
            hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, (2 * i + 1) * TEST_PAGE, TEST_PAGE, NULL), 0);
    return file;
}

static void expect_gone(uint64_t free_before)
{
    struct hf_file *file;

    EXPECT_EQ(hf_open(pool, "/many", O_RDONLY, 0, &file), -ENOENT);
    EXPECT_EQ(test_free_bytes(pool), free_before);
}

static void delete_it(bool while_open)
{
    uint64_t free_before = test_free_bytes(pool);
    struct hf_file *file = make_many();

    if (!while_open)
        EXPECT_EQ(hf_close(file), 0);
    shown = free_before - EXTENTS * TEST_PAGE;
    steps = 0;
    hf_lab_stepped = true;
    EXPECT_EQ(hf_unlink(pool, "/many", NULL), 0);
    if (while_open) {
        EXPECT_EQ(steps, 0);
        EXPECT_EQ(hf_close(file), 0);
    }
    hf_lab_stepped = false;
    EXPECT_EQ(steps, STEPS);
    expect_gone(free_before);
}

/* A pin that the policy does not wait for: nothing has changed, the name included. */
static void is_refused(void)
{
    uint64_t free_before = test_free_bytes(pool);
    struct hf_file *file = make_many();
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/many", &test_nowait), -EBUSY);
    EXPECT_EQ(test_free_bytes(pool), free_before - EXTENTS * TEST_PAGE);
    EXPECT_EQ(hf_unlink(pool, "/many", &test_detach), 0);
    EXPECT_EQ(test_free_bytes(pool), free_before - TEST_PAGE);
    EXPECT_EQ(hf_unpin(&pin), 0);
    expect_gone(free_before);
}

static void delete_and_stop(void *arg)
{
    (void)arg;
    pool = test_pool_open("pool");
    steps = 0;
    shown = test_free_bytes(pool);
    stops = hf_lab_stepped = true;
    hf_unlink(pool, "/many", NULL);
}

static void is_killed(void)
{
    uint64_t free_before = test_free_bytes(pool);
    pid_t pid;

    EXPECT_EQ(hf_close(make_many()), 0);
    pid = test_fork(delete_and_stop, NULL);
    test_await(&shared->stands, 1);
    EXPECT_EQ(test_free_bytes(pool), free_before - (EXTENTS - 2 * STEP) * TEST_PAGE);
    test_kill(pid);
    test_pool_close(pool);
    pool = test_pool_open("pool");
    expect_gone(free_before);
}

static int body(int argc, char **argv)
{
    pid_t pid;

    (void)argc, (void)argv;
    hf_lab_at = at_point;
    hf_lab_break = HF_LAB_STEPS;
    shared = test_shared(sizeof *shared);
    pool = test_pool_new("pool", TEST_MIB(64));
    pid = test_fork(change_names, NULL);
    delete_it(false);
    delete_it(true);
    is_refused();
    is_killed();
    test_kill(pid);
    test_pool_close(pool);
    test_pool_check("pool");
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
