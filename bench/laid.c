/* SPDX-License-Identifier: MIT */
/*
 * The rows of the group space of files that are laid for huge entries. A file is written in single
 * pages, no page right after its neighbour. Which share of its whole 2 MiB lies under huge
 * entries after hf_compact()? In one pool there is free memory in one piece. In another an eighth
 * is free, in single pages that lie everywhere. A pin of all of the file then stands beside one of
 * a file that was written from its start to its end.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LARGE_BYTES (bench.quick ? 64 * LAB_MIB : 1024 * LAB_MIB)
#define TIGHT_BYTES (64 * LAB_MIB)
#define TIGHT_FILE_BYTES (TIGHT_BYTES / 2)
#define FREE_EVERY 4u /* page of the other half */
#define PIECES 4096

static struct hf_pool *large, *tight;
static struct hf_file *ordered, *scattered;
static struct iovec *pieces;
static double share_large, share_tight;

static int64_t laid_must(int64_t rc, const char *what)
{
    return bench_must(&bench_real, rc, what);
}

static struct hf_pool *make_laid_pool(const char *name, uint64_t bytes)
{
    const struct hf_pool_options options = {.size = sizeof options, .pool_bytes = bytes};
    const char *path = bench_text("%s/%s", bench.folder, name);
    struct hf_pool *pool;

    laid_must(hf_pool_create(path, &options), "making a pool");
    laid_must(hf_pool_open(path, 0, &pool), "opening a pool");
    return pool;
}

static struct hf_file *make_laid_file(struct hf_pool *pool, const char *name)
{
    struct hf_file *file;

    laid_must(hf_open(pool, name, O_RDWR | O_CREAT, 0600, &file), "making a file");
    return file;
}

static void write_laid_page(struct hf_file *file, uint64_t page)
{
    static const char bytes[LAB_PAGE] = "page";

    laid_must(hf_write(file, bytes, sizeof bytes, page * LAB_PAGE), "writing a page");
}

/* The step and the number of pages have no common divisor. */
static uint64_t mixed_up(uint64_t i, uint64_t pages)
{
    return (i * 7919 + 13) % pages;
}

static double compacted_share(struct hf_file *file)
{
    struct hf_compact_result result = {.size = sizeof result};

    laid_must(hf_compact(file, 0, 0, 0, NULL, &result), "compacting");
    return 100 * (double)result.huge_bytes / (double)result.run_bytes;
}

/* ---- the two pools ---- */

static void fill_large(void)
{
    char *content = lab_alloc(LAB_MIB);

    memset(content, 7, LAB_MIB);
    large = make_laid_pool("large", 2 * LARGE_BYTES + 4 * HF_HUGE_BYTES);
    ordered = make_laid_file(large, "/ordered");
    for (uint64_t at = 0; at < LARGE_BYTES; at += LAB_MIB)
        laid_must(hf_write(ordered, content, LAB_MIB, at), "writing");
    scattered = make_laid_file(large, "/scattered");
    for (uint64_t i = 0; i < LARGE_BYTES / LAB_PAGE; i++)
        write_laid_page(scattered, mixed_up(i, LARGE_BYTES / LAB_PAGE));
    share_large = compacted_share(scattered);
    free(content);
}

static void fill_tight(void)
{
    const uint64_t pages = TIGHT_BYTES / LAB_PAGE, half = TIGHT_FILE_BYTES / LAB_PAGE;
    struct hf_file *file, *other;

    tight = make_laid_pool("tight", TIGHT_BYTES);
    file = make_laid_file(tight, "/file");
    other = make_laid_file(tight, "/other");
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t at = mixed_up(i, pages);

        write_laid_page(at < half ? file : other, at % half);
    }
    for (uint64_t page = 0; page < half; page += FREE_EVERY)
        laid_must(hf_fallocate(other, HF_FALLOC_PUNCH_HOLE, page * LAB_PAGE, LAB_PAGE, NULL),
                  "punching a page");
    share_tight = compacted_share(file);
    laid_must(hf_close(file), "closing");
    laid_must(hf_close(other), "closing");
}

/* ---- the rows ---- */

static uint64_t pin_all(void *file)
{
    uint64_t start = lab_now_ns();
    struct hf_pin pin;

    laid_must(hf_pin(file, 0, LARGE_BYTES, HF_PIN_READ, pieces, PIECES, &pin), "pinning");
    laid_must(hf_unpin(&pin), "letting go");
    return lab_now_ns() - start;
}

static double measure_laid_pin(void *file)
{
    return bench_several(pin_all, file) / 1e3;
}

static double give_share(void *share)
{
    return *(double *)share;
}

static void add_large(struct bench_group *group)
{
    const char *situation = bench_text("pin of %" PRIu64 " MiB", LARGE_BYTES / LAB_MIB);

    fill_large();
    pieces = lab_alloc(PIECES * sizeof *pieces);
    bench_add(group, (struct bench_row){.key = "space.pin.ordered",
                                        .situation = situation,
                                        .subject = "written in order",
                                        .measure = measure_laid_pin,
                                        .state = ordered,
                                        .unit = "us"});
    bench_add(group, (struct bench_row){.key = "space.pin.compacted",
                                        .situation = situation,
                                        .subject = "written at random, then hf_compact",
                                        .beside = "space.pin.ordered",
                                        .measure = measure_laid_pin,
                                        .state = scattered,
                                        .unit = "us"});
}

void bench_add_laid(struct bench_group *group)
{
    const char *situation = "share of whole 2 MiB under huge entries";

    if (bench_has_room(3 * LARGE_BYTES, "pins")) {
        add_large(group);
        bench_add(group, (struct bench_row){.key = "space.laid.one-piece",
                                            .situation = situation,
                                            .subject = "free memory in one piece",
                                            .measure = give_share,
                                            .state = &share_large,
                                            .unit = "%",
                                            .more_is_better = true});
    }
    fill_tight();
    bench_add(group, (struct bench_row){.key = "space.laid.scattered",
                                        .situation = situation,
                                        .subject = "an eighth free, in single pages",
                                        .measure = give_share,
                                        .state = &share_tight,
                                        .unit = "%",
                                        .more_is_better = true});
}

void bench_end_laid(void)
{
    if (large) {
        laid_must(hf_close(ordered), "closing");
        laid_must(hf_close(scattered), "closing");
        laid_must(hf_pool_close(large), "closing a pool");
    }
    if (tight)
        laid_must(hf_pool_close(tight), "closing a pool");
    large = tight = NULL;
    free(pieces);
    pieces = NULL;
}
