/* SPDX-License-Identifier: MIT */
/*
 * What a write has acknowledged before all processes were killed is there when the next one comes.
 * It needs only the files of the pool: not the run segment, also in a copy, also for a first
 * process that only reads. An entry of POOL/recent counts only for the record that it was made for.
 * An entry that is old, another pool's or damaged counts for nothing, and fsck says so. Without the
 * segment nobody knows when devices have stopped, so the whole quarantine counts.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST 10u
#define ALL 100u
#define ENTRIES_AT 4096u /* docs/FORMAT.md */
#define ENTRY_WORDS 8u
#define QUARANTINE_NS UINT64_C(3000000000)

struct how {
    bool durable, closed, device;
};

static uint32_t *acknowledged;
static const char bytes[ALL] = "what was written";

static void run(const char *format, const char *path, const char *to)
{
    char command[512];
    int status;

    snprintf(command, sizeof(command), format, path, to);
    status = system(command);
    if (status)
        FAIL("%s: status %d", command, status);
}

static void make(const struct how *how)
{
    const struct hf_pool_options options = {.size = sizeof(options),
                                            .pool_bytes = TEST_MIB(8),
                                            .max_files = 64,
                                            .quarantine_ns = QUARANTINE_NS,
                                            .flags = how->durable ? HF_POOL_DURABLE : 0};

    run("rm -rf %s", test_path("pool"), "");
    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
}

/* The first write gives the file a block, in a transaction; the others stay in that block. */
static void writer(void *arg)
{
    const struct how *how = arg;
    struct hf_pool *pool = test_pool_open("pool");
    struct hf_file *file = test_file(pool, "file");
    struct iovec iov;

    EXPECT_EQ(hf_write(file, bytes, FIRST, 0), FIRST);
    EXPECT_EQ(hf_write(file, bytes + FIRST, 40, FIRST), 40);
    EXPECT_EQ(hf_append(file, bytes + FIRST + 40, ALL - FIRST - 40, NULL), ALL - FIRST - 40);
    if (how->device)
        test_pin(file, 0, ALL, HF_PIN_WRITE | HF_PIN_GPU, &iov, 1);
    if (how->closed)
        EXPECT_EQ(hf_close(file), 0);
    test_count(acknowledged);
    pause();
}

/* The path of the run segment, as a pattern. */
static const char *segment(void)
{
    static char pattern[300];
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_pool *pool = test_pool_open("pool");
    size_t at = (size_t)snprintf(pattern, sizeof(pattern), TEST_SEGMENT_PREFIX);

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    test_pool_close(pool);
    for (unsigned i = 0; i < sizeof(info.uuid); i++)
        at += (size_t)snprintf(pattern + at, sizeof(pattern) - at, "%02x", info.uuid[i]);
    snprintf(pattern + at, sizeof(pattern) - at, "-* %s/run", test_path("pool"));
    return pattern;
}

static void kill_one(const struct how *how)
{
    uint32_t before = *acknowledged;
    pid_t pid = test_fork(writer, (void *)(uintptr_t)how);

    test_await(acknowledged, before + 1);
    test_kill(pid);
}

/* Made, written to by a process that was killed, and without a segment. */
static void leave(const struct how *how)
{
    const char *pattern;

    make(how);
    pattern = segment();
    kill_one(how);
    run("rm -f %s", pattern, "");
}

static void expect_content(const char *name, uint32_t flags)
{
    struct hf_pool *pool;
    struct hf_file *file;
    char found[ALL + 1];

    EXPECT_EQ(hf_pool_open(test_path(name), flags, &pool), 0);
    EXPECT_EQ(hf_open(pool, "file", O_RDONLY, 0, &file), 0);
    EXPECT_EQ(hf_read(file, found, sizeof(found), 0), ALL);
    EXPECT(memcmp(found, bytes, ALL) == 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void killed(void)
{
    for (unsigned i = 0; i < 4; i++) {
        const struct how how = {.durable = i & 1, .closed = i & 2};

        leave(&how);
        test_pool_check("pool");
        expect_content("pool", 0);
        leave(&how);
        expect_content("pool", HF_OPEN_RDONLY);
        expect_content("pool", 0);
        test_pool_check("pool");
    }
}

static void copied(void)
{
    const struct how how = {0};
    struct stat st;

    leave(&how);
    run("rm -rf %2$s; cp -a %1$s %2$s", test_path("pool"), test_path("copy"));
    expect_content("pool", 0);
    expect_content("copy", 0);
    test_pool_check("copy");
    run("rm -r %2$s; cp -a --sparse=always %1$s %2$s", test_path("pool"), test_path("copy"));
    expect_content("copy", 0);
    EXPECT_EQ(stat(test_path("copy/recent"), &st), 0);
    EXPECT(strncmp(test_folder(), "/dev/shm/", 9) == 0 || st.st_blocks * 512 >= st.st_size);
}

static uint64_t size_of(void)
{
    struct hf_pool *pool = test_pool_open("pool");
    struct hf_file *file = test_file(pool, "file");
    uint64_t size = test_size(file);

    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    return size;
}

/* As a power cut may leave it, or a backup: older than the records. */
static void outdated(void)
{
    const struct how how = {0};
    struct hf_pool *pool;
    struct hf_file *file;

    leave(&how);
    run("cp -a %s/recent %s", test_path("pool"), test_path("old"));
    pool = test_pool_open("pool");
    file = test_file(pool, "file");
    EXPECT_EQ(hf_truncate(file, 3, &test_wait), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    run("cp -a %2$s %1$s/recent", test_path("pool"), test_path("old"));
    EXPECT_EQ(size_of(), 3);
}

/* Words of the file, the entries behind them. */
static void change(uint64_t at, uint64_t value)
{
    char path[300];
    int fd;

    snprintf(path, sizeof(path), "%s/recent", test_path("pool"));
    fd = open(path, O_RDWR | O_CLOEXEC);
    EXPECT_OK(fd);
    EXPECT_EQ(pwrite(fd, &value, sizeof(value), (off_t)at), sizeof(value));
    close(fd);
}

static int problems(uint32_t flags)
{
    struct hf_check_result result = {.size = sizeof(result)};

    EXPECT_OK(hf_pool_check(test_path("pool"), flags, NULL, NULL, NULL, &result));
    EXPECT_EQ(result.problems, flags ? result.repaired : result.problems);
    return (int)result.problems;
}

static void damaged(void)
{
    static const char *const commands[] = {
        "rm %s/recent",
        "truncate -s 100 %s/recent",
        "truncate -s 4096 %s/recent",
        "dd if=/dev/urandom of=%s/recent bs=8192 count=1 conv=notrunc status=none",
        "rm %1$s/recent; ln -s /dev/null %1$s/recent",
        "rm %1$s/recent; mkdir %1$s/recent"};
    const struct how how = {0};

    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        leave(&how);
        run(commands[i], test_path("pool"), "");
        EXPECT_EQ(problems(0), i ? 1 : 0);
        EXPECT_EQ(size_of(), FIRST);
        EXPECT_EQ(size_of(), FIRST);
        if (i < 5) /* a directory stays in the way */
            test_pool_check("pool");
    }
    for (unsigned word = 0; word < ENTRY_WORDS; word++) {
        leave(&how);
        for (unsigned entry = 0; entry < 64; entry++)
            change(ENTRIES_AT + (entry * ENTRY_WORDS + word) * 8, UINT64_MAX - 1);
        EXPECT_EQ(problems(0) != 0, word == 2);
        size_of();
        test_pool_check("pool");
    }
    leave(&how);
    for (unsigned entry = 0; entry < 64; entry++) {
        change(ENTRIES_AT + entry * 64, 2);
        change(ENTRIES_AT + entry * 64 + 16, UINT64_MAX);
    }
    EXPECT_EQ(problems(HF_CHECK_REPAIR), 1);
    test_pool_check("pool");
    EXPECT_EQ(size_of(), FIRST);
}

static void quarantined(void)
{
    const struct how how = {.device = true}, again = {.durable = false};
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_pool *pool;
    struct hf_file *file;
    uint64_t free_bytes;

    leave(&how);
    pool = test_pool_open("pool");
    free_bytes = test_free_bytes(pool);
    file = test_file(pool, "file");
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), 0);
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT(info.detached_bytes == TEST_PAGE);
    while (test_free_bytes(pool) == free_bytes)
        test_sleep_ms(20);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    leave(&again);
    expect_content("pool", 0);
}

static void join(void *arg)
{
    struct hf_pool *pool;

    (void)arg;
    EXPECT_EQ(hf_pool_open(test_path("pool"), 0, &pool), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), "recent"));
}

/* All attached processes must have the same one. */
static void taken_away(void)
{
    const struct how how = {0};
    struct hf_pool *pool;

    make(&how);
    pool = test_pool_open("pool");
    run("rm %s/recent", test_path("pool"), "");
    test_join(test_fork(join, NULL));
    test_pool_close(pool);
    EXPECT_EQ(size_of(), 0);
}

static void recent(void)
{
    acknowledged = test_shared(sizeof(*acknowledged));
    killed();
    copied();
    outdated();
    damaged();
    quarantined();
    taken_away();
}

TEST_SCENARIO(recent)
