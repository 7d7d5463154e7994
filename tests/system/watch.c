/* SPDX-License-Identifier: MIT */
/*
 * Processes that keep copies. Each kind of change by another process is reported with its range;
 * their own changes are not. A report that gets lost is known to be lost. A watcher that is
 * stopped, killed, or busy with changes of its own holds nobody up for long. What a killed process
 * may have changed is reported too.
 *
 * usage: watch [ENGINE]
 */
#include "support.h"

#include <fcntl.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define P TEST_PAGE
#define PAGES 16u
#define END UINT64_MAX /* as a length: to the end */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct test_engine *engine;
static struct hf_pool *pool;

static bool next(uint64_t timeout_ns, struct hf_watch_report *report)
{
    int rc = hf_watch_next(pool, timeout_ns, report);

    EXPECT_OK(rc);
    return rc == 1;
}

static void expect_silence(void)
{
    struct hf_watch_report report;

    if (next(0, &report))
        FAIL("a report nobody should make: inode %" PRIu64 ", %" PRIu64 " bytes at %" PRIu64,
             report.ino, report.len, report.off);
}

/* ----------------------------------------------------------------------- kinds of changes --- */

static char bytes[4 * HF_BLOCK_BYTES];

static void write_inside(struct hf_file *file)
{
    EXPECT_EQ(hf_write(file, bytes, 100, 3 * P + 10), 100);
}

static void write_across(struct hf_file *file)
{
    EXPECT_EQ(hf_write(file, bytes, 100, 4 * P - 50), 100);
}

static void punch(struct hf_file *file)
{
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 6 * P + 1, 2 * P, NULL), 0);
}

static void punch_whole(struct hf_file *file)
{
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 6 * P, 3 * P, NULL), 0);
}

static void write_hole(struct hf_file *file)
{
    EXPECT_EQ(hf_write(file, bytes, 2 * P, 6 * P), 2 * P);
}

/* Both pages hold zeros. */
static void merge(struct hf_file *file)
{
    struct hf_dedup_result result = {.size = sizeof(result)};

    if (!engine->knows_holders)
        return;
    EXPECT_EQ(hf_dedup_range(file, 6 * P, file, 7 * P, P, &result), 0);
    EXPECT_EQ(result.shared_bytes, P);
}

static void merge_zeros(struct hf_file *file)
{
    struct hf_dedup_result result = {.size = sizeof(result)};

    if (!engine->knows_holders)
        return;
    EXPECT_EQ(hf_dedup_range(NULL, 0, file, 6 * P, P, &result), 0);
    EXPECT_EQ(result.shared_bytes, P);
}

static void clone_pages(struct hf_file *file)
{
    if (engine->knows_holders)
        EXPECT_EQ(hf_clone_range(file, 0, file, 12 * P, 2 * P, NULL), 0);
    else
        EXPECT_EQ(hf_copy_range(file, 0, file, 12 * P, 2 * P), 2 * P);
}

static void pin_hole(struct hf_file *file)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(file, 8 * P, 1, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void zero(struct hf_file *file)
{
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 2 * P + 5, P, NULL), 0);
}

static void collapse(struct hf_file *file)
{
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, 5 * P, P, NULL), 0);
}

static void insert(struct hf_file *file)
{
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_INSERT_RANGE, 5 * P, P, NULL), 0);
}

static void move(struct hf_file *file)
{
    EXPECT_EQ(hf_move(file, 0, 4 * P, NULL), 0);
}

static void copy(struct hf_file *file)
{
    EXPECT_EQ(hf_copy_range(file, 0, file, 9 * P, 2 * P), 2 * P);
}

static void append(struct hf_file *file)
{
    EXPECT_EQ(hf_append(file, bytes, P + 1, NULL), P + 1);
}

static void write_behind(struct hf_file *file)
{
    EXPECT_EQ(hf_write(file, bytes, 10, 20 * P), 10);
}

static void truncate_down(struct hf_file *file)
{
    EXPECT_EQ(hf_truncate(file, 18 * P + 7, NULL), 0);
}

static void truncate_same(struct hf_file *file)
{
    EXPECT_EQ(hf_truncate(file, 18 * P + 7, NULL), 0);
}

static void truncate_up(struct hf_file *file)
{
    EXPECT_EQ(hf_truncate(file, 20 * P, NULL), 0);
}

static void allocate_inside(struct hf_file *file)
{
    EXPECT_EQ(hf_fallocate(file, 0, 0, 20 * P, NULL), 0);
}

static void allocate_behind(struct hf_file *file)
{
    EXPECT_EQ(hf_fallocate(file, 0, 0, 21 * P, NULL), 0);
}

static void zero_behind(struct hf_file *file)
{
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_ZERO_RANGE, 24 * P, P, NULL), 0);
}

static void no_change(struct hf_file *file)
{
    EXPECT_EQ(hf_read(file, bytes, P, 0), P);
    EXPECT_EQ(hf_fsync(file), 0);
}

static void pin_and_let_go(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags)
{
    struct iovec iov[PAGES];
    struct hf_pin pin = test_pin(file, off, len, flags, iov, PAGES);

    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void pin_to_read(struct hf_file *file)
{
    pin_and_let_go(file, P, 2 * P, HF_PIN_READ);
}

static void pin_to_write(struct hf_file *file)
{
    pin_and_let_go(file, 2 * P + 17, 9, HF_PIN_WRITE);
}

static void pin_pages(struct hf_file *file)
{
    pin_and_let_go(file, 2 * P, 3 * P, HF_PIN_WRITE | HF_PIN_RDMA);
}

static void *let_go(void *arg)
{
    EXPECT_EQ(hf_unpin(arg), 0);
    return NULL;
}

static void unpin_elsewhere(struct hf_file *file)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(file, P, 1, HF_PIN_WRITE, &iov, 1);
    pthread_t thread;

    EXPECT_EQ(pthread_create(&thread, NULL, let_go, &pin), 0);
    pthread_join(thread, NULL);
}

/* Beyond the slots of a lane. */
static void pin_often(struct hf_file *file)
{
    enum { PINS = 40 };
    struct hf_pin pins[PINS];
    struct iovec iov;

    for (unsigned i = 0; i < PINS; i++)
        pins[i] = test_pin(file, 7 * P, 1, i == PINS - 1 ? HF_PIN_WRITE : 0, &iov, 1);
    for (unsigned i = PINS; i > 0; i--)
        EXPECT_EQ(hf_unpin(&pins[i - 1]), 0);
}

static void lease(struct hf_file *file, uint32_t flags)
{
    const struct hf_lease_options options = {.size = sizeof(options), .flags = flags};
    struct iovec iov[PAGES];
    struct hf_lease held = test_lease(file, 3 * P, 2 * P, &options, iov, PAGES);

    EXPECT_EQ(hf_lease_release(&held), 0);
}

static void lease_to_read(struct hf_file *file)
{
    lease(file, HF_PIN_READ);
}

static void lease_to_write(struct hf_file *file)
{
    lease(file, HF_PIN_WRITE);
}

/* Two reports: when it is given, and when it is released. */
static void lease_given(struct hf_file *file)
{
    const struct hf_lease_options options = {.size = sizeof(options), .flags = HF_PIN_WRITE};
    struct iovec iov[PAGES];
    struct hf_lease held = test_lease(file, 3 * P, 2 * P, &options, iov, PAGES);
    struct hf_lease_token token;

    EXPECT_EQ(hf_lease_give(&held, &token), 0);
    EXPECT_OK(hf_lease_take(pool, &token, NULL, iov, PAGES, &held));
    EXPECT_EQ(hf_lease_release(&held), 0);
}

static void open_and_truncate(struct hf_file *file)
{
    struct hf_file *other = NULL;

    (void)file;
    EXPECT_EQ(hf_open(pool, "/kinds", O_RDWR | O_TRUNC, 0, &other), 0);
    EXPECT_EQ(hf_close(other), 0);
}

/* In this order. An engine that counts may not know the pages of a pin, and reports the whole
 * file. */
static const struct kind {
    void (*change)(struct hf_file *file);
    uint64_t off, len; /* 0, 0: not reported */
    unsigned reports;
    bool of_pin;
} kinds[] = {
    {write_inside, 3 * P, P, 1, false},
    {write_across, 3 * P, 2 * P, 1, false},
    {punch, 6 * P, 3 * P, 1, false},
    {punch_whole, 6 * P, 3 * P, 1, false},
    {write_hole, 6 * P, 2 * P, 1, false},
    {merge, 0, 0, 0, false},
    {merge_zeros, 0, 0, 0, false},
    {pin_hole, 0, 0, 0, false},
    {zero, 2 * P, 2 * P, 1, false},
    {collapse, 5 * P, END, 1, false},
    {insert, 5 * P, END, 1, false},
    {move, 0, 0, 0, false},
    {copy, 9 * P, 2 * P, 1, false},
    {clone_pages, 12 * P, 2 * P, 1, false},
    {append, 16 * P, 2 * P, 1, false},
    {write_behind, 17 * P, 4 * P, 1, false},
    {truncate_down, 18 * P, END, 1, false},
    {truncate_same, 0, 0, 0, false},
    {truncate_up, 18 * P, 2 * P, 1, false},
    {allocate_inside, 0, 0, 0, false},
    {allocate_behind, 20 * P, P, 1, false},
    {zero_behind, 21 * P, 4 * P, 1, false},
    {no_change, 0, 0, 0, false},
    {pin_to_read, 0, 0, 0, false},
    {pin_to_write, 2 * P, P, 1, true},
    {pin_pages, 2 * P, 3 * P, 1, true},
    {unpin_elsewhere, 0, END, 1, false},
    {pin_often, 7 * P, P, 1, true},
    {lease_to_read, 0, 0, 0, false},
    {lease_to_write, 3 * P, 2 * P, 1, false},
    {lease_given, 3 * P, 2 * P, 2, false},
    {open_and_truncate, 0, END, 1, false},
};

static uint32_t *begun, *done; /* changes */

static void change_all(void *arg)
{
    struct hf_file *file;

    (void)arg;
    pool = test_pool_open("watch");
    file = test_file(pool, "/kinds");
    for (uint32_t i = 0; i < COUNT(kinds); i++) {
        test_await(begun, i + 1);
        kinds[i].change(file);
        test_raise(done, i + 1);
    }
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void expect_report(const struct kind *kind, const struct hf_watch_report *report,
                          uint64_t ino)
{
    EXPECT_EQ(report->ino, ino);
    if (kind->of_pin && !engine->knows_holders && report->off == 0 && report->len == UINT64_MAX)
        return;
    EXPECT_EQ(report->off, kind->off);
    EXPECT_EQ(report->len, kind->len == END ? UINT64_MAX - kind->off : kind->len);
}

static void check_kinds(void)
{
    struct hf_file *file = test_file_filled(pool, "/kinds", 1, PAGES);
    struct hf_watch_report report;
    struct stat st;
    pid_t child;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    test_raise(begun, 0);
    test_raise(done, 0);
    child = test_fork(change_all, NULL);
    EXPECT_EQ(hf_watch(file, 1), 0);
    for (uint32_t i = 0; i < COUNT(kinds); i++) {
        unsigned reports = 0;
        bool ended;

        test_raise(begun, i + 1);
        do {
            ended = test_peek(done) > i;
            while (next(ended ? 0 : 1000000, &report)) {
                expect_report(&kinds[i], &report, st.st_ino);
                reports++;
            }
        } while (!ended);
        if (reports != kinds[i].reports)
            FAIL("change %u was reported %u times instead of %u", i, reports, kinds[i].reports);
    }
    test_join(child);
    expect_silence();
    EXPECT_EQ(hf_close(file), 0);
}

/* ---------------------------------------------------------------------------- own changes ----- */

static void write_other(void *arg)
{
    struct hf_file *file;

    pool = test_pool_open("watch");
    file = test_file(pool, arg);
    EXPECT_EQ(hf_write(file, bytes, 1, 0), 1);
    pin_to_write(file);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void let_other_write(const char *path)
{
    test_join(test_fork(write_other, (void *)path));
}

/* Not those of this process, nor of other files; and as long as one handle watches. */
static void check_whose(void)
{
    struct hf_file *file = test_file_filled(pool, "/owned", 1, PAGES);
    struct hf_file *again = test_file(pool, "/owned");
    struct hf_file *other = test_file_filled(pool, "/other", 1, PAGES);
    struct hf_watch_report report;

    EXPECT_EQ(hf_watch(file, 1), 0);
    EXPECT_EQ(hf_watch(file, 1), 0);
    EXPECT_EQ(hf_watch(again, 1), 0);
    write_inside(file);
    pin_to_write(again);
    EXPECT_EQ(hf_truncate(file, 3 * P, NULL), 0);
    let_other_write("/other");
    expect_silence();
    EXPECT_EQ(hf_watch(file, 0), 0);
    let_other_write("/owned");
    EXPECT(next(0, &report));
    EXPECT(next(0, &report));
    expect_silence();
    EXPECT_EQ(hf_close(again), 0);
    let_other_write("/owned");
    expect_silence();
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(other), 0);
}

/* -------------------------------------------------------------------------------- too many --- */

static void let_go_often(void *arg)
{
    struct hf_file *file;

    (void)arg;
    pool = test_pool_open("watch");
    file = test_file(pool, "/many");
    for (unsigned i = 0; i < 3000; i++)
        pin_to_write(file);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void check_lost(void)
{
    struct hf_file *file = test_file_filled(pool, "/many", 1, PAGES);
    struct hf_watch_report report;

    EXPECT_EQ(hf_watch(file, 1), 0);
    test_join(test_fork(let_go_often, NULL));
    EXPECT(next(0, &report));
    EXPECT_EQ(report.ino, 0);
    expect_silence();
    let_other_write("/many");
    EXPECT(next(0, &report));
    EXPECT(report.ino != 0);
    EXPECT(next(0, &report));
    expect_silence();
    EXPECT_EQ(hf_close(file), 0);
}

/* ------------------------------------------------------------------- a process with a copy --- */

#define WRITES                                                                                     \
    2000u /* of which each may not wait for long: together they would outlast the test's time */

struct keeper {
    uint32_t watches, stop, asked;
    uint64_t copy; /* of the first word */
};
static struct keeper *keeper;

static uint64_t first_word(struct hf_file *file)
{
    uint64_t word = 0;

    EXPECT_EQ(hf_read(file, &word, sizeof(word), 0), sizeof(word));
    return word;
}

static void keep_copy(void *arg)
{
    struct hf_watch_report report;
    struct hf_file *file;

    (void)arg;
    pool = test_pool_open("watch");
    file = test_file(pool, "/kept");
    EXPECT_EQ(hf_watch(file, 1), 0);
    test_put64(&keeper->copy, first_word(file));
    test_raise(&keeper->watches, 1);
    while (!test_peek(&keeper->stop)) {
        test_count(&keeper->asked);
        if (next(20000000, &report))
            test_put64(&keeper->copy, first_word(file));
    }
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static pid_t start_keeper(void)
{
    pid_t pid;

    memset(keeper, 0, sizeof(*keeper));
    pid = test_fork(keep_copy, NULL);
    test_await(&keeper->watches, 1);
    return pid;
}

static void stop_keeper(pid_t pid)
{
    test_raise(&keeper->stop, 1);
    test_join(pid);
}

/* Until it has come back for a report, with this one. */
static void await_keeper(uint64_t stamp)
{
    uint32_t asked;

    while (test_peek64(&keeper->copy) != stamp)
        test_sleep_ms(1);
    asked = test_peek(&keeper->asked);
    while (test_peek(&keeper->asked) < asked + 2)
        test_sleep_ms(1);
}

/* After each write the copy is new, unless the write has given the watcher up, which takes its
 * time. */
static void write_stamps(struct hf_file *file, uint64_t stamp, unsigned count)
{
    for (uint64_t i = stamp; i < stamp + count; i++) {
        uint64_t since = test_now_ns();

        EXPECT_EQ(hf_write(file, &i, sizeof(i), 0), sizeof(i));
        if (test_peek64(&keeper->copy) == i)
            continue;
        if (test_now_ns() - since < HF_WATCH_WAIT_NS)
            FAIL("the watcher was not waited for: its copy has %" PRIu64 " instead of %" PRIu64,
                 test_peek64(&keeper->copy), i);
        await_keeper(i);
    }
}

static void check_copy_is_new(void)
{
    struct hf_file *file = test_file_filled(pool, "/kept", 1, 1);
    pid_t pid = start_keeper();

    write_stamps(file, 1, WRITES);
    stop_keeper(pid);
    EXPECT_EQ(hf_close(file), 0);
}

/* One write waits for it, the others do not, and in the end it has what is new. */
static void check_stopped(void)
{
    struct hf_file *file = test_file(pool, "/kept");
    pid_t pid = start_keeper();
    uint64_t stamp = 1;

    test_stop(pid);
    EXPECT_EQ(hf_write(file, &stamp, sizeof(stamp), 0), sizeof(stamp));
    for (stamp = 2; stamp <= WRITES; stamp++)
        EXPECT_EQ(hf_write(file, &stamp, sizeof(stamp), 0), sizeof(stamp));
    kill(pid, SIGCONT);
    await_keeper(WRITES);
    write_stamps(file, WRITES + 1, WRITES);
    stop_keeper(pid);
    EXPECT_EQ(hf_close(file), 0);
}

static void check_killed(void)
{
    struct hf_file *file = test_file(pool, "/kept");

    for (uint64_t round = 0; round < 5; round++) {
        test_kill(start_keeper());
        for (uint64_t stamp = 0; stamp < WRITES; stamp++)
            EXPECT_EQ(hf_write(file, &stamp, sizeof(stamp), 0), sizeof(stamp));
    }
    EXPECT_EQ(hf_close(file), 0);
}

/* ----------------------------------------------------------------------- a writer is killed --- */

static void write_for_ever(void *arg)
{
    struct hf_file *file;

    pool = test_pool_open("watch");
    file = test_file(pool, arg);
    for (uint64_t i = 0;; i++) {
        EXPECT_EQ(hf_write(file, &i, sizeof(i), 0), sizeof(i));
        EXPECT_EQ(hf_truncate(file, (2 + i % 2) * P, NULL), 0);
        test_count(begun);
    }
}

static void hold_for_ever(void *arg)
{
    struct hf_file *file;
    struct iovec iov;

    pool = test_pool_open("watch");
    file = test_file(pool, arg);
    test_pin(file, 0, P, HF_PIN_WRITE, &iov, 1);
    EXPECT_EQ(hf_close(file), 0);
    test_raise(begun, 1);
    for (;;)
        pause();
}

/* What it had open is reported, and what it had pinned. */
static void check_killed_writer(void (*body)(void *arg))
{
    struct hf_file *file = test_file_filled(pool, "/killed", 1, 4);
    struct hf_watch_report report;
    pid_t pid;

    EXPECT_EQ(hf_watch(file, 1), 0);
    for (unsigned i = 0; i < 3; i++) {
        test_raise(begun, 0);
        pid = test_fork(body, (void *)"/killed");
        while (!test_peek(begun))
            next(1000000, &report);
        test_kill(pid);
        do
            EXPECT(next(TEST_PATIENCE_NS, &report));
        while (report.ino && (report.off != 0 || report.len != UINT64_MAX));
    }
    while (next(0, &report))
        ;
    EXPECT_EQ(hf_close(file), 0);
}

/* ------------------------------------------------------------------ watchers that write too --- */

#define SIDES 2u
static struct side {
    uint32_t watches, ended;
} * sides;
static struct hf_file *shared_file;

static void *refresh(void *arg)
{
    struct hf_watch_report report;
    const struct side *other = arg;
    uint64_t copy = 0;

    while (!test_peek(&other->ended) || copy != WRITES)
        if (next(1000000, &report))
            EXPECT_EQ(
                hf_read(shared_file, &copy, sizeof(copy), (uint64_t)(other - sides) * sizeof(copy)),
                sizeof(copy));
    return NULL;
}

static void write_and_watch(void *arg)
{
    struct side *side = arg, *other = side == sides ? sides + 1 : sides;
    pthread_t thread;

    pool = test_pool_open("watch");
    shared_file = test_file(pool, "/mutual");
    EXPECT_EQ(hf_watch(shared_file, 1), 0);
    test_raise(&side->watches, 1);
    test_await(&other->watches, 1);
    EXPECT_EQ(pthread_create(&thread, NULL, refresh, other), 0);
    for (uint64_t i = 1; i <= WRITES; i++)
        EXPECT_EQ(hf_write(shared_file, &i, sizeof(i), (uint64_t)(side - sides) * sizeof(i)),
                  sizeof(i));
    test_raise(&side->ended, 1);
    pthread_join(thread, NULL);
    EXPECT_EQ(hf_close(shared_file), 0);
    test_pool_close(pool);
}

/* Nobody but the writing thread itself could take the reports. */
static void write_in_watcher(void *arg)
{
    struct side *side = arg, *other = side == sides ? sides + 1 : sides;
    struct hf_watch_report report;

    pool = test_pool_open("watch");
    shared_file = test_file(pool, "/mutual");
    EXPECT_EQ(hf_watch(shared_file, 1), 0);
    test_raise(&side->watches, 1);
    test_await(&other->watches, 1);
    for (uint64_t i = 0; i < 5; i++) {
        EXPECT_EQ(hf_write(shared_file, &i, sizeof(i), 0), sizeof(i));
        next(0, &report);
    }
    EXPECT_EQ(hf_close(shared_file), 0);
    test_pool_close(pool);
}

static void check_both(void (*body)(void *arg))
{
    struct hf_file *file = test_file_filled(pool, "/mutual", 1, 1);
    pid_t pids[SIDES];

    memset(sides, 0, SIDES * sizeof(*sides));
    for (unsigned i = 0; i < SIDES; i++)
        pids[i] = test_fork(body, &sides[i]);
    for (unsigned i = 0; i < SIDES; i++)
        test_join(pids[i]);
    EXPECT_EQ(hf_close(file), 0);
}

static int watch(int argc, char **argv)
{
    engine = test_engine(argc > 1 ? argv[1] : "slots");
    if (engine->one_process)
        test_skip("nobody else could change anything");
    begun = test_shared(sizeof(*begun));
    done = test_shared(sizeof(*done));
    keeper = test_shared(sizeof(*keeper));
    sides = test_shared(SIDES * sizeof(*sides));
    pool = test_engine_pool(engine, "watch", TEST_MIB(8));
    check_kinds();
    check_whose();
    check_lost();
    check_copy_is_new();
    check_stopped();
    check_killed();
    check_killed_writer(write_for_ever);
    if (engine->knows_holders) /* the others do not know that it was its pin */
        check_killed_writer(hold_for_ever);
    check_both(write_and_watch);
    check_both(write_in_watcher);
    test_pool_close(pool);
    test_pool_check("watch");
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, watch);
}
