/* SPDX-License-Identifier: MIT */
/* pread(2), read(2), readv(2) */
#include "calls.h"

#include <limits.h>
#include <sys/uio.h>

#define BUFFER_BYTES (1 << 16)

static char buffer[BUFFER_BYTES];

static void expect_pattern(const char *bytes, int64_t len, int64_t at)
{
    for (int64_t i = 0; i < len; i++)
        EXPECT_EQ(bytes[i], calls_pattern(at + i));
}

static int64_t call(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, row->flags));
    ssize_t got;

    memset(buffer, '#', sizeof(buffer));
    got = pread(fd, buffer, (size_t)row->len, row->at);
    if (got >= 0 && got < row->len)
        EXPECT_EQ(buffer[got], '#');
    if (got > 0)
        expect_pattern(buffer, got, row->at);
    return got;
}

static int64_t call_zeros(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, row->flags));
    ssize_t got;

    memset(buffer, '#', sizeof(buffer));
    got = pread(fd, buffer, (size_t)row->len, row->at);
    EXPECT(got < 0 || test_is_zero(buffer, (size_t)got));
    return got;
}

/* read() moves the offset, pread() does not; both ends of a dup() have one. */
static int64_t offsets(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY)), twin = (int)NEED(dup(fd));

    EXPECT_EQ(read(fd, buffer, 100), 100);
    EXPECT_EQ(pread(fd, buffer, 100, 500), 100);
    EXPECT_EQ(read(twin, buffer, 100), 100);
    expect_pattern(buffer, 100, 100);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 200);
    return read(fd, buffer, row->len);
}

static int64_t scattered(const struct calls_case *row)
{
    char first[3], second[5000];
    struct iovec iov[] = {{first, sizeof(first)}, {NULL, 0}, {second, sizeof(second)}};
    int fd = (int)NEED(open(row->path, O_RDONLY));
    ssize_t got = preadv(fd, iov, 3, row->at);

    expect_pattern(first, 3, row->at);
    expect_pattern(second, got - 3, row->at + 3);
    return got;
}

static int64_t too_many_pieces(const struct calls_case *row)
{
    static struct iovec iov[IOV_MAX + 1];
    int fd = (int)NEED(open(row->path, O_RDONLY));

    return readv(fd, iov, IOV_MAX + 1);
}

static int64_t bad_address(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));

    return pread(fd, (char *)(intptr_t)row->at, 10, 0);
}

static int64_t closed(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));

    NEED(close(fd));
    return read(fd, buffer, 1);
}

/* What is unlinked is there as long as it is open. */
static int64_t unlinked(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDWR));
    struct stat st;

    NEED(unlink(row->path));
    NEED(fstat(fd, &st));
    EXPECT_EQ(st.st_nlink, 0);
    EXPECT_EQ(pwrite(fd, "z", 1, 0), 1);
    EXPECT_EQ(pread(fd, buffer, 1, 0), 1);
    EXPECT_EQ(buffer[0], 'z');
    return pread(fd, buffer, BUFFER_BYTES, 0);
}

static const struct calls_case rows[] = {
    {"the whole file", "file a 10000", .path = "a", .len = 10000, .want = 10000},
    {"more than there is", "file a 10000", .path = "a", .len = BUFFER_BYTES, .want = 10000},
    {"across blocks", "file a 20000", .path = "a", .at = 4095, .len = 8194, .want = 8194},
    {"the last byte", "file a 4097", .path = "a", .at = 4096, .len = 4096, .want = 1},
    {"nothing", "file a 10", .path = "a", .len = 0, .want = 0},
    {"at the end", "file a 10", .path = "a", .at = 10, .len = 10, .want = 0},
    {"beyond the end", "file a 10", .path = "a", .at = 1 << 20, .len = 10, .want = 0},
    {"at the greatest offset", "file a 10", .path = "a", .at = INT64_MAX - 10, .len = 10,
     .want = 0},
    {"at a negative offset", "file a 10", .path = "a", .at = -1, .len = 10, .want = -EINVAL},
    {"an empty file", "file a 0", .path = "a", .len = 10, .want = 0},
    {"a hole", "hole a 1M", .path = "a", .at = 5000, .len = 10000, .want = 10000,
     .call = call_zeros},
    {"for writing only", "file a 10", .path = "a", .flags = O_WRONLY, .len = 10, .want = -EBADF},
    {"O_PATH", "file a 10", .path = "a", .flags = O_PATH, .len = 10, .want = -EBADF},
    {"a directory", "dir d", .path = "d", .len = 10, .want = -EISDIR},
    {"a FIFO at an offset", "fifo p", .path = "p", .flags = O_RDONLY | O_NONBLOCK, .len = 1,
     .want = -ESPIPE},
    {"the offset", "file a 1000", .path = "a", .len = 5000, .want = 800, .call = offsets},
    {"into pieces", "file a 10000", .path = "a", .at = 77, .want = 5003, .call = scattered},
    {"into too many pieces", "file a 10", .path = "a", .want = -EINVAL, .call = too_many_pieces},
    {"to an address that is not there", "file a 10", .path = "a", .at = 8, .want = -EFAULT,
     .call = bad_address},
    {"a descriptor that is closed", "file a 10", .path = "a", .want = -EBADF, .call = closed},
    {"an unlinked file", "file a 10000", .path = "a", .want = 10000, .after = "gone a",
     .call = unlinked},
};

CALLS("read", call, rows)
