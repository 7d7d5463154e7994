/* SPDX-License-Identifier: MIT */
/* stat(2), fstatat(2), statx(2) */
#include "calls.h"

static int64_t call(const struct calls_case *row)
{
    struct stat st;

    return fstatat(AT_FDCWD, row->path, &st, row->flags);
}

static int64_t kind(const struct calls_case *row)
{
    struct stat st;

    NEED(fstatat(AT_FDCWD, row->path, &st, row->flags));
    return st.st_mode & S_IFMT;
}

/* statx() says what stat() says. */
static int64_t same(const struct calls_case *row)
{
    struct statx more;
    struct stat st;

    NEED(lstat(row->path, &st));
    if (statx(AT_FDCWD, row->path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &more) != 0)
        return -1;
    EXPECT_EQ(more.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    EXPECT_EQ(more.stx_ino, st.st_ino);
    EXPECT_EQ(more.stx_mode, st.st_mode);
    EXPECT_EQ(more.stx_nlink, st.st_nlink);
    EXPECT_EQ(more.stx_uid, st.st_uid);
    EXPECT_EQ(more.stx_size, st.st_size);
    EXPECT_EQ(more.stx_blocks, st.st_blocks);
    EXPECT_EQ(more.stx_blksize, st.st_blksize);
    EXPECT_EQ(more.stx_mtime.tv_sec, st.st_mtim.tv_sec);
    EXPECT_EQ(more.stx_mtime.tv_nsec, st.st_mtim.tv_nsec);
    return 0;
}

/* Not later than the last change. */
static int64_t birth(const struct calls_case *row)
{
    struct statx more;

    NEED(statx(AT_FDCWD, row->path, 0, STATX_ALL, &more));
    if (!(more.stx_mask & STATX_BTIME))
        calls_skip("this file system knows no time of birth");
    return more.stx_btime.tv_sec > more.stx_ctime.tv_sec;
}

static int64_t bad_flags(const struct calls_case *row)
{
    struct statx more;

    return statx(AT_FDCWD, row->path, 1 << 30, STATX_BASIC_STATS, &more);
}

static int64_t open_file(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_PATH));
    struct stat by_name, by_fd;

    NEED(stat(row->path, &by_name));
    NEED(fstat(fd, &by_fd));
    EXPECT_EQ(by_fd.st_ino, by_name.st_ino);
    EXPECT_EQ(by_fd.st_dev, by_name.st_dev);
    return by_fd.st_size;
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a file", "file a 10", .path = "a", .want = S_IFREG, .call = kind},
    {"a directory", "dir d", .path = "d", .want = S_IFDIR, .call = kind},
    {"through a link", "file a 10; symlink l a", .path = "l", .want = S_IFREG, .call = kind},
    {"a link itself", "file a 10; symlink l a", .path = "l", .flags = AT_SYMLINK_NOFOLLOW,
     .want = S_IFLNK, .call = kind},
    {"a link that leads nowhere", "symlink l a", .path = "l", .want = -ENOENT},
    {"links in a row", "file a 10; symlink 1 a; symlink 2 1", .path = "2", .want = S_IFREG,
     .call = kind},
    {"a file with a slash after it", "file a 10", .path = "a/", .want = -ENOTDIR},
    {"a path of 4095 bytes", "file a 10", .path = "{2047*./}a", .want = S_IFREG, .call = kind},
    {"a file that may not be read", "file a 10; mode a 0", .path = "a", .as = AS_NOBODY},
    {"unknown flags", "file a 10", .path = "a", .flags = 1 << 30, .want = -EINVAL},
    {"statx of a file", "file a 5000", .path = "a", .call = same},
    {"statx of a directory", "dir d", .path = "d", .call = same},
    {"statx of a link", "symlink l a", .path = "l", .call = same},
    {"statx, time of birth", "file a 0", .path = "a", .call = birth},
    {"statx with unknown flags", "file a 0", .path = "a", .want = -EINVAL, .call = bad_flags},
    {"an open file", "file a 4321", .path = "a", .want = 4321, .call = open_file},
};

CALLS("stat", call, rows)
