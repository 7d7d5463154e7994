/* SPDX-License-Identifier: MIT */
/*
 * Memory that goes back to the system. A trim stands beside fallocate(2), which punches as much out
 * of a bare file on the same tmpfs. That file was only allocated; or it is mapped and was touched,
 * as a pool's memory is. Each sample gets the memory first, which is not measured. The CPU time of
 * the thread counts.
 *
 * Then a pool is filled and emptied ten times over, with a watermark and without. How much memory
 * does it keep beside its live data? The most that was seen after any call counts.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIM_BYTES (bench.quick ? 64 * LAB_MIB : 1024 * LAB_MIB)
#define CYCLE_BYTES (64 * LAB_MIB)
#define ABOVE_BYTES (16 * LAB_MIB)
#define CYCLES (bench.quick ? 2u : 10u)
#define FILE_BYTES (LAB_MIB)
#define CYCLE_FILES (CYCLE_BYTES / FILE_BYTES)

static struct space_pool {
    const char *data;
    struct hf_pool *pool;
} trimmed, above, by_hand;
static int bare = -1;
static char *mapping, *content;

static int64_t space_must(int64_t rc, const char *what)
{
    return bench_must(&bench_real, rc, what);
}

static void make_space_pool(struct space_pool *made, const char *name, uint64_t bytes,
                            uint64_t trim_above_bytes)
{
    const struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = bytes, .trim_above_bytes = trim_above_bytes};

    const char *path = bench_text("%s/%s", bench.folder, name);

    made->data = bench_text("%s/data", path);
    space_must(hf_pool_create(path, &options), "making a pool");
    space_must(hf_pool_open(path, 0, &made->pool), "opening a pool");
}

static uint64_t pool_memory_bytes(const struct space_pool *of)
{
    struct stat st;

    bench_must_host(stat(of->data, &st), "stat of a pool's memory");
    return (uint64_t)st.st_blocks * 512;
}

/* ------------------------------------------------------------------------- trims --------- */

static double measure_trim(void *state)
{
    struct hf_trim_result result = {.size = sizeof result};
    struct hf_file *file;
    uint64_t start;

    (void)state;
    space_must(hf_open(trimmed.pool, "/large", O_RDWR | O_CREAT, 0600, &file), "making a file");
    space_must(hf_fallocate(file, 0, 0, TRIM_BYTES, NULL), "allocating");
    space_must(hf_close(file), "closing");
    space_must(hf_unlink(trimmed.pool, "/large", NULL), "deleting a file");
    start = bench_own_cpu_ns();
    space_must(hf_pool_trim(trimmed.pool, 0, &result), "trimming");
    start = bench_own_cpu_ns() - start;
    if (result.given_bytes + LAB_MIB < TRIM_BYTES)
        lab_fail("a trim has given back %" PRIu64 " bytes", result.given_bytes);
    return (double)start / 1e6;
}

/* In pieces of so many bytes. */
static double punch_bare(uint64_t piece)
{
    uint64_t start = bench_own_cpu_ns();

    for (uint64_t at = 0; at < TRIM_BYTES; at += piece)
        bench_must_host(
            fallocate(bare, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)piece),
            "punching a file");
    return (double)(bench_own_cpu_ns() - start) / 1e6;
}

static double measure_bare(void *state)
{
    (void)state;
    bench_must_host(fallocate(bare, 0, 0, (off_t)TRIM_BYTES), "allocating a file");
    return punch_bare(TRIM_BYTES);
}

static void touch_mapping(void)
{
    for (uint64_t at = 0; at < TRIM_BYTES; at += 4096)
        mapping[at] = 1;
}

static double measure_bare_mapped(void *state)
{
    (void)state;
    touch_mapping();
    return punch_bare(TRIM_BYTES);
}

static double measure_bare_pieces(void *state)
{
    (void)state;
    touch_mapping();
    return punch_bare(HF_HUGE_BYTES);
}

/* ------------------------------------------------------------------------- cycles -------- */

static void note_most(const struct space_pool *of, unsigned files, double *most)
{
    double beside =
        ((double)pool_memory_bytes(of) - (double)files * (double)FILE_BYTES) / (double)LAB_MIB;

    *most = beside > *most ? beside : *most;
}

static void fill_and_empty(const struct space_pool *of, double *most)
{
    struct hf_file *file;
    char name[16];
    unsigned files;

    for (files = 0; files < CYCLE_FILES; files++) {
        snprintf(name, sizeof name, "/%u", files);
        space_must(hf_open(of->pool, name, O_RDWR | O_CREAT, 0600, &file), "making a file");
        space_must(hf_write(file, content, FILE_BYTES, 0), "writing");
        space_must(hf_close(file), "closing");
        note_most(of, files + 1, most);
    }
    while (files--) {
        snprintf(name, sizeof name, "/%u", files);
        space_must(hf_unlink(of->pool, name, NULL), "deleting a file");
        note_most(of, files, most);
    }
}

static double measure_cycles(void *state)
{
    double most = 0;

    for (unsigned i = 0; i < CYCLES; i++)
        fill_and_empty(state, &most);
    return most;
}

/* ------------------------------------------------------------------------- the group ----- */

static void add_trims(struct bench_group *group)
{
    const char *situation = bench_text("%" PRIu64 " MiB free, tmpfs", TRIM_BYTES / LAB_MIB);

    make_space_pool(&trimmed, "trimmed", TRIM_BYTES, 0);
    bare = (int)bench_must_host(
        open(bench_text("%s/bare", bench.folder), O_RDWR | O_CREAT | O_CLOEXEC, 0600),
        "a bare file");
    bench_must_host(ftruncate(bare, (off_t)TRIM_BYTES), "a bare file");
    mapping = mmap(NULL, TRIM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, bare, 0);
    if (mapping == MAP_FAILED)
        lab_fail("mapping a bare file: %s", strerror(errno));
    bench_add(group, (struct bench_row){.key = "space.punch.written",
                                        .situation = situation,
                                        .subject = "fallocate, punch",
                                        .measure = measure_bare});
    bench_add(group, (struct bench_row){.key = "space.punch.mapped",
                                        .situation = situation,
                                        .subject = "the same, mapped and touched",
                                        .beside = "space.punch.written",
                                        .measure = measure_bare_mapped});
    bench_add(group, (struct bench_row){.key = "space.punch.pieces",
                                        .situation = situation,
                                        .subject = "the same, 2 MiB at a time",
                                        .beside = "space.punch.written",
                                        .measure = measure_bare_pieces});
    bench_add(group, (struct bench_row){.key = "space.trim",
                                        .situation = situation,
                                        .subject = "hf_pool_trim",
                                        .beside = "space.punch.written",
                                        .measure = measure_trim});
}

static void begin_space(struct bench_group *group)
{
    const char *situation =
        bench_text("filled and emptied %u times: kept beside live data", CYCLES);

    content = lab_alloc(FILE_BYTES);
    memset(content, 7, FILE_BYTES);
    if (bench_has_room(2 * TRIM_BYTES, "trims"))
        add_trims(group);
    make_space_pool(&by_hand, "by-hand", CYCLE_BYTES, 0);
    make_space_pool(&above, "above", CYCLE_BYTES, ABOVE_BYTES);
    bench_add(group, (struct bench_row){.key = "space.kept.by-hand",
                                        .situation = situation,
                                        .subject = "no watermark",
                                        .measure = measure_cycles,
                                        .state = &by_hand,
                                        .unit = "MiB"});
    bench_add(group, (struct bench_row){.key = "space.kept.above",
                                        .situation = situation,
                                        .subject = "--trim-above 16M",
                                        .beside = "space.kept.by-hand",
                                        .measure = measure_cycles,
                                        .state = &above,
                                        .unit = "MiB"});
    bench_add_laid(group);
}

static void end_space_pool(struct space_pool *made)
{
    if (made->pool)
        space_must(hf_pool_close(made->pool), "closing a pool");
    made->pool = NULL;
}

static void end_space(void)
{
    end_space_pool(&trimmed);
    end_space_pool(&by_hand);
    end_space_pool(&above);
    bench_end_laid();
    if (bare >= 0) {
        munmap(mapping, TRIM_BYTES);
        close(bare);
        unlink(bench_text("%s/bare", bench.folder));
        bare = -1;
    }
    free(content);
}

struct bench_group bench_space_group = {
    .name = "space",
    .title = "memory given back",
    .help = "memory of free blocks that goes back to the system, and huge entries",
    .unit = "ms",
    .ratio = "x",
    .begin = begin_space,
    .end = end_space,
};
