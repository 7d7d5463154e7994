/* SPDX-License-Identifier: MIT */
/*
 * Processes beside those of a cache. One gives free memory back, after it has used some. One reads
 * all that the cache's files have, through a mount: any bytes, but no error. `holdfast dedup
 * --follow` merges what is equal: pages of the cache, and two files that are kept here.
 */
#include "beside.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define TWIN_PAGES 64u
#define USED_BYTES TEST_MIB(1)
#define PAUSE_US 200
#define MOUNT_POINT "mnt"

static struct beside {
    uint32_t stop, trims, reads;
    const char *pool;
} * beside;

static pid_t trimmer, follower, server, reader;
static struct hf_pool *twins_pool;
static struct hf_file *twins[2];

/* A call that a stopped process is in the way of may fail, as one in a full pool. */
static bool is_passing(int rc)
{
    return rc == -EBUSY || rc == -EAGAIN || rc == -ETIMEDOUT || rc == -ENOSPC;
}

static void await_count(const uint32_t *count)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;

    while (!test_peek(count)) {
        if (test_now_ns() > limit)
            FAIL("nothing was done in %u s", TEST_PATIENCE_SECONDS);
        usleep(1000);
    }
}

/* ---- trims ---- */

static void use_memory(struct hf_pool *pool)
{
    struct hf_file *file;
    int rc = hf_open(pool, "/", O_RDWR | O_TMPFILE, 0600, &file);

    EXPECT(rc == 0 || is_passing(rc));
    if (rc)
        return;
    rc = hf_fallocate(file, 0, 0, USED_BYTES, NULL);
    EXPECT(rc == 0 || is_passing(rc));
    EXPECT_EQ(hf_close(file), 0);
}

static void keep_trimming(void *arg)
{
    struct hf_pool *pool = test_pool_open(beside->pool);

    (void)arg;
    while (!test_peek(&beside->stop)) {
        struct hf_trim_result result = {.size = sizeof(result)};
        int rc;

        use_memory(pool);
        rc = hf_pool_trim(pool, 0, &result);
        EXPECT(rc == 0 || is_passing(rc));
        if (rc == 0 && result.given_bytes)
            test_raise(&beside->trims, 1);
        usleep(PAUSE_US);
    }
    test_pool_close(pool);
}

/* ---- a mount ---- */

static bool can_mount(void)
{
    int fd =
        geteuid() == 0 && getenv("HOLDFAST_MOUNTS") ? open("/dev/fuse", O_RDWR | O_CLOEXEC) : -1;

    if (fd >= 0)
        close(fd);
    else
        printf("storm: the pool is not mounted; that needs root, and /dev/fuse\n");
    return fd >= 0;
}

static void serve_mount(void *arg)
{
    const char *program = getenv("HOLDFAST");

    (void)arg;
    execl(program, program, "mount", test_path(beside->pool), test_path(MOUNT_POINT), "-f",
          (char *)NULL);
    _exit(127);
}

static void read_through(const char *name)
{
    static char bytes[256 << 10];
    char path[256];
    ssize_t got;
    off_t at = 0;
    int fd;

    snprintf(path, sizeof path, "%s/cache/%s", test_path(MOUNT_POINT), name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    EXPECT_OK(fd);
    while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
        got = pread(fd, bytes, sizeof bytes, at);
        EXPECT(got >= 0);
        at += got ? got : (ssize_t)sizeof bytes; /* a hole by now */
    }
    EXPECT_EQ(errno, ENXIO);
    close(fd);
}

static void keep_reading(void *arg)
{
    (void)arg;
    while (!test_peek(&beside->stop)) {
        read_through("data");
        read_through("index");
        test_raise(&beside->reads, 1);
        usleep(PAUSE_US);
    }
}

static void await_mount(void)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    struct stat above, here;

    EXPECT_EQ(stat(test_path("."), &above), 0);
    while (stat(test_path(MOUNT_POINT), &here) || here.st_dev == above.st_dev) {
        if (test_now_ns() > limit)
            FAIL("the pool was not mounted in %u s", TEST_PATIENCE_SECONDS);
        usleep(1000);
    }
}

static void end_mount(void)
{
    await_count(&beside->reads);
    test_join(reader);
    EXPECT_EQ(umount2(test_path(MOUNT_POINT), 0), 0);
    test_join(server);
}

/* ---- all ---- */

static void await_merge(void)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    struct hf_pool_info info = {.size = sizeof(info)};

    for (;;) {
        EXPECT_EQ(hf_pool_info(twins_pool, &info), 0);
        if (info.shared_bytes)
            return;
        if (test_now_ns() > limit)
            FAIL("nothing was merged in %u s", TEST_PATIENCE_SECONDS);
        usleep(1000);
    }
}

void beside_begin(const char *pool)
{
    if (!test_can_follow())
        test_skip("HOLDFAST does not say where the program is");
    beside = test_shared(sizeof *beside);
    beside->pool = pool;
    twins_pool = test_pool_open(pool);
    twins[0] = test_file_filled(twins_pool, "/twin", 1, TWIN_PAGES);
    twins[1] = test_file_filled(twins_pool, "/other", 1, TWIN_PAGES);
    trimmer = test_fork(keep_trimming, NULL);
    follower = test_follower(pool);
    if (!can_mount())
        return;
    EXPECT_EQ(mkdir(test_path(MOUNT_POINT), 0700), 0);
    server = test_fork(serve_mount, NULL);
    await_mount();
    reader = test_fork(keep_reading, NULL);
}

void beside_end(void)
{
    await_count(&beside->trims);
    await_merge();
    test_raise(&beside->stop, 1);
    test_join(trimmer);
    if (server)
        end_mount();
    EXPECT(test_follower_ends(follower) > 0);
    for (int i = 0; i < 2; i++) {
        test_expect_pages(twins[i], 1, 0, TWIN_PAGES);
        EXPECT_EQ(hf_close(twins[i]), 0);
    }
    test_pool_close(twins_pool);
}
