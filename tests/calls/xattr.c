/* SPDX-License-Identifier: MIT */
/* setxattr(2), getxattr(2), listxattr(2), removexattr(2): `other` is the name, the value is
 * "value" */
#include "calls.h"

#include <linux/limits.h>
#include <sys/xattr.h>

static int64_t call(const struct calls_case *row)
{
    return setxattr(row->path, row->other ? row->other : "user.k", "value", 5, row->flags);
}

static int64_t get(const struct calls_case *row)
{
    char value[100];

    return getxattr(row->path, row->other, value, row->len ? (size_t)row->len : sizeof(value));
}

static int64_t get_size(const struct calls_case *row)
{
    return getxattr(row->path, row->other, NULL, 0);
}

static int64_t take_away(const struct calls_case *row)
{
    return removexattr(row->path, row->other);
}

static int64_t set_empty(const struct calls_case *row)
{
    NEED(setxattr(row->path, row->other, NULL, 0, 0));
    return getxattr(row->path, row->other, NULL, 0);
}

static int64_t too_large(const struct calls_case *row)
{
    static char value[XATTR_SIZE_MAX + 1];

    return setxattr(row->path, row->other, value, sizeof(value), 0);
}

/* user.* names only: a file system may list others of its own. */
static int64_t list(const struct calls_case *row)
{
    char names[1000];
    ssize_t len = listxattr(row->path, names, row->len ? (size_t)row->len : sizeof(names));
    int count = 0;

    for (char *name = names; name < names + len; name += strlen(name) + 1)
        count += strncmp(name, "user.", 5) == 0;
    return len < 0 ? len : count;
}

static int64_t open_file(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));

    return fsetxattr(fd, row->other, "value", 5, 0);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"set", "file a 0; mtime a; ctime a", .path = "a", .other = "user.k",
     .after = "xattr a user.k value; mtime a; changed a"},
    {"set again", "file a 0; xattr a user.k former", .path = "a", .other = "user.k",
     .after = "xattr a user.k value"},
    {"set on a directory", "dir d", .path = "d", .other = "user.k",
     .after = "xattr d user.k value"},
    {"set through a link", "file a 0; symlink l a", .path = "l", .other = "user.k",
     .after = "xattr a user.k value"},
    {"set on an open file", "file a 0", .path = "a", .other = "user.k",
     .after = "xattr a user.k value", .call = open_file},
    {"set to nothing", "file a 0", .path = "a", .other = "user.k", .call = set_empty},
    {"set with a name of 255 bytes", "file a 0", .path = "a", .other = "user.{250*k}",
     .after = "xattr a user.{250*k} value"},
    {"set with a name of 256 bytes", "file a 0", .path = "a", .other = "user.{251*k}",
     .want = -ERANGE},
    {"set with an empty name", "file a 0", .path = "a", .other = "", .want = -ERANGE},
    {"set with a name that says too little", "file a 0", .path = "a", .other = "user.",
     .want = -EINVAL},
    {"set more than the kernel takes", "file a 0", .path = "a", .other = "user.k", .want = -E2BIG,
     .call = too_large},
    {"set of a kind that there is not", "file a 0", .path = "a", .other = "nosuch.k",
     .want = -EOPNOTSUPP},
    {"set on a missing file", "", .path = "a", .want = -ENOENT},
    {"XATTR_CREATE", "file a 0", .path = "a", .other = "user.k", .flags = XATTR_CREATE,
     .after = "xattr a user.k value"},
    {"XATTR_CREATE of one that is there", "file a 0; xattr a user.k former", .path = "a",
     .other = "user.k", .flags = XATTR_CREATE, .want = -EEXIST, .after = "xattr a user.k former"},
    {"XATTR_REPLACE", "file a 0; xattr a user.k former", .path = "a", .other = "user.k",
     .flags = XATTR_REPLACE, .after = "xattr a user.k value"},
    {"XATTR_REPLACE of a missing one", "file a 0", .path = "a", .other = "user.k",
     .flags = XATTR_REPLACE, .want = -ENODATA},
    {"unknown flags", "file a 0", .path = "a", .other = "user.k", .flags = 1 << 20,
     .want = -EINVAL},
    {"user.* on a FIFO", "fifo p", .path = "p", .other = "user.k", .want = -EPERM},
    {"trusted.*", "file a 0", .path = "a", .other = "trusted.k",
     .after = "xattr a trusted.k value"},
    {"trusted.* as another user", "file a 0; own a 65534 0", .path = "a", .other = "trusted.k",
     .want = -EPERM, .as = AS_NOBODY},
    {"user.* of a file that may not be written", "file a 0", .path = "a", .other = "user.k",
     .want = -EACCES, .as = AS_NOBODY},
    {"user.* of another's sticky folder", "dir d; mode d 01777", .path = "d", .other = "user.k",
     .want = -EPERM, .as = AS_NOBODY},
    {"get", "file a 0; xattr a user.k former", .path = "a", .other = "user.k", .want = 6,
     .call = get},
    {"get the size", "file a 0; xattr a user.k former", .path = "a", .other = "user.k", .want = 6,
     .call = get_size},
    {"get into less room", "file a 0; xattr a user.k former", .path = "a", .other = "user.k",
     .len = 5, .want = -ERANGE, .call = get},
    {"get a missing one", "file a 0; xattr a user.k former", .path = "a", .other = "user.l",
     .want = -ENODATA, .call = get},
    {"get of a file that may not be read", "file a 0; xattr a user.k former; mode a 0600",
     .path = "a", .other = "user.k", .want = -EACCES, .as = AS_NOBODY, .call = get},
    {"get trusted.* as another user", "file a 0; xattr a trusted.k former", .path = "a",
     .other = "trusted.k", .want = -ENODATA, .as = AS_NOBODY, .call = get},
    {"list", "file a 0; xattr a user.k v; xattr a user.l v; xattr a user.m v", .path = "a",
     .want = 3, .call = list},
    {"list none", "file a 0", .path = "a", .want = 0, .call = list},
    {"list into less room", "file a 0; xattr a user.k v; xattr a user.l v", .path = "a", .len = 8,
     .want = -ERANGE, .call = list},
    {"remove", "file a 0; xattr a user.k v; xattr a user.l v", .path = "a", .other = "user.k",
     .after = "xattr a user.l v", .call = take_away},
    {"remove a missing one", "file a 0", .path = "a", .other = "user.k", .want = -ENODATA,
     .call = take_away},
};

CALLS("xattr", call, rows)
