/* SPDX-License-Identifier: MIT */
/*
 * After a fork the child's handles are dead: every call on them is -ECHILD and changes nothing of
 * the parent's. The child opens the pool itself, and can then do what any process can.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <string.h>

struct handles {
    struct hf_pool *pool;
    struct hf_file *file;
    struct hf_dir *dir;
    struct hf_pin pin;
};

static int no_pins(void *arg, const struct hf_pin_info *info)
{
    (void)arg, (void)info;
    FAIL("a dead handle showed a pin");
}

static int no_extents(void *arg, const struct hf_extent_info *info)
{
    (void)arg, (void)info;
    FAIL("a dead handle showed an extent");
}

static void check_pool_calls(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    struct hf_trim_result trimmed = {.size = sizeof(trimmed)};
    struct hf_stats stats = {.size = sizeof(stats)};
    struct statvfs space;
    char path[64];

    EXPECT_EQ(hf_pool_grow(pool, TEST_MIB(32)), -ECHILD);
    EXPECT_EQ(hf_pool_shrink(pool, TEST_MIB(8), NULL), -ECHILD);
    EXPECT_EQ(hf_pool_trim(pool, 0, &trimmed), -ECHILD);
    EXPECT_EQ(hf_pool_info(pool, &info), -ECHILD);
    EXPECT_EQ(hf_pool_memory(pool, &memory), -ECHILD);
    EXPECT_EQ(hf_pool_memory_fd(pool), -ECHILD);
    EXPECT_EQ(hf_pool_register(pool, HF_PIN_CPU, &memory), -ECHILD);
    EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_CPU), -ECHILD);
    EXPECT_EQ(hf_statvfs(pool, &space), -ECHILD);
    EXPECT_EQ(hf_pins(pool, no_pins, NULL), -ECHILD);
    EXPECT_EQ(hf_extents(pool, 0, no_extents, NULL), -ECHILD);
    EXPECT_EQ(hf_path(pool, 1, path, sizeof(path)), -ECHILD);
    EXPECT_EQ(hf_stats(pool, &stats), -ECHILD);
    EXPECT_EQ(hf_pool_close(pool), -ECHILD);
}

static void check_name_calls(struct hf_pool *pool)
{
    struct hf_file *file = NULL;
    struct hf_dir *dir = NULL;
    struct stat st;
    char text[64];

    EXPECT_EQ(hf_open(pool, "/file", O_RDWR, 0, &file), -ECHILD);
    EXPECT_EQ(hf_mkdir(pool, "/dir2", 0700), -ECHILD);
    EXPECT_EQ(hf_rmdir(pool, "/dir"), -ECHILD);
    EXPECT_EQ(hf_mknod(pool, "/fifo", S_IFIFO | 0600, 0), -ECHILD);
    EXPECT_EQ(hf_link(pool, "/file", "/link"), -ECHILD);
    EXPECT_EQ(hf_symlink(pool, "/file", "/symlink"), -ECHILD);
    EXPECT_EQ(hf_readlink(pool, "/file", text, sizeof(text)), -ECHILD);
    EXPECT_EQ(hf_unlink(pool, "/file", NULL), -ECHILD);
    EXPECT_EQ(hf_rename(pool, "/file", "/other", 0), -ECHILD);
    EXPECT_EQ(hf_stat(pool, "/file", 0, &st), -ECHILD);
    EXPECT_EQ(hf_chmod(pool, "/file", 0777), -ECHILD);
    EXPECT_EQ(hf_chown(pool, "/file", 1, 1, 0), -ECHILD);
    EXPECT_EQ(hf_utimens(pool, "/file", NULL, 0), -ECHILD);
    EXPECT_EQ(hf_setxattr(pool, "/file", "user.a", "b", 1, 0), -ECHILD);
    EXPECT_EQ(hf_getxattr(pool, "/file", "user.a", text, sizeof(text)), -ECHILD);
    EXPECT_EQ(hf_listxattr(pool, "/file", text, sizeof(text)), -ECHILD);
    EXPECT_EQ(hf_removexattr(pool, "/file", "user.a"), -ECHILD);
    EXPECT_EQ(hf_opendir(pool, "/", &dir), -ECHILD);
}

static void check_file_calls(struct handles *handles)
{
    struct hf_file *file = handles->file;
    struct hf_dirent entry;
    struct hf_pin pin;
    struct hf_compact_result compacted = {.size = sizeof(compacted)};
    struct iovec iov;
    struct stat st;
    uint64_t off;
    char byte = 'x';

    EXPECT_EQ(hf_fstat(file, &st), -ECHILD);
    EXPECT_EQ(hf_read(file, &byte, 1, 0), -ECHILD);
    EXPECT_EQ(hf_write(file, &byte, 1, 0), -ECHILD);
    EXPECT_EQ(hf_append(file, &byte, 1, NULL), -ECHILD);
    EXPECT_EQ(hf_fsync(file), -ECHILD);
    EXPECT_EQ(hf_seek(file, 0, HF_SEEK_DATA, &off), -ECHILD);
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), -ECHILD);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, 0, TEST_PAGE, &test_detach), -ECHILD);
    EXPECT_EQ(hf_move(file, 0, TEST_PAGE, &test_detach), -ECHILD);
    EXPECT_EQ(hf_compact(file, 0, 0, 0, NULL, &compacted), -ECHILD);
    EXPECT_EQ(hf_pin(file, 0, 1, HF_PIN_READ, &iov, 1, &pin), -ECHILD);
    EXPECT_EQ(hf_pin(file, 0, 1, HF_PIN_READ | HF_PIN_NOWAIT, &iov, 1, &pin), -ECHILD);
    EXPECT_EQ(hf_pin_at(file, 0, 1, HF_PIN_READ, &pin), -ECHILD);
    EXPECT_EQ(hf_pin_at(file, 0, 1, HF_PIN_READ | HF_PIN_NOWAIT, &pin), -ECHILD);
    pin = handles->pin;
    EXPECT_EQ(hf_unpin(&pin), -ECHILD);
    EXPECT_EQ(hf_readdir(handles->dir, &entry), -ECHILD);
    EXPECT_EQ(hf_closedir(handles->dir), -ECHILD);
    EXPECT_EQ(hf_close(file), -ECHILD);
}

static void open_anew(void)
{
    struct hf_pool *pool = test_pool_open("fork");
    struct hf_file *file = test_file(pool, "/file");
    struct iovec iov;
    struct hf_pin pin;

    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY); /* the parent's pin */
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT(test_page_is(iov.iov_base, 4, 0));
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_write_pages(file, 6, 1, 1);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void be_child(void *arg)
{
    struct handles *handles = arg;

    check_pool_calls(handles->pool);
    check_name_calls(handles->pool);
    check_file_calls(handles);
    open_anew();
    check_pool_calls(handles->pool);
}

static void fork_child(void)
{
    struct handles handles = {.pool = test_pool_new("fork", TEST_MIB(16))};
    struct iovec iov;

    handles.file = test_file_filled(handles.pool, "/file", 4, 2);
    EXPECT_EQ(hf_mkdir(handles.pool, "/dir", 0700), 0);
    EXPECT_EQ(hf_opendir(handles.pool, "/", &handles.dir), 0);
    handles.pin = test_pin(handles.file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    test_join(test_fork(be_child, &handles));

    test_expect_pages(handles.file, 4, 0, 1);
    test_expect_pages(handles.file, 6, 1, 1);
    EXPECT(test_page_is(iov.iov_base, 4, 0));
    EXPECT_EQ(hf_truncate(handles.file, 0, &test_nowait), -EBUSY);
    EXPECT_EQ(hf_unpin(&handles.pin), 0);
    EXPECT_EQ(hf_closedir(handles.dir), 0);
    EXPECT_EQ(hf_close(handles.file), 0);
    test_pool_close(handles.pool);
    test_pool_check("fork");
}

TEST_SCENARIO(fork_child)
