/* SPDX-License-Identifier: MIT */
/*
 * The file system below a pool is full: no process is killed for touching what has no memory. A
 * pool that was closed can be looked at. Where a process has the pool open, calls that want another
 * entry of a table say that there is no room. Files can be deleted and cut short, also by a process
 * that comes then.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static uint32_t pool_flags;

#define MANY 200
#define THREADS 50
#define LONG_NAME 200 /* so that few names fill a page */

static void fill(void)
{
    static const char zeros[4096];
    int fd = open(test_path("small/ballast"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ssize_t n;

    EXPECT(fd >= 0);
    do
        n = write(fd, zeros, sizeof zeros);
    while (n > 0);
    EXPECT(n < 0 && errno == ENOSPC);
    close(fd);
}

static void expect_no_room(int rc)
{
    EXPECT_EQ(rc, -ENOSPC);
    EXPECT(strstr(hf_strerror_detail(), "full"));
}

static void look(void)
{
    struct hf_pool *pool;
    struct hf_file *file;
    struct statvfs space;
    char byte = 0;

    EXPECT_EQ(hf_pool_open(test_path("small/pool"), HF_OPEN_RDONLY, &pool), 0);
    EXPECT_EQ(hf_statvfs(pool, &space), 0);
    EXPECT_EQ(hf_open(pool, "/0", O_RDONLY, 0, &file), 0);
    EXPECT_EQ(hf_read(file, &byte, 1, 0), 1);
    EXPECT_EQ(byte, 'x');
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

/* The first to attach writes records. */
static void open_for_writing(void)
{
    struct hf_pool *pool;
    int rc = hf_pool_open(test_path("small/pool"), 0, &pool);

    if (rc == 0)
        rc = hf_pool_close(pool);
    EXPECT(rc == 0 || rc == -ENOSPC);
}

static int open_many(struct hf_pool *pool, int flags, struct hf_file **files, int *count)
{
    char name[32];
    int rc = 0;

    for (*count = 0; *count < MANY && rc == 0; *count += rc == 0) {
        snprintf(name, sizeof name, "/%d", *count);
        rc = hf_open(pool, name, flags, 0600, &files[*count]);
    }
    return rc;
}

static void close_many(struct hf_file **files, int count)
{
    for (int i = 0; i < count; i++)
        EXPECT_EQ(hf_close(files[i]), 0);
}

static void make(void)
{
    static struct hf_file *files[MANY];
    const struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = TEST_MIB(8), .flags = pool_flags};
    struct hf_pool *pool;
    int count;

    EXPECT_EQ(hf_pool_create(test_path("small/pool"), &options), 0);
    pool = test_pool_open("small/pool");
    EXPECT_EQ(open_many(pool, O_RDWR | O_CREAT, files, &count), 0);
    EXPECT_EQ(hf_write(files[0], "x", 1, 0), 1);
    close_many(files, count);
    test_pool_close(pool);
}

static void take_holds(struct hf_file *file)
{
    static struct hf_pin pins[MANY];
    struct iovec iov;
    int count = 0;

    while (count < MANY && hf_pin(file, 0, 1, HF_PIN_READ, &iov, 1, &pins[count]) == 1)
        count++;
    expect_no_room(count < MANY ? hf_pin(file, 0, 1, HF_PIN_READ, &iov, 1, &pins[count]) : 0);
    while (count--)
        EXPECT_EQ(hf_unpin(&pins[count]), 0);
}

static uint32_t held, refused, leave;

static void *pin_in_thread(void *file)
{
    struct iovec iov;
    struct hf_pin pin;
    int rc = hf_pin(file, 0, 1, HF_PIN_READ, &iov, 1, &pin);

    if (rc < 0)
        expect_no_room(rc);
    test_count(rc < 0 ? &refused : &held);
    test_await(&leave, 1);
    if (rc == 1)
        EXPECT_EQ(hf_unpin(&pin), 0);
    return NULL;
}

static void take_lanes(struct hf_file *file)
{
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, pin_in_thread, file), 0);
    while (test_peek(&held) + test_peek(&refused) < THREADS)
        sched_yield();
    test_raise(&leave, 1);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    EXPECT(test_peek(&refused) > 0);
}

static void take_entries(void)
{
    static struct hf_file *files[MANY];
    struct hf_pool *pool = test_pool_open("small/pool");
    struct hf_file *file = test_file(pool, "/0");
    int count;

    fill();
    expect_no_room(open_many(pool, O_RDWR, files, &count));
    close_many(files, count);
    take_holds(file);
    take_lanes(file);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void make_until_full(struct hf_pool *pool)
{
    char name[LONG_NAME + 1];
    int rc = 0;

    memset(name, 'n', sizeof name);
    name[0] = '/';
    for (int i = 0; rc == 0 && i < MANY * MANY; i++) {
        snprintf(name + LONG_NAME - 8, 9, "%08d", i);
        rc = hf_mkdir(pool, name, 0700);
    }
    EXPECT_EQ(rc, -ENOSPC);
    EXPECT(strstr(hf_strerror_detail(), "no room for the pool's metadata"));
}

/* Entries of files that were closed are used again. */
static void open_in_turn(struct hf_pool *pool)
{
    struct hf_file *file;
    char name[32];

    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "/%d", i);
        EXPECT_EQ(hf_open(pool, name, O_RDONLY, 0, &file), 0);
        EXPECT_EQ(hf_close(file), 0);
    }
}

/* More deletions than the spare pages would be enough for, if no page were taken again. */
static void delete_files(int from, int to)
{
    struct hf_pool *pool = test_pool_open("small/pool");
    struct hf_file *file = test_file(pool, "/0");
    char name[32];

    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT_EQ(hf_write(file, "x", 1, 0), 1);
    EXPECT_EQ(hf_close(file), 0);
    for (int i = from; i < to; i++) {
        snprintf(name, sizeof name, "/%d", i);
        EXPECT_EQ(hf_unlink(pool, name, NULL), 0);
    }
    test_pool_close(pool);
}

static void take_room(void)
{
    struct hf_pool *pool = test_pool_open("small/pool");

    fill();
    make_until_full(pool);
    open_in_turn(pool);
    delete_files(1, MANY / 2);
    test_pool_close(pool);
    delete_files(MANY / 2, MANY);
}

/* Metadata pages are written in place, or (durable pools) with pwrite(2). */
static void try_pool(uint32_t flags)
{
    pool_flags = flags;
    if (mount("none", test_path("small"), "tmpfs", 0, "size=16m"))
        test_skip("needs root, for a small tmpfs");
    make();
    fill();
    look();
    open_for_writing();
    EXPECT_EQ(unlink(test_path("small/ballast")), 0);
    take_entries();
    EXPECT_EQ(unlink(test_path("small/ballast")), 0);
    take_room();
    EXPECT_EQ(unlink(test_path("small/ballast")), 0);
    test_pool_check("small/pool");
    EXPECT_EQ(umount(test_path("small")), 0);
}

static void full_below(void)
{
    EXPECT_EQ(mkdir(test_path("small"), 0700), 0);
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        test_skip("needs root, for a small tmpfs");
    try_pool(0);
    try_pool(HF_POOL_DURABLE);
}

TEST_SCENARIO(full_below)
