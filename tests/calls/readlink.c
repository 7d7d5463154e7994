/* SPDX-License-Identifier: MIT */
/* readlink(2) into `len` bytes, 5000 if that is 0 */
#include "calls.h"

static char buffer[5000];

static int64_t call(const struct calls_case *row)
{
    size_t len = row->len ? (size_t)row->len : sizeof(buffer);
    ssize_t got = readlink(row->path, buffer, len);

    if (got >= 0 && row->other)
        EXPECT(strncmp(buffer, row->other, (size_t)got) == 0);
    return got;
}

static int64_t no_room(const struct calls_case *row)
{
    return readlink(row->path, buffer, 0);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a link", "symlink l target", .path = "l", .other = "target", .want = 6},
    {"a long link", "symlink l {1000*t}", .path = "l", .other = "{1000*t}", .want = 1000},
    {"into less room", "symlink l target", .path = "l", .other = "target", .len = 3, .want = 3},
    {"into no room", "symlink l target", .path = "l", .want = -EINVAL, .call = no_room},
    {"a missing name", "", .path = "l", .want = -ENOENT},
    {"a file", "file a 0", .path = "a", .want = -EINVAL},
    {"a directory", "dir d", .path = "d", .want = -EINVAL},
    {"a link with a slash after it, to a directory", "dir d; symlink l d", .path = "l/",
     .want = -EINVAL},
};

CALLS("readlink", call, rows)
