/* SPDX-License-Identifier: MIT */
/*
 * A pool opened for reading only: everything can be read and pinned, nothing changed.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>

static void fill_pool(void *arg)
{
    struct hf_pool *pool = test_pool_new("readonly", TEST_MIB(8));
    struct hf_file *file = test_file_filled(pool, "/file", 3, 4);

    (void)arg;
    EXPECT_EQ(hf_truncate(file, 8 * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_mkdir(pool, "/dir", 0700), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void check_names(struct hf_pool *pool)
{
    struct hf_file *file = NULL;

    EXPECT_EQ(hf_open(pool, "/file", O_RDWR, 0, &file), -EROFS);
    EXPECT_EQ(hf_open(pool, "/new", O_RDONLY | O_CREAT, 0600, &file), -EROFS);
    EXPECT_EQ(hf_mkdir(pool, "/dir2", 0700), -EROFS);
    EXPECT_EQ(hf_rmdir(pool, "/dir"), -EROFS);
    EXPECT_EQ(hf_mknod(pool, "/fifo", S_IFIFO | 0600, 0), -EROFS);
    EXPECT_EQ(hf_link(pool, "/file", "/link"), -EROFS);
    EXPECT_EQ(hf_symlink(pool, "/file", "/symlink"), -EROFS);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), -EROFS);
    EXPECT_EQ(hf_rename(pool, "/file", "/other", 0), -EROFS);
    EXPECT_EQ(hf_chmod(pool, "/file", 0777), -EROFS);
    EXPECT_EQ(hf_chown(pool, "/file", 1, 1, 0), -EROFS);
    EXPECT_EQ(hf_utimens(pool, "/file", NULL, 0), -EROFS);
    EXPECT_EQ(hf_setxattr(pool, "/file", "user.a", "b", 1, 0), -EROFS);
    EXPECT_EQ(hf_removexattr(pool, "/file", "user.a"), -EROFS);
    EXPECT_EQ(hf_pool_grow(pool, TEST_MIB(16)), -EROFS);
    EXPECT_EQ(hf_pool_shrink(pool, TEST_MIB(8), NULL), -EROFS);
}

static void check_content(struct hf_pool *pool)
{
    struct hf_file *file = NULL;
    struct hf_pin pin;
    struct iovec iov[4];

    EXPECT_EQ(hf_open(pool, "/file", O_RDONLY, 0, &file), 0);
    EXPECT_EQ(test_size(file), 8 * TEST_PAGE);
    test_expect_pages(file, 3, 0, 4);
    test_expect_zeros(file, 4 * TEST_PAGE, 4 * TEST_PAGE);
    pin = test_pin(file, TEST_PAGE, 2 * TEST_PAGE, HF_PIN_READ, iov, 4);
    EXPECT(test_page_is(iov[0].iov_base, 3, 1));
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_pin(file, 5 * TEST_PAGE, 1, HF_PIN_READ, iov, 1, &pin), -EROFS);
    EXPECT_EQ(hf_pin(file, 0, 1, HF_PIN_WRITE, iov, 1, &pin), -EBADF);
    EXPECT_EQ(hf_write(file, "x", 1, 0), -EBADF);
    EXPECT_EQ(hf_truncate(file, 0, NULL), -EBADF);
    EXPECT_EQ(hf_close(file), 0);
}

static void read_only(void)
{
    struct hf_pool *pool = NULL;
    struct stat st;

    test_join(test_fork(fill_pool, NULL));
    EXPECT_EQ(hf_pool_open(test_path("readonly"), HF_OPEN_RDONLY, &pool), 0);
    check_names(pool);
    check_content(pool);
    EXPECT_EQ(hf_stat(pool, "/dir", 0, &st), 0);
    EXPECT_EQ(st.st_nlink, 2);
    test_pool_close(pool);
    EXPECT_EQ(hf_pool_open(test_path("readonly"), 0x80, &pool), -EINVAL);
    EXPECT_EQ(hf_pool_open(test_path("nothing"), 0, &pool), -ENOENT);
    test_pool_check("readonly");
}

TEST_SCENARIO(read_only)
