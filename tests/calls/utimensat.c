/* SPDX-License-Identifier: MIT */
/* utimensat(2): `at` are the nanoseconds of atime, `len` those of mtime, of the second below */
#include "calls.h"

#define SECOND 1234567890
#define IGNORED (-2) /* no times given at all */

static int64_t call(const struct calls_case *row)
{
    struct timespec times[2] = {{SECOND, row->at}, {SECOND, row->len}};

    return utimensat(AT_FDCWD, row->path, row->at == IGNORED ? NULL : times, row->flags);
}

static int64_t exact(const struct calls_case *row)
{
    struct stat st;

    if (call(row) != 0)
        return -1;
    NEED(fstatat(AT_FDCWD, row->path, &st, row->flags));
    EXPECT_EQ(st.st_atim.tv_sec, SECOND);
    EXPECT_EQ(st.st_atim.tv_nsec, row->at);
    EXPECT_EQ(st.st_mtim.tv_sec, SECOND);
    EXPECT_EQ(st.st_mtim.tv_nsec, row->len);
    return 0;
}

/* `at` and `len` are seconds here. */
static int64_t seconds(const struct calls_case *row)
{
    struct timespec times[2] = {{row->at, 0}, {row->len, 0}};
    struct stat st;

    NEED(utimensat(AT_FDCWD, row->path, times, 0));
    NEED(stat(row->path, &st));
    EXPECT_EQ(st.st_atim.tv_sec, row->at);
    EXPECT_EQ(st.st_mtim.tv_sec, row->len);
    return 0;
}

static int64_t open_file(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));

    return futimens(fd, NULL);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"to nanoseconds", "file a 0; ctime a", .path = "a", .at = 123456789, .len = 987654321,
     .after = "changed a", .call = exact},
    {"of a link itself", "file a 0; mtime a; symlink l a", .path = "l", .at = 1, .len = 2,
     .flags = AT_SYMLINK_NOFOLLOW, .after = "mtime a", .call = exact},
    {"through a link", "file a 0; mtime a; symlink l a; mtime l", .path = "l", .at = UTIME_NOW,
     .len = UTIME_NOW, .after = "modified a; mtime l"},
    {"of a directory", "dir d", .path = "d", .at = 1, .len = 2, .call = exact},
    {"before 1970", "file a 0", .path = "a", .at = -1, .len = -1000000000, .call = seconds},
    {"after 2038", "file a 0", .path = "a", .at = 4000000000, .len = 5000000000, .call = seconds},
    {"UTIME_NOW", "file a 0; atime a; mtime a; ctime a", .path = "a", .at = UTIME_NOW,
     .len = UTIME_NOW, .after = "accessed a; modified a; changed a"},
    {"UTIME_OMIT of atime", "file a 0; atime a; mtime a", .path = "a", .at = UTIME_OMIT,
     .len = UTIME_NOW, .after = "atime a; modified a"},
    {"UTIME_OMIT of mtime", "file a 0; atime a; mtime a", .path = "a", .at = UTIME_NOW,
     .len = UTIME_OMIT, .after = "accessed a; mtime a"},
    {"UTIME_OMIT of both", "file a 0; atime a; mtime a; ctime a", .path = "a", .at = UTIME_OMIT,
     .len = UTIME_OMIT, .after = "atime a; mtime a; ctime a"},
    {"no times are now", "file a 0; atime a; mtime a", .path = "a", .at = IGNORED,
     .after = "accessed a; modified a"},
    {"of an open file", "file a 0; atime a; mtime a", .path = "a",
     .after = "accessed a; modified a", .call = open_file},
    {"too many nanoseconds", "file a 0; mtime a", .path = "a", .at = 0, .len = 1000000000,
     .want = -EINVAL, .after = "mtime a"},
    {"of a missing file", "", .path = "a", .want = -ENOENT},
    {"another's file, to a time", "file a 0; mode a 0666; mtime a", .path = "a", .want = -EPERM,
     .after = "mtime a", .as = AS_NOBODY},
    {"another's file that may be written, to now", "file a 0; mode a 0666; mtime a", .path = "a",
     .at = IGNORED, .after = "modified a", .as = AS_NOBODY},
    {"another's file that may be written, one time to now", "file a 0; mode a 0666; mtime a",
     .path = "a", .at = UTIME_OMIT, .len = UTIME_NOW, .want = -EPERM, .after = "mtime a",
     .as = AS_NOBODY},
    {"another's file that may not be written, to now", "file a 0; mtime a", .path = "a",
     .at = IGNORED, .want = -EACCES, .after = "mtime a", .as = AS_NOBODY},
    {"one's own file that may not be written", "file a 0; mode a 0; own a 65534 0", .path = "a",
     .at = 1, .len = 2, .as = AS_NOBODY},
};

CALLS("utimensat", call, rows)
