/* SPDX-License-Identifier: MIT */
/*
 * ns per pin+unpin, through the shared library. Biased: the file sees no layout change meanwhile, so a
 * pin needs no fence. Unbiased: it pays the fence; either because a layout change of another page comes
 * before each short batch of pins (so short that the bias does not come back, which the pool's count of
 * heavy barriers shows), or in bulk on a pool whose engine knows no bias (slots-fenced).
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define PAGES UINT64_C(256)
#define OWN_STRIDE 8u /* pages between those of two threads */
#define BATCH 100u
#define BATCHES 50u /* for one filling of the file */
#define FILLINGS 20u
#define CHANGED UINT64_C(128) /* pages from here on are punched, one a batch */
#define ROOM 512

static struct bench_pool *biased_pool, *fenced_pool, *large_pool;
static struct hf_file *biased_file, *fenced_file, *changed_file, *large_file, *small_file;
static uint64_t batches_done, biased_again; /* of the unbiased batches; those that met the bias */

struct pin_case {
    struct hf_file *file;
    unsigned threads;
    bool own_pages;
    uint64_t off, len;
};

static uint64_t pin_loop(void *arg, unsigned thread, const uint64_t *stop)
{
    const struct pin_case what = *(const struct pin_case *)arg;
    const uint64_t off = what.off + (what.own_pages ? thread * OWN_STRIDE * LAB_PAGE : 0);
    const unsigned between = what.len > HF_HUGE_BYTES ? 1 : 64; /* looks at *stop */
    struct iovec iov[ROOM];
    struct hf_pin pin;
    uint64_t count = 0;

    do {
        for (unsigned i = 0; i < between; i++)
            if (hf_pin(what.file, off, what.len, HF_PIN_READ, iov, ROOM, &pin) < 0 ||
                hf_unpin(&pin) != 0)
                lab_fail("a pin failed: %s", hf_strerror_detail());
        count += between;
    } while (!lab_peek(stop));
    return count;
}

static double measure_loop(void *state)
{
    const struct pin_case *what = state;

    return bench_together(what->threads, pin_loop, state);
}

static uint64_t barriers(void)
{
    struct hf_stats stats = {.size = sizeof stats};

    bench_must(&bench_real, hf_stats(biased_pool->pool, &stats), "looking at the pool");
    return stats.barriers;
}

/* A batch right after a layout change of another page that had an entry. */
static uint64_t time_batch(uint64_t changed_page)
{
    const uint64_t len = LAB_PAGE;
    struct iovec iov;
    struct hf_pin pin;
    uint64_t start;

    bench_must(&bench_real,
               hf_fallocate(changed_file, HF_FALLOC_PUNCH_HOLE, changed_page * LAB_PAGE, len, NULL),
               "punching");
    start = lab_now_ns();
    for (unsigned i = 0; i < BATCH; i++)
        if (hf_pin(changed_file, 0, len, HF_PIN_READ, &iov, 1, &pin) < 0 || hf_unpin(&pin) != 0)
            lab_fail("a pin failed: %s", hf_strerror_detail());
    return lab_now_ns() - start - bench_clock_ns();
}

static double measure_after_change(void *state)
{
    unsigned fillings = bench.quick ? 2 : FILLINGS;
    uint64_t ns = 0;

    (void)state;
    for (unsigned filling = 0; filling < fillings; filling++) {
        uint64_t paid;

        bench_file_fill(biased_pool, changed_file, PAGES);
        bench_file_map(biased_pool, changed_file, 0, PAGES);
        time_batch(CHANGED); /* takes the bias away */
        paid = barriers();
        for (unsigned i = 1; i <= BATCHES; i++)
            ns += time_batch(CHANGED + i);
        biased_again += barriers() - paid;
        batches_done += BATCHES;
    }
    return (double)ns / (fillings * BATCHES * BATCH);
}

/* ----------------------------------------------------------------------------- rows ------ */

static void add_case(struct bench_group *group, const char *key, const char *beside,
                     const char *situation, struct pin_case what)
{
    struct pin_case *state = lab_alloc(sizeof *state);

    *state = what;
    bench_add(group, (struct bench_row){.key = key,
                                        .situation = situation,
                                        .subject = "Holdfast",
                                        .beside = beside,
                                        .measure = measure_loop,
                                        .state = state});
}

/* One thread, then 2, 4 ... up to a CPU each: all on one page, and on a page each. */
static void add_threads(struct bench_group *group, const char *kind, struct hf_file *file)
{
    const char *one = bench_text("pin.%s.1", kind);

    add_case(group, one, strcmp(one, "pin.biased.1") ? "pin.biased.1" : NULL,
             bench_text("one page, %s, 1 thread", kind),
             (struct pin_case){file, 1, false, 0, LAB_PAGE});
    for (unsigned threads = 2; threads <= bench.cpus; threads *= 2) {
        add_case(group, bench_text("pin.%s.%u", kind, threads), one,
                 bench_text("one page, %s, %u threads", kind, threads),
                 (struct pin_case){file, threads, false, 0, LAB_PAGE});
        add_case(group, bench_text("pin.%s.own.%u", kind, threads), one,
                 bench_text("a page each, %s, %u threads", kind, threads),
                 (struct pin_case){file, threads, true, 0, LAB_PAGE});
    }
}

/* A file whose huge runs fit huge entries, and one that is a page off, so that none does. */
static bool make_large_files(void)
{
    uint64_t bytes = LAB_GIB;

    if (lab_room(bench.folder) < 4 * LAB_GIB)
        return false;
    large_pool = bench_pool_new(&bench_real, NULL, 3 * LAB_GIB);
    large_file = bench_file_new(large_pool);
    bench_file_fill(large_pool, large_file, bytes / LAB_PAGE);
    small_file = bench_file_new(large_pool);
    bench_file_fill(large_pool, small_file, bytes / LAB_PAGE);
    bench_must(&bench_real, hf_fallocate(small_file, HF_FALLOC_INSERT_RANGE, 0, LAB_PAGE, NULL),
               "inserting a page");
    return true;
}

static void add_ranges(struct bench_group *group)
{
    if (!make_large_files()) {
        bench_note("Less than 4 GiB of memory are free: ranges of 2 MiB and 1 GiB are left out.");
        return;
    }
    add_case(group, "pin.2MiB", "pin.biased.1", "2 MiB, 1 huge entry",
             (struct pin_case){large_file, 1, false, 0, HF_HUGE_BYTES});
    add_case(group, "pin.2MiB.small", "pin.biased.1", "2 MiB, 512 entries",
             (struct pin_case){small_file, 1, false, LAB_PAGE, HF_HUGE_BYTES});
    add_case(group, "pin.1GiB", "pin.biased.1", "1 GiB, 512 huge entries",
             (struct pin_case){large_file, 1, false, 0, LAB_GIB});
    add_case(group, "pin.1GiB.small", "pin.biased.1", "1 GiB, 262,144 entries",
             (struct pin_case){small_file, 1, false, LAB_PAGE, LAB_GIB});
}

static void begin(struct bench_group *group)
{
    biased_pool = bench_pool_new(&bench_real, NULL, 64 * LAB_MIB);
    fenced_pool = bench_pool_new(&bench_real, "slots-fenced", 64 * LAB_MIB);
    biased_file = bench_file_new(biased_pool);
    changed_file = bench_file_new(biased_pool);
    fenced_file = bench_file_new(fenced_pool);
    bench_file_fill(biased_pool, biased_file, PAGES);
    bench_file_fill(fenced_pool, fenced_file, PAGES);
    batches_done = biased_again = 0;
    add_threads(group, "biased", biased_file);
    add_threads(group, "unbiased", fenced_file);
    bench_add(group, (struct bench_row){.key = "pin.changed",
                                        .situation = "100 pins after a punch elsewhere, 1 thread",
                                        .subject = "Holdfast",
                                        .beside = "pin.biased.1",
                                        .measure = measure_after_change});
    add_ranges(group);
}

static void end(void)
{
    bench_note(
        "pin: the pins after a punch came in %llu batches; in %llu of them the bias came back.",
        (unsigned long long)batches_done, (unsigned long long)biased_again);
    bench_must(&bench_real, hf_close(biased_file), "closing");
    bench_must(&bench_real, hf_close(changed_file), "closing");
    bench_must(&bench_real, hf_close(fenced_file), "closing");
    bench_pool_end(biased_pool);
    bench_pool_end(fenced_pool);
    if (!large_pool)
        return;
    bench_must(&bench_real, hf_close(large_file), "closing");
    bench_must(&bench_real, hf_close(small_file), "closing");
    bench_pool_end(large_pool);
}

struct bench_group bench_pin_group = {
    .name = "pin",
    .title = "pin+unpin, present pages, through the shared library",
    .unit = "ns",
    .ratio = "x one page",
    .begin = begin,
    .end = end,
};
