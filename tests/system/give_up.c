/* SPDX-License-Identifier: MIT */
/*
 * A lease that its living holder gives up into quarantine. Nobody waits for it, and no file gets
 * its blocks before the quarantine has ended. Then they are free. Also where the holder closes the
 * pool or is killed meanwhile, and where no process is left.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define QUARANTINE_MS 500
#define QUARANTINE_NS (QUARANTINE_MS * UINT64_C(1000000))
#define PAGES 8
#define MINE 3
#define THEIRS 4

static struct hf_pool *pool;
static uint32_t *stage;
static uint64_t *given_up_ns;

static struct hf_lease lease_two(struct hf_file *file, struct iovec *iov)
{
    const struct hf_lease_options options = {.size = sizeof(options),
                                             .flags = HF_PIN_WRITE | HF_PIN_RDMA};

    return test_lease(file, 4 * TEST_PAGE, 2 * TEST_PAGE, &options, iov, 1);
}

static uint64_t detached_bytes(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.detached_bytes;
}

static bool has_ended(uint64_t since_ns)
{
    return test_now_ns() - since_ns >= QUARANTINE_NS;
}

static int find_quarantined(void *arg, const struct hf_pin_info *info)
{
    if (info->state == HF_PIN_QUARANTINED)
        *(struct hf_pin_info *)arg = *info;
    return info->state == HF_PIN_QUARANTINED;
}

static void expect_shown(pid_t pid, uint64_t since_ns)
{
    struct hf_pin_info info;

    if (hf_pins(pool, find_quarantined, &info) != 1) {
        EXPECT(has_ended(since_ns));
        return;
    }
    EXPECT_EQ(info.pid, pid);
    EXPECT_EQ(info.off, 4 * TEST_PAGE);
    EXPECT_EQ(info.len, 2 * TEST_PAGE);
    EXPECT_EQ(info.flags & ~HF_PIN_RECALLED, HF_PIN_LEASE | HF_PIN_WRITE | HF_PIN_RDMA);
    EXPECT(info.age_ns > 0);
}

/* Others fill the pool, again and again, until all of it is theirs: not before the end. */
static void await_all(uint64_t since_ns, uint64_t free_bytes, const struct iovec *kept)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS, pages = 0;
    struct hf_file *other = test_file(pool, "/other");

    while (pages * TEST_PAGE < free_bytes) {
        pages = test_fill_pool(other, THEIRS, pages);
        if (kept && !test_page_is(kept->iov_base, MINE, 4))
            EXPECT(has_ended(since_ns));
        EXPECT(test_now_ns() < limit);
        test_sleep_ms(2);
    }
    EXPECT(has_ended(since_ns));
    EXPECT_EQ(pages * TEST_PAGE, free_bytes);
    EXPECT_EQ(test_wrong_pages(other, THEIRS, pages), 0);
    EXPECT_EQ(hf_close(other), 0);
    EXPECT_EQ(hf_unlink(pool, "/other", NULL), 0);
}

/* By a thread that would have waited for itself. */
static void check_given_up(void)
{
    uint64_t free_bytes = test_free_bytes(pool), since_ns;
    struct hf_file *file = test_file_filled(pool, "/file", MINE, PAGES);
    struct iovec iov;
    struct hf_lease lease = lease_two(file, &iov);

    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_truncate(file, 0, &test_wait), -EDEADLK);
    since_ns = test_now_ns();
    EXPECT_EQ(hf_lease_quarantine(&lease), 0);
    EXPECT_EQ(hf_lease_quarantine(&lease), -EINVAL);
    EXPECT_EQ(hf_lease_release(&lease), -EINVAL);
    EXPECT_EQ(hf_lease_state(&lease), -EINVAL);
    expect_shown(getpid(), since_ns);
    EXPECT_EQ(hf_truncate(file, 0, &test_wait), 0);
    if (detached_bytes() != 2 * TEST_PAGE)
        EXPECT(has_ended(since_ns));
    expect_shown(getpid(), since_ns);
    test_page_fill(iov.iov_base, MINE, 4); /* the device goes on */
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    await_all(since_ns, free_bytes, &iov);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_QUARANTINED), 0);
    EXPECT_EQ(detached_bytes(), 0);
}

/* What nobody has taken out of the file stays in it. */
static void check_kept(void)
{
    struct hf_file *file = test_file_filled(pool, "/file", MINE, PAGES), *copy;
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    struct iovec iov;
    struct hf_lease lease = lease_two(file, &iov);

    EXPECT_EQ(hf_lease_quarantine(&lease), 0);
    copy = test_file(pool, "/copy");
    EXPECT_EQ(hf_clone_range(file, 0, copy, 0, 0, &test_wait), 0);
    test_page_fill(iov.iov_base, THEIRS, 4); /* a late write: into the file, not into its clone */
    test_expect_pages(copy, MINE, 0, PAGES);
    while (test_pins_in_state(pool, HF_PIN_QUARANTINED) && test_now_ns() < limit)
        test_sleep_ms(5);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_QUARANTINED), 0);
    test_expect_pages(file, MINE, 0, 4);
    test_expect_pages(file, THEIRS, 4, 1);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(copy), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/copy", NULL), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
}

static void *cut(void *file)
{
    EXPECT_EQ(hf_truncate(file, 0, &test_wait), 0);
    return NULL;
}

/* A change that waits goes on. */
static void check_waiter(void)
{
    uint64_t free_bytes = test_free_bytes(pool), since_ns;
    struct hf_file *file = test_file_filled(pool, "/file", MINE, PAGES);
    struct iovec iov;
    struct hf_lease lease = lease_two(file, &iov);
    pthread_t changer;

    EXPECT_EQ(pthread_create(&changer, NULL, cut, file), 0);
    test_await_waiting(pool, 1);
    since_ns = test_now_ns();
    EXPECT_EQ(hf_lease_quarantine(&lease), 0);
    pthread_join(changer, NULL);
    expect_shown(getpid(), since_ns);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    await_all(since_ns, free_bytes, NULL);
}

/* ----------------------------------------------------------------------- another process --- */

static void give_up_and_close(void *arg)
{
    struct hf_file *file;
    struct hf_lease lease;
    struct iovec iov;

    pool = test_pool_open("pool");
    file = test_file_filled(pool, "/file", MINE, PAGES);
    lease = lease_two(file, &iov);
    test_put64(given_up_ns, test_now_ns());
    EXPECT_EQ(hf_lease_quarantine(&lease), 0);
    test_raise(stage, 1);
    if (arg)
        for (;;)
            pause();
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
    test_raise(stage, 2);
    for (;;)
        pause();
}

static pid_t giver(bool killed)
{
    pid_t pid;

    test_raise(stage, 0);
    pid = test_fork(give_up_and_close, killed ? stage : NULL);
    test_await(stage, killed ? 1 : 2);
    if (killed)
        test_kill(pid);
    return pid;
}

/* It closes the pool, or dies; another process is there. */
static void check_leaver(bool killed)
{
    uint64_t free_bytes = test_free_bytes(pool);
    pid_t pid = giver(killed);
    struct hf_file *file = test_file(pool, "/file");

    expect_shown(pid, test_peek64(given_up_ns));
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    await_all(test_peek64(given_up_ns), free_bytes, NULL);
    if (!killed)
        test_kill(pid);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_QUARANTINED), 0);
}

/* It was the last one: nobody knows the blocks any more, and nothing becomes free for so long. */
static void check_last(bool killed)
{
    uint64_t free_bytes = test_free_bytes(pool);
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_file *file;
    pid_t pid;

    test_pool_close(pool);
    pid = giver(killed);
    pool = test_pool_open("pool");
    file = test_file(pool, "/file");
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    if (!info.quarantine_left_ns)
        EXPECT(has_ended(test_peek64(given_up_ns)));
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), 0);
    await_all(test_peek64(given_up_ns), free_bytes, NULL);
    if (!killed)
        test_kill(pid);
}

static void give_up(void)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .quarantine_ns = QUARANTINE_NS};

    stage = test_shared(sizeof(*stage));
    given_up_ns = test_shared(sizeof(*given_up_ns));
    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    pool = test_pool_open("pool");
    check_given_up();
    check_kept();
    check_waiter();
    check_leaver(false);
    check_leaver(true);
    check_last(false);
    check_last(true);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(give_up)
