/* SPDX-License-Identifier: MIT */
/* chmod(2), fchmod(2) */
#include "calls.h"

static int64_t call(const struct calls_case *row)
{
    return chmod(row->path, row->mode);
}

static int64_t open_file(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));

    return fchmod(fd, row->mode);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a file", "file a 0; mtime a; ctime a", .path = "a", .mode = 0601,
     .after = "mode a 0601; mtime a; changed a"},
    {"all bits", "file a 0", .path = "a", .mode = 07777, .after = "mode a 07777"},
    {"no bits", "file a 0", .path = "a", .mode = 0, .after = "mode a 0"},
    {"a directory", "dir d", .path = "d", .mode = 01770, .after = "mode d 01770"},
    {"through a link", "file a 0; symlink l a", .path = "l", .mode = 0600,
     .after = "mode a 0600; mode l 0777"},
    {"an open file", "file a 0", .path = "a", .mode = 0604, .after = "mode a 0604",
     .call = open_file},
    {"a missing file", "", .path = "a", .want = -ENOENT},
    {"one's own file", "file a 0; own a 65534 65534", .path = "a", .mode = 04700,
     .after = "mode a 04700", .as = AS_NOBODY},
    {"another's file", "file a 0; mode a 0666", .path = "a", .mode = 0600, .want = -EPERM,
     .after = "mode a 0666", .as = AS_NOBODY},
    {"another's open file", "file a 0; mode a 0666", .path = "a", .mode = 0600, .want = -EPERM,
     .after = "mode a 0666", .as = AS_NOBODY, .call = open_file},
    {"setgid for a group that is not one's own", "file a 0; own a 65534 77", .path = "a",
     .mode = 02755, .after = "mode a 0755", .as = AS_NOBODY},
    {"setgid for one's own group", "file a 0; own a 65534 65534", .path = "a", .mode = 02755,
     .after = "mode a 02755", .as = AS_NOBODY},
};

CALLS("chmod", call, rows)
