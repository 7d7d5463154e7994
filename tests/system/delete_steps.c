/* SPDX-License-Identifier: MIT */
/*
 * A file with many extents is deleted in steps. Between each two of them another process makes and
 * removes a name, while the deletion stands there: so it holds nothing that others need. No step
 * takes more than 1,024 extents. A process that is killed between two steps leaves the file without
 * a name, and its blocks come back.
 */
#include "steps.h"

#include "base/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define STEP STEPS_EXTENTS
#define STEPS 4u
#define EXTENTS (STEPS * STEP + 10)

struct shared {
    struct steps_words words;
    uint64_t free_bytes; /* as the other process saw them */
};
static struct shared *shared;
static struct hf_pool *pool;
static unsigned steps;
static bool stops;     /* for ever, at its second step */
static uint64_t shown; /* free bytes at the last step */

static void see_free(struct hf_pool *mine)
{
    shared->free_bytes = test_free_bytes(mine);
}

static void change_names(void *arg)
{
    (void)arg;
    steps_answer(&shared->words, see_free);
}

static void at_point(enum hf_lab_point point)
{
    if (point != HF_LAB_DELETES)
        return;
    steps++;
    if (stops && steps == 2)
        steps_stand(&shared->words);
    steps_ask(&shared->words);
    EXPECT_EQ(shared->free_bytes - shown, STEP * TEST_PAGE);
    shown += STEP * TEST_PAGE;
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
    struct hf_file *file = steps_make_many(pool, EXTENTS);

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
    struct hf_file *file = steps_make_many(pool, EXTENTS);
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

    EXPECT_EQ(hf_close(steps_make_many(pool, EXTENTS)), 0);
    pid = test_fork(delete_and_stop, NULL);
    test_await(&shared->words.stands, 1);
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
