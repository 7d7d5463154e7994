/* SPDX-License-Identifier: MIT */
/* copy_file_range(2): `len` bytes of `path` from `at` on, to byte `mode` of `other` */
#include "calls.h"

static int64_t call(const struct calls_case *row)
{
    int in = (int)NEED(open(row->path, O_RDONLY)),
        out = (int)NEED(open(row->other, row->flags ? row->flags : O_RDWR));
    loff_t from = row->at, to = row->mode;

    return copy_file_range(in, &from, out, &to, (size_t)row->len, 0);
}

/* It may copy less than asked: until there is no more. */
static int64_t whole(const struct calls_case *row)
{
    int in = (int)NEED(open(row->path, O_RDONLY)), out = (int)NEED(open(row->other, O_WRONLY));
    int64_t done = 0, got;

    while ((got = copy_file_range(in, NULL, out, NULL, (size_t)(row->len - done), 0)) > 0)
        done += got;
    EXPECT_EQ(lseek(in, 0, SEEK_CUR), done);
    EXPECT_EQ(lseek(out, 0, SEEK_CUR), done);
    return got < 0 ? got : done;
}

/* Neither file sees what is later written to the other. */
static int64_t apart(const struct calls_case *row)
{
    int in = (int)NEED(open(row->path, O_RDWR));

    if (call(row) < 0)
        return -1;
    return pwrite(in, "#", 1, row->at);
}

static int64_t bad_flags(const struct calls_case *row)
{
    int in = (int)NEED(open(row->path, O_RDONLY)), out = (int)NEED(open(row->other, O_WRONLY));

    return copy_file_range(in, NULL, out, NULL, (size_t)row->len, 1 << 20);
}

static const struct calls_case rows[] = {
    {"a whole file", "file a 3M; file b 0", .path = "a", .other = "b", .len = 3 << 20,
     .want = 3 << 20, .after = "file b 3M", .call = whole},
    {"to the end of the file", "file a 10000; file b 0", .path = "a", .other = "b", .len = 1 << 20,
     .want = 10000, .after = "file b 10000", .call = whole},
    {"a part into a part", "file a 10000; hole b 10000", .path = "a", .other = "b", .at = 100,
     .mode = 5000, .len = 200, .want = 200,
     .after = "size b 10000; zeros b 0 5000; pattern b 5000 200 100; zeros b 5200 4800"},
    {"whole blocks", "file a 256K; hole b 256K", .path = "a", .other = "b", .at = 65536,
     .mode = 131072, .len = 65536, .want = 65536,
     .after = "zeros b 0 128K; pattern b 128K 64K 64K; zeros b 192K 64K"},
    {"beyond the end of the other", "file a 100; file b 0", .path = "a", .other = "b",
     .mode = 50000, .len = 100, .want = 100,
     .after = "size b 50100; zeros b 0 50000; pattern b 50000 100 0"},
    {"inside one file", "file a 10000", .path = "a", .other = "a", .at = 0, .mode = 5000,
     .len = 1000, .want = 1000,
     .after = "size a 10000; pattern a 5000 1000 0; pattern a 6000 4000 6000"},
    {"inside one file, overlapping", "file a 10000", .path = "a", .other = "a", .at = 0,
     .mode = 500, .len = 1000, .want = -EINVAL, .after = "file a 10000"},
    {"both go their ways", "file a 128K; file b 0", .path = "a", .other = "b", .len = 131072,
     .want = 1, .after = "file b 128K; pattern a 1 131071 1", .call = apart},
    {"from beyond the end", "file a 100; file b 0", .path = "a", .other = "b", .at = 200,
     .len = 100, .want = 0, .after = "file b 0"},
    {"nothing", "file a 100; file b 0", .path = "a", .other = "b", .len = 0, .want = 0},
    {"to a file open for reading", "file a 100; file b 0", .path = "a", .other = "b",
     .flags = O_RDONLY | O_CLOEXEC, .len = 100, .want = -EBADF},
    {"to a file open for appending", "file a 100; file b 0", .path = "a", .other = "b",
     .flags = O_WRONLY | O_APPEND, .len = 100, .want = -EBADF},
    {"from a directory", "dir d; file b 0", .path = "d", .other = "b", .len = 100, .want = -EISDIR},
    {"unknown flags", "file a 100; file b 0", .path = "a", .other = "b", .len = 100,
     .want = -EINVAL, .call = bad_flags},
};

CALLS("copy_file_range", call, rows)
