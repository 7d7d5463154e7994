/* SPDX-License-Identifier: MIT */
/*
 * ns per pin and unpin with each engine, and with other ways to hold and release a page (peers.c).
 * All run in the same loop, in 1, 2, 4 ... threads, on one hot page and on a page each. The file
 * sees no layout change meanwhile, so with the engine slots it is biased: a pin needs no fence. Two
 * rows show what the fence costs. One has the engine slots-fenced. In the other, a layout change of
 * another page comes before each batch of pins. A batch is so short that the bias does not come
 * back; the pool's count of heavy barriers shows that it does not.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>

#define BATCH 100u
#define BATCHES 50u /* for one filling of the file */
#define FILLINGS 20u
#define CHANGED_PAGES UINT64_C(256)
#define CHANGED UINT64_C(128) /* pages from here on are punched, one a batch */
#define ROOM 512

static struct bench_pool *engine_pools[BENCH_ENGINES], *large_pool;
static struct hf_file *engine_files[BENCH_ENGINES], *changed_file, *large_file, *small_file;
static uint64_t batches_done, biased_again; /* of the unbiased batches; those that met the bias */

struct pin_case {
    const struct bench_library *library;
    struct hf_file *file;
    const struct bench_peer *peer; /* instead of a file */
    unsigned threads;
    bool own_pages;
    uint64_t off, len;
};

static uint64_t pin_loop(void *arg, unsigned thread, const uint64_t *stop)
{
    const struct pin_case what = *(const struct pin_case *)arg;
    const struct bench_library library = *what.library;
    const uint64_t off = what.off + (what.own_pages ? thread * BENCH_OWN_STRIDE * LAB_PAGE : 0);
    const unsigned between = what.len > HF_HUGE_BYTES ? 1 : 64; /* looks at *stop */
    struct iovec iov[ROOM];
    struct hf_pin pin;
    uint64_t count = 0;

    do {
        for (unsigned i = 0; i < between; i++)
            if (library.hf_pin(what.file, off, what.len, HF_PIN_READ, iov, ROOM, &pin) < 0 ||
                library.hf_unpin(&pin) != 0)
                lab_fail("a pin failed: %s", library.hf_strerror_detail());
        count += between;
    } while (!lab_peek(stop));
    return count;
}

/* hf_pin_at() and its release. Stores the address, as the other rows do. */
static uint64_t pin_at_loop(void *arg, unsigned thread, const uint64_t *stop)
{
    const struct pin_case what = *(const struct pin_case *)arg;
    const struct bench_library library = *what.library;
    const uint64_t off = what.own_pages ? thread * BENCH_OWN_STRIDE * LAB_PAGE : 0;
    volatile intptr_t at;
    struct hf_pin pin;
    uint64_t count = 0;

    do {
        for (unsigned i = 0; i < 64; i++) {
            at = library.hf_pin_at(what.file, off, LAB_PAGE, HF_PIN_READ, &pin);
            if (at < 0 || library.hf_unpin(&pin) != 0)
                lab_fail("a pin failed: %s", library.hf_strerror_detail());
        }
        count += 64;
    } while (!lab_peek(stop));
    return count;
}

static double measure_at_loop(void *state)
{
    const struct pin_case *what = state;

    return bench_together(what->threads, pin_at_loop, state);
}

static double measure_loop(void *state)
{
    struct pin_case *what = state;

    if (what->peer)
        return bench_together(what->threads, what->peer->loop,
                              what->own_pages ? &what->own_pages : NULL);
    return bench_together(what->threads, pin_loop, what);
}

/* ------------------------------------------------------------------ right after a change - */

static uint64_t barriers(void)
{
    struct hf_stats stats = {.size = sizeof stats};

    bench_must(&bench_real, hf_stats(engine_pools[0]->pool, &stats), "looking at the pool");
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

        bench_file_fill(engine_pools[0], changed_file, CHANGED_PAGES);
        bench_file_map(engine_pools[0], changed_file, 0, CHANGED_PAGES);
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

static const struct bench_panel hot_panel = {"one hot page", "threads",
                                             "CPU time of a pin and its release, ns", true};
static const struct bench_panel own_panel = {"a page each", "threads",
                                             "CPU time of a pin and its release, ns", true};

static void *keep_case(struct pin_case what)
{
    struct pin_case *kept = lab_alloc(sizeof *kept);

    *kept = what;
    return kept;
}

/* All that hold a page, in one situation. */
static void add_all(struct bench_group *group, unsigned threads, bool own_pages)
{
    const struct bench_panel *panel = own_pages ? &own_panel : &hot_panel;
    const char *kind = own_pages ? "own" : "hot";
    struct bench_row row = {.situation = bench_text("%s, %u thread%s",
                                                    own_pages ? "a page each" : "one hot page",
                                                    threads, threads > 1 ? "s" : ""),
                            .measure = measure_loop,
                            .at = bench_text("%u", threads)};
    const char *first = bench_text("pin.%s.%u.slots", kind, threads);

    for (unsigned i = 0; i < BENCH_ENGINES; i++) {
        if (!engine_pools[i])
            continue;
        row.key = bench_text("pin.%s.%u.%s", kind, threads, bench_engines[i].name);
        row.subject = bench_engines[i].subject;
        row.beside = i ? first : NULL;
        row.panel = bench_engines[i].lab ? NULL : panel;
        row.state = keep_case((struct pin_case){.library = engine_pools[i]->library,
                                                .file = engine_files[i],
                                                .threads = threads,
                                                .own_pages = own_pages,
                                                .len = LAB_PAGE});
        bench_add(group, row);
    }
    row.key = bench_text("pin.%s.%u.at", kind, threads);
    row.subject = "slots, hf_pin_at()";
    row.beside = first;
    row.panel = panel;
    row.measure = measure_at_loop;
    row.state = keep_case((struct pin_case){.library = &bench_real,
                                            .file = engine_files[0],
                                            .threads = threads,
                                            .own_pages = own_pages});
    bench_add(group, row);
    row.measure = measure_loop;
    for (unsigned i = 0; i < BENCH_PEERS; i++) {
        row.key = bench_text("pin.%s.%u.%s", kind, threads, bench_peers[i].key);
        row.subject = bench_peers[i].subject;
        row.beside = first;
        row.panel = panel;
        row.state = keep_case(
            (struct pin_case){.peer = &bench_peers[i], .threads = threads, .own_pages = own_pages});
        bench_add(group, row);
    }
}

static void add_range_rows(struct bench_group *group, const char *key, const char *subject,
                           struct hf_file *file, uint64_t off, uint64_t len)
{
    bench_add(
        group,
        (struct bench_row){
            .key = key,
            .situation = "ranges, slots, 1 thread",
            .subject = subject,
            .beside = "pin.hot.1.slots",
            .measure = measure_loop,
            .state = keep_case((struct pin_case){
                .library = &bench_real, .file = file, .threads = 1, .off = off, .len = len})});
}

/* A file with huge runs that fit huge entries, and one that is a page off, so that none does. */
static bool make_large_files(void)
{
    uint64_t bytes = LAB_GIB;

    if (lab_room(bench.folder) < 4 * LAB_GIB)
        return false;
    large_pool = bench_pool_new(3 * LAB_GIB);
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
    add_range_rows(group, "pin.2MiB", "2 MiB, 1 huge entry", large_file, 0, HF_HUGE_BYTES);
    add_range_rows(group, "pin.2MiB.small", "2 MiB, 512 entries", small_file, LAB_PAGE,
                   HF_HUGE_BYTES);
    add_range_rows(group, "pin.1GiB", "1 GiB, 512 huge entries", large_file, 0, LAB_GIB);
    add_range_rows(group, "pin.1GiB.small", "1 GiB, 262,144 entries", small_file, LAB_PAGE,
                   LAB_GIB);
}

static void open_pin_engines(void)
{
    for (unsigned i = 0; i < BENCH_ENGINES; i++) {
        engine_pools[i] = bench_engine_pool(&bench_engines[i], 64 * LAB_MIB);
        if (!engine_pools[i])
            continue;
        engine_files[i] = bench_file_new(engine_pools[i]);
        bench_file_fill(engine_pools[i], engine_files[i], bench_pin_pages());
    }
    changed_file = bench_file_new(engine_pools[0]);
}

static void begin_pins(struct bench_group *group)
{
    open_pin_engines();
    bench_peers_begin();
    batches_done = biased_again = 0;
    for (unsigned threads = 1; threads <= bench_most_threads(); threads *= 2) {
        add_all(group, threads, false);
        add_all(group, threads, true);
    }
    bench_add(group, (struct bench_row){.key = "pin.changed",
                                        .situation = "100 pins after each punch of another page",
                                        .subject = "slots",
                                        .beside = "pin.hot.1.slots",
                                        .measure = measure_after_change});
    add_ranges(group);
}

static void end_pins(void)
{
    bench_note("pin: the pins after a punch came in %" PRIu64 " batches; in %" PRIu64
               " of them the bias came back.",
               batches_done, biased_again);
    bench_peers_end();
    bench_must(&bench_real, hf_close(changed_file), "closing");
    for (unsigned i = 0; i < BENCH_ENGINES; i++) {
        if (!engine_pools[i])
            continue;
        bench_must(engine_pools[i]->library, engine_pools[i]->library->hf_close(engine_files[i]),
                   "closing");
        bench_pool_end(engine_pools[i]);
    }
    if (!large_pool)
        return;
    bench_must(&bench_real, hf_close(large_file), "closing");
    bench_must(&bench_real, hf_close(small_file), "closing");
    bench_pool_end(large_pool);
}

struct bench_group bench_pin_group = {
    .name = "pin",
    .title = "pin+unpin of a present page, beside other ways to hold one",
    .help = "ns per pin+unpin by each engine, and of other ways to hold a page: threads, ranges",
    .unit = "ns",
    .ratio = "x slots",
    .begin = begin_pins,
    .end = end_pins,
};
