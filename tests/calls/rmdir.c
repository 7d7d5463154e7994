/* SPDX-License-Identifier: MIT */
/* rmdir(2) */
#include "calls.h"

static int64_t call(const struct calls_case *row)
{
    return rmdir(row->path);
}

/* Nothing can be made in a directory that is gone. */
static int64_t while_inside(const struct calls_case *row)
{
    int dir = (int)NEED(open(row->path, O_RDONLY | O_DIRECTORY));

    NEED(rmdir(row->path));
    return openat(dir, "a", O_CREAT | O_RDWR, 0600);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"an empty directory", "dir d", .path = "d", .after = "gone d; links . 2; count . 0"},
    {"with a slash after it", "dir d", .path = "d/", .after = "gone d"},
    {"times of the folder", "dir d; dir d/e; mtime d; ctime d", .path = "d/e",
     .after = "modified d; changed d; links d 2"},
    {"one that is not empty", "dir d; file d/a 0", .path = "d", .want = -ENOTEMPTY,
     .after = "file d/a 0"},
    {"a missing one", "", .path = "d", .want = -ENOENT},
    {"a file", "file a 10", .path = "a", .want = -ENOTDIR, .after = "file a 10"},
    {"a link to a directory", "dir d; symlink l d", .path = "l", .want = -ENOTDIR,
     .after = "dir d"},
    {".", "dir d", .path = "d/.", .want = -EINVAL, .after = "dir d"},
    {"..", "dir d; dir d/e", .path = "d/e/..", .want = -ENOTEMPTY, .after = "dir d/e"},
    {"in a folder that may not be written", "dir d; dir d/e; mode d/e 0777", .path = "d/e",
     .want = -EACCES, .after = "dir d/e", .as = AS_NOBODY},
    {"another's in a sticky folder", "dir d; mode d 01777; dir d/e; mode d/e 0777", .path = "d/e",
     .want = -EPERM, .after = "dir d/e", .as = AS_NOBODY},
    {"one that is open, and making a file in it", "dir d", .path = "d", .want = -ENOENT,
     .after = "gone d", .call = while_inside},
};

CALLS("rmdir", call, rows)
