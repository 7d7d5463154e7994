/* SPDX-License-Identifier: MIT */
/*
 * A watcher has a copy of a page that is stored into, and writes the copy back as a whole, later.
 * That does not undo what others change in the page. The watcher is told before each change
 * (HF_WATCH_STORES), writes back, and reads again. It is told twice for each change, and writers
 * wait for it both times. What is written back never extends the file. A stopped or killed watcher
 * holds up nobody. Two watchers that write back while a third tells each of them come to an end.
 *
 * usage: write-back [ENGINE]
 */
#include "support.h"

#include <fcntl.h>
#include <holdfast/serve.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS 500u
#define KEEPERS 2u
#define WORDS (TEST_PAGE / sizeof(uint64_t))

static const struct test_engine *engine;
static struct hf_pool *pool;

static struct keeper {
    uint32_t ready, stop, reports;
    uint32_t returns; /* of hf_watch_next() */
    uint64_t stored;  /* the last that was */
} * keepers;

/* ---- the watcher: word 1 + its number is the one that it stores into ---- */

struct copy {
    struct keeper *keeper;
    struct hf_file *file;
    pthread_mutex_t mutex;
    uint64_t words[WORDS];
    bool there, stored;
};

static void write_back(struct copy *copy)
{
    const struct hf_client client = {.size = sizeof(client), .flags = HF_CLIENT_WRITE_BACK};

    EXPECT_EQ(hf_act_for(&client), 0);
    if (copy->there && copy->stored)
        EXPECT_EQ(hf_write(copy->file, copy->words, TEST_PAGE, 0), TEST_PAGE);
    EXPECT_EQ(hf_act_for(NULL), 0);
    copy->there = copy->stored = false;
}

/* As a server's worker does, in a thread of its own. */
static void *write_back_thread(void *arg)
{
    struct copy *copy = arg;

    pthread_mutex_lock(&copy->mutex);
    write_back(copy);
    pthread_mutex_unlock(&copy->mutex);
    return NULL;
}

static void *listen(void *arg)
{
    struct copy *copy = arg;
    struct hf_watch_report report;
    pthread_t worker;

    while (!test_peek(&copy->keeper->stop)) {
        int rc = hf_watch_next(pool, 5000000, &report);

        EXPECT_OK(rc);
        test_count(&copy->keeper->returns);
        if (rc == 0)
            continue;
        test_count(&copy->keeper->reports);
        EXPECT_EQ(pthread_create(&worker, NULL, write_back_thread, copy), 0);
        pthread_join(worker, NULL);
    }
    return NULL;
}

/* Stores now and then, but not between the two reports of a change: that is what nothing can
 * mend. */
static void keep(void *arg)
{
    static struct copy copy = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct keeper *keeper = arg;
    pthread_t listener;
    uint64_t last = 0;

    pool = test_pool_open("write-back");
    copy.keeper = keeper;
    copy.file = test_file(pool, "/page");
    EXPECT_EQ(hf_watch(copy.file, HF_WATCH_STORES), 0);
    EXPECT_EQ(pthread_create(&listener, NULL, listen, &copy), 0);
    test_raise(&keeper->ready, 1);
    while (!test_peek(&keeper->stop)) {
        uint64_t want = test_peek64(&keeper->stored);

        if (want == last) {
            usleep(50);
            continue;
        }
        pthread_mutex_lock(&copy.mutex);
        if (!copy.there)
            EXPECT_EQ(hf_read(copy.file, copy.words, TEST_PAGE, 0), TEST_PAGE);
        copy.words[1 + (keeper - keepers)] = last = want;
        copy.there = copy.stored = true;
        pthread_mutex_unlock(&copy.mutex);
        test_raise(&keeper->ready, (uint32_t)want + 1);
    }
    pthread_join(listener, NULL);
    write_back(&copy);
    EXPECT_EQ(hf_close(copy.file), 0);
    test_pool_close(pool);
}

static pid_t start(unsigned number)
{
    pid_t pid;

    memset(&keepers[number], 0, sizeof(*keepers));
    pid = test_fork(keep, &keepers[number]);
    test_await(&keepers[number].ready, 1);
    return pid;
}

static void end(unsigned number, pid_t pid)
{
    test_raise(&keepers[number].stop, 1);
    test_join(pid);
}

/* ---- processes that change the page ---- */

static uint64_t word_at(struct hf_file *file, unsigned word)
{
    uint64_t found = 0;

    EXPECT_EQ(hf_read(file, &found, sizeof(found), word * sizeof(found)), sizeof(found));
    return found;
}

static void change(struct hf_file *file, struct hf_file *other, uint64_t value)
{
    const uint64_t at = 100 * sizeof(value);

    if (value % 2) {
        EXPECT_EQ(hf_write(file, &value, sizeof(value), at), sizeof(value));
        return;
    }
    EXPECT_EQ(hf_write(other, &value, sizeof(value), 0), sizeof(value));
    EXPECT_EQ(hf_copy_range(other, 0, file, at, sizeof(value)), sizeof(value));
}

static void check_both_stay(struct hf_file *file, struct hf_file *other)
{
    pid_t pid = start(0);
    unsigned checked = 0;

    for (uint64_t i = 1; i <= ROUNDS; i++) {
        uint64_t began;

        test_put64(&keepers[0].stored, i);
        test_await(&keepers[0].ready, (uint32_t)i + 1);
        began = test_now_ns();
        change(file, other, i);
        if (test_now_ns() - began >= HF_WATCH_WAIT_NS) {
            /* It was late. Changes wait for it again once it has come back for a report. The next
             * return that is counted may be one from before, and the one after it is not. */
            test_await(&keepers[0].returns, test_peek(&keepers[0].returns) + 2);
            continue;
        }
        checked++;
        EXPECT_EQ(word_at(file, 1), i); /* written back before the change */
        EXPECT_EQ(word_at(file, 100), i);
    }
    EXPECT(checked > 0);
    if (checked == ROUNDS && test_peek(&keepers[0].reports) < 2 * ROUNDS)
        FAIL("%u reports of %u changes: each has one before it", test_peek(&keepers[0].reports),
             ROUNDS);
    end(0, pid);
}

/* Each change asks both, both write back, and neither waits for the other meanwhile. */
static void check_two(struct hf_file *file, struct hf_file *other)
{
    pid_t pids[KEEPERS];
    uint64_t began = test_now_ns(), quick = 0;

    for (unsigned k = 0; k < KEEPERS; k++)
        pids[k] = start(k);
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        uint64_t since;

        for (unsigned k = 0; k < KEEPERS; k++) {
            test_put64(&keepers[k].stored, i);
            test_await(&keepers[k].ready, (uint32_t)i + 1);
        }
        since = test_now_ns();
        change(file, other, i);
        quick += test_now_ns() - since < HF_WATCH_WAIT_NS;
    }
    if (quick < ROUNDS / 2) /* a cycle takes all of that time */
        FAIL("%" PRIu64 " of %u changes were quick, in %" PRIu64 " ms", quick, ROUNDS,
             (test_now_ns() - began) / 1000000);
    for (unsigned k = 0; k < KEEPERS; k++)
        end(k, pids[k]);
}

static void check_stopped_and_killed(struct hf_file *file, struct hf_file *other)
{
    pid_t pid = start(0);

    test_stop(pid);
    for (uint64_t i = 1; i <= ROUNDS; i++) /* together they may not take 100 ms each */
        change(file, other, i);
    EXPECT_EQ(word_at(file, 100), ROUNDS);
    kill(pid, SIGCONT);
    test_kill(pid);
    for (uint64_t i = 1; i <= ROUNDS; i++)
        change(file, other, i);
    EXPECT_EQ(word_at(file, 100), ROUNDS);
}

/* The file may have been cut since its page was copied. */
static void check_inside(void)
{
    const struct hf_client client = {.size = sizeof(client), .flags = HF_CLIENT_WRITE_BACK};
    struct hf_file *file = test_file_filled(pool, "/short", 1, 1);
    uint64_t page[WORDS] = {1};
    struct stat st;

    EXPECT_EQ(hf_truncate(file, 100, NULL), 0);
    EXPECT_EQ(hf_act_for(&client), 0);
    EXPECT_EQ(hf_write(file, page, sizeof(page), 0), 100);
    EXPECT_EQ(hf_write(file, page, 8, 96), 4);
    EXPECT_EQ(hf_write(file, page, 8, 100), 0);
    EXPECT_EQ(hf_write(file, page, sizeof(page), TEST_PAGE), 0);
    EXPECT_EQ(hf_act_for(NULL), 0);
    EXPECT_EQ(hf_fstat(file, &st), 0);
    EXPECT_EQ(st.st_size, 100);
    EXPECT_EQ(word_at(file, 0), 1);
    EXPECT_EQ(hf_close(file), 0);
}

static int write_back_test(int argc, char **argv)
{
    struct hf_file *file, *other;

    engine = test_engine(argc > 1 ? argv[1] : "slots");
    keepers = test_shared(KEEPERS * sizeof(*keepers));
    pool = test_engine_pool(engine, "write-back", TEST_MIB(8));
    file = test_file_filled(pool, "/page", 1, 1);
    other = test_file_filled(pool, "/other", 1, 1);
    check_inside();
    check_both_stay(file, other);
    check_two(file, other);
    check_stopped_and_killed(file, other);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(other), 0);
    test_pool_close(pool);
    test_pool_check("write-back");
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, write_back_test);
}
