/* SPDX-License-Identifier: MIT */
/*
 * Layout changes that give up, one after the other, in each way in which one can. What the change
 * had done by then must be as if it had not been. Every pin taken before or after is seen by the
 * next change, and blocks are not reused under it. An unpin wakes a waiter, and pages without a pin
 * can be changed. The file's blocks lie in several nodes of the page table. A pin on each of them
 * in turn decides how far a change comes before it gives up.
 *
 * With --break thaw (lab builds) a root goes back over blocks that are frozen: then a pin must go
 * unseen.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef HF_LAB
#include "base/lab.h"
#endif

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define STAMP 5
#define PAGES 1030
#define SHORT_MS 20
static const uint64_t places[] = {0, 1, 5, 63, 511, 512, PAGES - 1};

static const struct test_engine *engine;
static struct hf_pool *pool;
static struct hf_file *file;

/* --- the file --- */

static struct hf_pin pin_page(uint64_t page, struct iovec *iov)
{
    return test_pin(file, page * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, iov, 1);
}

static void open_file(void)
{
    EXPECT_EQ(hf_open(pool, "/file", O_RDWR | O_CREAT, 0600, &file), 0);
}

/* Its entries are there, too. */
static void make_file(void)
{
    struct iovec iov;

    open_file();
    EXPECT_EQ(hf_truncate(file, PAGES * TEST_PAGE, NULL), 0);
    for (size_t i = 0; i < COUNT(places); i++) {
        struct hf_pin pin;

        test_write_pages(file, STAMP, places[i], 1);
        pin = pin_page(places[i], &iov);
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
}

static void remove_file(void)
{
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), 0);
}

/* --- changes --- */

static int truncate_all(const struct hf_policy *policy)
{
    return hf_truncate(file, 0, policy);
}

static int punch_all(const struct hf_policy *policy)
{
    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, PAGES * TEST_PAGE, policy);
}

static int punch_some(const struct hf_policy *policy)
{
    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, places[1] * TEST_PAGE,
                        (places[5] - places[1]) * TEST_PAGE, policy);
}

static int collapse(const struct hf_policy *policy)
{
    return hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, 0, TEST_PAGE, policy);
}

static int insert(const struct hf_policy *policy)
{
    return hf_fallocate(file, HF_FALLOC_INSERT_RANGE, 0, TEST_PAGE, policy);
}

static int move_all(const struct hf_policy *policy)
{
    return hf_move(file, 0, PAGES * TEST_PAGE, policy);
}

typedef int change(const struct hf_policy *policy);
static change *const changes[] = {truncate_all, punch_all, punch_some, collapse, insert, move_all};

/* --- what must hold afterwards --- */

/* How many pins, on one place after the other, the next change does not see. */
static unsigned unseen(void)
{
    unsigned count = 0;
    struct iovec iov;

    for (size_t i = 0; i < COUNT(places); i++) {
        struct hf_pin pin = pin_page(places[i], &iov);

        if (truncate_all(&test_nowait) != -EBUSY)
            return count + 1; /* and the file is gone */
        count += hf_move(file, places[i] * TEST_PAGE, TEST_PAGE, &test_nowait) != -EBUSY;
        EXPECT(test_page_is(iov.iov_base, STAMP, places[i]));
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    return count;
}

/* Whatever is free is written over; the pinned block must not be among it. */
static void expect_no_reuse(const struct iovec *iov, uint64_t page)
{
    static char other[TEST_MIB(1)];
    struct hf_file *hog = test_file(pool, "/hog");

    memset(other, 'o', sizeof(other));
    while (hf_append(hog, other, sizeof(other), NULL) > 0)
        ;
    EXPECT(test_page_is(iov->iov_base, STAMP, page));
    EXPECT_EQ(hf_close(hog), 0);
    EXPECT_EQ(hf_unlink(pool, "/hog", &test_nowait), 0);
}

static void expect_all_seen(void)
{
    for (size_t i = 0; i < COUNT(places); i++)
        test_expect_pages(file, STAMP, places[i], 1);
    EXPECT_EQ(unseen(), 0);
}

/* Nobody holds anything: each block can go elsewhere. */
static void expect_all_free(void)
{
    for (size_t i = 0; i < COUNT(places); i++)
        EXPECT_EQ(hf_move(file, places[i] * TEST_PAGE, TEST_PAGE, &test_nowait), 0);
    for (size_t i = 0; i < COUNT(places); i++)
        test_expect_pages(file, STAMP, places[i], 1);
}

/* --- a change in a thread of its own --- */

struct run {
    change *change;
    struct hf_policy policy;
    bool for_client, cancelled_client;
    pthread_t thread;
    uint32_t tid, done;
    int rc;
};

static void *run_body(void *arg)
{
    static const uint32_t cancelled = 1;
    struct run *run = arg;
    struct hf_client client = {.size = sizeof(client), .pid = getpid(), .tid = gettid()};

    client.flags = run->cancelled_client ? 0 : HF_CLIENT_NOWAIT;
    client.cancelled = run->cancelled_client ? &cancelled : NULL;
    if (run->for_client)
        EXPECT_EQ(hf_act_for(&client), 0);
    test_raise(&run->tid, (uint32_t)gettid());
    run->rc = run->change(&run->policy);
    test_raise(&run->done, 1);
    return NULL;
}

static uint64_t waits_begun(void)
{
    struct hf_stats stats = {.size = sizeof(stats)};

    EXPECT_EQ(hf_stats(pool, &stats), 0);
    return stats.changes;
}

static void start(struct run *run)
{
    uint64_t before = waits_begun();

    EXPECT_EQ(pthread_create(&run->thread, NULL, run_body, run), 0);
    while (waits_begun() == before && !test_peek(&run->done))
        test_sleep_ms(1);
}

static int finish(struct run *run)
{
    pthread_join(run->thread, NULL);
    return run->rc;
}

/* --- ways to give up, with a pin in the way --- */

static int by_nowait(change *change)
{
    return change(&test_nowait);
}

static int by_deadline(change *change)
{
    struct run run = {.change = change, .policy = test_deadline_ms(SHORT_MS)};

    start(&run);
    return finish(&run);
}

/* The pin in the way is this thread's own. */
static int by_own_pin(change *change)
{
    const struct hf_policy soon = test_deadline_ms(SHORT_MS);

    return change(&soon);
}

static int by_cancel(change *change)
{
    struct run run = {.change = change, .policy = test_wait};

    start(&run);
    while (!test_peek(&run.done)) {
        hf_cancel(pool, (pid_t)test_peek(&run.tid));
        test_sleep_ms(1);
    }
    return finish(&run);
}

static void no_op(int signal)
{
    (void)signal;
}

static int by_signal(change *change)
{
    struct run run = {.change = change, .policy = test_wait};
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = no_op;
    EXPECT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    start(&run);
    while (!test_peek(&run.done)) {
        pthread_kill(run.thread, SIGUSR1);
        test_sleep_ms(1);
    }
    return finish(&run);
}

static int by_client(change *change)
{
    struct run run = {.change = change, .policy = test_wait, .for_client = true};

    start(&run);
    return finish(&run);
}

static int by_cancelled_client(change *change)
{
    struct run run = {
        .change = change, .policy = test_wait, .for_client = true, .cancelled_client = true};

    start(&run);
    return finish(&run);
}

static const struct {
    const char *name;
    int (*give_up)(change *change);
    int error, error_counting;
    bool everywhere; /* quick enough for a pin on each place */
} ways[] = {
    {"policy that does not wait", by_nowait, -EBUSY, -EBUSY, true},
    {"deadline", by_deadline, -ETIMEDOUT, -ETIMEDOUT, false},
    {"own pin", by_own_pin, -EDEADLK, -ETIMEDOUT, false},
    {"cancel", by_cancel, -EINTR, -EINTR, false},
    {"signal", by_signal, -EINTR, -EINTR, false},
    {"client that does not wait", by_client, -EAGAIN, -EAGAIN, false},
    {"cancelled client", by_cancelled_client, -EINTR, -EINTR, false},
};

static void give_up_once(size_t way, change *change, uint64_t page)
{
    struct iovec iov;
    struct hf_pin pin = pin_page(page, &iov);
    int error = engine->knows_holders ? ways[way].error : ways[way].error_counting;

    EXPECT_EQ(ways[way].give_up(change), error);
    expect_all_seen(); /* those taken afterwards, */
    EXPECT_EQ(hf_unpin(&pin), 0);
    expect_all_seen(); /* also without the one in the way; */
    pin = pin_page(page, &iov);
    EXPECT_EQ(change(&test_nowait), -EBUSY); /* and one taken before the next that gives up */
    EXPECT_EQ(truncate_all(&test_nowait), -EBUSY);
    EXPECT(test_page_is(iov.iov_base, STAMP, page));
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void check_ways(void)
{
    for (size_t way = 0; way < COUNT(ways); way++) {
        printf("%s: %s\n", engine->name, ways[way].name);
        make_file();
        for (size_t i = 0; i < COUNT(changes); i++)
            for (size_t at = 2; at < COUNT(places) - 2; at++) /* in the range of each change */
                if (ways[way].everywhere || at == 3)
                    give_up_once(way, changes[i], places[at]);
        expect_all_free();
        remove_file();
    }
}

static void check_no_reuse(void)
{
    for (size_t at = 0; at < COUNT(places); at++) {
        size_t next = (at + 3) % COUNT(places);
        struct iovec iov, before;
        struct hf_pin pin, first;

        make_file();
        first = pin_page(places[next], &before);
        EXPECT_EQ(truncate_all(&test_nowait), -EBUSY);
        pin = pin_page(places[at], &iov);
        EXPECT_EQ(hf_unpin(&first), 0);
        EXPECT_EQ(truncate_all(&test_nowait), -EBUSY);
        EXPECT_EQ(punch_all(&test_nowait), -EBUSY);
        expect_no_reuse(&iov, places[at]);
        EXPECT_EQ(hf_unpin(&pin), 0);
        EXPECT_EQ(truncate_all(&test_nowait), 0);
        remove_file();
    }
}

/* --- a change that fails when it has found nobody --- */

static void check_no_space(void)
{
    struct hf_file *hog = test_file(pool, "/hog");

    make_file();
    EXPECT_EQ(hf_fallocate(hog, 0, 0, test_free_bytes(pool), NULL), 0);
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(move_all(&test_nowait), -ENOSPC);
        for (size_t at = 0; at < COUNT(places); at++)
            test_expect_pages(file, STAMP, places[at], 1);
        EXPECT_EQ(unseen(), 0);
    }
    EXPECT_EQ(hf_close(hog), 0);
    EXPECT_EQ(hf_unlink(pool, "/hog", NULL), 0);
    expect_all_free();
    remove_file();
}

/* --- deleting --- */

static void check_unlink(void)
{
    for (size_t at = 0; at < COUNT(places); at++) {
        struct iovec iov;
        struct hf_pin pin;

        make_file();
        pin = pin_page(places[at], &iov);
        EXPECT_EQ(hf_close(file), 0);
        EXPECT_EQ(hf_unlink(pool, "/file", &test_nowait), -EBUSY);
        open_file();
        expect_all_seen();
        EXPECT_EQ(hf_unpin(&pin), 0);
        expect_all_seen();
        remove_file();
    }
}

/* --- while another change waits in another range --- */

static int punch_first(const struct hf_policy *policy)
{
    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, policy);
}

static void check_beside(void)
{
    struct run run = {.change = punch_first, .policy = test_wait};
    struct iovec iov[3];
    struct hf_pin first, pin;

    make_file();
    first = pin_page(0, &iov[0]);
    start(&run);
    for (size_t at = 1; at < COUNT(places); at++) {
        struct hf_pin last = pin_page(places[at], &iov[1]);

        EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_nowait), -EBUSY);
        pin = pin_page(places[at], &iov[2]);
        EXPECT_EQ(hf_unpin(&last), 0);
        EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_nowait), -EBUSY);
        EXPECT(test_page_is(iov[2].iov_base, STAMP, places[at]));
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    EXPECT_EQ(test_peek(&run.done), 0);
    EXPECT(test_page_is(iov[0].iov_base, STAMP, 0));
    EXPECT_EQ(hf_unpin(&first), 0);
    EXPECT_EQ(finish(&run), 0);
    test_expect_zeros(file, 0, TEST_PAGE);
    remove_file();
}

/* --- letting go wakes, after some have given up --- */

static void check_wake(void)
{
    struct run run = {.change = truncate_all, .policy = test_wait};
    struct iovec iov[COUNT(places)];
    struct hf_pin pins[COUNT(places)];

    make_file();
    pins[3] = pin_page(places[3], &iov[3]);
    EXPECT_EQ(by_cancel(truncate_all), -EINTR);
    EXPECT_EQ(by_deadline(punch_all), -ETIMEDOUT);
    for (size_t at = 0; at < COUNT(places); at++)
        if (at != 3)
            pins[at] = pin_page(places[at], &iov[at]);
    start(&run);
    for (size_t at = 0; at < COUNT(places); at++) {
        test_sleep_ms(1);
        EXPECT_EQ(test_peek(&run.done), 0);
        EXPECT(test_page_is(iov[at].iov_base, STAMP, places[at]));
        EXPECT_EQ(hf_unpin(&pins[at]), 0);
    }
    EXPECT_EQ(finish(&run), 0);
    EXPECT_EQ(test_size(file), 0);
    remove_file();
}

#ifdef HF_LAB
static int broken(const char *edge)
{
    struct iovec iov;
    struct hf_pin pin;

    EXPECT(strcmp(edge, "thaw") == 0);
    hf_lab_break = HF_LAB_NO_THAW;
    make_file();
    pin = pin_page(places[3], &iov);
    EXPECT_EQ(truncate_all(&test_nowait), -EBUSY);
    EXPECT_EQ(hf_unpin(&pin), 0);
    return unseen() ? 0 : 1;
}
#else
static int broken(const char *edge)
{
    FAIL("--break %s needs a lab build", edge);
}
#endif

static int body(int argc, char **argv)
{
    engine = test_engine(argc > 1 ? argv[1] : "slots");
    pool = test_engine_pool(engine, "giveup", TEST_MIB(8));
    if (argc > 3 && strcmp(argv[2], "--break") == 0)
        return broken(argv[3]);
    check_ways();
    check_no_reuse();
    check_no_space();
    check_unlink();
    check_beside();
    check_wake();
    test_pool_close(pool);
    if (!engine->one_process)
        test_pool_check("giveup");
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
