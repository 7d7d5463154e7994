/* SPDX-License-Identifier: MIT */
/*
 * A process that holds pins is stopped: its pins hold. Then it is killed. A change that needs the
 * range gets it at once, and one that waits for it already is let through. The detached blocks come
 * back.
 */
#include "change.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#define PINS 100 /* more than a lane has slots */

struct holder {
    uint32_t holding;
    pid_t pid;
    const char *path;
};

static struct holder *holder;

static void hold(void *arg)
{
    struct hf_pool *pool = test_pool_open("dies");
    struct hf_file *file = test_file(pool, holder->path);
    struct iovec iov;

    (void)arg;
    for (int i = 0; i < PINS; i++)
        test_pin(file, 5 * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
    test_raise(&holder->holding, 1);
    for (;;)
        pause();
}

static void start_holder(const char *path)
{
    test_raise(&holder->holding, 0);
    holder->path = path;
    holder->pid = test_fork(hold, NULL);
    test_await(&holder->holding, 1);
}

static int find_holder(void *arg, const struct hf_pin_info *info)
{
    (void)arg;
    return info->pid == holder->pid;
}

static void check_stopped(struct hf_pool *pool, struct hf_file *file)
{
    const struct hf_policy deadline = test_deadline_ms(300);

    start_holder("/file");
    EXPECT_EQ(hf_pins(pool, find_holder, NULL), 1);
    test_stop(holder->pid);
    EXPECT_EQ(hf_truncate(file, 0, &deadline), -ETIMEDOUT);
    change_expect_before(pool, "/file");
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
    test_kill(holder->pid);
}

/* A range nobody waits for yet. NOWAIT does not wait, but neither is it held up by the dead. */
static void check_killed_before(struct hf_pool *pool, struct hf_file *file)
{
    EXPECT_EQ(hf_move(file, 0, CHANGE_PAGES * TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_pins(pool, find_holder, NULL), 0);
    change_expect_before(pool, "/file");
}

static void check_killed_meanwhile(struct hf_pool *pool, struct hf_file *file)
{
    struct change_thread change = {.pool = pool,
                                   .file = file,
                                   .kind = CHANGE_PUNCH,
                                   .policy = test_deadline_ms(TEST_PATIENCE_MS)};

    start_holder("/file");
    change_start(&change);
    test_await_waiting(pool, 1);
    test_kill(holder->pid);
    EXPECT_EQ(change_finish(&change), 0);
    EXPECT_EQ(hf_pins(pool, find_holder, NULL), 0);
    change_expect_after(pool, "/file", CHANGE_PUNCH);
}

static void check_detached_of_dead(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_file *file = change_prepare(pool, "/gone");

    start_holder("/gone");
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT(info.detached_bytes >= TEST_PAGE);
    test_kill(holder->pid);
    EXPECT_EQ(hf_close(file), 0);
    for (int i = 0; i < 1000; i++) { /* somebody must come by to see that they are free */
        file = test_file_filled(pool, "/passer-by", 1, 8);
        EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
        EXPECT_EQ(hf_close(file), 0);
        EXPECT_EQ(hf_pool_info(pool, &info), 0);
        if (info.detached_bytes == 0)
            return;
        test_sleep_ms(5);
    }
    FAIL("%" PRIu64 " bytes are still detached for a dead process", info.detached_bytes);
}

static void holder_dies(void)
{
    struct hf_pool *pool = test_pool_new("dies", TEST_MIB(16));
    struct hf_file *file = change_prepare(pool, "/file");

    holder = test_shared(sizeof(*holder));
    check_stopped(pool, file);
    check_killed_before(pool, file);
    check_killed_meanwhile(pool, file);
    check_detached_of_dead(pool);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("dies");
}

TEST_SCENARIO(holder_dies)
