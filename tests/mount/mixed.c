/* SPDX-License-Identifier: MIT */
/*
 * Every way to read and write a file, mixed at random on one file, against a copy in memory. There
 * are buffered, direct and appending system calls, mappings, pipes, and layout changes.
 *
 * usage: mixed FILE OPERATIONS [no-shared-mapping]
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_MOST 400000u /* bytes; not whole pages */
#define PIECE_MOST 70000u /* of one operation; some are larger than a pipe */
#define LOGGED 30

static unsigned char model[FILE_MOST], piece[FILE_MOST];
static size_t size;
static int file, direct, appending,
    ends[2]; /* direct: -1 where there is no O_DIRECT; ends: of a pipe */
static struct test_rng rng;

static struct operation {
    const char *what;
    size_t off, len;
} operations[LOGGED];
static unsigned long done;

static void show_operations(void)
{
    unsigned long first = done > LOGGED ? done - LOGGED : 0;

    for (unsigned long i = first; i < done; i++) {
        const struct operation *operation = &operations[i % LOGGED];

        fprintf(stderr, "operation %lu: %s %zu +%zu\n", i, operation->what, operation->off,
                operation->len);
    }
    fprintf(stderr, "the size is %zu\n", size);
}

/* A call that must succeed, and by all that was asked. */
static void expect_all(const char *call, ssize_t got, size_t want)
{
    if (got < 0)
        FAIL("%s: %s", call, strerror(errno));
    EXPECT_EQ(got, want);
}
#define ALL(call, want) expect_all(#call, call, want)

static void expect_bytes(const unsigned char *bytes, size_t off, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != model[off + i])
            FAIL("byte %zu is %u, not %u", off + i, bytes[i], model[off + i]);
}

static void make_piece(size_t len)
{
    uint64_t word = test_random(&rng);

    for (size_t i = 0; i < len; i++)
        piece[i] = (unsigned char)(test_mix(word, i / 8) >> (i % 8 * 8)) | 1;
}

/* The model after a write; what was beyond the end reads as zeros. */
static void was_written(size_t off, size_t len)
{
    memcpy(model + off, piece, len);
    if (off + len > size)
        size = off + len;
}

static void set_model_size(size_t bytes)
{
    if (bytes < size)
        memset(model + bytes, 0, size - bytes);
    size = bytes;
}

static size_t page_down(size_t off)
{
    return off / TEST_PAGE * TEST_PAGE;
}

/* ------------------------------------------------------------------------- operations ---- */
/* off + len is at most FILE_MOST; those marked `inside` get a range that ends by the end of
 * file. */

static void do_read(size_t off, size_t len)
{
    ALL(pread(file, piece, len, (off_t)off), len);
    expect_bytes(piece, off, len);
}

static void do_read_direct(size_t off, size_t len)
{
    size_t first = page_down(off), most = page_down(len) + 2 * TEST_PAGE, want;

    if (direct < 0)
        return;
    unsigned char *aligned = aligned_alloc(TEST_PAGE, most);
    want = size - first < most ? size - first : most;
    ALL(pread(direct, aligned, most, (off_t)first), want);
    expect_bytes(aligned, first, want);
    free(aligned);
}

static void do_read_pieces(size_t off, size_t len)
{
    struct iovec iov[3] = {{piece, len / 3},
                           {piece + len / 3, len / 5},
                           {piece + len / 3 + len / 5, len - len / 3 - len / 5}};

    ALL(preadv(file, iov, 3, (off_t)off), len);
    expect_bytes(piece, off, len);
}

static void do_read_through_pipe(size_t off, size_t len)
{
    off_t at = (off_t)off;

    while (len > 0) {
        ssize_t sent = sendfile(ends[1], file, &at, len < 65536 ? len : 65536);

        EXPECT(sent > 0);
        ALL(read(ends[0], piece, (size_t)sent), (size_t)sent);
        expect_bytes(piece, off, (size_t)sent);
        off += (size_t)sent;
        len -= (size_t)sent;
    }
}

static void do_read_mapped(size_t off, size_t len)
{
    size_t first = page_down(off);
    int flags = test_chance(&rng, 50) ? MAP_PRIVATE : MAP_PRIVATE | MAP_POPULATE;
    unsigned char *map = mmap(NULL, off + len - first, PROT_READ, flags, file, (off_t)first);

    EXPECT(map != MAP_FAILED);
    expect_bytes(map + (off - first), off, len);
    if (page_down(off + len - 1) == page_down(size - 1))
        for (size_t i = size - first; i % TEST_PAGE != 0; i++) /* the rest of the last page */
            EXPECT_EQ(map[i], 0);
    munmap(map, off + len - first);
}

static void do_write_mapped(size_t off, size_t len)
{
    size_t first = page_down(off);
    unsigned char *map =
        mmap(NULL, off + len - first, PROT_READ | PROT_WRITE, MAP_SHARED, file, (off_t)first);

    EXPECT(map != MAP_FAILED);
    make_piece(len);
    memcpy(map + (off - first), piece, len);
    was_written(off, len);
    expect_bytes(map + (off - first), off, len);
    if (test_chance(&rng, 30))
        EXPECT_EQ(msync(map, off + len - first, MS_SYNC), 0);
    munmap(map, off + len - first);
}

static void do_write(size_t off, size_t len)
{
    make_piece(len);
    ALL(pwrite(file, piece, len, (off_t)off), len);
    was_written(off, len);
}

static void do_write_direct(size_t off, size_t len)
{
    size_t first = page_down(off), whole = page_down(len);
    unsigned char *aligned;

    if (direct < 0 || whole == 0)
        return;
    aligned = aligned_alloc(TEST_PAGE, whole);
    make_piece(whole);
    memcpy(aligned, piece, whole);
    ALL(pwrite(direct, aligned, whole, (off_t)first), whole);
    was_written(first, whole);
    free(aligned);
}

static void do_append(size_t off, size_t len)
{
    (void)off;
    if (len > FILE_MOST - size)
        len = FILE_MOST - size;
    make_piece(len);
    ALL(write(appending, piece, len), len);
    was_written(size, len);
}

static void do_write_through_pipe(size_t off, size_t len)
{
    loff_t at = (loff_t)off;

    if (len > 4096)
        len = 4096;
    make_piece(len);
    ALL(write(ends[1], piece, len), len);
    ALL(splice(ends[0], NULL, file, &at, len, 0), len);
    was_written(off, len);
}

static void do_copy(size_t off, size_t len)
{
    loff_t from, to = (loff_t)off;

    if (size == 0)
        return;
    from = (loff_t)test_below(&rng, size);
    if (len > size - (size_t)from)
        len = size - (size_t)from;
    if (from < to + (loff_t)len && to < from + (loff_t)len)
        return;
    memcpy(piece, model + from, len);
    was_written(off, len);
    while (len > 0) { /* it may copy less than asked */
        ssize_t copied = copy_file_range(file, &from, file, &to, len, 0);

        if (copied <= 0)
            FAIL("copy_file_range: %s", strerror(errno));
        len -= (size_t)copied;
    }
}

static void do_truncate(size_t off, size_t len)
{
    (void)len;
    EXPECT_EQ(ftruncate(file, (off_t)off), 0);
    set_model_size(off);
}

static void do_allocate(size_t off, size_t len)
{
    EXPECT_EQ(fallocate(file, 0, (off_t)off, (off_t)len), 0);
    if (off + len > size)
        size = off + len;
}

static void zero_model(size_t off, size_t len)
{
    if (off < size)
        memset(model + off, 0, len < size - off ? len : size - off);
}

static void do_punch(size_t off, size_t len)
{
    EXPECT_EQ(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len),
              0);
    zero_model(off, len);
}

static void do_zero(size_t off, size_t len)
{
    int flags = FALLOC_FL_ZERO_RANGE | (test_chance(&rng, 50) ? FALLOC_FL_KEEP_SIZE : 0);

    if (fallocate(file, flags, (off_t)off, (off_t)len) != 0) {
        EXPECT_EQ(errno, EOPNOTSUPP); /* tmpfs */
        return;
    }
    zero_model(off, len);
    if (!(flags & FALLOC_FL_KEEP_SIZE) && off + len > size)
        size = off + len;
}

static void do_sync(size_t off, size_t len)
{
    (void)off, (void)len;
    EXPECT_EQ(test_chance(&rng, 50) ? fsync(file) : fdatasync(file), 0);
}

/* Old pages go out of the kernel's cache, those of others come back. */
static void do_forget(size_t off, size_t len)
{
    EXPECT_EQ(posix_fadvise(file, (off_t)off, (off_t)len, POSIX_FADV_DONTNEED), 0);
}

static const struct {
    const char *name;
    void (*run)(size_t off, size_t len);
    bool inside;
} kinds[] = {
    {"map shared and write", do_write_mapped, true}, /* the first, so that it can be left out */
    {"read", do_read, true},
    {"read directly", do_read_direct, true},
    {"read in pieces", do_read_pieces, true},
    {"read through a pipe", do_read_through_pipe, true},
    {"map privately and read", do_read_mapped, true},
    {"write", do_write, false},
    {"write directly", do_write_direct, false},
    {"append", do_append, false},
    {"write through a pipe", do_write_through_pipe, false},
    {"copy", do_copy, false},
    {"truncate", do_truncate, false},
    {"allocate", do_allocate, false},
    {"punch", do_punch, false},
    {"zero", do_zero, false},
    {"sync", do_sync, false},
    {"forget", do_forget, false},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void operate(size_t first_kind)
{
    size_t kind = first_kind + test_below(&rng, KINDS - first_kind);
    size_t most = kinds[kind].inside ? size : FILE_MOST;
    size_t off, len;

    if (most == 0)
        return;
    off = test_below(&rng, most);
    if (test_chance(&rng, 25))
        off = page_down(off);
    len = test_below(&rng, test_chance(&rng, 50) ? TEST_PAGE : PIECE_MOST) + 1;
    if (len > most - off)
        len = most - off;
    operations[done++ % LOGGED] = (struct operation){kinds[kind].name, off, len};
    kinds[kind].run(off, len);
}

static void expect_whole_file(void)
{
    struct stat st;

    EXPECT_EQ(fstat(file, &st), 0);
    EXPECT_EQ(st.st_size, size);
    ALL(pread(file, piece, FILE_MOST, 0), size);
    expect_bytes(piece, 0, size);
}

static int run(int argc, char **argv)
{
    unsigned long count;

    if (argc < 3)
        FAIL("usage: mixed FILE OPERATIONS [no-shared-mapping]");
    rng.state = test_seed();
    test_on_failure = show_operations;
    count = strtoul(argv[2], NULL, 0);
    file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    EXPECT(file >= 0);
    direct = open(argv[1], O_RDWR | O_DIRECT);
    appending = open(argv[1], O_WRONLY | O_APPEND);
    EXPECT(appending >= 0 && pipe(ends) == 0);
    for (unsigned long i = 0; i < count; i++) {
        operate(argc > 3);
        if (i % 20 == 0)
            expect_whole_file();
    }
    expect_whole_file();
    EXPECT_EQ(unlink(argv[1]), 0);
    expect_whole_file(); /* it lives on while it is open */
    printf("%lu operations\n", done);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, run);
}
