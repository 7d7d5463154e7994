/* SPDX-License-Identifier: MIT */
/*
 * Layout changes at a given rate beside a thread that pins one hot page all the time. Measured are
 * the pins that the thread gets done and how long a change takes. A change truncates the file's
 * last page, which was pinned before. It begins when the clock says so; changes that an engine is
 * too late for are left out. The rate decides which of the two, pin or change, should be the cheap
 * one.
 */
#include "bench.h"

#include <sched.h>

#define CHANGES_MAX 1000u
#define MAP_PAGES UINT64_C(256) /* mapped at once */
#define STEP_PINS 64u
#define US UINT64_C(1000)

static const struct rate {
    const char *key, *text;
    uint64_t interval_ns;
    unsigned changes; /* in one sample */
} rates[] = {
    {"10us", "10 us", 10 * US, CHANGES_MAX},
    {"100us", "100 us", 100 * US, 200},
    {"1ms", "1 ms", 1000 * US, 40},
    {"10ms", "10 ms", 10000 * US, 10},
};
#define RATES (sizeof rates / sizeof rates[0])

/* An engine at a rate. Both rows of it come from the same run. */
struct mixed {
    const struct bench_engine *engine;
    struct bench_pool *pool;
    struct hf_file *file;
    const struct rate *rate;
    double latency_us;
};
static struct mixed cases[BENCH_ENGINES][RATES];

static void fill_mixed(const struct mixed *what)
{
    bench_file_fill(what->pool, what->file, CHANGES_MAX + 1);
    for (uint64_t page = 0; page <= CHANGES_MAX; page += MAP_PAGES)
        bench_file_map(what->pool, what->file, page,
                       CHANGES_MAX + 1 - page < MAP_PAGES ? CHANGES_MAX + 1 - page : MAP_PAGES);
}

static void pin_hot_page(void *arg, uint64_t *chance)
{
    const struct mixed *what = arg;
    const struct bench_library library = *what->pool->library;
    struct iovec iov;
    struct hf_pin pin;

    (void)chance;
    for (unsigned i = 0; i < STEP_PINS; i++)
        if (library.hf_pin(what->file, 0, LAB_PAGE, HF_PIN_READ, &iov, 1, &pin) < 0 ||
            library.hf_unpin(&pin) != 0)
            lab_fail("a pin failed: %s", library.hf_strerror_detail());
}

static double time_truncate(const struct mixed *what, uint64_t pages)
{
    const struct bench_library *library = what->pool->library;
    uint64_t start = lab_now_ns();

    bench_must(library, library->hf_truncate(what->file, pages * LAB_PAGE, NULL), "truncating");
    return (double)(lab_now_ns() - start) / 1000;
}

/* Returns the median latency. */
static double change_by_the_clock(const struct mixed *what, uint64_t lasts_ns)
{
    double us[CHANGES_MAX];
    uint64_t now = lab_now_ns(), due = now + what->rate->interval_ns, end = now + lasts_ns;
    unsigned done = 0;

    while (due <= end && done < CHANGES_MAX) {
        while ((now = lab_now_ns()) < due)
            ;
        us[done] = time_truncate(what, CHANGES_MAX - done);
        done++;
        for (now = lab_now_ns(); due <= now;)
            due += what->rate->interval_ns;
    }
    return bench_quantile(us, done, 0.5);
}

/* Million pins a second. */
static double measure_pins(void *state)
{
    struct mixed *what = state;
    struct bench_companion pinner;
    uint64_t start, took, steps;

    fill_mixed(what);
    bench_companion_begin(&pinner, BENCH_BUSY, pin_hot_page, what);
    steps = lab_peek(&pinner.steps);
    start = lab_now_ns();
    /* Half an interval more: there is at least one change, whatever delays us. */
    what->latency_us = change_by_the_clock(what, what->rate->changes * what->rate->interval_ns +
                                                     what->rate->interval_ns / 2);
    while (lab_peek(&pinner.steps) == steps) /* somebody else had its CPU all the time */
        sched_yield();
    took = lab_now_ns() - start;
    steps = lab_peek(&pinner.steps) - steps;
    bench_companion_end(&pinner);
    return (double)(steps * STEP_PINS) * 1000 / (double)took;
}

/* Of the run just before, which counted the pins. */
static double measure_latency(void *state)
{
    return ((struct mixed *)state)->latency_us;
}

/* ----------------------------------------------------------------------------- rows ------ */

static const struct bench_panel pins_panel = {
    "pins beside the layout changes", "one layout change each", "pins a second, millions", false};
static const struct bench_panel latency_panel = {
    "layout changes beside the pins", "one layout change each", "one truncate, us", true};

static void add_mixed_rows(struct bench_group *group, const struct rate *rate, bool latency)
{
    for (unsigned i = 0; i < BENCH_ENGINES; i++) {
        struct mixed *what = &cases[i][rate - rates];
        struct bench_row row = {
            .key = bench_text("mixed.%s.%s.%s", latency ? "change" : "pins", rate->key,
                              what->engine->name),
            .situation =
                bench_text("%s, one layout change each %s",
                           latency ? "us of a change" : "million pins a second", rate->text),
            .subject = what->engine->subject,
            .beside =
                i ? bench_text("mixed.%s.%s.slots", latency ? "change" : "pins", rate->key) : NULL,
            .measure = latency ? measure_latency : measure_pins,
            .state = what,
            .unit = latency ? "us" : "M/s",
            .more_is_better = !latency,
            .panel = what->engine->unsafe ? NULL
                     : latency            ? &latency_panel
                                          : &pins_panel,
            .at = rate->text};

        if (what->pool)
            bench_add(group, row);
    }
}

static void open_engine(unsigned number)
{
    const struct bench_engine *engine = &bench_engines[number];
    struct mixed what = {.engine = engine, .pool = bench_engine_pool(engine, 64 * LAB_MIB)};

    if (what.pool)
        what.file = bench_file_new(what.pool);
    for (size_t i = 0; i < RATES; i++) {
        what.rate = &rates[i];
        cases[number][i] = what;
    }
}

static void begin_mixed(struct bench_group *group)
{
    for (unsigned i = 0; i < BENCH_ENGINES; i++)
        open_engine(i);
    if (bench.cpus < 2) {
        bench_note("There is one CPU only: nothing is measured beside a pinning thread.");
        return;
    }
    for (size_t i = 0; i < RATES; i++) {
        add_mixed_rows(group, &rates[i], false);
        add_mixed_rows(group, &rates[i], true);
    }
}

static void end_mixed(void)
{
    for (unsigned i = 0; i < BENCH_ENGINES; i++) {
        struct mixed *what = &cases[i][0];

        if (!what->pool)
            continue;
        bench_must(what->pool->library, what->pool->library->hf_close(what->file), "closing");
        bench_pool_end(what->pool);
    }
}

struct bench_group bench_mixed_group = {
    .name = "mixed",
    .title = "truncates of a file's last page by the clock, beside a thread that pins one hot page",
    .help = "pins a second and us per layout change, one each 10 us to 10 ms, by each engine",
    .ratio = "x slots",
    .begin = begin_mixed,
    .end = end_mixed,
};
