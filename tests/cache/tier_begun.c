/* SPDX-License-Identifier: MIT */
/* The scenes of fetches that are begun now and taken later: see tier.c. */
#include "tier.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 44u

static uint32_t *gate, *arrived, *reads; /* shared with children */

static void make_flags(void)
{
    gate = test_shared(sizeof *gate);
    arrived = test_shared(sizeof *arrived);
    reads = test_shared(sizeof *reads);
}

static uint64_t length_of(uint64_t number)
{
    static const uint64_t lengths[] = {8, 2047, 2048, 3520, 3521, KIB(64), KIB(200) + 1};

    return lengths[number % (sizeof lengths / sizeof *lengths)];
}

/* 0: it is on its way. Else it was held, and is not any more; or -errno. */
static int begin(uint64_t number)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_ref ref;
    int rc;

    object_key(&key, number, 0);
    rc = hfc_fetch_begin(tier_cache, &key.key, number, iov, OBJECT_PIECES, &ref);
    if (rc > 0)
        EXPECT_EQ(hfc_release(&ref), 0);
    return rc;
}

static bool is_readable(int timeout_ms)
{
    struct pollfd poller = {.fd = hfc_fetch_fd(tier_cache), .events = POLLIN};

    EXPECT(poller.fd >= 0);
    return poll(&poller, 1, timeout_ms) == 1 && poller.revents == POLLIN;
}

/* Waits for the next one, and lets it go. Its version, or -errno. */
static int64_t take(uint64_t *number)
{
    struct iovec iov[OBJECT_PIECES];
    struct hfc_fetched fetched;
    int64_t version;

    EXPECT(is_readable((int)TEST_PATIENCE_MS));
    EXPECT_EQ(hfc_fetch_next(tier_cache, iov, OBJECT_PIECES, &fetched), 1);
    *number = fetched.tag;
    if (fetched.pieces < 0)
        return fetched.pieces;
    version = (int64_t)object_check(iov, fetched.pieces, fetched.tag, length_of(fetched.tag));
    EXPECT_EQ(hfc_release(&fetched.ref), 0);
    return version;
}

static void expect_nothing(void)
{
    struct iovec iov;
    struct hfc_fetched fetched;

    EXPECT(!is_readable(0));
    EXPECT_EQ(hfc_fetch_next(tier_cache, &iov, 1, &fetched), 0);
}

static void begin_with(uint64_t count)
{
    tier_begin(TEST_MIB(32));
    for (uint64_t i = 0; i < count; i++)
        object_put(tier_cache, i, 0, 1, length_of(i));
    tier_evict_all();
}

static void take_each(uint64_t count, int64_t result)
{
    bool seen[COUNT] = {false};
    uint64_t number;

    for (uint64_t i = 0; i < count; i++) {
        EXPECT_EQ(take(&number), result);
        EXPECT(number < count && !seen[number]);
        seen[number] = true;
    }
    expect_nothing();
}

static long count_read(bool reading, long result)
{
    if (reading)
        test_count(reads);
    return result;
}

static long wait_at_gate(bool reading, long result)
{
    if (reading) {
        test_count(reads);
        test_await(gate, 1);
    }
    return result;
}

/* ---- begun: what the calls say ---- */

static void check_arguments(void)
{
    struct object_key key;
    struct hfc_fetched fetched;
    struct hfc_ref ref;
    struct iovec iov;

    object_key(&key, 0, 0);
    EXPECT_EQ(hfc_fetch_begin(NULL, &key.key, 0, &iov, 1, &ref), -EINVAL);
    EXPECT_EQ(hfc_fetch_begin(tier_cache, NULL, 0, &iov, 1, &ref), -EINVAL);
    EXPECT_EQ(hfc_fetch_begin(tier_cache, &key.key, 0, NULL, 1, &ref), -EINVAL);
    EXPECT_EQ(hfc_fetch_begin(tier_cache, &key.key, 0, &iov, 0, &ref), -EINVAL);
    EXPECT_EQ(hfc_fetch_next(NULL, &iov, 1, &fetched), -EINVAL);
    EXPECT_EQ(hfc_fetch_next(tier_cache, NULL, 1, &fetched), -EINVAL);
    EXPECT_EQ(hfc_fetch_next(tier_cache, &iov, -1, &fetched), -EINVAL);
    EXPECT_EQ(hfc_fetch_next(tier_cache, &iov, 1, NULL), -EINVAL);
    EXPECT_EQ(hfc_fetch_fd(NULL), -EINVAL);
    EXPECT_EQ(begin(COUNT), -ENOENT);
}

/* One that finds no room in iov stays, and can be taken. */
static void check_too_small(void)
{
    struct hfc_fetched fetched;
    uint64_t number;

    EXPECT_EQ(begin(5), 0);
    EXPECT(is_readable((int)TEST_PATIENCE_MS));
    EXPECT_EQ(hfc_fetch_next(tier_cache, NULL, 0, &fetched), -E2BIG);
    EXPECT(fetched.tag == 5 && fetched.pieces >= 1);
    EXPECT_EQ(take(&number), 1);
}

void scene_begun(void)
{
    make_flags();
    begin_with(COUNT);
    check_arguments();
    cache_lab_io = count_read;
    for (uint64_t i = 0; i < COUNT; i++)
        EXPECT_EQ(begin(i), 0);
    take_each(COUNT, 1);
    EXPECT_EQ(test_peek(reads), COUNT);
    for (uint64_t i = 0; i < COUNT; i++) /* in memory */
        EXPECT(begin(i) > 0);
    EXPECT_EQ(test_peek(reads), COUNT);
    EXPECT_EQ(tier_stats().promoted, COUNT);
    expect_nothing();
    tier_evict_all();
    check_too_small();
    tier_evict_all();
    for (uint64_t i = 0; i < 10; i++) /* and the rest is given up */
        EXPECT_EQ(begin(i), 0);
    EXPECT(is_readable((int)TEST_PATIENCE_MS));
    tier_detach();
    tier_attach();
    EXPECT_EQ(object_stats(tier_cache).held_bytes, 0);
    expect_nothing();
    cache_lab_io = NULL;
    tier_end();
}

/* ---- begun-slow: a disk that does not answer ---- */

static int64_t take_any(void)
{
    uint64_t number;

    return take(&number);
}

void scene_begun_slow(void)
{
    make_flags();
    begin_with(COUNT);
    cache_lab_io = wait_at_gate;
    for (uint64_t i = 0; i < COUNT; i++)
        EXPECT_EQ(begin(i), 0);
    for (unsigned i = COUNT; i < HFC_FETCHES; i++) /* of one key: they wait for its read */
        EXPECT_EQ(begin(5), 0);
    EXPECT_EQ(begin(5), -EAGAIN);
    test_await(reads, 1);
    expect_nothing();
    for (uint64_t i = 0; i < 100; i++) /* puts and gets go on */
        object_put(tier_cache, 1000 + i, 0, 1, KIB(4));
    for (uint64_t i = 0; i < 100; i++)
        EXPECT_EQ(object_get(tier_cache, 1000 + i, 0, KIB(4)), 1);
    test_raise(gate, 1);
    for (unsigned i = 0; i < HFC_FETCHES; i++)
        EXPECT_EQ(take_any(), 1);
    expect_nothing();
    EXPECT_EQ(test_peek(reads), COUNT);
    cache_lab_io = NULL;
    tier_end();
}

/* ---- begun-errors ---- */

static long fail_read(bool reading, long result)
{
    return reading ? -EIO : result;
}

/* Memory that puts hold: nothing can be brought, and nothing is lost. */
static void check_no_memory(void)
{
    struct hfc_put *puts[4];
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    uint64_t number;
    unsigned held = 0;

    for (uint64_t kib = 2048; kib >= 4 && held < 4; kib /= 2) {
        object_key(&key, 100 + kib, 0);
        while (held < 4 && hfc_put_begin(tier_cache, &key.key, KIB(kib), HF_PIN_CPU, iov,
                                         OBJECT_PIECES, &puts[held]) > 0)
            held++;
    }
    EXPECT_EQ(object_stats(tier_cache).held_bytes, TEST_MIB(4));
    EXPECT_EQ(begin(5), 0);
    EXPECT_EQ(take(&number), -ENOSPC);
    printf("no memory: %s\n", hfc_detail());
    EXPECT_EQ(hfc_close(tier_cache), -EBUSY);
    EXPECT_EQ(begin(5), 0); /* it goes on */
    EXPECT_EQ(take(&number), -ENOSPC);
    while (held > 0)
        hfc_put_abort(puts[--held]);
    EXPECT_EQ(begin(5), 0);
    EXPECT_EQ(take(&number), 1);
}

void scene_begun_errors(void)
{
    begin_with(COUNT);
    check_no_memory();
    tier_evict_all();
    cache_lab_io = fail_read;
    for (uint64_t i = 0; i < 20; i++)
        EXPECT_EQ(begin(i), 0);
    take_each(20, -ENOENT);
    EXPECT_EQ(tier_stats().read_errors, 20);
    EXPECT(tier_stats().last_error == EIO && tier_stats().last_error_reading);
    cache_lab_io = NULL;
    for (uint64_t i = 0; i < 20; i++) /* they were given up */
        EXPECT_EQ(begin(i), -ENOENT);
    tier_end();
}

/* ---- begun-dead: a process that reads is killed, or stopped ---- */

static enum cache_lab_point halting;

static void halt(enum cache_lab_point point)
{
    if (point != halting)
        return;
    test_raise(arrived, 1);
    test_await(gate, 1);
}

static void fetch_and_halt(void *unused)
{
    (void)unused;
    tier_attach();
    cache_lab_at = halt;
    EXPECT_EQ(begin(5), 0);
    EXPECT(take_any() == 1);
    tier_detach();
}

/* This process has no other thread meanwhile: ThreadSanitizer takes a thread of the child for one
 * that its parent had at the fork. */
static pid_t fork_reader(void)
{
    pid_t pid;

    tier_detach();
    pid = test_fork(fetch_and_halt, NULL);
    tier_attach();
    test_await(arrived, 1);
    return pid;
}

static void check_dead_reader(enum cache_lab_point point, bool before)
{
    uint64_t number;
    pid_t pid;
    int rc;

    make_flags();
    halting = point;
    begin_with(COUNT);
    pid = fork_reader();
    if (before)
        test_kill(pid);
    rc = begin(5);
    if (!before)
        test_kill(pid);
    if (rc == 0) {
        EXPECT_EQ(take(&number), 1);
        EXPECT_EQ(number, 5);
    } else {
        EXPECT(rc > 0 || rc == -ENOENT); /* its entry is cleared for a moment, when published */
    }
    EXPECT_EQ(tier_stats().damaged, 0);
    tier_end();
}

static void check_stopped_reader(void)
{
    uint64_t number;
    pid_t pid;

    make_flags();
    halting = CACHE_LAB_TIER_CLAIMED;
    begin_with(COUNT);
    pid = fork_reader();
    test_stop(pid);
    EXPECT_EQ(begin(5), 0); /* waits for it, or reads when it has waited long */
    EXPECT_EQ(begin(6), 0);
    EXPECT_EQ(take(&number), 1);
    kill(pid, SIGCONT);
    test_raise(gate, 1);
    EXPECT_EQ(take(&number), 1);
    expect_nothing();
    test_join(pid);
    tier_end();
}

void scene_begun_dead(void)
{
    static const enum cache_lab_point points[] = {CACHE_LAB_TIER_CLAIMED, CACHE_LAB_TIER_READ};

    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        check_dead_reader(points[i], true);
        check_dead_reader(points[i], false);
    }
    check_stopped_reader();
}
