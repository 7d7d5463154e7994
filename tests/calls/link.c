/* SPDX-License-Identifier: MIT */
/* link(2), linkat(2): `path` gets the name `other` too */
#include "calls.h"

#include <stdio.h>

static int64_t call(const struct calls_case *row)
{
    return linkat(AT_FDCWD, row->path, AT_FDCWD, row->other ? row->other : "new", row->flags);
}

static int64_t to_new(const struct calls_case *row)
{
    return link("old", row->path);
}

static int64_t many(const struct calls_case *row)
{
    char name[32];

    for (int i = 0; i < row->len; i++) {
        snprintf(name, sizeof(name), "name%d", i);
        NEED(link(row->path, name));
    }
    return 0;
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a file", "file a 10", .path = "a", .other = "b", .after = "link a b; links a 2; file b 10"},
    {"times", "dir d; mtime d; file a 10; mtime a; ctime a", .path = "a", .other = "d/b",
     .after = "modified d; mtime a; changed a"},
    {"a thousand names", "file a 10", .path = "a", .len = 1000,
     .after = "links a 1001; count . 1001; link a name999", .call = many},
    {"a missing file", "", .path = "a", .want = -ENOENT, .after = "gone new"},
    {"to a name that is taken", "file a 10; file b 20", .path = "a", .other = "b", .want = -EEXIST,
     .after = "file b 20; links a 1"},
    {"to itself", "file a 10", .path = "a", .other = "a", .want = -EEXIST},
    {"to a link that leads nowhere", "file a 10; symlink l b", .path = "a", .other = "l",
     .want = -EEXIST, .after = "gone b"},
    {"a directory", "dir d", .path = "d", .want = -EPERM, .after = "links d 2"},
    {"a link itself", "file a 10; symlink l a", .path = "l",
     .after = "symlink new a; links l 2; links a 1"},
    {"what a link leads to", "file a 10; symlink l a", .path = "l", .flags = AT_SYMLINK_FOLLOW,
     .after = "link a new; links a 2"},
    {"a FIFO", "fifo p", .path = "p", .after = "fifo new; links p 2"},
    {"to another file system", "file a 10", .path = "a", .other = "{elsewhere}/holdfast-link",
     .want = -EXDEV, .after = "links a 1"},
    {"to a missing folder", "file old 0", .path = "missing/a", .want = -ENOENT, .call = to_new},
    {"through a file", "file old 0; file f 0", .path = "f/a", .want = -ENOTDIR, .call = to_new},
    {"to a name of 255 bytes", "file old 0", .path = "{255*n}", .after = "link old {255*n}",
     .call = to_new},
    {"to a name of 256 bytes", "file old 0", .path = "{256*n}", .want = -ENAMETOOLONG,
     .call = to_new},
    {"into a folder that may not be written", "file old 0; own old 65534 0; dir d", .path = "d/a",
     .want = -EACCES, .call = to_new, .as = AS_NOBODY},
    {"unknown flags", "file a 0", .path = "a", .flags = 1 << 30, .want = -EINVAL},
};

CALLS("link", call, rows)
