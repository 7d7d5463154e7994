/* SPDX-License-Identifier: MIT */
/*
 * A process that is stopped in a snapshot keeps LMDB from using pages again. The metadata grow by a
 * bounded amount, then changes fail, and the sentence names that process. When it goes on, or is
 * killed, changes succeed, and the metadata grow no more. A process that only attaches for a moment
 * sees the growth of all.
 *
 * A process that runs has its snapshot for a while too, where it does not get a processor. Writers
 * give it the time.
 */
#include "meta/meta.h"
#include "pool/pool.h"
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHANGES_MAX 200000u
#define GROWTH_MAX TEST_MIB(48)
#define SLOW_CHANGES 5000u /* of a writer that waits now and then */
#define SHORT_CHANGES 300u /* of a process that attaches for a moment */

static void read_and_stop(void *arg)
{
    struct hf_pool *pool;
    struct meta_txn *txn;

    (void)arg;
    EXPECT_EQ(hf_pool_open(test_path("pool"), HF_OPEN_RDONLY, &pool), 0);
    EXPECT_EQ(meta_begin_read(pool->fs.dax.meta, &txn), 0);
    raise(SIGSTOP);
    meta_end_read(txn);
    test_pool_close(pool);
}

static pid_t start_reader(void)
{
    pid_t pid = test_fork(read_and_stop, NULL);
    int status;

    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    EXPECT(WIFSTOPPED(status));
    return pid;
}

static uint64_t data_bytes(void)
{
    char path[512];
    struct stat st;

    snprintf(path, sizeof(path), "%s/meta/data.mdb", test_path("pool"));
    EXPECT_EQ(stat(path, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* 0: all of `count` were made. */
static int change(struct hf_pool *pool, unsigned count)
{
    int rc = 0;

    for (unsigned i = 0; i < count && rc == 0; i++) {
        rc = hf_mkdir(pool, "/x", 0755);
        if (rc == 0 || rc == -EEXIST)
            rc = hf_rmdir(pool, "/x");
    }
    return rc;
}

static void expect_held_up(struct hf_pool *pool, pid_t reader, uint64_t before)
{
    char pid[32];

    EXPECT_EQ(change(pool, CHANGES_MAX), -EBUSY);
    snprintf(pid, sizeof(pid), "process %d ", (int)reader);
    if (!strstr(hf_strerror_detail(), pid) || !strstr(hf_strerror_detail(), "stopped"))
        FAIL("it names no stopped process: %s", hf_strerror_detail());
    EXPECT(data_bytes() < before + GROWTH_MAX);
    EXPECT_EQ(change(pool, 1), -EBUSY);
}

static void expect_no_growth(struct hf_pool *pool)
{
    uint64_t before;

    EXPECT_EQ(change(pool, 100), 0);
    before = data_bytes();
    EXPECT_EQ(change(pool, 5000), 0);
    EXPECT_EQ(data_bytes(), before);
}

static void reader_goes_on(struct hf_pool *pool)
{
    uint64_t before = data_bytes();
    pid_t reader = start_reader();
    int status;

    expect_held_up(pool, reader, before);
    EXPECT_EQ(kill(reader, SIGCONT), 0);
    EXPECT_EQ(waitpid(reader, &status, 0), reader);
    EXPECT_EQ(status, 0);
    expect_no_growth(pool);
}

static void reader_is_killed(struct hf_pool *pool)
{
    uint64_t before = data_bytes();
    pid_t reader = start_reader();
    int status;

    expect_held_up(pool, reader, before);
    EXPECT_EQ(kill(reader, SIGKILL), 0);
    EXPECT_EQ(waitpid(reader, &status, 0), reader);
    expect_no_growth(pool);
}

/* Nobody has to wait until so much is held. */
static void reader_dies_at_once(struct hf_pool *pool)
{
    uint64_t before = data_bytes();
    pid_t reader = start_reader();
    int status;

    EXPECT_EQ(kill(reader, SIGKILL), 0);
    EXPECT_EQ(waitpid(reader, &status, 0), reader);
    EXPECT_EQ(change(pool, 20000), 0);
    EXPECT(data_bytes() < before + TEST_MIB(16));
}

static uint32_t *changes_made;

/* Each snapshot lasts until the writer waits, as far as one can see. Or the file has grown by more
 * than it may. */
static void read_slowly(void *arg)
{
    uint64_t before = data_bytes();
    struct hf_pool *pool;
    struct meta_txn *txn;

    (void)arg;
    EXPECT_EQ(hf_pool_open(test_path("pool"), HF_OPEN_RDONLY, &pool), 0);
    for (;;) {
        uint32_t seen, now = 0;

        EXPECT_EQ(meta_begin_read(pool->fs.dax.meta, &txn), 0);
        do {
            seen = now;
            test_sleep_ms(10);
            now = test_peek(changes_made);
        } while (now != seen && data_bytes() < before + GROWTH_MAX);
        meta_end_read(txn);
    }
}

static void reader_is_slow(struct hf_pool *pool)
{
    uint64_t before = data_bytes();
    pid_t reader;

    changes_made = test_shared(sizeof(*changes_made));
    reader = test_fork(read_slowly, NULL);
    for (unsigned i = 0; i < SLOW_CHANGES; i++) {
        EXPECT_EQ(change(pool, 1), 0);
        test_count(changes_made);
    }
    test_kill(reader);
    EXPECT(data_bytes() < before + GROWTH_MAX);
}

static void attach_and_change(void *arg)
{
    struct hf_pool *pool = test_pool_open("pool");
    int rc = change(pool, SHORT_CHANGES);

    (void)arg;
    EXPECT(rc == 0 || rc == -EBUSY);
    test_pool_close(pool);
    _exit(rc != 0);
}

/* Each of them grows the file by less than is looked at. */
static void short_processes(void)
{
    uint64_t before = data_bytes();
    pid_t reader = start_reader();
    bool refused = false;
    int status;

    for (unsigned i = 0; i < 200 && !refused; i++) {
        pid_t pid = test_fork(attach_and_change, NULL);

        EXPECT_EQ(waitpid(pid, &status, 0), pid);
        EXPECT(WIFEXITED(status));
        refused = WEXITSTATUS(status);
    }
    EXPECT(refused);
    EXPECT(data_bytes() < before + GROWTH_MAX);
    EXPECT_EQ(kill(reader, SIGCONT), 0);
    EXPECT_EQ(waitpid(reader, &status, 0), reader);
}

static void stopped_reader(void)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(16));

    reader_dies_at_once(pool);
    reader_goes_on(pool);
    reader_is_killed(pool);
    reader_is_slow(pool);
    short_processes();
    expect_no_growth(pool);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(stopped_reader)
