/* SPDX-License-Identifier: MIT */
/*
 * A reader stands in the middle of a pin: it has read an entry and not counted yet. Its process is
 * stopped there (rcu, which is for one process: a thread is, by a flag). Layout changes that wait
 * for read sections end within their bound, by NOWAIT, deadline, cancellation and signal. Each
 * names that process, and leaves the file as before. Those that may wait go on when the reader
 * does, with its pin seen, or when it is killed.
 *
 * usage: stuck ENGINE [--break grace]
 *
 * With --break grace a wait that gave up counts as one that ended: then the reader's pin must be
 * harmed.
 */
#include "base/lab.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define STAMP 5
#define THEIRS 6
#define PAGES 4u
#define AT 1u /* the reader's page */
#define POOL_NAME "stuck"

static const struct test_engine *engine;
static struct hf_pool *pool;
static struct hf_file *file;

/* --- the reader --- */

static struct shared {
    uint32_t stands, go, pinned, harmed, let_go;
} * shared;

struct reader {
    pid_t pid;
    pthread_t thread;
};

static void stand(enum hf_lab_point point)
{
    if (point != HF_LAB_WALKED || test_peek(&shared->stands))
        return;
    test_raise(&shared->stands, 1);
    if (engine->one_process)
        test_await(&shared->go, 1);
    else
        raise(SIGSTOP);
}

static void read_standing(struct hf_file *of)
{
    struct iovec iov;
    struct hf_pin pin = test_pin(of, AT * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);

    EXPECT_EQ(hf_unpin(&pin), 0); /* now it need not take the slow path */
    hf_lab_at = stand;
    hf_lab_stepped = true;
    EXPECT_EQ(hf_pin(of, AT * TEST_PAGE, TEST_PAGE, HF_PIN_NOWAIT, &iov, 1, &pin), 1);
    hf_lab_stepped = false;
    test_raise(&shared->harmed, !test_page_is(iov.iov_base, STAMP, AT));
    test_raise(&shared->pinned, 1);
    test_await(&shared->let_go, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void process_reads(void *arg)
{
    struct hf_pool *mine = test_pool_open(POOL_NAME);
    struct hf_file *own = test_file(mine, "/file");

    (void)arg;
    read_standing(own);
    EXPECT_EQ(hf_close(own), 0);
    test_pool_close(mine);
}

static void *thread_reads(void *arg)
{
    read_standing(file);
    return arg;
}

static void start_reader(struct reader *reader)
{
    int status;

    memset(shared, 0, sizeof(*shared));
    if (engine->one_process) {
        reader->pid = getpid();
        EXPECT_EQ(pthread_create(&reader->thread, NULL, thread_reads, NULL), 0);
        test_await(&shared->stands, 1);
        return;
    }
    reader->pid = test_fork(process_reads, NULL);
    EXPECT_EQ(waitpid(reader->pid, &status, WUNTRACED), reader->pid);
    EXPECT(WIFSTOPPED(status));
}

static void reader_goes_on(const struct reader *reader)
{
    if (engine->one_process)
        test_raise(&shared->go, 1);
    else
        EXPECT_EQ(kill(reader->pid, SIGCONT), 0);
    test_await(&shared->pinned, 1);
}

static void reader_lets_go(const struct reader *reader)
{
    test_raise(&shared->let_go, 1);
    if (engine->one_process)
        pthread_join(reader->thread, NULL);
    else
        test_join(reader->pid);
}

/* --- the file --- */

static void make_file(void)
{
    EXPECT_EQ(hf_open(pool, "/file", O_RDWR | O_CREAT, 0600, &file), 0);
    for (uint64_t i = 0; i < PAGES; i++) {
        struct iovec iov;
        struct hf_pin pin;

        test_write_pages(file, STAMP, i, 1);
        pin = test_pin(file, i * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
}

static void remove_file(void)
{
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_wait), 0);
}

/* Also to be pinned, by those that may sleep. */
static void expect_as_before(void)
{
    for (uint64_t i = 0; i < PAGES; i++) {
        struct iovec iov;
        struct hf_pin pin = test_pin(file, i * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);

        EXPECT(test_page_is(iov.iov_base, STAMP, i));
        EXPECT_EQ(hf_unpin(&pin), 0);
        test_expect_pages(file, STAMP, i, 1);
    }
}

static int truncate_all(const struct hf_policy *policy)
{
    return hf_truncate(file, 0, policy);
}

static int punch(const struct hf_policy *policy)
{
    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, AT * TEST_PAGE, TEST_PAGE, policy);
}

static int punch_beside(const struct hf_policy *policy)
{
    return hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, (AT + 1) * TEST_PAGE, TEST_PAGE, policy);
}

static int collapse(const struct hf_policy *policy)
{
    return hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, 0, TEST_PAGE, policy);
}

static int move(const struct hf_policy *policy)
{
    return hf_move(file, 0, PAGES * TEST_PAGE, policy);
}

typedef int change(const struct hf_policy *policy);
static change *const changes[] = {truncate_all, punch, punch_beside, collapse, move};

/* --- a change in a thread of its own --- */

struct run {
    change *change;
    struct hf_policy policy;
    pthread_t thread;
    uint32_t tid, done;
    int rc;
    char sentence[512];
};

static void *run_body(void *arg)
{
    struct run *run = arg;

    test_raise(&run->tid, (uint32_t)gettid());
    run->rc = run->change(&run->policy);
    snprintf(run->sentence, sizeof(run->sentence), "%s", hf_strerror_detail());
    test_raise(&run->done, 1);
    return NULL;
}

static void start(struct run *run, change *change, const struct hf_policy *policy)
{
    *run = (struct run){.change = change, .policy = *policy};
    EXPECT_EQ(pthread_create(&run->thread, NULL, run_body, run), 0);
    while (!test_peek(&run->tid))
        test_sleep_ms(1);
}

static int finish(struct run *run)
{
    pthread_join(run->thread, NULL);
    return run->rc;
}

/* --- ways to give up --- */

static void by_policy(struct run *run)
{
    (void)run;
}

static void by_cancel(struct run *run)
{
    while (!test_peek(&run->done)) {
        hf_cancel(pool, (pid_t)test_peek(&run->tid));
        test_sleep_ms(1);
    }
}

static void no_op(int signal)
{
    (void)signal;
}

static void by_signal(struct run *run)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = no_op;
    EXPECT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    while (!test_peek(&run->done)) {
        pthread_kill(run->thread, SIGUSR1);
        test_sleep_ms(1);
    }
}

static void expect_named(const struct reader *reader, const char *sentence)
{
    char name[32];

    snprintf(name, sizeof(name), "process %d ", (int)reader->pid);
    if (!strstr(sentence, name) || (!engine->one_process && !strstr(sentence, "stopped")))
        FAIL("the reader is not named: %s", sentence);
}

static void check_ways(void)
{
    const struct {
        const char *name;
        struct hf_policy policy;
        void (*end)(struct run *run);
        int error;
        bool names;
    } ways[] = {
        {"nowait", test_nowait, by_policy, -EBUSY, true},
        {"deadline", test_deadline_ms(20), by_policy, -ETIMEDOUT, true},
        {"cancel", test_wait, by_cancel, -EINTR, false},
        {"signal", test_wait, by_signal, -EINTR, false},
    };
    struct reader reader;
    struct run run;

    make_file();
    start_reader(&reader);
    for (size_t way = 0; way < COUNT(ways); way++)
        for (size_t i = 0; i < COUNT(changes); i++) {
            printf("%s: %s, change %zu\n", engine->name, ways[way].name, i);
            start(&run, changes[i], &ways[way].policy);
            ways[way].end(&run);
            EXPECT_EQ(finish(&run), ways[way].error);
            if (ways[way].names)
                expect_named(&reader, run.sentence);
            expect_as_before();
        }
    reader_goes_on(&reader);
    EXPECT_EQ(test_peek(&shared->harmed), 0);
    for (size_t i = 0; i < COUNT(changes); i++)
        if (changes[i] != punch_beside)
            EXPECT_EQ(changes[i](&test_nowait), -EBUSY); /* now it is a pin */
    expect_as_before();
    reader_lets_go(&reader);
    EXPECT_EQ(move(&test_nowait), 0);
    expect_as_before();
    remove_file();
}

/* --- changes that wait --- */

static void check_goes_on(change *change)
{
    struct reader reader;
    struct run run;

    make_file();
    start_reader(&reader);
    start(&run, change, &test_wait);
    test_sleep_ms(20);
    EXPECT_EQ(punch_beside(&test_nowait), -EBUSY);
    EXPECT_EQ(test_peek(&run.done), 0);
    reader_goes_on(&reader);
    EXPECT_EQ(test_peek(&shared->harmed), 0);
    test_sleep_ms(1);
    EXPECT_EQ(test_peek(&run.done), 0);
    reader_lets_go(&reader);
    EXPECT_EQ(finish(&run), 0);
    remove_file();
}

/* A walk of the dead counts nothing. */
static void check_killed(change *change)
{
    struct reader reader;
    struct run run;

    make_file();
    start_reader(&reader);
    start(&run, change, &test_wait);
    test_kill(reader.pid);
    EXPECT_EQ(finish(&run), 0);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    remove_file();
}

static void change_and_wait(void *arg)
{
    struct hf_pool *mine = test_pool_open(POOL_NAME);

    pool = mine;
    file = test_file(mine, "/file");
    EXPECT_EQ(((struct run *)arg)->change(&test_wait), 0);
    FAIL("it did not wait");
}

/* And what a change has done that is killed while it waits, is undone. */
static void check_waiter_killed(change *change)
{
    struct run run = {.change = change};
    struct reader reader;

    make_file();
    start_reader(&reader);
    for (unsigned ms = 0; ms < 40; ms += 4) { /* wherever it is */
        pid_t waiter = test_fork(change_and_wait, &run);

        test_sleep_ms(ms);
        test_kill(waiter);
        expect_as_before();
        EXPECT_EQ(change(&test_nowait), -EBUSY);
        expect_as_before();
    }
    reader_goes_on(&reader);
    EXPECT_EQ(test_peek(&shared->harmed), 0);
    EXPECT_EQ(punch(&test_nowait), -EBUSY);
    reader_lets_go(&reader);
    EXPECT_EQ(change(&test_nowait), 0);
    remove_file();
}

/* --- a block that is about to be counted goes to no other file --- */

static int second_try(void)
{
    struct hf_file *other, *ballast;
    struct reader reader;
    int rc;

    make_file();
    other = test_file(pool, "/other");
    ballast = test_file(pool, "/ballast");
    start_reader(&reader);
    EXPECT_EQ(hf_fallocate(ballast, 0, 0, test_free_bytes(pool), NULL), 0);
    EXPECT_EQ(punch(&test_nowait), -EBUSY);
    rc = punch(&test_nowait); /* nothing is left for it to clear */
    if (rc == 0)
        test_write_pages(other, THEIRS, 0, 1);
    else
        EXPECT_EQ(rc, -EBUSY);
    reader_goes_on(&reader);
    EXPECT_EQ(test_peek(&shared->harmed), rc == 0);
    reader_lets_go(&reader);
    EXPECT_EQ(hf_close(other), 0);
    EXPECT_EQ(hf_close(ballast), 0);
    return rc;
}

static int body(int argc, char **argv)
{
    engine = test_engine(argc > 1 ? argv[1] : "srcu");
    shared = test_shared(sizeof(*shared));
    pool = test_engine_pool(engine, POOL_NAME, TEST_MIB(8));
    hf_lab_break = HF_LAB_STEPS;
    if (argc > 3 && strcmp(argv[2], "--break") == 0) {
        EXPECT(strcmp(argv[3], "grace") == 0);
        hf_lab_break |= HF_LAB_NO_GRACE_KEPT;
        return second_try() == 0 ? 0 : 1;
    }
    check_ways();
    for (size_t i = 0; i < COUNT(changes); i++) {
        if (changes[i] == punch_beside)
            continue;
        check_goes_on(changes[i]);
        if (engine->one_process)
            continue;
        check_killed(changes[i]);
        check_waiter_killed(changes[i]);
    }
    EXPECT_EQ(second_try(), -EBUSY);
    EXPECT_EQ(hf_unlink(pool, "/ballast", NULL), 0);
    EXPECT_EQ(hf_unlink(pool, "/other", NULL), 0);
    remove_file();
    test_pool_close(pool);
    if (!engine->one_process)
        test_pool_check(POOL_NAME);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
