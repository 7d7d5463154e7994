/* SPDX-License-Identifier: MIT */
/*
 * The calls that start at an inode: where paths lead from there, the empty path, and the owners of
 * new inodes. A file without names does not come back once its last handle is closed.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GROUP 4242
#define NOWHERE UINT64_C(123456789)

static struct hf_pool *pool;
static uint64_t dir, sub; /* /dir, /dir/sub */

static uint64_t ino_of(uint64_t at, const char *path)
{
    struct stat st;

    assert_int_equal(hf_statat(pool, at, path, HF_AT_NOFOLLOW, &st), 0);
    return st.st_ino;
}

static struct stat stat_of(const char *path)
{
    struct stat st;

    assert_int_equal(hf_stat(pool, path, HF_AT_NOFOLLOW, &st), 0);
    return st;
}

static int stat_itself(uint64_t ino)
{
    struct stat st;

    return hf_statat(pool, ino, "", 0, &st);
}

static struct hf_file *open_itself(uint64_t ino)
{
    struct hf_file *file;

    assert_int_equal(hf_openat(pool, ino, "", O_RDWR, 0, &file), 0);
    return file;
}

static int setup(void **state)
{
    struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = TEST_MIB(8)};

    (void)state;
    assert_int_equal(hf_pool_open_anonymous(&options, &pool), 0);
    assert_int_equal(hf_mkdir(pool, "/dir", 0755), 0);
    assert_int_equal(hf_mkdir(pool, "/dir/sub", 0755), 0);
    dir = ino_of(HF_ROOT_INO, "dir");
    sub = ino_of(dir, "sub");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return hf_pool_close(pool);
}

/* ------------------------------------------------------------------------------- paths --- */

static void paths_start_at_the_inode(void **state)
{
    struct hf_file *file;
    char target[8];

    (void)state;
    assert_int_equal(hf_openat(pool, sub, "file", O_RDWR | O_CREAT, 0644, &file), 0);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(ino_of(HF_ROOT_INO, "dir/sub/file"), ino_of(sub, "file"));
    assert_int_equal(ino_of(sub, ".."), dir);
    assert_int_equal(ino_of(sub, "../.."), HF_ROOT_INO);
    assert_int_equal(ino_of(sub, "../sub/."), sub);
    assert_int_equal(ino_of(sub, "/dir"), dir);
    assert_int_equal(hf_mkdirat(pool, sub, "d", 0700), 0);
    assert_int_equal(hf_mknodat(pool, sub, "fifo", S_IFIFO | 0600, 0), 0);
    assert_int_equal(hf_symlinkat(pool, "../..", sub, "up"), 0);
    assert_int_equal(hf_readlinkat(pool, sub, "up", target, sizeof(target)), 5);
    assert_memory_equal(target, "../..", 5);
    assert_int_equal(ino_of(sub, "up/dir"), dir);
    assert_int_equal(hf_linkat(pool, sub, "file", dir, "link"), 0);
    assert_int_equal(ino_of(dir, "link"), ino_of(sub, "file"));
    assert_int_equal(hf_renameat(pool, sub, "file", dir, "sub/d/moved", 0), 0);
    assert_int_equal(
        hf_renameat(pool, dir, "link", HF_ROOT_INO, "dir/sub/d/moved", HF_RENAME_NOREPLACE),
        -EEXIST);
    assert_int_equal(ino_of(HF_ROOT_INO, "dir/sub/d/moved"), ino_of(dir, "link"));
    assert_int_equal(hf_chmodat(pool, dir, "link", 0600), 0);
    assert_int_equal(hf_chownat(pool, dir, "link", 7, 8, 0), 0);
    assert_int_equal(stat_of("/dir/link").st_mode, S_IFREG | 0600);
    assert_int_equal(stat_of("/dir/link").st_uid, 7);
    assert_int_equal(hf_unlinkat(pool, dir, "link", NULL), 0);
    assert_int_equal(hf_unlinkat(pool, dir, "link", NULL), -ENOENT);
    assert_int_equal(hf_unlinkat(pool, dir, "sub/d", NULL), -EISDIR);
    assert_int_equal(hf_rmdirat(pool, sub, "d"), -ENOTEMPTY);
    assert_int_equal(hf_unlinkat(pool, sub, "d/moved", NULL), 0);
    assert_int_equal(hf_rmdirat(pool, sub, "d"), 0);
}

static void paths_need_a_directory(void **state)
{
    const struct timespec times[2] = {{1, 0}, {2, 0}};
    struct hf_file *file = NULL;
    struct hf_dir *handle = NULL;
    struct stat st;
    uint64_t fifo;

    (void)state;
    assert_int_equal(hf_mknod(pool, "/fifo", S_IFIFO | 0600, 0), 0);
    fifo = ino_of(HF_ROOT_INO, "fifo");
    assert_int_equal(hf_statat(pool, fifo, "x", 0, &st), -ENOTDIR);
    assert_int_equal(hf_statat(pool, fifo, ".", 0, &st), -ENOTDIR);
    assert_int_equal(hf_statat(pool, fifo, "/dir", 0, &st), 0);
    assert_int_equal(hf_openat(pool, fifo, "x", O_RDWR | O_CREAT, 0600, &file), -ENOTDIR);
    assert_int_equal(hf_statat(pool, NOWHERE, "x", 0, &st), -ESTALE);
    assert_int_equal(hf_statat(pool, NOWHERE, "", 0, &st), -ESTALE);
    assert_int_equal(hf_statat(pool, 0, "", 0, &st), -ESTALE);
    assert_int_equal(hf_rmdir(pool, "/dir/sub"), 0);
    assert_int_equal(hf_openat(pool, sub, "x", O_RDWR | O_CREAT, 0600, &file), -ESTALE);
    assert_int_equal(hf_openat(pool, sub, "", O_RDWR, 0600, &file), -ESTALE);
    assert_int_equal(hf_mkdirat(pool, sub, "x", 0700), -ESTALE);
    assert_int_equal(hf_rmdirat(pool, sub, "x"), -ESTALE);
    assert_int_equal(hf_unlinkat(pool, sub, "x", NULL), -ESTALE);
    assert_int_equal(hf_renameat(pool, dir, "x", sub, "y", 0), -ENOENT);
    assert_int_equal(hf_renameat(pool, HF_ROOT_INO, "fifo", sub, "y", 0), -ESTALE);
    assert_int_equal(hf_chmodat(pool, sub, "", 0700), -ESTALE);
    assert_int_equal(hf_utimensat(pool, sub, "", times, 0), -ESTALE);
    assert_int_equal(hf_setxattrat(pool, sub, "", "user.a", "b", 1, 0), -ESTALE);
    assert_int_equal(hf_opendirat(pool, sub, "", &handle), -ESTALE);
    assert_null(file);
    assert_null(handle);
}

static void the_empty_path_is_the_inode(void **state)
{
    struct hf_dirent entry;
    struct hf_dir *handle;
    struct hf_file *file;
    char bytes[8];
    struct stat st;
    uint64_t link;

    (void)state;
    assert_int_equal(hf_symlink(pool, "dir", "/link"), 0);
    link = ino_of(HF_ROOT_INO, "link");
    assert_int_equal(hf_statat(pool, link, "", 0, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(hf_readlinkat(pool, link, "", bytes, sizeof(bytes)), 3);
    assert_int_equal(hf_readlinkat(pool, dir, "", bytes, sizeof(bytes)), -EINVAL);
    assert_int_equal(hf_openat(pool, link, "", O_RDWR, 0, &file), -ELOOP);
    assert_int_equal(hf_openat(pool, dir, "", O_RDONLY, 0, &file), -EISDIR);
    assert_int_equal(hf_opendirat(pool, link, "", &handle), -ENOTDIR);
    assert_int_equal(hf_opendirat(pool, dir, "", &handle), 0);
    assert_int_equal(hf_readdir(handle, &entry), 1);
    assert_int_equal(entry.ino, dir);
    assert_int_equal(hf_closedir(handle), 0);
    assert_int_equal(hf_chmodat(pool, dir, "", 0711), 0);
    assert_int_equal(stat_of("/dir").st_mode, S_IFDIR | 0711);
    assert_int_equal(hf_chownat(pool, link, "", 5, 6, 0), 0);
    assert_int_equal(stat_of("/link").st_uid, 5);
    assert_int_equal(hf_setxattrat(pool, dir, "", "user.a", "bc", 2, 0), 0);
    assert_int_equal(hf_getxattr(pool, "/dir", "user.a", bytes, sizeof(bytes)), 2);
    assert_int_equal(hf_linkat(pool, link, "", dir, "second"), 0);
    assert_int_equal(stat_of("/dir/second").st_nlink, 2);
    assert_int_equal(hf_linkat(pool, dir, "", HF_ROOT_INO, "second"), -EPERM);
}

static void names_are_not_empty(void **state)
{
    const struct timespec times[2] = {{1, 0}, {2, 0}};
    struct hf_dir *handle;
    struct hf_file *file;
    char bytes[8];
    struct statx more;
    struct stat st;

    (void)state;
    assert_int_equal(hf_mkdirat(pool, dir, "", 0700), -ENOENT);
    assert_int_equal(hf_rmdirat(pool, sub, ""), -ENOENT);
    assert_int_equal(hf_mknodat(pool, dir, "", S_IFIFO | 0600, 0), -ENOENT);
    assert_int_equal(hf_linkat(pool, HF_ROOT_INO, "x", dir, ""), -ENOENT);
    assert_int_equal(hf_symlinkat(pool, "x", dir, ""), -ENOENT);
    assert_int_equal(hf_unlinkat(pool, dir, "", NULL), -ENOENT);
    assert_int_equal(hf_renameat(pool, sub, "", dir, "x", 0), -ENOENT);
    assert_int_equal(hf_renameat(pool, dir, "sub", dir, "", 0), -ENOENT);
    assert_int_equal(hf_open(pool, "", O_RDONLY, 0, &file), -ENOENT);
    assert_int_equal(hf_link(pool, "", "/x"), -ENOENT);
    assert_int_equal(hf_readlink(pool, "", bytes, sizeof(bytes)), -ENOENT);
    assert_int_equal(hf_stat(pool, "", 0, &st), -ENOENT);
    assert_int_equal(hf_chmod(pool, "", 0700), -ENOENT);
    assert_int_equal(hf_chown(pool, "", 1, 1, 0), -ENOENT);
    assert_int_equal(hf_utimens(pool, "", times, 0), -ENOENT);
    assert_int_equal(hf_setxattr(pool, "", "user.a", "b", 1, 0), -ENOENT);
    assert_int_equal(hf_getxattr(pool, "", "user.a", bytes, sizeof(bytes)), -ENOENT);
    assert_int_equal(hf_listxattr(pool, "", bytes, sizeof(bytes)), -ENOENT);
    assert_int_equal(hf_removexattr(pool, "", "user.a"), -ENOENT);
    assert_int_equal(hf_opendir(pool, "", &handle), -ENOENT);
    assert_int_equal(hf_statat(pool, HF_ROOT_INO, NULL, 0, &st), -EINVAL);
    assert_int_equal(hf_statat(NULL, HF_ROOT_INO, "", 0, &st), -EINVAL);
    assert_int_equal(hf_statat(pool, HF_ROOT_INO, "", 2, &st), -EINVAL);
    assert_int_equal(hf_statxat(pool, HF_ROOT_INO, "", 2, &more), -EINVAL);
    assert_int_equal(hf_statxat(pool, HF_ROOT_INO, "", 0, NULL), -EINVAL);
    assert_int_equal(hf_statxat(pool, NOWHERE, "", 0, &more), -ESTALE);
    assert_int_equal(hf_statx(pool, "", 0, &more), -ENOENT);
    assert_int_equal(hf_statx(pool, "/dir", 0, &more), 0);
    assert_int_equal(more.stx_mask, STATX_BASIC_STATS | STATX_BTIME);
    assert_true(more.stx_btime.tv_sec > 0 && more.stx_btime.tv_sec <= more.stx_ctime.tv_sec);
    assert_int_equal(more.stx_ino, dir);
    assert_int_equal(more.stx_mode, S_IFDIR | 0755);
    assert_int_equal(hf_openat(pool, HF_ROOT_INO, "x", O_DIRECTORY, 0, &file), -EINVAL);
}

/* --------------------------------------------------------------------- without a name --- */

static void expect_gone(uint64_t ino)
{
    struct hf_file *file = NULL;
    char bytes[8];

    assert_int_equal(stat_itself(ino), -ESTALE);
    assert_int_equal(hf_openat(pool, ino, "", O_RDWR, 0, &file), -ESTALE);
    assert_int_equal(hf_chmodat(pool, ino, "", 0600), -ESTALE);
    assert_int_equal(hf_chownat(pool, ino, "", 1, 1, 0), -ESTALE);
    assert_int_equal(hf_utimensat(pool, ino, "", NULL, 0), -ESTALE);
    assert_int_equal(hf_setxattrat(pool, ino, "", "user.a", "b", 1, 0), -ESTALE);
    assert_int_equal(hf_getxattrat(pool, ino, "", "user.a", bytes, sizeof(bytes)), -ESTALE);
    assert_int_equal(hf_listxattrat(pool, ino, "", bytes, sizeof(bytes)), -ESTALE);
    assert_int_equal(hf_removexattrat(pool, ino, "", "user.a"), -ESTALE);
    assert_null(file);
}

static void an_open_file_is_found_without_its_name(void **state)
{
    const struct timespec times[2] = {{11, 0}, {22, 0}};
    uint64_t free_before = test_free_bytes(pool), ino;
    struct hf_file *file = test_file_filled(pool, "/f", 1, 3), *again;
    char bytes[8];
    struct stat st;

    (void)state;
    ino = ino_of(HF_ROOT_INO, "f");
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
    assert_int_equal(hf_chmodat(pool, ino, "", 0604), 0);
    assert_int_equal(hf_chownat(pool, ino, "", 3, 4, 0), 0);
    assert_int_equal(hf_utimensat(pool, ino, "", times, 0), 0);
    assert_int_equal(hf_setxattrat(pool, ino, "", "user.a", "bc", 2, 0), 0);
    assert_int_equal(hf_getxattrat(pool, ino, "", "user.a", bytes, sizeof(bytes)), 2);
    assert_int_equal(hf_listxattrat(pool, ino, "", bytes, sizeof(bytes)), 7);
    assert_int_equal(hf_removexattrat(pool, ino, "", "user.a"), 0);
    assert_int_equal(hf_statat(pool, ino, "", 0, &st), 0);
    assert_int_equal(st.st_nlink, 0);
    assert_int_equal(st.st_size, 3 * TEST_PAGE);
    assert_int_equal(st.st_mode, S_IFREG | 0604);
    assert_int_equal(st.st_uid, 3);
    assert_int_equal(st.st_mtim.tv_sec, 22);
    assert_int_equal(hf_linkat(pool, ino, "", HF_ROOT_INO, "f"), -ENOENT);
    again = open_itself(ino);
    assert_int_equal(hf_close(file), 0);
    test_expect_pages(again, 1, 0, 3);
    assert_int_equal(hf_openat(pool, ino, "", O_RDWR | O_TRUNC, 0, &file), 0);
    assert_int_equal(test_size(again), 0);
    assert_int_equal(hf_close(again), 0);
    assert_int_equal(stat_itself(ino), 0);
    assert_int_equal(hf_close(file), 0);
    expect_gone(ino);
    assert_int_equal(test_free_bytes(pool), free_before);
}

static void a_replaced_file_is_found_too(void **state)
{
    struct hf_file *file = test_file_filled(pool, "/f", 1, 1);
    uint64_t ino = ino_of(HF_ROOT_INO, "f");

    (void)state;
    assert_int_equal(hf_mknod(pool, "/g", S_IFREG | 0600, 0), 0);
    assert_int_equal(hf_rename(pool, "/g", "/f", 0), 0);
    assert_int_equal(hf_close(open_itself(ino)), 0);
    assert_int_equal(hf_close(file), 0);
    expect_gone(ino);
}

/* An engine that counts does not detach. The file without names stays until its pins have gone, but
 * nobody may open it meanwhile, not even two at once. */
static void *open_in_vain(void *arg)
{
    const uint64_t *ino = arg;
    struct hf_file *file;

    for (int i = 0; i < 300; i++)
        EXPECT_EQ(hf_openat(pool, *ino, "", O_RDONLY, 0, &file), -ESTALE);
    return NULL;
}

static void what_waits_for_its_deletion_stays_closed(void **state)
{
    struct hf_pool *anonymous = pool;
    struct iovec iov;
    struct hf_file *file;
    pthread_t thread;
    struct hf_pin pin;
    uint64_t ino, free_before;

    (void)state;
    pool = test_engine_pool(test_engine("refcount"), NULL, TEST_MIB(8));
    free_before = test_free_bytes(pool);
    file = test_file_filled(pool, "/f", 1, 1);
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    ino = ino_of(HF_ROOT_INO, "f");
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
    assert_int_equal(stat_itself(ino), 0);
    assert_int_equal(hf_close(file), 0);
    expect_gone(ino);
    assert_int_equal(pthread_create(&thread, NULL, open_in_vain, &ino), 0);
    open_in_vain(&ino);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(test_page_is(iov.iov_base, 1, 0));
    assert_int_equal(hf_unpin(&pin), 0);
    expect_gone(ino);
    assert_int_equal(test_free_bytes(pool), free_before);
    assert_int_equal(hf_pool_close(pool), 0);
    pool = anonymous;
}

/* Opens meet the last close: each finds the file whole, or not at all; none is left behind. */
struct race {
    uint64_t ino;
    uint32_t begin, opened;
};

static void *open_at_the_end(void *arg)
{
    struct race *race = arg;
    struct hf_file *file;
    int rc;

    test_await(&race->begin, 1);
    while ((rc = hf_openat(pool, race->ino, "", O_RDONLY, 0, &file)) == 0) {
        test_expect_pages(file, race->ino, 0, 1);
        EXPECT_EQ(hf_close(file), 0);
        test_count(&race->opened);
    }
    EXPECT_EQ(rc, -ESTALE);
    return NULL;
}

static void opens_meet_the_last_close(void **state)
{
    uint64_t free_before = test_free_bytes(pool);
    uint32_t opened = 0;

    (void)state;
    for (int i = 0; i < 200; i++) {
        struct hf_file *file = test_file(pool, "/f");
        struct race race = {.ino = ino_of(HF_ROOT_INO, "f")};
        pthread_t threads[2];

        test_write_pages(file, race.ino, 0, 1);
        assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
        for (int t = 0; t < 2; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, open_at_the_end, &race), 0);
        test_raise(&race.begin, 1);
        for (int n = 0; n < i % 20; n++)
            assert_int_equal(stat_itself(race.ino), 0);
        assert_int_equal(hf_close(file), 0);
        for (int t = 0; t < 2; t++)
            assert_int_equal(pthread_join(threads[t], NULL), 0);
        expect_gone(race.ino);
        opened += race.opened;
    }
    printf("%u opens of files without names\n", opened);
    assert_int_equal(test_free_bytes(pool), free_before);
}

/* Opened by one process, unlinked by another, which finds it by its number. */
struct other {
    uint32_t opened;
};

static void hold_open(void *arg)
{
    struct other *other = arg;
    struct hf_pool *mine = test_pool_open("shared");
    struct hf_file *file = test_file(mine, "/f");

    EXPECT(file);
    test_raise(&other->opened, 1);
    for (;;)
        pause();
}

static void what_another_process_has_open(void **state)
{
    struct other *other = test_shared(sizeof(*other));
    struct hf_pool *anonymous = pool;
    struct hf_file *file;
    uint64_t ino;
    pid_t pid;

    (void)state;
    pool = test_pool_new("shared", TEST_MIB(8));
    assert_int_equal(hf_close(test_file_filled(pool, "/f", 5, 2)), 0);
    ino = ino_of(HF_ROOT_INO, "f");
    pid = test_fork(hold_open, other);
    test_await(&other->opened, 1);
    assert_int_equal(hf_unlink(pool, "/f", NULL), 0);
    assert_int_equal(stat_itself(ino), 0);
    file = open_itself(ino);
    test_kill(pid);
    test_expect_pages(file, 5, 0, 2);
    assert_int_equal(stat_itself(ino), 0);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_pool_close(pool), 0);
    pool = test_pool_open("shared");
    expect_gone(ino);
    assert_int_equal(hf_pool_close(pool), 0);
    test_pool_check("shared");
    pool = anonymous;
}

/* --------------------------------------------------------------------------- ownership --- */

static void expect_owner(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    struct stat st = stat_of(path);

    assert_int_equal(st.st_mode, mode);
    assert_int_equal(st.st_uid, uid);
    assert_int_equal(st.st_gid, gid);
}

static void make_one_of_each(void)
{
    struct hf_file *file;

    assert_int_equal(hf_openat(pool, dir, "file", O_RDWR | O_CREAT, 0666, &file), 0);
    assert_int_equal(hf_close(file), 0);
    assert_int_equal(hf_mkdirat(pool, dir, "new", 0777), 0);
    assert_int_equal(hf_mknodat(pool, dir, "fifo", S_IFIFO | 0666, 0), 0);
    assert_int_equal(hf_symlinkat(pool, "x", dir, "link"), 0);
}

static void setgid_directories_give_their_group(void **state)
{
    (void)state;
    assert_int_equal(hf_chownat(pool, dir, "", -1, GROUP, 0), 0);
    assert_int_equal(hf_chmodat(pool, dir, "", 02755), 0);
    make_one_of_each();
    expect_owner("/dir/file", S_IFREG | 0666, geteuid(), GROUP);
    expect_owner("/dir/new", S_IFDIR | S_ISGID | 0777, geteuid(), GROUP);
    expect_owner("/dir/fifo", S_IFIFO | 0666, geteuid(), GROUP);
    expect_owner("/dir/link", S_IFLNK | 0777, geteuid(), GROUP);
    assert_int_equal(hf_mkdir(pool, "/dir/new/below", 0700), 0);
    expect_owner("/dir/new/below", S_IFDIR | S_ISGID | 0700, geteuid(), GROUP);
}

static void a_client_owns_what_it_makes(void **state)
{
    const struct hf_client client = {
        .size = sizeof(client), .umask = 027, .uid = 1001, .gid = 1002};

    (void)state;
    assert_int_equal(hf_act_for(&client), 0);
    make_one_of_each();
    assert_int_equal(hf_act_for(NULL), 0);
    expect_owner("/dir/file", S_IFREG | 0640, 1001, 1002);
    expect_owner("/dir/new", S_IFDIR | 0750, 1001, 1002);
    expect_owner("/dir/fifo", S_IFIFO | 0640, 1001, 1002);
    expect_owner("/dir/link", S_IFLNK | 0777, 1001, 1002);
    assert_int_equal(hf_mkdirat(pool, dir, "mine", 0777), 0);
    expect_owner("/dir/mine", S_IFDIR | 0777, geteuid(), getegid());
}

/* As Linux does it on tmpfs. */
static void chown_takes_rights_back(void **state)
{
    static const struct {
        mode_t before, after;
    } rows[] = {
        {S_IFREG | 06711, S_IFREG | 0711},  {S_IFREG | 06755, S_IFREG | 0755},
        {S_IFREG | 02644, S_IFREG | 02644}, {S_IFREG | 06640, S_IFREG | 02640},
        {S_IFREG | 04644, S_IFREG | 0644},  {S_IFREG | 01777, S_IFREG | 01777},
        {S_IFIFO | 06711, S_IFIFO | 0711},  {S_IFIFO | 06640, S_IFIFO | 02640},
        {S_IFDIR | 06755, S_IFDIR | 06755}, {S_IFDIR | 02640, S_IFDIR | 02640},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[16];

        snprintf(path, sizeof(path), "/x%zu", i);
        if (S_ISDIR(rows[i].before))
            assert_int_equal(hf_mkdir(pool, path, 0700), 0);
        else
            assert_int_equal(hf_mknod(pool, path, (rows[i].before & S_IFMT) | 0600, 0), 0);
        assert_int_equal(hf_chmod(pool, path, rows[i].before & 07777), 0);
        assert_int_equal(hf_chown(pool, path, -1, -1, 0), 0);
        assert_int_equal(stat_of(path).st_mode, rows[i].after);
    }
}

/* ------------------------------------------------------------------------- directories --- */

static void expect_entry(struct hf_dir *handle, const char *name)
{
    struct hf_dirent entry;

    assert_int_equal(hf_readdir(handle, &entry), name ? 1 : 0);
    if (name)
        assert_string_equal(entry.name, name);
}

static void seekdir_goes_on_after_a_name(void **state)
{
    static const struct {
        const char *after, *next;
    } rows[] = {{NULL, "."},  {".", ".."},    {"..", "a"},  {"", "a"},   {"a", "c"},
                {"b", "c"},   {"c", "e"},     {"dzz", "e"}, {"e", NULL}, {"f", NULL},
                {"...", "a"}, {"\xff", NULL}, {"a", "c"}};
    char longest[HF_NAME_MAX + 2];
    struct hf_dir *handle;

    (void)state;
    assert_int_equal(hf_mkdirat(pool, sub, "c", 0700), 0);
    assert_int_equal(hf_mkdirat(pool, sub, "e", 0700), 0);
    assert_int_equal(hf_mkdirat(pool, sub, "a", 0700), 0);
    assert_int_equal(hf_opendirat(pool, sub, "", &handle), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(hf_seekdir(handle, rows[i].after), 0);
        expect_entry(handle, rows[i].next);
    }
    expect_entry(handle, "e");
    expect_entry(handle, NULL);
    memset(longest, 'b', sizeof(longest));
    longest[HF_NAME_MAX + 1] = '\0';
    assert_int_equal(hf_seekdir(handle, longest), -ENAMETOOLONG);
    expect_entry(handle, NULL);
    longest[HF_NAME_MAX] = '\0';
    assert_int_equal(hf_seekdir(handle, longest), 0);
    assert_int_equal(hf_rmdirat(pool, sub, "c"), 0);
    expect_entry(handle, "e");
    assert_int_equal(hf_seekdir(NULL, NULL), -EINVAL);
    assert_int_equal(hf_closedir(handle), 0);
}

#define NAMES 60u

static void make_or_remove(unsigned i, bool make)
{
    char name[16];

    snprintf(name, sizeof(name), "%02u", i);
    assert_int_equal(make ? hf_mkdirat(pool, sub, name, 0700) : hf_rmdirat(pool, sub, name), 0);
}

/* Entries that have not been told yet come, or do not, as they are when they are told. */
static void readdir_tells_what_is_there_then(void **state)
{
    struct hf_dirent entry;
    struct hf_dir *handle;

    (void)state;
    for (unsigned i = 0; i < NAMES; i += 2)
        make_or_remove(i, true);
    assert_int_equal(hf_opendirat(pool, sub, "", &handle), 0);
    expect_entry(handle, ".");
    expect_entry(handle, "..");
    for (unsigned i = 0; i < NAMES / 2; i += 2) /* until many are looked up at a time */
        assert_int_equal(hf_readdir(handle, &entry), 1);
    assert_string_equal(entry.name, "28");
    make_or_remove(30, false);
    make_or_remove(33, true);
    expect_entry(handle, "32");
    expect_entry(handle, "33");
    expect_entry(handle, "34");
    expect_entry(handle, "36");
    expect_entry(handle, "38");
    assert_int_equal(hf_seekdir(handle, "34"), 0);
    expect_entry(handle, "36");
    make_or_remove(38, false);
    assert_int_equal(hf_seekdir(handle, "54"), 0);
    expect_entry(handle, "56");
    make_or_remove(59, true);
    expect_entry(handle, "58");
    expect_entry(handle, "59");
    expect_entry(handle, NULL);
    make_or_remove(60, true);
    expect_entry(handle, "60");
    expect_entry(handle, NULL);
    assert_int_equal(hf_closedir(handle), 0);
}

static void clones_need_a_list(void **state)
{
    struct hf_clone_entry entry = {.from = HF_ROOT_INO, .dir = HF_ROOT_INO, .name = NULL};

    (void)state;
    assert_int_equal(hf_clone_files(pool, NULL, 0), 0);
    assert_int_equal(hf_clone_files(pool, NULL, 1), -EINVAL);
    assert_int_equal(hf_clone_files(NULL, &entry, 1), -EINVAL);
    assert_int_equal(hf_clone_files(pool, &entry, 1), -EINVAL);
    entry.name = "x";
    assert_int_equal(hf_clone_files(pool, &entry, 1), 0);
    assert_int_equal(entry.result, -EINVAL);
}

static int body(int argc, char **argv)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(paths_start_at_the_inode),
        TEST(paths_need_a_directory),
        TEST(the_empty_path_is_the_inode),
        TEST(names_are_not_empty),
        TEST(an_open_file_is_found_without_its_name),
        TEST(a_replaced_file_is_found_too),
        TEST(what_waits_for_its_deletion_stays_closed),
        TEST(opens_meet_the_last_close),
        TEST(what_another_process_has_open),
        TEST(setgid_directories_give_their_group),
        TEST(a_client_owns_what_it_makes),
        TEST(chown_takes_rights_back),
        TEST(seekdir_goes_on_after_a_name),
        TEST(readdir_tells_what_is_there_then),
        TEST(clones_need_a_list),
    };

    (void)argc, (void)argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
