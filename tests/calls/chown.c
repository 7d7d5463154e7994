/* SPDX-License-Identifier: MIT */
/* chown(2), lchown(2), fchown(2): `at` is the user, `len` the group */
#include "calls.h"

static int64_t call(const struct calls_case *row)
{
    return fchownat(AT_FDCWD, row->path, (uid_t)row->at, (gid_t)row->len, row->flags);
}

static int64_t open_file(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));

    return fchown(fd, (uid_t)row->at, (gid_t)row->len);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a file", "file a 0; mtime a; ctime a", .path = "a", .at = 12, .len = 34,
     .after = "own a 12 34; mtime a; changed a"},
    {"the group only", "file a 0; own a 12 34", .path = "a", .at = -1, .len = 56,
     .after = "own a 12 56"},
    {"the user only", "file a 0; own a 12 34", .path = "a", .at = 56, .len = -1,
     .after = "own a 56 34"},
    {"the largest numbers", "file a 0", .path = "a", .at = 4294967294, .len = 4294967294,
     .after = "own a 4294967294 4294967294"},
    {"a directory", "dir d; mode d 02755", .path = "d", .at = 12, .len = 34,
     .after = "own d 12 34; mode d 02755"},
    {"through a link", "file a 0; symlink l a", .path = "l", .at = 12, .len = 34,
     .after = "own a 12 34; own l 0 0"},
    {"a link itself", "file a 0; symlink l a", .path = "l", .flags = AT_SYMLINK_NOFOLLOW, .at = 12,
     .len = 34, .after = "own a 0 0; own l 12 34"},
    {"an open file", "file a 0", .path = "a", .at = 12, .len = 34, .after = "own a 12 34",
     .call = open_file},
    {"a missing file", "", .path = "a", .want = -ENOENT},
    {"removes the set-user-ID and set-group-ID bits of a program", "file a 0; mode a 06755",
     .path = "a", .at = 12, .len = 34, .after = "mode a 0755"},
    {"leaves a set-group-ID bit that stands for no program", "file a 0; mode a 06644", .path = "a",
     .at = 12, .len = 34, .after = "mode a 02644"},
    {"one's own file to one's own group", "file a 0; own a 65534 77; mode a 04755", .path = "a",
     .at = -1, .len = 65534, .after = "own a 65534 65534; mode a 0755", .as = AS_NOBODY},
    {"one's own file to another group", "file a 0; own a 65534 65534", .path = "a", .at = -1,
     .len = 77, .want = -EPERM, .after = "own a 65534 65534", .as = AS_NOBODY},
    {"one's own file to another user", "file a 0; own a 65534 65534", .path = "a", .at = 0,
     .len = -1, .want = -EPERM, .after = "own a 65534 65534", .as = AS_NOBODY},
    {"another's file", "file a 0; mode a 0777", .path = "a", .at = 65534, .len = -1, .want = -EPERM,
     .after = "own a 0 0", .as = AS_NOBODY},
};

CALLS("chown", call, rows)
