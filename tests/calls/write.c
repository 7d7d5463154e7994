/* SPDX-License-Identifier: MIT */
/* pwrite(2), write(2), writev(2): `other` is what is written */
#include "calls.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/uio.h>

static int64_t call(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, row->flags));

    return pwrite(fd, row->other, strlen(row->other), row->at);
}

static int64_t at_the_offset(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, row->flags));

    NEED(lseek(fd, row->at, SEEK_SET));
    EXPECT_EQ(write(fd, row->other, 1), 1);
    return lseek(fd, 0, SEEK_CUR);
}

static int64_t gathered(const struct calls_case *row)
{
    char one[] = "one", two[] = "two";
    struct iovec iov[] = {{one, 3}, {NULL, 0}, {two, 3}};
    int fd = (int)NEED(open(row->path, O_WRONLY));

    return pwritev(fd, iov, 3, row->at);
}

/* `len` bytes at once, of the pattern. */
static int64_t large(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_WRONLY));
    char *bytes = malloc((size_t)row->len);

    for (int64_t i = 0; i < row->len; i++)
        bytes[i] = calls_pattern(row->at + i);
    return pwrite(fd, bytes, (size_t)row->len, row->at);
}

/* With files limited to `len` bytes. */
static int64_t limited(const struct calls_case *row)
{
    struct rlimit limit = {(rlim_t)row->len, (rlim_t)row->len};

    signal(SIGXFSZ, SIG_IGN);
    NEED(setrlimit(RLIMIT_FSIZE, &limit));
    return call(row);
}

static int64_t bad_address(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_WRONLY));

    return pwrite(fd, (char *)(intptr_t)row->at, 10, 0);
}

/* Two that append never write over each other. */
static int64_t two_append(const struct calls_case *row)
{
    int first = (int)NEED(open(row->path, O_WRONLY | O_APPEND)),
        second = (int)NEED(open(row->path, O_WRONLY | O_APPEND));

    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(write(first, "a", 1), 1);
        EXPECT_EQ(write(second, "b", 1), 1);
    }
    return 0;
}

static const struct calls_case rows[] = {
    {"over what is there", "text a abcdef", .path = "a", .other = "XY", .flags = O_WRONLY, .at = 2,
     .want = 2, .after = "text a abXYef"},
    {"across the end", "text a abc", .path = "a", .other = "XY", .flags = O_RDWR, .at = 2,
     .want = 2, .after = "text a abXY"},
    {"beyond the end", "text a abc", .path = "a", .other = "Z", .flags = O_WRONLY, .at = 100000,
     .want = 1, .after = "size a 100001; zeros a 3 99997"},
    {"far beyond the end", "file a 0", .path = "a", .other = "Z", .flags = O_WRONLY,
     .at = 1LL << 40, .want = 1,
     .after = "size a 1099511627777; spare a 1M; zeros a 1099511623680 4096"},
    {"into a hole", "hole a 1M", .path = "a", .other = "Z", .flags = O_WRONLY, .at = 5000,
     .want = 1, .after = "size a 1M; zeros a 0 5000; zeros a 5001 10000; spare a 256K"},
    {"nothing", "text a abc; mtime a", .path = "a", .other = "", .flags = O_WRONLY, .at = 100,
     .want = 0, .after = "text a abc; mtime a"},
    {"at a negative offset", "file a 0", .path = "a", .other = "x", .flags = O_WRONLY, .at = -1,
     .want = -EINVAL},
    {"for reading only", "file a 0", .path = "a", .other = "x", .flags = O_RDONLY, .want = -EBADF},
    {"O_APPEND, and an offset that does not count", "text a abc", .path = "a", .other = "XY",
     .flags = O_WRONLY | O_APPEND, .at = 0, .want = 2, .after = "text a abcXY"},
    {"two that append", "file a 0", .path = "a", .after = "text a ababab", .call = two_append},
    {"the offset moves", "text a abc", .path = "a", .other = "X", .flags = O_WRONLY, .at = 1,
     .want = 2, .after = "text a aXc", .call = at_the_offset},
    {"the offset with O_APPEND is the end", "text a abc", .path = "a", .other = "X",
     .flags = O_WRONLY | O_APPEND, .at = 1, .want = 4, .after = "text a abcX",
     .call = at_the_offset},
    {"from pieces", "file a 0", .path = "a", .at = 0, .want = 6, .after = "text a onetwo",
     .call = gathered},
    {"a large piece", "file a 0", .path = "a", .len = 3 << 20, .want = 3 << 20,
     .after = "file a 3M", .call = large},
    {"a large piece at an odd place", "file a 5000", .path = "a", .at = 4999, .len = 2 << 20,
     .want = 2 << 20, .after = "pattern a 0 2102151 0", .call = large},
    {"times", "text a abc; atime a; mtime a; ctime a", .path = "a", .other = "X", .flags = O_WRONLY,
     .want = 1, .after = "modified a; changed a; atime a"},
    {"as another user removes the set-user-ID and set-group-ID bits", "text a abc; mode a 06777",
     .path = "a", .other = "X", .flags = O_WRONLY, .want = 1, .after = "mode a 0777",
     .as = AS_NOBODY},
    {"up to the limit of the process", "file a 0", .path = "a", .other = "abc", .flags = O_WRONLY,
     .at = 4096, .len = 4098, .want = 2, .after = "size a 4098", .call = limited},
    {"beyond the limit of the process", "file a 0", .path = "a", .other = "abc", .flags = O_WRONLY,
     .at = 4096, .len = 4096, .want = -EFBIG, .after = "size a 0", .call = limited},
    {"from an address that is not there", "text a abc", .path = "a", .at = 8, .want = -EFAULT,
     .after = "text a abc", .call = bad_address},
    {"a FIFO at an offset", "fifo p", .path = "p", .other = "x", .flags = O_RDWR, .want = -ESPIPE},
};

CALLS("write", call, rows)
