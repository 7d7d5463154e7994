/* SPDX-License-Identifier: MIT */
/* access(2): `flags` is what is asked */
#include "calls.h"

static int64_t call(const struct calls_case *row)
{
    return access(row->path, row->flags);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"is it there", "file a 0; mode a 0", .path = "a", .flags = F_OK},
    {"it is not there", "", .path = "a", .flags = F_OK, .want = -ENOENT},
    {"a link that leads nowhere", "symlink l a", .path = "l", .flags = F_OK, .want = -ENOENT},
    {"root reads and writes", "file a 0; mode a 0", .path = "a", .flags = R_OK | W_OK},
    {"root executes nothing without a bit", "file a 0; mode a 0666", .path = "a", .flags = X_OK,
     .want = -EACCES},
    {"root executes with any bit", "file a 0; mode a 0001", .path = "a", .flags = X_OK},
    {"root searches all folders", "dir d; mode d 0", .path = "d", .flags = X_OK},
    {"others read", "file a 0; mode a 0604", .path = "a", .flags = R_OK, .as = AS_NOBODY},
    {"others may not write", "file a 0; mode a 0604", .path = "a", .flags = R_OK | W_OK,
     .want = -EACCES, .as = AS_NOBODY},
    {"the group", "file a 0; mode a 0060; own a 0 65534", .path = "a", .flags = R_OK | W_OK,
     .as = AS_NOBODY},
    {"the owner", "file a 0; mode a 0500; own a 65534 0", .path = "a", .flags = R_OK | X_OK,
     .as = AS_NOBODY},
    {"no such question", "file a 0", .path = "a", .flags = 64, .want = -EINVAL},
};

CALLS("access", call, rows)
