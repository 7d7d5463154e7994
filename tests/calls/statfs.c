/* SPDX-License-Identifier: MIT */
/* statfs(2), statvfs(3) */
#include "calls.h"

#include <sys/statfs.h>
#include <sys/statvfs.h>

static int64_t call(const struct calls_case *row)
{
    struct statfs fs;

    return statfs(row->path, &fs);
}

static int64_t numbers(const struct calls_case *row)
{
    struct statfs fs;

    NEED(statfs(row->path, &fs));
    EXPECT(fs.f_bsize > 0);
    EXPECT(fs.f_bfree <= fs.f_blocks);
    EXPECT(fs.f_bavail <= fs.f_bfree);
    EXPECT(fs.f_ffree <= fs.f_files);
    return fs.f_namelen;
}

static int64_t read_only(const struct calls_case *row)
{
    struct statvfs fs;

    NEED(statvfs(row->path, &fs));
    return fs.f_flag & ST_RDONLY;
}

static int64_t open_file(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));
    struct statfs fs;

    return fstatfs(fd, &fs);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"numbers that fit together", "", .path = ".", .want = 255, .call = numbers},
    {"of a file", "file a 0", .path = "a", .want = 255, .call = numbers},
    {"it can be written", "", .path = ".", .want = 0, .call = read_only},
    {"an open file", "file a 0", .path = "a", .call = open_file},
    {"a missing file", "", .path = "a", .want = -ENOENT},
};

CALLS("statfs", call, rows)
