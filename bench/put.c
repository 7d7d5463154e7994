/* SPDX-License-Identifier: MIT */
/*
 * 256 KiB that become a part of a file: put in place, beside hf_write() from a buffer. The bytes
 * come from a buffer of the program, from a pipe, or from a disk with O_DIRECT. Beside it the way
 * that there was before puts: allocate, which zeroes, then pin and fill. And the read alone, which
 * no way can do without. The CPU time of the thread counts, since a disk takes as long either way,
 * and copies by itself.
 *
 * A device reads faster into a huge page than into 64 small ones, since the kernel holds one page
 * then. The memory of a pool is huge pages, as far as the kernel makes them; that of a program is
 * small ones unless it asks. So a buffer of each kind is measured.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/put.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PUT_BYTES (256 * 1024ul)
#define PUTS (bench.quick ? 8u : 128u)
#define PIECES 32

static struct bench_pool *pool;
static struct hf_file *file;
static char *bytes;          /* what is put */
static char *between, *huge; /* where it is read to first: memory as it comes, and a huge page */
static int pipe_ends[2] = {-1, -1}, disk = -1;

static int64_t put_must(int64_t rc, const char *what)
{
    return bench_must(&bench_real, rc, what);
}

/* ------------------------------------------------------------------------- sources ------- */

struct source {
    const char *key, *situation;
    void (*refill)(void); /* what is not measured; may be null */
    void (*fill)(const struct iovec *iov, int count, uint64_t off);
    uint32_t flags; /* of the put: a disk may go on after the death of the process */
};

static void fill_from_memory(const struct iovec *iov, int count, uint64_t off)
{
    const char *from = bytes;

    (void)off;
    for (int i = 0; i < count; i++) {
        memcpy(iov[i].iov_base, from, iov[i].iov_len);
        from += iov[i].iov_len;
    }
}

static void refill_pipe(void)
{
    if (bench_must_host(write(pipe_ends[1], bytes, PUT_BYTES), "write to a pipe") != PUT_BYTES)
        lab_fail("a pipe takes less than %lu bytes", PUT_BYTES);
}

static void fill_from_pipe(const struct iovec *iov, int count, uint64_t off)
{
    (void)off;
    if (bench_must_host(readv(pipe_ends[0], iov, count), "reading a pipe") != PUT_BYTES)
        lab_fail("a pipe gives less than %lu bytes", PUT_BYTES);
}

static void fill_from_disk(const struct iovec *iov, int count, uint64_t off)
{
    if (bench_must_host(preadv(disk, iov, count, (off_t)off), "reading a disk") != PUT_BYTES)
        lab_fail("a disk gives less than %lu bytes", PUT_BYTES);
}

static const struct source sources[] = {
    {"memory", "from a buffer", NULL, fill_from_memory, HF_PIN_CPU},
    {"pipe", "read from a pipe", refill_pipe, fill_from_pipe, HF_PIN_CPU},
    {"disk", "read from a disk, O_DIRECT", NULL, fill_from_disk, HF_PIN_IO_URING},
};
#define SOURCES (sizeof sources / sizeof sources[0])

/* ---------------------------------------------------------------------------- ways ------- */

static void put_one(const struct source *source, uint64_t off)
{
    struct iovec iov[PIECES];
    struct hf_put put;
    int count = (int)put_must(hf_put_begin(file, off, PUT_BYTES, source->flags, iov, PIECES, &put),
                              "beginning");

    source->fill(iov, count, off);
    put_must(hf_put_commit(file, &put, PUT_BYTES), "committing");
}

static void write_from(const struct source *source, uint64_t off, char *buffer)
{
    const struct iovec iov = {buffer, PUT_BYTES};

    if (source->fill != fill_from_memory)
        source->fill(&iov, 1, off);
    put_must(hf_write(file, source->fill == fill_from_memory ? bytes : buffer, PUT_BYTES, off),
             "writing");
}

static void write_one(const struct source *source, uint64_t off)
{
    write_from(source, off, between);
}

static void write_huge(const struct source *source, uint64_t off)
{
    write_from(source, off, huge);
}

static void allocate_one(const struct source *source, uint64_t off)
{
    struct iovec iov[PIECES];
    struct hf_pin pin;
    int count;

    put_must(hf_fallocate(file, 0, off, PUT_BYTES, NULL), "allocating");
    count = (int)put_must(hf_pin(file, off, PUT_BYTES, HF_PIN_WRITE, iov, PIECES, &pin), "pinning");
    source->fill(iov, count, off);
    put_must(hf_unpin(&pin), "letting go");
}

static void read_alone(const struct source *source, uint64_t off)
{
    const struct iovec iov = {huge, PUT_BYTES};

    source->fill(&iov, 1, off);
}

static const struct way {
    const char *key, *subject;
    void (*once)(const struct source *source, uint64_t off);
} ways[] = {
    {"write", "hf_write", write_one},
    {"place", "hf_put_begin, hf_put_commit", put_one},
    {"allocate", "hf_fallocate, hf_pin", allocate_one},
    {"huge", "hf_write, from a huge page", write_huge},
    {"alone", "nothing but the read, into a huge page", read_alone},
};
#define WAYS (sizeof ways / sizeof ways[0])

struct pair {
    const struct source *source;
    const struct way *way;
};

/* Only once and refill take turns; the blocks are those of the round before. */
static double measure_puts(void *state)
{
    const struct pair *pair = state;
    uint64_t ns = 0;

    put_must(hf_truncate(file, 0, NULL), "emptying a file");
    for (unsigned i = 0; i < PUTS; i++) {
        uint64_t start;

        if (pair->source->refill)
            pair->source->refill();
        start = bench_own_cpu_ns();
        pair->way->once(pair->source, i * PUT_BYTES);
        ns += bench_own_cpu_ns() - start;
    }
    return (double)ns / PUTS / 1000;
}

static void add_source(struct bench_group *group, const struct source *source)
{
    for (size_t i = 0; i < WAYS; i++) {
        struct pair *pair;

        if (source->fill == fill_from_memory &&
            (ways[i].once == read_alone || ways[i].once == write_huge))
            continue;
        pair = lab_alloc(sizeof *pair);
        *pair = (struct pair){source, &ways[i]};
        bench_add(group,
                  (struct bench_row){.key = bench_text("put.%s.%s", source->key, ways[i].key),
                                     .situation = source->situation,
                                     .subject = ways[i].subject,
                                     .beside = i ? bench_text("put.%s.write", source->key) : NULL,
                                     .measure = measure_puts,
                                     .state = pair});
    }
}

/* ---------------------------------------------------------------------------- group ------ */

static char *page_aligned(uint64_t size, int advice)
{
    void *at = NULL;

    if (posix_memalign(&at, HF_HUGE_BYTES, size))
        lab_fail("no memory");
    madvise(at, size, advice);
    memset(at, 'h', size);
    return at;
}

static void open_pipe(void)
{
    bench_must_host(pipe2(pipe_ends, O_CLOEXEC), "pipe");
    bench_must_host(fcntl(pipe_ends[1], F_SETPIPE_SZ, (int)PUT_BYTES), "F_SETPIPE_SZ");
}

/* False: there is no disk's file system, or none that takes O_DIRECT. */
static bool open_disk(void)
{
    disk = bench.disk ? open(bench.disk, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600) : -1;
    for (unsigned i = 0; disk >= 0 && i < PUTS; i++)
        bench_must_host(pwrite(disk, bytes, PUT_BYTES, (off_t)(i * PUT_BYTES)), "writing a file");
    if (disk < 0)
        bench_note("put: no file system here takes O_DIRECT, so the rows of a disk are left out");
    return disk >= 0;
}

static void begin_puts(struct bench_group *group)
{
    pool = bench_pool_new(PUTS * PUT_BYTES + 64 * LAB_MIB);
    file = bench_file_new(pool);
    bytes = page_aligned(PUT_BYTES, MADV_NORMAL);
    between = page_aligned(PUT_BYTES, MADV_NORMAL);
    huge = page_aligned(HF_HUGE_BYTES, MADV_HUGEPAGE);
    open_pipe();
    add_source(group, &sources[0]);
    add_source(group, &sources[1]);
    if (open_disk())
        add_source(group, &sources[SOURCES - 1]);
}

static void end_puts(void)
{
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    if (disk >= 0)
        close(disk);
    free(bytes);
    free(between);
    free(huge);
    put_must(hf_close(file), "closing");
    bench_pool_end(pool);
}

struct bench_group bench_put_group = {
    .name = "put",
    .title = "puts of 256 KiB, CPU time",
    .help = "256 KiB put in place, beside hf_write from a buffer",
    .unit = "us",
    .ratio = "x hf_write",
    .begin = begin_puts,
    .end = end_puts,
};
