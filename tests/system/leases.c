/* SPDX-License-Identifier: MIT */
/*
 * Leases as holds of a process. There are many at once, found by range. They outlive their thread
 * and their file's handle, and can be released anywhere. They are refused in the child of a fork,
 * counted by hf_pool_close(), and bounded.
 */
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct hf_lease_options plain = {.size = sizeof(plain)};
static const struct hf_lease_options writing = {.size = sizeof(writing), .flags = HF_PIN_WRITE};

static void in_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;

    EXPECT_EQ(pthread_create(&thread, NULL, body, arg), 0);
    pthread_join(thread, NULL);
}

static uint64_t recalls(struct hf_pool *pool)
{
    struct hf_stats stats = {.size = sizeof(stats)};

    EXPECT_EQ(hf_stats(pool, &stats), 0);
    return stats.recalls;
}

static uint32_t leases_in_use(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.leases;
}

/* -------------------------------------------------------------------------------- many --- */

#define MANY 100000u
#define MANY_PAGES 1000u /* so 100 on each page */

struct punch {
    struct hf_file *file;
    const struct hf_policy *policy;
    int want;
};

static void *punch_pages(void *arg)
{
    const struct punch *punch = arg;

    EXPECT_EQ(hf_fallocate(punch->file, HF_FALLOC_PUNCH_HOLE, 500 * TEST_PAGE, 3 * TEST_PAGE,
                           punch->policy),
              punch->want);
    return NULL;
}

static unsigned told(struct hf_pool *pool)
{
    struct hf_recall recall;
    unsigned count = 0;

    while (hf_recall_next(pool, &recall) == 1) {
        EXPECT(recall.off >= 500 * TEST_PAGE && recall.off + recall.len <= 503 * TEST_PAGE);
        EXPECT_EQ(recall.state, HF_LEASE_RECALLED);
        count++;
    }
    return count;
}

static void check_many(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/many", 1, MANY_PAGES);
    struct hf_lease *leases = calloc(MANY, sizeof(*leases));
    struct punch punch = {.file = file, .policy = &test_nowait, .want = -EBUSY};
    uint64_t before = recalls(pool);
    struct iovec iov;

    EXPECT(leases != NULL);
    for (unsigned i = 0; i < MANY; i++)
        leases[i] = test_lease(file, i % MANY_PAGES * TEST_PAGE, TEST_PAGE, &plain, &iov, 1);
    EXPECT(leases_in_use(pool) >= MANY);
    in_thread(punch_pages, &punch);
    EXPECT_EQ(recalls(pool) - before, 3 * MANY / MANY_PAGES);
    EXPECT_EQ(told(pool), 3 * MANY / MANY_PAGES); /* many more than fit in the table of recalls */
    for (unsigned i = 0; i < MANY; i++) {
        bool asked = i % MANY_PAGES >= 500 && i % MANY_PAGES < 503;

        EXPECT_EQ(hf_lease_state(&leases[i]), asked ? HF_LEASE_RECALLED : HF_LEASE_HELD);
        if (asked)
            EXPECT_EQ(hf_lease_release(&leases[i]), 0);
    }
    punch.want = 0;
    in_thread(punch_pages, &punch);
    EXPECT_EQ(recalls(pool) - before, 3 * MANY / MANY_PAGES);
    for (unsigned i = 0; i < MANY; i++)
        if (i % MANY_PAGES < 500 || i % MANY_PAGES >= 503)
            EXPECT_EQ(hf_lease_release(&leases[i]), 0);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(leases_in_use(pool), 0);
    EXPECT_EQ(hf_close(file), 0);
    free(leases);
}

/* ------------------------------------------------------------------------------ letting go --- */

#define FEW 100

struct batch {
    struct hf_file *file;
    struct hf_lease leases[FEW];
};
static struct batch batch;
static volatile sig_atomic_t released_by_handler;

static void *take_batch(void *arg)
{
    struct iovec iov;

    (void)arg;
    for (uint64_t i = 0; i < FEW; i++)
        batch.leases[i] = test_lease(batch.file, i * TEST_PAGE, TEST_PAGE, &writing, &iov, 1);
    return NULL;
}

static void *release_batch(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < FEW; i++)
        EXPECT_EQ(hf_lease_release(&batch.leases[i]), 0);
    return NULL;
}

/* Not EXPECT: nothing that a signal handler may not do. */
static void release_in_handler(int signal)
{
    (void)signal;
    for (unsigned i = 0; i < FEW; i++)
        if (hf_lease_state(&batch.leases[i]) == HF_LEASE_HELD &&
            hf_lease_release(&batch.leases[i]) == 0)
            released_by_handler++;
}

static void check_threads(struct hf_pool *pool)
{
    batch.file = test_file_filled(pool, "/batch", 1, FEW);
    in_thread(take_batch, NULL);
    EXPECT_EQ(hf_truncate(batch.file, 0, &test_nowait), -EBUSY); /* their thread has ended */
    in_thread(release_batch, NULL);
    EXPECT_EQ(hf_truncate(batch.file, (FEW - 1) * TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_truncate(batch.file, FEW * TEST_PAGE, &test_nowait), 0);

    in_thread(take_batch, NULL);
    signal(SIGUSR1, release_in_handler);
    EXPECT_EQ(raise(SIGUSR1), 0);
    signal(SIGUSR1, SIG_DFL);
    EXPECT_EQ(released_by_handler, FEW);
    EXPECT_EQ(hf_truncate(batch.file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(batch.file), 0);
}

/* A copy is used up with the original, and never releases another lease in the same place. */
static void check_used_up(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/used", 1, 1);
    struct hf_lease lease, copy, other, none;
    struct hf_lease_token token;
    struct iovec iov;

    lease = copy = test_lease(file, 0, TEST_PAGE, &plain, &iov, 1);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    EXPECT_EQ(hf_lease_release(&copy), -EINVAL);
    other = test_lease(file, 0, TEST_PAGE, &plain, &iov, 1);
    EXPECT_EQ(hf_lease_release(&copy), -EINVAL);
    EXPECT_EQ(hf_lease_state(&copy), -EINVAL);
    EXPECT_EQ(hf_lease_give(&copy, &token), -EINVAL);
    EXPECT_EQ(hf_lease_state(&other), HF_LEASE_HELD);
    EXPECT_EQ(hf_lease_release(&other), 0);
    memset(&none, 0, sizeof(none));
    EXPECT_EQ(hf_lease_release(&none), -EINVAL);
    EXPECT_EQ(hf_lease_state(&none), -EINVAL);
    EXPECT_EQ(hf_close(file), 0);
}

/* A pin is not a lease. */
static void check_pin_is_none(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/pin", 1, 1);
    struct hf_lease lease;
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);

    memcpy(&lease, &pin, sizeof(lease));
    EXPECT_EQ(hf_lease_release(&lease), -EINVAL);
    EXPECT_EQ(hf_lease_state(&lease), -EINVAL);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
}

/* ------------------------------------------------------------------ the life of its process --- */

static struct hf_pool *parents_pool;
static struct hf_file *parents_file;
static struct hf_lease parents_lease;

static void be_child(void *arg)
{
    struct hf_lease_token token;
    struct hf_recall recall;
    struct hf_lease lease;
    struct iovec iov;

    (void)arg;
    EXPECT_EQ(hf_lease_release(&parents_lease), -ECHILD);
    EXPECT_EQ(hf_lease_state(&parents_lease), -ECHILD);
    EXPECT_EQ(hf_lease_give(&parents_lease, &token), -ECHILD);
    EXPECT_EQ(hf_lease(parents_file, 0, TEST_PAGE, NULL, &iov, 1, &lease), -ECHILD);
    EXPECT_EQ(hf_recall_fd(parents_pool), -ECHILD);
    EXPECT_EQ(hf_recall_next(parents_pool, &recall), -ECHILD);
    EXPECT_EQ(hf_cancel(parents_pool, gettid()), -ECHILD);
}

static void check_fork_and_close(struct hf_pool *pool)
{
    struct iovec iov[2];

    parents_pool = pool;
    parents_file = test_file_filled(pool, "/child", 1, 2);
    parents_lease = test_lease(parents_file, 0, 2 * TEST_PAGE, &writing, iov, 2);
    test_join(test_fork(be_child, NULL));
    EXPECT_EQ(hf_lease_state(&parents_lease), HF_LEASE_HELD);
    EXPECT_EQ(hf_close(parents_file), 0); /* it outlives the handle, and the name */
    EXPECT_EQ(hf_unlink(pool, "/child", &test_nowait), -EBUSY);
    EXPECT_EQ(hf_unlink(pool, "/child", &test_detach), 0);
    EXPECT_EQ(hf_lease_state(&parents_lease), HF_LEASE_DETACHED);
    EXPECT(test_page_is(iov[0].iov_base, 1, 0));
    EXPECT_EQ(hf_pool_close(pool), -EBUSY);
    EXPECT_EQ(hf_lease_release(&parents_lease), 0);
}

/* A lease on blocks that came and went: what has left once does not come back by a later recall. */
static void check_detached_for_good(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/good", 1, 2);
    struct iovec iov[2];
    struct hf_lease lease = test_lease(file, 0, 2 * TEST_PAGE, &writing, iov, 2);
    struct hf_recall recall;

    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, &test_detach), 0);
    EXPECT_EQ(hf_lease_state(&lease), HF_LEASE_DETACHED);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, TEST_PAGE, TEST_PAGE, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_lease_state(&lease), HF_LEASE_DETACHED);
    EXPECT_EQ(hf_recall_next(pool, &recall), 1);
    EXPECT_EQ(recall.state, HF_LEASE_DETACHED);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, &test_nowait), 0);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    EXPECT_EQ(hf_close(file), 0);
}

/* ------------------------------------------------------------------------------- bounds --- */

#define MAX_LEASES 64u

static void check_used_up_table(void)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = TEST_MIB(8), .max_leases = MAX_LEASES};
    struct hf_lease leases[MAX_LEASES], more;
    struct hf_pool *pool = NULL;
    struct hf_file *file;
    struct iovec iov;

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    file = test_file_filled(pool, "/file", 1, 1);
    for (unsigned i = 0; i < MAX_LEASES; i++)
        leases[i] = test_lease(file, 0, TEST_PAGE, &plain, &iov, 1);
    EXPECT_EQ(hf_lease(file, 0, TEST_PAGE, &plain, &iov, 1, &more), -ENOLCK);
    EXPECT(strstr(hf_strerror_detail(), "--max-leases"));
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), -ENOLCK); /* nothing left to record it */
    test_expect_pages(file, 1, 0, 1);
    EXPECT_EQ(hf_lease_release(&leases[7]), 0);
    leases[7] = test_lease(file, 0, TEST_PAGE, &plain, &iov, 1);
    for (unsigned i = 0; i < MAX_LEASES; i++)
        EXPECT_EQ(hf_lease_release(&leases[i]), 0);
    EXPECT_EQ(leases_in_use(pool), 0); /* nobody has come to the file since */
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void leases(void)
{
    struct hf_pool *pool = test_pool_new("leases", TEST_MIB(16));

    check_many(pool);
    check_threads(pool);
    check_used_up(pool);
    check_pin_is_none(pool);
    check_detached_for_good(pool);
    check_fork_and_close(pool);
    test_pool_close(pool);
    test_pool_check("leases");
    check_used_up_table();
}

TEST_SCENARIO(leases)
