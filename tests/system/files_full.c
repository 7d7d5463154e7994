/* SPDX-License-Identifier: MIT */
/*
 * When all of max_files are open, a file that cannot be opened is not made either.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define FILES 4u

static uint64_t inodes(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof info};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.inodes;
}

static void refused(struct hf_pool *pool, int flags)
{
    uint64_t before = inodes(pool);
    struct hf_file *file;
    struct stat st;

    EXPECT_EQ(hf_open(pool, "/more", O_RDWR | O_CREAT | flags, 0600, &file), -ENFILE);
    EXPECT_EQ(hf_stat(pool, "/more", 0, &st), -ENOENT);
    EXPECT_EQ(inodes(pool), before);
}

static void files_full(void)
{
    const struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = TEST_MIB(8), .max_files = FILES};
    struct hf_file *files[FILES];
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    pool = test_pool_open("pool");
    for (unsigned i = 0; i < FILES; i++) {
        char path[16];

        snprintf(path, sizeof path, "/file-%u", i);
        files[i] = test_file(pool, path);
    }
    refused(pool, 0);
    refused(pool, O_EXCL);
    refused(pool, O_TRUNC);
    EXPECT_EQ(hf_close(files[0]), 0);
    files[0] = test_file(pool, "/more");
    for (unsigned i = 0; i < FILES; i++)
        EXPECT_EQ(hf_close(files[i]), 0);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(files_full)
