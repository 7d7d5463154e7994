/* SPDX-License-Identifier: MIT */
/* fallocate(2): `flags` is the mode. Blocks here are 64 KiB, a multiple of those of any file
 * system. */
#include "calls.h"

#include <linux/falloc.h>
#include <signal.h>
#include <sys/resource.h>

#define KEEP FALLOC_FL_KEEP_SIZE
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO FALLOC_FL_ZERO_RANGE
#define COLLAPSE FALLOC_FL_COLLAPSE_RANGE
#define INSERT FALLOC_FL_INSERT_RANGE
#define BLOCK 65536LL

static int64_t call(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDWR | O_NONBLOCK));

    return fallocate(fd, row->flags, row->at, row->len);
}

static int64_t for_reading(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));

    return fallocate(fd, row->flags, row->at, row->len);
}

static int64_t limited(const struct calls_case *row)
{
    struct rlimit limit = {4096, 4096};

    signal(SIGXFSZ, SIG_IGN);
    NEED(setrlimit(RLIMIT_FSIZE, &limit));
    return call(row);
}

static const struct calls_case rows[] = {
    {"allocate", "file a 0", .path = "a", .len = 4 * BLOCK, .after = "hole a 256K; memory a 256K"},
    {"allocate over data", "file a 10000", .path = "a", .len = 5000, .after = "file a 10000"},
    {"allocate across the end", "file a 5000", .path = "a", .at = 4000, .len = BLOCK,
     .after = "size a 69536; pattern a 0 5000 0; zeros a 5000 64536"},
    {"allocate beyond the end, size kept", "file a 5000", .path = "a", .flags = KEEP, .at = BLOCK,
     .len = BLOCK, .after = "file a 5000; memory a 64K"},
    {"allocate in a hole", "hole a 256K", .path = "a", .at = BLOCK, .len = BLOCK,
     .after = "hole a 256K; memory a 64K"},
    {"allocate nothing", "file a 0", .path = "a", .len = 0, .want = -EINVAL},
    {"allocate at a negative offset", "file a 0", .path = "a", .at = -1, .len = 1, .want = -EINVAL},
    {"allocate beyond all sizes", "file a 0", .path = "a", .at = INT64_MAX, .len = 1,
     .want = -EFBIG},
    {"allocate beyond the limit of the process", "file a 0", .path = "a", .len = 4097,
     .want = -EFBIG, .after = "file a 0", .call = limited},
    {"a file open for reading", "file a 0", .path = "a", .len = 1, .want = -EBADF,
     .call = for_reading},
    {"a directory", "dir d", .path = "d", .len = 1, .want = -EBADF, .call = for_reading},
    {"a FIFO", "fifo p", .path = "p", .len = 1, .want = -ESPIPE},
    {"punch blocks", "file a 256K", .path = "a", .flags = PUNCH, .at = BLOCK, .len = BLOCK,
     .after =
         "size a 256K; pattern a 0 64K 0; zeros a 64K 64K; pattern a 128K 128K 128K; spare a 192K"},
    {"punch inside a block", "file a 10000", .path = "a", .flags = PUNCH, .at = 5000, .len = 100,
     .after = "pattern a 0 5000 0; zeros a 5000 100; pattern a 5100 4900 5100"},
    {"punch across blocks", "file a 256K", .path = "a", .flags = PUNCH, .at = 1000,
     .len = 3 * BLOCK,
     .after = "pattern a 0 1000 0; zeros a 1000 192K; pattern a 197608 64536 197608"},
    {"punch across the end", "file a 10000", .path = "a", .flags = PUNCH, .at = 5000,
     .len = 4 * BLOCK, .after = "size a 10000; pattern a 0 5000 0; zeros a 5000 5000"},
    {"punch a hole again", "hole a 256K", .path = "a", .flags = PUNCH, .at = BLOCK, .len = BLOCK,
     .after = "hole a 256K"},
    {"punch, times", "file a 256K; mtime a; ctime a", .path = "a", .flags = PUNCH, .at = 0,
     .len = BLOCK, .after = "modified a; changed a"},
    {"punch without keeping the size", "file a 10", .path = "a", .flags = FALLOC_FL_PUNCH_HOLE,
     .len = 10, .want = -EOPNOTSUPP, .after = "file a 10"},
    {"no such mode", "file a 10", .path = "a", .flags = 1 << 30, .len = 10, .want = -EOPNOTSUPP},
    {"zero a range", "file a 256K", .path = "a", .flags = ZERO, .at = 1000, .len = 2 * BLOCK,
     .after =
         "size a 256K; pattern a 0 1000 0; zeros a 1000 128K; pattern a 132072 130072 132072; memory a 256K"},
    {"zero across the end", "file a 1000", .path = "a", .flags = ZERO, .at = 500, .len = BLOCK,
     .after = "size a 66036; pattern a 0 500 0; zeros a 500 64K"},
    {"zero across the end, size kept", "file a 1000", .path = "a", .flags = ZERO | KEEP, .at = 500,
     .len = BLOCK, .after = "size a 1000; pattern a 0 500 0; zeros a 500 500"},
    {"collapse", "file a 256K", .path = "a", .flags = COLLAPSE, .at = BLOCK, .len = BLOCK,
     .after = "size a 192K; pattern a 0 64K 0; pattern a 64K 128K 128K"},
    {"collapse the beginning", "file a 200000", .path = "a", .flags = COLLAPSE, .at = 0,
     .len = BLOCK, .after = "size a 134464; pattern a 0 134464 64K"},
    {"collapse to the end", "file a 256K", .path = "a", .flags = COLLAPSE, .at = BLOCK,
     .len = 3 * BLOCK, .want = -EINVAL, .after = "file a 256K"},
    {"collapse half a block", "file a 256K", .path = "a", .flags = COLLAPSE, .at = 100,
     .len = BLOCK, .want = -EINVAL, .after = "file a 256K"},
    {"insert", "file a 128K", .path = "a", .flags = INSERT, .at = BLOCK, .len = BLOCK,
     .after = "size a 192K; pattern a 0 64K 0; zeros a 64K 64K; pattern a 128K 64K 64K"},
    {"insert at the beginning", "file a 100000", .path = "a", .flags = INSERT, .at = 0,
     .len = BLOCK, .after = "size a 165536; zeros a 0 64K; pattern a 64K 100000 0"},
    {"insert at the end", "file a 128K", .path = "a", .flags = INSERT, .at = 2 * BLOCK,
     .len = BLOCK, .want = -EINVAL, .after = "file a 128K"},
    {"insert half a block", "file a 128K", .path = "a", .flags = INSERT, .at = 0, .len = 100,
     .want = -EINVAL, .after = "file a 128K"},
};

CALLS("fallocate", call, rows)
