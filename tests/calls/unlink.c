/* SPDX-License-Identifier: MIT */
/* unlink(2) */
#include "calls.h"

static int64_t call(const struct calls_case *row)
{
    return unlink(row->path);
}

/* A new file of the same name is another one. */
static int64_t while_open(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDWR));
    struct stat before, after;

    NEED(unlink(row->path));
    NEED(close((int)NEED(open(row->path, O_CREAT | O_EXCL, 0600))));
    NEED(fstat(fd, &before));
    NEED(stat(row->path, &after));
    EXPECT(before.st_ino != after.st_ino);
    EXPECT_EQ(before.st_size, 10);
    return before.st_nlink;
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a file", "file a 10", .path = "a", .after = "gone a; count . 0"},
    {"one name of two", "file a 10; link a b; mtime a; ctime a", .path = "a",
     .after = "gone a; file b 10; links b 1; mtime b; changed b"},
    {"times of the folder", "dir d; file d/a 0; mtime d; ctime d", .path = "d/a",
     .after = "modified d; changed d"},
    {"a missing file", "", .path = "a", .want = -ENOENT},
    {"a directory", "dir d", .path = "d", .want = -EISDIR, .after = "dir d"},
    {"a link, not what it leads to", "file a 10; symlink l a", .path = "l",
     .after = "gone l; file a 10"},
    {"a FIFO", "fifo p", .path = "p", .after = "gone p"},
    {"a file with a slash after it", "file a 10", .path = "a/", .want = -ENOTDIR,
     .after = "file a 10"},
    {"a file that may not be written, in a folder that may",
     "dir d; mode d 0777; file d/a 0; mode d/a 0", .path = "d/a", .after = "gone d/a",
     .as = AS_NOBODY},
    {"in a folder that may not be written", "dir d; file d/a 0; mode d/a 0777", .path = "d/a",
     .want = -EACCES, .after = "file d/a 0", .as = AS_NOBODY},
    {"another's file in a sticky folder", "dir d; mode d 01777; file d/a 0; mode d/a 0777",
     .path = "d/a", .want = -EPERM, .after = "file d/a 0", .as = AS_NOBODY},
    {"one's own file in a sticky folder", "dir d; mode d 01777; file d/a 0; own d/a 65534 0",
     .path = "d/a", .after = "gone d/a", .as = AS_NOBODY},
    {"another's file in one's own sticky folder", "dir d; own d 65534 0; mode d 01755; file d/a 0",
     .path = "d/a", .after = "gone d/a", .as = AS_NOBODY},
    {"an open file", "file a 10", .path = "a", .want = 0, .after = "file a 0", .call = while_open},
    {"a name of 255 bytes", "file {255*n} 0", .path = "{255*n}", .after = "gone {255*n}"},
};

CALLS("unlink", call, rows)
