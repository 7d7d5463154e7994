/* SPDX-License-Identifier: MIT */
/* lseek(2): `flags` is whence; `a` has 64 KiB of data, a hole to 128 KiB, data to 192 KiB, a hole
 * to 256 KiB */
#include "calls.h"

#define KIB 1024

static int64_t call(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY | O_NONBLOCK));

    lseek(fd, 10, SEEK_SET); /* a FIFO has none */
    return lseek(fd, row->at, row->flags);
}

static int64_t with_holes(const struct calls_case *row)
{
    static char block[64 * KIB];
    int fd = (int)NEED(open(row->path, O_RDWR | O_CREAT, 0600));

    memset(block, 'd', sizeof(block));
    EXPECT_EQ(pwrite(fd, block, sizeof(block), 0), sizeof(block));
    EXPECT_EQ(pwrite(fd, block, sizeof(block), 128 * KIB), sizeof(block));
    NEED(ftruncate(fd, 256 * KIB));
    return lseek(fd, row->at, row->flags);
}

static int64_t stays_after_error(const struct calls_case *row)
{
    int fd = (int)NEED(open(row->path, O_RDONLY));

    NEED(lseek(fd, 5, SEEK_SET));
    EXPECT_EQ(lseek(fd, -6, SEEK_CUR), -1);
    EXPECT_EQ(errno, EINVAL);
    return lseek(fd, 0, SEEK_CUR);
}

static const struct calls_case rows[] = {
    {"SEEK_SET", "file a 100", .path = "a", .at = 7, .flags = SEEK_SET, .want = 7},
    {"SEEK_CUR", "file a 100", .path = "a", .at = -3, .flags = SEEK_CUR, .want = 7},
    {"SEEK_END", "file a 100", .path = "a", .at = -1, .flags = SEEK_END, .want = 99},
    {"beyond the end", "file a 100", .path = "a", .at = 5000, .flags = SEEK_END, .want = 5100,
     .after = "size a 100"},
    {"before the beginning", "file a 100", .path = "a", .at = -101, .flags = SEEK_END,
     .want = -EINVAL},
    {"an error leaves the offset", "file a 100", .path = "a", .want = 5, .call = stays_after_error},
    {"no such whence", "file a 100", .path = "a", .flags = 99, .want = -EINVAL},
    {"a FIFO", "fifo p", .path = "p", .want = -ESPIPE},
    {"SEEK_DATA in data", "", .path = "a", .at = 5, .flags = SEEK_DATA, .want = 5,
     .call = with_holes},
    {"SEEK_DATA in a hole", "", .path = "a", .at = 70 * KIB, .flags = SEEK_DATA, .want = 128 * KIB,
     .call = with_holes},
    {"SEEK_DATA in the last hole", "", .path = "a", .at = 200 * KIB, .flags = SEEK_DATA,
     .want = -ENXIO, .call = with_holes},
    {"SEEK_DATA at the end", "", .path = "a", .at = 256 * KIB, .flags = SEEK_DATA, .want = -ENXIO,
     .call = with_holes},
    {"SEEK_HOLE in data", "", .path = "a", .at = 5, .flags = SEEK_HOLE, .want = 64 * KIB,
     .call = with_holes},
    {"SEEK_HOLE in a hole", "", .path = "a", .at = 70 * KIB, .flags = SEEK_HOLE, .want = 70 * KIB,
     .call = with_holes},
    {"SEEK_HOLE in the later data", "", .path = "a", .at = 130 * KIB, .flags = SEEK_HOLE,
     .want = 192 * KIB, .call = with_holes},
    {"SEEK_HOLE at the end", "", .path = "a", .at = 256 * KIB, .flags = SEEK_HOLE, .want = -ENXIO,
     .call = with_holes},
    {"SEEK_HOLE without holes is the end", "file a 5000", .path = "a", .at = 0, .flags = SEEK_HOLE,
     .want = 5000},
    {"SEEK_DATA of an empty file", "file a 0", .path = "a", .at = 0, .flags = SEEK_DATA,
     .want = -ENXIO},
    {"SEEK_DATA of nothing but a hole", "hole a 1M", .path = "a", .at = 0, .flags = SEEK_DATA,
     .want = -ENXIO},
};

CALLS("lseek", call, rows)
