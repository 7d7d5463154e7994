/* SPDX-License-Identifier: MIT */
/* truncate(2) and ftruncate(2) to `len` */
#include "calls.h"

#include <signal.h>
#include <sys/resource.h>

static int64_t call(const struct calls_case *row)
{
    return truncate(row->path, row->len);
}

static int64_t open_file(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, row->flags));

    return ftruncate(fd, row->len);
}

static int64_t limited(const struct calls_case *row)
{
    struct rlimit limit = {4096, 4096};

    signal(SIGXFSZ, SIG_IGN);
    NEED(setrlimit(RLIMIT_FSIZE, &limit));
    return truncate(row->path, row->len);
}

/* What was cut off does not come back. */
static int64_t shorter_and_longer(const struct calls_case *row)
{
    NEED(truncate(row->path, row->len));
    return truncate(row->path, row->at);
}

static const struct calls_case rows[] = {
    CALLS_BAD_PATHS,
    {"shorter", "file a 10000", .path = "a", .len = 5000, .after = "file a 5000"},
    {"to nothing", "file a 10000", .path = "a", .len = 0, .after = "file a 0; spare a 0"},
    {"longer", "file a 5000", .path = "a", .len = 100000,
     .after = "size a 100000; pattern a 0 5000 0; zeros a 5000 95000; spare a 64K"},
    {"to the same size", "file a 5000", .path = "a", .len = 5000, .after = "file a 5000"},
    {"inside a block, and longer again", "file a 10000", .path = "a", .len = 5000, .at = 10000,
     .after = "pattern a 0 5000 0; zeros a 5000 5000", .call = shorter_and_longer},
    {"at a block, and longer again", "file a 10000", .path = "a", .len = 4096, .at = 10000,
     .after = "pattern a 0 4096 0; zeros a 4096 5904", .call = shorter_and_longer},
    {"to 15 TiB", "file a 10", .path = "a", .len = 15LL << 40,
     .after = "size a 15T; pattern a 0 10 0; spare a 64K"},
    {"times", "file a 10; mtime a; ctime a; atime a", .path = "a", .len = 5,
     .after = "modified a; changed a; atime a"},
    {"to a negative size", "file a 10", .path = "a", .len = -1, .want = -EINVAL,
     .after = "file a 10"},
    {"a missing file", "", .path = "a", .want = -ENOENT},
    {"a directory", "dir d", .path = "d", .want = -EISDIR},
    {"a FIFO", "fifo p", .path = "p", .want = -EINVAL},
    {"through a link", "file a 10; symlink l a", .path = "l", .len = 5, .after = "file a 5"},
    {"a file that may not be written", "file a 10", .path = "a", .want = -EACCES,
     .after = "file a 10", .as = AS_NOBODY},
    {"as another user removes the set-user-ID bit", "file a 10; mode a 04777", .path = "a",
     .len = 5, .after = "file a 5; mode a 0777", .as = AS_NOBODY},
    {"beyond the limit of the process", "file a 10", .path = "a", .len = 4097, .want = -EFBIG,
     .after = "file a 10", .call = limited},
    {"an open file", "file a 10", .path = "a", .flags = O_WRONLY, .len = 5, .after = "file a 5",
     .call = open_file},
    {"an open file, for reading", "file a 10", .path = "a", .flags = O_RDONLY, .len = 5,
     .want = -EINVAL, .after = "file a 10", .call = open_file},
    {"an open directory", "dir d", .path = "d", .flags = O_RDONLY, .want = -EINVAL,
     .call = open_file},
};

CALLS("truncate", call, rows)
