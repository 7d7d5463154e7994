/* SPDX-License-Identifier: MIT */
/* symlink(2): `path` leads to `other` */
#include "calls.h"

static int64_t call(const struct calls_case *row)
{
    return symlink(row->other ? row->other : "target", row->path);
}

/* The kernel takes any path; a file system may have room for less. */
static int64_t longest(const struct calls_case *row)
{
    int rc = symlink(row->other, row->path);

    if (rc != 0 && errno == ENAMETOOLONG)
        calls_skip("this file system's links are shorter");
    return rc;
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"to a file", "file a 10", .path = "l", .other = "a",
     .after = "symlink l a; links a 1; mode l 0777"},
    {"to nothing", "", .path = "l", .other = "no/where", .after = "symlink l no/where"},
    {"to 59 bytes", "", .path = "l", .other = "{59*t}", .after = "symlink l {59*t}"},
    {"to 60 bytes", "", .path = "l", .other = "{60*t}", .after = "symlink l {60*t}"},
    {"to 1000 bytes", "", .path = "l", .other = "{1000*t}", .after = "symlink l {1000*t}"},
    {"to 4095 bytes", "", .path = "l", .other = "{4095*t}", .after = "symlink l {4095*t}",
     .call = longest},
    {"to 4096 bytes", "", .path = "l", .other = "{4096*t}", .want = -ENAMETOOLONG,
     .after = "gone l"},
    {"to an empty path", "", .path = "l", .other = "", .want = -ENOENT, .after = "gone l"},
    {"a name that is taken", "file l 10", .path = "l", .want = -EEXIST, .after = "file l 10"},
    {"a name that is taken by a link", "symlink l a", .path = "l", .want = -EEXIST,
     .after = "symlink l a"},
    {"a name of 255 bytes", "", .path = "{255*n}", .after = "symlink {255*n} target"},
    {"a name that ends in a slash", "", .path = "l/", .want = -ENOENT},
    {"times of the folder", "dir d; mtime d; ctime d", .path = "d/l",
     .after = "modified d; changed d"},
    {"as another user", "dir d; mode d 0777", .path = "d/l", .after = "own d/l 65534 65534",
     .as = AS_NOBODY},
    {"in a setgid folder", "dir d; own d 0 77; mode d 02777", .path = "d/l",
     .after = "own d/l 65534 77", .as = AS_NOBODY},
    {"in a folder that may not be written", "dir d", .path = "d/l", .want = -EACCES,
     .as = AS_NOBODY},
};

CALLS("symlink", call, rows)
