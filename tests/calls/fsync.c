/* SPDX-License-Identifier: MIT */
/* fsync(2), fdatasync(2), syncfs(2), sync_file_range(2) */
#include "calls.h"

static int64_t call(const struct calls_case *row)
{
    return fsync((int)NEED(open(row->path, row->flags)));
}

static int64_t data(const struct calls_case *row)
{
    return fdatasync((int)NEED(open(row->path, row->flags)));
}

static int64_t whole(const struct calls_case *row)
{
    return syncfs((int)NEED(open(row->path, row->flags)));
}

static int64_t range(const struct calls_case *row)
{
    return sync_file_range((int)NEED(open(row->path, row->flags)), row->at, row->len,
                           SYNC_FILE_RANGE_WRITE);
}

static int64_t synchronous(const struct calls_case *row)
{
    return write((int)NEED(open(row->path, row->flags)), "abc", 3);
}

static const struct calls_case rows[] = {
    {"a file", "file a 10000", .path = "a", .flags = O_RDWR, .after = "file a 10000"},
    {"a file open for reading", "file a 10000", .path = "a", .flags = O_RDONLY},
    {"a directory", "dir d; file d/a 10", .path = "d", .flags = O_RDONLY, .after = "file d/a 10"},
    {"O_PATH", "file a 0", .path = "a", .flags = O_PATH, .want = -EBADF},
    {"a FIFO", "fifo p", .path = "p", .flags = O_RDWR, .want = -EINVAL},
    {"fdatasync", "file a 10000", .path = "a", .flags = O_WRONLY, .after = "file a 10000",
     .call = data},
    {"syncfs", "file a 10000", .path = "a", .flags = O_RDONLY, .after = "file a 10000",
     .call = whole},
    {"sync_file_range", "file a 10000", .path = "a", .flags = O_RDWR, .len = 5000, .call = range},
    {"sync_file_range, a negative length", "file a 10000", .path = "a", .flags = O_RDWR, .len = -1,
     .want = -EINVAL, .call = range},
    {"O_SYNC", "file a 0", .path = "a", .flags = O_WRONLY | O_SYNC, .want = 3,
     .after = "text a abc", .call = synchronous},
};

CALLS("fsync", call, rows)
