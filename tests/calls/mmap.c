/* SPDX-License-Identifier: MIT */
/* mmap(2), msync(2): `len` bytes from `at` on; `mode` is the protection, `flags` those of
 * open(2) */
#include "calls.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static char *map(const struct calls_case *row, int kind)
{
    int fd = (int)NEED(open(row->path, row->flags));

    return mmap(NULL, (size_t)row->len, (int)row->mode, kind, fd, row->at);
}

static int64_t call(const struct calls_case *row)
{
    char *bytes = map(row, MAP_SHARED);

    if (bytes == MAP_FAILED)
        return -1;
    for (int64_t i = 0; i < row->len; i++)
        EXPECT_EQ(bytes[i], calls_pattern(row->at + i));
    NEED(munmap(bytes, (size_t)row->len));
    return 0;
}

/* What is stored is seen by read(), what is written by the mapping. */
static int64_t seen_both_ways(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDWR));
    char *bytes = map(row, MAP_SHARED), byte;

    if (bytes == MAP_FAILED)
        return -1;
    bytes[5] = 'X';
    EXPECT_EQ(pread(fd, &byte, 1, row->at + 5), 1);
    EXPECT_EQ(byte, 'X');
    EXPECT_EQ(pwrite(fd, "Y", 1, row->at + 6), 1);
    EXPECT_EQ(bytes[6], 'Y');
    return msync(bytes, (size_t)row->len, MS_SYNC);
}

static int64_t stored(const struct calls_case *row)
{
    char *bytes = map(row, MAP_SHARED);

    if (bytes == MAP_FAILED)
        return -1;
    bytes[row->len - 1] = 'Z';
    NEED(msync(bytes, (size_t)row->len, MS_SYNC));
    return munmap(bytes, (size_t)row->len);
}

static int64_t private_stored(const struct calls_case *row)
{
    char *bytes = map(row, MAP_PRIVATE);

    if (bytes == MAP_FAILED)
        return -1;
    memset(bytes, '#', (size_t)row->len);
    return munmap(bytes, (size_t)row->len);
}

/* The signal that a child gets which loads byte 4096 after `other` was done. */
static int64_t signal_of(const struct calls_case *row)
{
    int status;
    pid_t child = (pid_t)NEED(fork());

    if (child == 0) {
        volatile char *bytes = map(row, MAP_SHARED);

        EXPECT(bytes != MAP_FAILED);
        if (row->other)
            NEED(truncate(row->path, 4096));
        _exit(bytes[4096] == 0);
    }
    NEED(waitpid(child, &status, 0));
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* The rest of the last block is zeros. */
static int64_t after_the_end(const struct calls_case *row)
{
    char *bytes = map(row, MAP_SHARED);

    if (bytes == MAP_FAILED)
        return -1;
    EXPECT_EQ(bytes[99], calls_pattern(99));
    EXPECT(test_is_zero(bytes + 100, (size_t)row->len - 100));
    return 0;
}

static const struct calls_case rows[] = {
    {"a file", "file a 10000", .path = "a", .len = 10000, .mode = PROT_READ},
    {"from the second page on", "file a 10000", .path = "a", .at = 4096, .len = 5000,
     .mode = PROT_READ},
    {"inside a page", "file a 10000", .path = "a", .at = 100, .len = 100, .mode = PROT_READ,
     .want = -EINVAL},
    {"nothing", "file a 10000", .path = "a", .mode = PROT_READ, .want = -EINVAL},
    {"for writing, open for reading", "file a 10", .path = "a", .len = 10,
     .mode = PROT_READ | PROT_WRITE, .want = -EACCES},
    {"for reading, open for writing", "file a 10", .path = "a", .flags = O_WRONLY, .len = 10,
     .mode = PROT_READ, .want = -EACCES},
    {"a directory", "dir d", .path = "d", .len = 10, .mode = PROT_READ, .want = -ENODEV},
    {"seen both ways", "file a 10000", .path = "a", .flags = O_RDWR, .at = 4096, .len = 4096,
     .mode = PROT_READ | PROT_WRITE, .call = seen_both_ways},
    {"stored", "file a 8192", .path = "a", .flags = O_RDWR, .len = 5001,
     .mode = PROT_READ | PROT_WRITE,
     .after = "size a 8192; pattern a 0 5000 0; pattern a 5001 3191 5001", .call = stored},
    {"stored into a hole", "hole a 1M", .path = "a", .flags = O_RDWR, .len = 5001,
     .mode = PROT_READ | PROT_WRITE,
     .after = "size a 1M; zeros a 0 5000; zeros a 5001 10000; spare a 256K", .call = stored},
    {"stored, times", "file a 10; mtime a; ctime a", .path = "a", .flags = O_RDWR, .len = 10,
     .mode = PROT_READ | PROT_WRITE, .after = "modified a; changed a", .call = stored},
    {"private, stored", "file a 10000", .path = "a", .len = 10000, .mode = PROT_READ | PROT_WRITE,
     .after = "file a 10000", .call = private_stored},
    {"after the end, in the last page", "file a 100", .path = "a", .len = 4096, .mode = PROT_READ,
     .call = after_the_end},
    {"after the last page", "file a 100", .path = "a", .len = 8192, .mode = PROT_READ,
     .want = SIGBUS, .call = signal_of},
    {"cut off while mapped", "file a 8192", .path = "a", .other = "truncate", .flags = O_RDWR,
     .len = 8192, .mode = PROT_READ, .want = SIGBUS, .call = signal_of},
};

CALLS("mmap", call, rows)
