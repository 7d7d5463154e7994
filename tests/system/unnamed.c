/* SPDX-License-Identifier: MIT */
/*
 * Files that are made without a name (O_TMPFILE). Nothing is left of a file that gets none,
 * whichever way its process ends. A file that gets a name stays, also where the name was another
 * file's.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <string.h>

#define PAGES 3u

static uint32_t *step;
static uint64_t *number;

static uint64_t inodes(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.inodes;
}

static struct stat stat_of(struct hf_file *file)
{
    struct stat st;

    EXPECT_EQ(hf_fstat(file, &st), 0);
    return st;
}

static struct hf_file *unnamed(struct hf_pool *pool, int flags)
{
    struct hf_file *file;

    EXPECT_EQ(hf_open(pool, "/dir", O_RDWR | O_TMPFILE | flags, 0640, &file), 0);
    test_write_pages(file, 7, 0, PAGES);
    return file;
}

static int name_it(struct hf_pool *pool, uint64_t ino, const char *name)
{
    return hf_linkat(pool, ino, "", HF_ROOT_INO, name);
}

static int replace(struct hf_pool *pool, uint64_t ino, const char *name, uint32_t flags)
{
    return hf_renameat(pool, ino, "", HF_ROOT_INO, name, flags);
}

static void expect_empty(struct hf_pool *pool, const char *path)
{
    struct hf_dirent entry;
    struct hf_dir *dir;
    unsigned count = 0;

    EXPECT_EQ(hf_opendir(pool, path, &dir), 0);
    while (hf_readdir(dir, &entry) == 1)
        count++;
    EXPECT_EQ(hf_closedir(dir), 0);
    EXPECT_EQ(count, 2);
}

static void expect_file(struct hf_pool *pool, const char *path, uint64_t ino, unsigned links)
{
    struct hf_file *file;
    struct stat st;

    EXPECT_EQ(hf_stat(pool, path, 0, &st), 0);
    EXPECT_EQ(st.st_ino, ino);
    EXPECT_EQ(st.st_nlink, links);
    EXPECT_EQ(hf_open(pool, path, O_RDONLY, 0, &file), 0);
    test_expect_pages(file, 7, 0, PAGES);
    EXPECT_EQ(hf_close(file), 0);
}

static void refused(struct hf_pool *pool)
{
    uint64_t count = inodes(pool);
    struct hf_file *file;

    EXPECT_EQ(hf_open(pool, "/dir", O_RDONLY | O_TMPFILE, 0600, &file), -EINVAL);
    EXPECT_EQ(hf_open(pool, "/dir", O_RDWR | O_TMPFILE | O_CREAT, 0600, &file), -EINVAL);
    EXPECT_EQ(hf_open(pool, "/dir", O_RDWR | O_DIRECTORY, 0600, &file), -EINVAL);
    EXPECT_EQ(hf_open(pool, "/dir", O_RDWR | O_TMPFILE, S_IFREG | 0600, &file), -EINVAL);
    EXPECT_EQ(hf_open(pool, "/file", O_RDWR | O_TMPFILE, 0600, &file), -ENOTDIR);
    EXPECT_EQ(hf_open(pool, "/none", O_RDWR | O_TMPFILE, 0600, &file), -ENOENT);
    EXPECT_EQ(hf_openat(pool, 12345, "", O_RDWR | O_TMPFILE, 0600, &file), -ESTALE);
    EXPECT_EQ(inodes(pool), count);
}

static void gets_none(struct hf_pool *pool)
{
    uint64_t count = inodes(pool), bytes = test_free_bytes(pool);
    struct hf_file *file = unnamed(pool, 0);
    struct stat st = stat_of(file);

    EXPECT_EQ(st.st_nlink, 0);
    EXPECT_EQ(st.st_mode, S_IFREG | 0640);
    EXPECT_EQ(inodes(pool), count + 1);
    expect_empty(pool, "/dir");
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(name_it(pool, st.st_ino, "late"), -ESTALE);
    EXPECT_EQ(inodes(pool), count);
    EXPECT_EQ(test_free_bytes(pool), bytes);
}

static void gets_one(struct hf_pool *pool)
{
    struct hf_file *file = unnamed(pool, 0);
    uint64_t ino = stat_of(file).st_ino;

    EXPECT_EQ(name_it(pool, ino, "file"), -EEXIST);
    EXPECT_EQ(name_it(pool, ino, "none/file"), -ENOENT);
    EXPECT_EQ(name_it(pool, ino, "dir/new/"), -ENOENT);
    EXPECT_EQ(replace(pool, ino, "dir/new/", 0), -ENOTDIR);
    EXPECT_EQ(name_it(pool, ino, "dir/new"), 0);
    EXPECT_EQ(replace(pool, ino, "other", 0), -ENOENT); /* it has a name */
    EXPECT_EQ(name_it(pool, ino, "dir/more"), 0);
    EXPECT_EQ(hf_close(file), 0);
    expect_file(pool, "/dir/new", ino, 2);
    expect_file(pool, "/dir/more", ino, 2);
    EXPECT_EQ(hf_unlink(pool, "/dir/more", &test_wait), 0);
    EXPECT_EQ(hf_open(pool, "/dir/new", O_RDWR, 0, &file), 0);
    EXPECT_EQ(hf_unlink(pool, "/dir/new", &test_wait), 0);
    EXPECT_EQ(name_it(pool, ino, "again"), -ENOENT); /* it had one */
    EXPECT_EQ(hf_close(file), 0);
    expect_empty(pool, "/dir");
}

/* It has had a name and lost it, all through one handle. */
static void had_one(struct hf_pool *pool)
{
    uint64_t count = inodes(pool), bytes = test_free_bytes(pool);
    struct hf_file *file = unnamed(pool, 0);
    uint64_t ino = stat_of(file).st_ino;

    EXPECT_EQ(name_it(pool, ino, "dir/new"), 0);
    EXPECT_EQ(hf_unlink(pool, "/dir/new", &test_wait), 0);
    EXPECT_EQ(name_it(pool, ino, "dir/new"), -ENOENT);
    EXPECT_EQ(replace(pool, ino, "dir/new", 0), -ENOENT);
    test_expect_pages(file, 7, 0, PAGES);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(inodes(pool), count);
    EXPECT_EQ(test_free_bytes(pool), bytes);
}

static void for_good(struct hf_pool *pool)
{
    struct hf_file *file = unnamed(pool, O_EXCL);
    uint64_t ino = stat_of(file).st_ino;

    EXPECT_EQ(name_it(pool, ino, "dir/new"), -ENOENT);
    EXPECT_EQ(replace(pool, ino, "dir/new", 0), -ENOENT);
    EXPECT_EQ(hf_close(file), 0);
}

static void replaces(struct hf_pool *pool)
{
    struct hf_file *old = test_file_filled(pool, "/dir/old", 1, PAGES), *file;
    uint64_t count = inodes(pool), bytes = test_free_bytes(pool), ino;

    file = unnamed(pool, 0);
    ino = stat_of(file).st_ino;
    EXPECT_EQ(replace(pool, ino, "dir/old", HF_RENAME_NOREPLACE), -EEXIST);
    EXPECT_EQ(replace(pool, ino, "dir/old", HF_RENAME_EXCHANGE), -EINVAL);
    EXPECT_EQ(replace(pool, ino, "dir/old", HF_RENAME_WHITEOUT), -EINVAL);
    EXPECT_EQ(replace(pool, ino, "dir", 0), -EISDIR);
    EXPECT_EQ(replace(pool, ino, "dir/..", 0), -EBUSY);
    EXPECT_EQ(hf_rename(pool, "", "/dir/old", 0), -ENOENT);
    EXPECT_EQ(replace(pool, ino, "dir/old", 0), 0);
    EXPECT_EQ(hf_close(file), 0);
    expect_file(pool, "/dir/old", ino, 1);
    test_expect_pages(old, 1, 0, PAGES); /* a process that has it open keeps it */
    EXPECT_EQ(hf_close(old), 0);
    EXPECT_EQ(inodes(pool), count);
    EXPECT_EQ(test_free_bytes(pool), bytes);
    EXPECT_EQ(hf_unlink(pool, "/dir/old", &test_wait), 0);
}

static void child(void *arg)
{
    struct hf_pool *pool = test_pool_open("pool");
    struct hf_file *file = unnamed(pool, 0);

    (void)arg;
    *number = stat_of(file).st_ino;
    test_raise(step, 1);
    test_await(step, 2);
}

/* The child is killed; `named`: after another process has given its file a name. */
static void maker_dies(struct hf_pool *pool, bool named)
{
    uint64_t count = inodes(pool), bytes = test_free_bytes(pool);
    struct hf_file *file;
    pid_t pid;

    test_raise(step, 0);
    pid = test_fork(child, NULL);
    test_await(step, 1);
    if (named)
        EXPECT_EQ(name_it(pool, *number, "dir/new"), 0);
    test_kill(pid);
    if (named) {
        expect_file(pool, "/dir/new", *number, 1);
        EXPECT_EQ(hf_unlink(pool, "/dir/new", &test_wait), 0);
    }
    /* the next call that makes room, or needs some, finds the dead process: here, an open file */
    EXPECT_EQ(hf_open(pool, "/file", O_RDWR, 0, &file), 0);
    EXPECT_EQ(hf_unlink(pool, "/file", &test_wait), 0);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(test_file(pool, "/file")), 0);
    EXPECT_EQ(inodes(pool), count);
    EXPECT_EQ(test_free_bytes(pool), bytes);
}

static void all_die(void)
{
    struct hf_pool *pool;
    uint64_t count, bytes;
    pid_t pid;

    pool = test_pool_open("pool");
    count = inodes(pool);
    bytes = test_free_bytes(pool);
    test_pool_close(pool);
    test_raise(step, 0);
    pid = test_fork(child, NULL);
    test_await(step, 1);
    test_kill(pid);
    pool = test_pool_open("pool");
    EXPECT_EQ(inodes(pool), count);
    EXPECT_EQ(test_free_bytes(pool), bytes);
    expect_empty(pool, "/dir");
    test_pool_close(pool);
}

static void unnamed_files(void)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(8));

    step = test_shared(sizeof(*step));
    number = test_shared(sizeof(*number));
    EXPECT_EQ(hf_mkdir(pool, "/dir", 0755), 0);
    EXPECT_EQ(hf_close(test_file(pool, "/file")), 0);
    refused(pool);
    gets_none(pool);
    gets_one(pool);
    had_one(pool);
    for_good(pool);
    replaces(pool);
    maker_dies(pool, false);
    maker_dies(pool, true);
    test_pool_close(pool);
    test_pool_check("pool");
    all_die();
    test_pool_check("pool");
}

TEST_SCENARIO(unnamed_files)
