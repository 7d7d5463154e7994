/* SPDX-License-Identifier: MIT */
/* mkdir(2) */
#include "calls.h"

#include <stdio.h>

static int64_t call(const struct calls_case *row)
{
    return mkdir(row->path, row->mode);
}

/* `len` folders, one in the other. */
static int64_t deep(const struct calls_case *row)
{
    for (int64_t i = 0; i < row->len; i++) {
        NEED(mkdir(row->path, 0700));
        NEED(chdir(row->path));
    }
    for (int64_t i = 0; i < row->len; i++) {
        NEED(chdir(".."));
        NEED(rmdir(row->path));
    }
    return 0;
}

static int64_t wide(const struct calls_case *row)
{
    char name[300];

    for (int64_t i = 0; i < row->len; i++) {
        snprintf(name, sizeof(name), "%s/%lld", row->path, (long long)i);
        NEED(mkdir(name, 0700));
    }
    return 0;
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"a directory", "", .path = "d", .mode = 0777,
     .after = "dir d; mode d 0755; count d 0; links d 2; links . 3"},
    {"with a slash after it", "", .path = "d/", .mode = 0700, .after = "dir d"},
    {"with the sticky bit", "", .path = "d", .mode = 01777, .after = "mode d 01755"},
    {"times of the folder", "dir d; mtime d; ctime d", .path = "d/e",
     .after = "modified d; changed d; links d 3"},
    {"a name that is taken by a file", "file d 10", .path = "d", .want = -EEXIST,
     .after = "file d 10"},
    {"a name that is taken by a directory", "dir d", .path = "d", .want = -EEXIST},
    {"a name that is taken by a link that leads nowhere", "symlink d e", .path = "d",
     .want = -EEXIST, .after = "gone e"},
    {".", "", .path = ".", .want = -EEXIST},
    {"a name of 255 bytes", "", .path = "{255*n}", .mode = 0700, .after = "dir {255*n}"},
    {"as another user", "dir d; mode d 0777", .path = "d/e", .mode = 0700,
     .after = "own d/e 65534 65534", .as = AS_NOBODY},
    {"in a setgid folder", "dir d; own d 0 77; mode d 02777", .path = "d/e", .mode = 0755,
     .after = "own d/e 65534 77; mode d/e 02755", .as = AS_NOBODY},
    {"in a folder that may not be written", "dir d", .path = "d/e", .want = -EACCES,
     .after = "count d 0", .as = AS_NOBODY},
    {"1000 in one another", "", .path = "d", .len = 1000, .after = "count . 0", .call = deep},
    {"1000 beside each other", "dir d", .path = "d", .len = 1000,
     .after = "count d 1000; links d 1002", .call = wide},
};

CALLS("mkdir", call, rows)
