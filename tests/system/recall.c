/* SPDX-License-Identifier: MIT */
/*
 * Telling the holders of leases: what a callback may do, and the descriptor for a poll loop. Each
 * lease is told of once, however many are recalled together, and a released lease not at all.
 */
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define PAGES 16u

static struct hf_pool *pool;

/* One lease of a file of its own, and what its callback has done. */
struct leased {
    struct hf_file *file;
    struct hf_lease lease;
    struct iovec iov[PAGES];
    uint32_t calls;
    struct hf_recall recall; /* the last one */
};

static void release(struct leased *leased, const struct hf_recall *recall)
{
    leased->recall = *recall;
    test_count(&leased->calls);
    EXPECT_EQ(hf_lease_release(&leased->lease), 0);
}

static void release_it(void *arg, const struct hf_recall *recall)
{
    EXPECT(recall->arg == arg);
    release(arg, recall);
}

static void take(struct leased *leased, const char *path, uint64_t off, uint64_t len,
                 void (*recall)(void *arg, const struct hf_recall *recall))
{
    const struct hf_lease_options options = {
        .size = sizeof(options), .flags = HF_PIN_WRITE, .recall = recall, .arg = leased};

    leased->file = test_file_filled(pool, path, 1, PAGES);
    leased->lease = test_lease(leased->file, off, len, &options, leased->iov, PAGES);
}

static int punch(struct hf_file *file, uint64_t first, uint64_t count,
                 const struct hf_policy *policy)
{
    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, first * TEST_PAGE, count * TEST_PAGE, policy);
}

/* ------------------------------------------------------------------ what a callback may do --- */

static void do_all(void *arg, const struct hf_recall *recall)
{
    struct leased *leased = arg;
    struct hf_lease another;
    struct iovec iov[PAGES];
    struct hf_pin pin;
    char byte = 1;

    pin = test_pin(leased->file, recall->off, recall->len, HF_PIN_READ, iov, PAGES);
    EXPECT(test_page_is(iov[0].iov_base, 1, recall->off / TEST_PAGE));
    EXPECT_EQ(hf_unpin(&pin), 0);
    another = test_lease(leased->file, recall->off, TEST_PAGE, NULL, iov, 1);
    EXPECT_EQ(hf_lease_release(&another), 0);
    EXPECT_EQ(hf_write(leased->file, &byte, 1, recall->off), 1); /* in the gate, */
    EXPECT_EQ(hf_write(leased->file, &byte, 1, 0), 1);           /* and beside it */
    EXPECT_EQ(hf_truncate(leased->file, (PAGES - 1) * TEST_PAGE, &test_wait), 0);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/by-callback", 2, 4)), 0);
    EXPECT_EQ(hf_unlink(pool, "/by-callback", &test_wait), 0);
    EXPECT_EQ(test_pins_in_state(pool, HF_PIN_WAITING), 1);
    release(leased, recall);
}

/* The thread that took the lease may be the one that changes: the callback lets go for it. */
static void check_calls(void)
{
    struct leased leased = {.calls = 0};

    take(&leased, "/calls", 4 * TEST_PAGE, 4 * TEST_PAGE, do_all);
    EXPECT_EQ(punch(leased.file, 5, 2, &test_wait), 0);
    EXPECT_EQ(leased.calls, 1);
    EXPECT_EQ(leased.recall.off, 5 * TEST_PAGE);
    EXPECT_EQ(leased.recall.len, 2 * TEST_PAGE);
    EXPECT_EQ(test_size(leased.file), (PAGES - 1) * TEST_PAGE);
    test_expect_zeros(leased.file, 5 * TEST_PAGE, 2 * TEST_PAGE);
    EXPECT_EQ(hf_close(leased.file), 0);
}

/* Nobody else could call back for the other lease: this thread is it. */
static int change_of_own_rc;

static void change_another(void *arg, const struct hf_recall *recall)
{
    struct leased *leased = arg;

    change_of_own_rc = hf_truncate(leased[1].file, 0, &test_wait);
    release(leased, recall);
}

static void check_change_of_own(void)
{
    struct leased leased[2] = {{.calls = 0}};

    take(&leased[0], "/own", 0, TEST_PAGE, change_another);
    take(&leased[1], "/other", 0, TEST_PAGE, release_it);
    EXPECT_EQ(hf_truncate(leased[0].file, 0, &test_wait), 0);
    EXPECT_EQ(change_of_own_rc, -EDEADLK);
    EXPECT_EQ(hf_truncate(leased[1].file, 0, &test_wait), 0);
    EXPECT_EQ(leased[1].calls, 1);
    EXPECT_EQ(hf_close(leased[0].file), 0);
    EXPECT_EQ(hf_close(leased[1].file), 0);
}

/* Nothing is held any more once the callback has let go, though it goes on for a while. */
static void release_slowly(void *arg, const struct hf_recall *recall)
{
    struct leased *leased = arg;

    EXPECT_EQ(hf_lease_release(&leased->lease), 0);
    test_sleep_ms(20);
    leased->recall = *recall;
    test_count(&leased->calls);
}

static void check_close(void)
{
    const struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = TEST_MIB(8)};
    struct hf_pool *before = pool;
    struct leased leased = {.calls = 0};

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    take(&leased, "/close", 0, TEST_PAGE, release_slowly);
    EXPECT_EQ(hf_truncate(leased.file, 0, &test_wait), 0);
    EXPECT_EQ(hf_close(leased.file), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
    EXPECT_EQ(leased.calls, 1); /* no callback comes later than this */
    pool = before;
}

/* The close would wait for the callback that makes it. */
static void close_pool(void *arg, const struct hf_recall *recall)
{
    struct leased *leased = arg;

    EXPECT_EQ(hf_lease_release(&leased->lease), 0);
    EXPECT_EQ(hf_close(leased->file), 0);
    EXPECT_EQ(hf_pool_close(pool), -EDEADLK);
    leased->recall = *recall;
    test_count(&leased->calls);
}

static void check_close_in_callback(void)
{
    const struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = TEST_MIB(8)};
    struct hf_pool *before = pool;
    struct leased leased = {.calls = 0};

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    take(&leased, "/close", 0, TEST_PAGE, close_pool);
    EXPECT_EQ(hf_truncate(leased.file, 0, &test_nowait), -EBUSY);
    test_await(&leased.calls, 1);
    EXPECT_EQ(hf_pool_close(pool), 0);
    pool = before;
}

/* ---------------------------------------------------------------------------- many at once --- */

#define MANY 200u /* more than the table of recalls has */

struct changer {
    pthread_t thread;
    struct hf_file *file;
    uint64_t first, count;
    int rc;
};

static void *change(void *arg)
{
    struct changer *changer = arg;

    changer->rc = punch(changer->file, changer->first, changer->count, &test_wait);
    return NULL;
}

static void check_many(void)
{
    static struct leased leased[MANY];
    const struct hf_lease_options options = {.size = sizeof(options), .recall = release_it};
    struct hf_file *file = test_file_filled(pool, "/many", 1, MANY);

    for (unsigned i = 0; i < MANY; i++) {
        struct hf_lease_options its = options;

        its.arg = &leased[i];
        leased[i].lease = test_lease(file, i * TEST_PAGE, TEST_PAGE, &its, leased[i].iov, 1);
    }
    EXPECT_EQ(hf_truncate(file, 0, &test_wait), 0);
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT_EQ(leased[i].calls, 1);
        EXPECT_EQ(leased[i].recall.off, i * TEST_PAGE);
    }
    EXPECT_EQ(hf_close(file), 0);
}

/* More layout changes than a file has gates, over leases that lie across them. */
static void check_several_changes(void)
{
    enum { CHANGERS = 6 };
    struct changer changers[CHANGERS];
    struct leased leased = {.calls = 0};

    take(&leased, "/several", 0, PAGES * TEST_PAGE, release_it);
    for (unsigned i = 0; i < CHANGERS; i++) {
        changers[i] = (struct changer){.file = leased.file, .first = 2 * i, .count = 2};
        EXPECT_EQ(pthread_create(&changers[i].thread, NULL, change, &changers[i]), 0);
    }
    for (unsigned i = 0; i < CHANGERS; i++) {
        pthread_join(changers[i].thread, NULL);
        EXPECT_EQ(changers[i].rc, 0);
    }
    EXPECT_EQ(leased.calls, 1);
    EXPECT_EQ(hf_close(leased.file), 0);
}

/* ------------------------------------------------------------------------ without callbacks --- */

static bool readable(int fd, int ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return poll(&poll_fd, 1, ms) == 1;
}

static void check_poll_loop(void)
{
    enum { LEASES = 40 };
    struct leased leased[LEASES] = {{.calls = 0}};
    struct hf_file *file = test_file_filled(pool, "/poll", 1, LEASES);
    struct changer changer = {.file = file, .count = LEASES};
    struct hf_recall recall;
    int fd = hf_recall_fd(pool);
    unsigned left = LEASES;

    EXPECT_OK(fd);
    EXPECT_EQ(hf_recall_fd(pool), fd);
    EXPECT(!readable(fd, 0));
    EXPECT_EQ(hf_recall_next(pool, &recall), 0);
    for (unsigned i = 0; i < LEASES; i++) {
        const struct hf_lease_options options = {.size = sizeof(options), .arg = &leased[i]};

        leased[i].lease = test_lease(file, i * TEST_PAGE, TEST_PAGE, &options, leased[i].iov, 1);
    }
    EXPECT_EQ(pthread_create(&changer.thread, NULL, change, &changer), 0);
    while (left > 0) {
        EXPECT(readable(fd, 30000));
        while (hf_recall_next(pool, &recall) == 1) {
            release(recall.arg, &recall);
            left--;
        }
    }
    pthread_join(changer.thread, NULL);
    EXPECT_EQ(changer.rc, 0);
    EXPECT_EQ(hf_recall_next(pool, &recall), 0);
    EXPECT(!readable(fd, 0));
    for (unsigned i = 0; i < LEASES; i++)
        EXPECT_EQ(leased[i].calls, 1);
    EXPECT_EQ(hf_close(file), 0);
}

/* Its argument may point to nothing by then. */
static void check_released_before_told(void)
{
    int fd = hf_recall_fd(pool);
    struct leased leased = {.calls = 0};
    struct hf_recall recall;

    take(&leased, "/released", 0, TEST_PAGE, NULL);
    EXPECT_EQ(hf_truncate(leased.file, 0, &test_nowait), -EBUSY);
    EXPECT(readable(fd, 30000));
    EXPECT_EQ(hf_lease_release(&leased.lease), 0);
    EXPECT_EQ(hf_recall_next(pool, &recall), 0);
    EXPECT(!readable(fd, 0));
    EXPECT_EQ(hf_truncate(leased.file, 0, &test_nowait), 0);
    EXPECT_EQ(hf_close(leased.file), 0);
}

/* Callbacks and a poll loop in one process do not take each other's. */
static void check_mixed(void)
{
    struct leased with = {.calls = 0}, without = {.calls = 0};
    struct changer changer;
    struct hf_recall recall;
    int fd = hf_recall_fd(pool);

    take(&with, "/with", 0, TEST_PAGE, release_it);
    take(&without, "/without", 0, TEST_PAGE, NULL);
    EXPECT_EQ(hf_truncate(with.file, 0, &test_wait), 0);
    EXPECT_EQ(with.calls, 1);
    EXPECT_EQ(hf_recall_next(pool, &recall), 0);
    changer = (struct changer){.file = without.file, .count = PAGES};
    EXPECT_EQ(pthread_create(&changer.thread, NULL, change, &changer), 0);
    EXPECT(readable(fd, 30000));
    EXPECT_EQ(hf_recall_next(pool, &recall), 1);
    EXPECT(recall.arg == &without);
    release(&without, &recall);
    pthread_join(changer.thread, NULL);
    EXPECT_EQ(changer.rc, 0);
    EXPECT_EQ(with.calls, 1);
    EXPECT_EQ(hf_close(with.file), 0);
    EXPECT_EQ(hf_close(without.file), 0);
}

/* Without any thread of the library. */
static void check_quiet(void)
{
    const struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = TEST_MIB(8)};
    struct leased leased = {.calls = 0};
    struct hf_recall recall;

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    take(&leased, "/quiet", 0, TEST_PAGE, NULL);
    EXPECT_EQ(hf_recall_next(pool, &recall), 0);
    EXPECT_EQ(hf_truncate(leased.file, 0, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_recall_next(pool, &recall), 1);
    EXPECT_EQ(hf_recall_next(pool, &recall), 0);
    release(&leased, &recall);
    EXPECT_EQ(hf_close(leased.file), 0);
    test_pool_close(pool);
}

static void recall(void)
{
    check_quiet();
    pool = test_pool_new("recall", TEST_MIB(16));
    check_calls();
    check_many();
    check_several_changes();
    check_poll_loop();
    check_released_before_told();
    check_mixed();
    check_change_of_own();
    for (int i = 0; i < 5; i++)
        check_close();
    check_close_in_callback();
    test_pool_close(pool);
    test_pool_check("recall");
}

TEST_SCENARIO(recall)
