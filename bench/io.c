/* SPDX-License-Identifier: MIT */
/*
 * Content. Random reads of 4 KiB in place through a pin stand beside pread(2) on tmpfs into a
 * private buffer. They also stand beside a plain mapping of a tmpfs file, where nothing protects
 * the reader. Both are done in a range that the processor's cache holds and in one that it does
 * not. Then a file is written and read from one end to the other in calls of 1 MiB, beside a tmpfs
 * file. A random read sums one word of each cache line, so that the page is touched. Random reads
 * wait for nothing, so CPU time is measured.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_BYTES (256 * LAB_MIB)
#define CALL_BYTES LAB_MIB
#define CALLS (FILE_BYTES / CALL_BYTES)
#define RANDOM_READS 50000u
#define LINE_WORDS 8u

static struct bench_pool *pool;
static struct hf_file *file;
static int fd = -1;
static const char *map;
static char *buffer; /* of one call */

static volatile uint64_t sink; /* keeps the sums alive */

static uint64_t touch(const void *page)
{
    const uint64_t *words = page;
    uint64_t sum = 0;

    for (unsigned i = 0; i < LAB_PAGE / sizeof *words; i += LINE_WORDS)
        sum += words[i];
    return sum;
}

/* ---------------------------------------------------------------------- random reads ----- */

static uint64_t read_pinned(uint64_t off)
{
    struct iovec iov;
    struct hf_pin pin;
    uint64_t sum;

    bench_must(&bench_real, hf_pin(file, off, LAB_PAGE, HF_PIN_READ, &iov, 1, &pin), "pinning");
    sum = touch(iov.iov_base);
    hf_unpin(&pin);
    return sum;
}

static uint64_t read_copied(uint64_t off)
{
    bench_must_host(pread(fd, buffer, LAB_PAGE, (off_t)off), "pread");
    return touch(buffer);
}

static uint64_t read_mapped(uint64_t off)
{
    return touch(map + off);
}

struct reads {
    const char *key, *subject;
    uint64_t (*read_page)(uint64_t off);
    uint64_t range_bytes;
};

static double measure_random(void *state)
{
    const struct reads *reads = state;
    unsigned count = bench.quick ? RANDOM_READS / 10 : RANDOM_READS;
    uint64_t chance = 1, sum = 0, start = bench_own_cpu_ns();

    for (unsigned i = 0; i < count; i++)
        sum += reads->read_page(lab_below(&chance, reads->range_bytes / LAB_PAGE) * LAB_PAGE);
    sink = sum;
    return (double)(bench_own_cpu_ns() - start) / count / 1000;
}

static void add_random(struct bench_group *group, const char *key, const char *situation,
                       uint64_t range_bytes)
{
    static const struct reads ways[] = {
        {"holdfast", "Holdfast, in place through a pin", read_pinned, 0},
        {"tmpfs", "pread, tmpfs", read_copied, 0},
        {"mapped", "a mapping, unprotected", read_mapped, 0},
    };

    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct reads *reads = lab_alloc(sizeof *reads);

        *reads = ways[i];
        reads->range_bytes = range_bytes;
        bench_add(group,
                  (struct bench_row){.key = bench_text("read.%s.%s", key, reads->key),
                                     .situation = situation,
                                     .subject = reads->subject,
                                     .beside = i ? bench_text("read.%s.holdfast", key) : NULL,
                                     .measure = measure_random,
                                     .state = reads});
    }
}

/* ------------------------------------------------------------------------ in sequence ---- */

static double us_per_call(uint64_t start)
{
    return (double)(lab_now_ns() - start) / (double)CALLS / 1000;
}

static double measure_pool_read(void *state)
{
    uint64_t start = lab_now_ns();

    (void)state;
    for (uint64_t i = 0; i < CALLS; i++)
        bench_must(&bench_real, hf_read(file, buffer, CALL_BYTES, i * CALL_BYTES), "reading");
    return us_per_call(start);
}

static double measure_host_read(void *state)
{
    uint64_t start = lab_now_ns();

    (void)state;
    for (uint64_t i = 0; i < CALLS; i++)
        bench_must_host(pread(fd, buffer, CALL_BYTES, (off_t)(i * CALL_BYTES)), "pread");
    return us_per_call(start);
}

static double measure_pool_write(void *state)
{
    uint64_t start;

    (void)state;
    bench_must(&bench_real, hf_truncate(file, 0, NULL), "emptying a file");
    start = lab_now_ns();
    for (uint64_t i = 0; i < CALLS; i++)
        bench_must(&bench_real, hf_write(file, buffer, CALL_BYTES, i * CALL_BYTES), "writing");
    return us_per_call(start);
}

static double measure_host_write(void *state)
{
    uint64_t start;

    (void)state;
    bench_must_host(ftruncate(fd, 0), "ftruncate");
    start = lab_now_ns();
    for (uint64_t i = 0; i < CALLS; i++)
        bench_must_host(pwrite(fd, buffer, CALL_BYTES, (off_t)(i * CALL_BYTES)), "pwrite");
    return us_per_call(start);
}

/* ------------------------------------------------------------------------- the files ----- */

static void open_io_files(void)
{
    pool = bench_pool_new(FILE_BYTES + 64 * LAB_MIB);
    file = bench_file_new(pool);
    fd = open(bench.folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    bench_must_host(fd, "making a tmpfs file");
    buffer = lab_alloc(CALL_BYTES);
    memset(buffer, 'h', CALL_BYTES);
    measure_pool_write(NULL);
    measure_host_write(NULL);
}

/* Every page has been touched once by each of the three ways. */
static void warm(void)
{
    map = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        lab_fail("mmap: %s", strerror(errno));
    for (uint64_t off = 0; off < FILE_BYTES; off += LAB_PAGE)
        sink = read_pinned(off) + read_copied(off) + read_mapped(off);
}

static void close_io_files(void)
{
    if (map)
        munmap((void *)(uintptr_t)map, FILE_BYTES);
    map = NULL;
    close(fd);
    free(buffer);
    bench_must(&bench_real, hf_close(file), "closing");
    bench_pool_end(pool);
}

static void begin_read(struct bench_group *group)
{
    static const char in_sequence[] = "256 MiB from end to end, 1 MiB a call";

    open_io_files();
    warm();
    add_random(group, "cached", "4 KiB at random in 16 MiB, touched", 16 * LAB_MIB);
    add_random(group, "random", "4 KiB at random in 256 MiB, touched", FILE_BYTES);
    bench_add(group, (struct bench_row){.key = "read.sequence.holdfast",
                                        .situation = in_sequence,
                                        .subject = "Holdfast, hf_read",
                                        .measure = measure_pool_read});
    bench_add(group, (struct bench_row){.key = "read.sequence.tmpfs",
                                        .situation = in_sequence,
                                        .subject = "pread, tmpfs",
                                        .beside = "read.sequence.holdfast",
                                        .measure = measure_host_read});
}

static void begin_write(struct bench_group *group)
{
    static const char in_sequence[] = "a new file of 256 MiB, 1 MiB a call";

    open_io_files();
    bench_add(group, (struct bench_row){.key = "write.sequence.holdfast",
                                        .situation = in_sequence,
                                        .subject = "Holdfast, hf_write",
                                        .measure = measure_pool_write});
    bench_add(group, (struct bench_row){.key = "write.sequence.tmpfs",
                                        .situation = in_sequence,
                                        .subject = "pwrite, tmpfs",
                                        .beside = "write.sequence.holdfast",
                                        .measure = measure_host_write});
}

struct bench_group bench_read_group = {
    .name = "read",
    .title = "reads",
    .help = "4 KiB at random in place, and 256 MiB from end to end, beside tmpfs",
    .unit = "us",
    .ratio = "x Holdfast",
    .begin = begin_read,
    .end = close_io_files,
};

struct bench_group bench_write_group = {
    .name = "write",
    .title = "writes",
    .help = "a new file of 256 MiB, beside tmpfs",
    .unit = "us",
    .ratio = "x Holdfast",
    .begin = begin_write,
    .end = close_io_files,
};
