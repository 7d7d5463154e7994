/* SPDX-License-Identifier: MIT */
/*
 * No process is killed by SIGBUS because a file system has no memory left. In memory it is that of
 * the pool's blocks, at each page that a write or a pin touches first. A copy of a pool with holes
 * is refused there, or whole. With a folder on a disk it is /dev/shm, which has the run segment, at
 * each page that an opening touches first.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAMP 7

static void mount_small(const char *target, const char *size)
{
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", target, "tmpfs", 0, size))
        test_skip("needs root, for a small tmpfs");
}

/* A file that leaves `pages` pages of a file system. */
static void leave_pages(const char *ballast, uint64_t pages)
{
    static const char zeros[4096];
    int fd = open(ballast, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct stat st;
    ssize_t n;

    EXPECT(fd >= 0);
    do
        n = write(fd, zeros, sizeof zeros);
    while (n > 0);
    EXPECT(n < 0 && errno == ENOSPC);
    EXPECT(fstat(fd, &st) == 0);
    EXPECT_EQ(ftruncate(fd, st.st_size - (off_t)(pages * TEST_PAGE)), 0);
    close(fd);
}

static void expect_full(long long rc)
{
    EXPECT_EQ(rc, -ENOSPC);
    EXPECT(strstr(hf_strerror_detail(), "full"));
}

/* ---- blocks ---- */

/* How many pages there was memory for. */
static uint64_t write_until_full(struct hf_file *file)
{
    char page[TEST_PAGE];
    uint64_t pages = 0;
    ssize_t n;

    for (;; pages++) {
        test_page_fill(page, STAMP, pages);
        n = hf_write(file, page, sizeof page, pages * TEST_PAGE);
        if (n < 0)
            break;
        EXPECT_EQ(n, TEST_PAGE);
    }
    expect_full(n);
    test_expect_pages(file, STAMP, 0, pages);
    return pages;
}

/* What is pinned, or allocated, can be touched. */
static void touch_what_was_given(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/sparse");
    struct iovec iov[64];
    struct hf_pin pin;
    int count;

    EXPECT_EQ(hf_truncate(file, TEST_MIB(1), NULL), 0);
    for (uint64_t page = 0; page < 256; page += 16) {
        count = hf_pin(file, page * TEST_PAGE, 16 * TEST_PAGE, HF_PIN_WRITE, iov, 64, &pin);
        if (count < 0) {
            expect_full(count);
            break;
        }
        for (int i = 0; i < count; i++)
            memset(iov[i].iov_base, 'x', iov[i].iov_len);
        EXPECT_EQ(hf_unpin(&pin), 0);
    }
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/sparse", NULL), 0);
}

#define BESIDE 128u /* pages: those that get memory at once, and what the metadata take */

static uint64_t shown_free(struct hf_pool *pool)
{
    struct statvfs space;

    EXPECT_EQ(hf_statvfs(pool, &space), 0);
    EXPECT_EQ(space.f_bavail, space.f_bfree);
    return space.f_bfree;
}

static void try_blocks(uint64_t left)
{
    struct hf_pool *pool = test_pool_new("small/pool", TEST_MIB(8));
    struct hf_file *file = test_file(pool, "/file");
    uint64_t pages, shown;

    EXPECT_EQ(hf_write(file, "x", 1, 0), 1);
    leave_pages(test_path("small/ballast"), left);
    shown = shown_free(pool);
    pages = write_until_full(file);
    EXPECT(pages >= left);
    EXPECT(shown >= pages - 1 && shown <= pages + BESIDE); /* one was the file's before */
    EXPECT(shown_free(pool) <= BESIDE);
    touch_what_was_given(pool);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT(shown_free(pool) >= pages); /* their memory stays */
    EXPECT(write_until_full(file) >= pages);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    touch_what_was_given(pool);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    EXPECT_EQ(unlink(test_path("small/ballast")), 0);
    test_pool_check("small/pool");
    test_remove_tree(test_path("small/pool"));
}

/* ---- a copy with holes ---- */

static void copy_with_holes(const char *name)
{
    static const char zeros[4096];
    char page[4096];
    int from = open(test_path(name), O_RDONLY | O_CLOEXEC), to;
    struct stat st;
    off_t off = 0;

    EXPECT(from >= 0 && fstat(from, &st) == 0);
    to = open(test_path("small/copy"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    EXPECT(to >= 0 && ftruncate(to, st.st_size) == 0);
    for (; pread(from, page, sizeof page, off) > 0; off += TEST_PAGE)
        if (memcmp(page, zeros, sizeof page) != 0)
            EXPECT_EQ(pwrite(to, page, sizeof page, off), TEST_PAGE);
    close(from);
    close(to);
    EXPECT_EQ(rename(test_path("small/copy"), test_path(name)), 0);
}

static void try_holes(void)
{
    static const char zeros[64 * TEST_PAGE];
    struct hf_pool *pool = test_pool_new("small/pool", TEST_MIB(8));
    struct hf_file *file = test_file(pool, "/zeros");

    EXPECT_EQ(hf_write(file, zeros, sizeof zeros, 0), sizeof zeros);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    copy_with_holes("small/pool/data");
    copy_with_holes("small/pool/recent");
    leave_pages(test_path("small/ballast"), 40);
    expect_full(hf_pool_open(test_path("small/pool"), HF_OPEN_RDONLY, &pool));
    expect_full(hf_pool_open(test_path("small/pool"), 0, &pool));
    EXPECT_EQ(unlink(test_path("small/ballast")), 0);
    pool = test_pool_open("small/pool");
    leave_pages(test_path("small/ballast"), 0);
    file = test_file(pool, "/zeros");
    test_expect_zeros(file, 0, sizeof zeros);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    pool = test_pool_open("small/pool"); /* also after a close in good order */
    test_pool_close(pool);
    EXPECT_EQ(unlink(test_path("small/ballast")), 0);
    test_remove_tree(test_path("small/pool"));
}

/* ---- the run segment ---- */

static int may_be_full(int rc)
{
    if (rc < 0)
        expect_full(rc);
    return rc;
}

/* 0: nothing was missing. */
static int use_pool(const char *path)
{
    struct hf_pool *pool;
    struct hf_file *file;
    struct hf_lease lease;
    struct iovec iov;
    int rc = may_be_full(hf_pool_open(path, 0, &pool));

    if (rc)
        return rc;
    rc = may_be_full(hf_open(pool, "/file", O_RDWR | O_CREAT, 0600, &file));
    if (rc == 0) {
        rc = may_be_full((int)hf_write(file, "content", 7, 0));
        if (rc == 7)
            rc = may_be_full(hf_lease(file, 0, 7, NULL, &iov, 1, &lease));
        if (rc == 1)
            rc = hf_lease_release(&lease);
        EXPECT_EQ(hf_close(file), 0);
    }
    EXPECT_EQ(hf_pool_close(pool), 0);
    return rc;
}

static void try_segment(const char *path)
{
    int rc = -ENOSPC;

    for (uint64_t left = 0; rc; left += 1 + left / 16) {
        leave_pages("/dev/shm/ballast", left);
        rc = use_pool(path);
        EXPECT_EQ(unlink("/dev/shm/ballast"), 0);
        EXPECT(left < 16384);
    }
}

/* On a disk, so that the segment alone is in /dev/shm. */
static void try_segments(void)
{
    const struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = TEST_MIB(8), .max_processes = 64};

    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    mount_small("/dev/shm", "size=64m");
    try_segment(test_path("pool"));
    EXPECT_EQ(umount("/dev/shm"), 0);
}

static void full_memory(void)
{
    const uint64_t left[] = {0, 1, 3, 70, 200, 600};

    if (strncmp(test_folder(), "/dev/shm/", 9) != 0) {
        try_segments();
        return;
    }
    EXPECT_EQ(mkdir(test_path("small"), 0700), 0);
    mount_small(test_path("small"), "size=24m");
    for (unsigned i = 0; i < sizeof left / sizeof *left; i++)
        try_blocks(left[i]);
    try_holes();
    EXPECT_EQ(umount(test_path("small")), 0);
}

TEST_SCENARIO(full_memory)
