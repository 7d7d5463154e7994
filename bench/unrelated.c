/* SPDX-License-Identifier: MIT */
/*
 * us per truncate and punch of one page while up to 10,000 other pins are alive, none of which
 * overlaps it. They belong to one thread or to several, on other pages of the file or on other
 * files. Each case has its own pool, since a layout change may look at every thread that holds pins
 * in its pool.
 */
#include "bench.h"

#include <stdlib.h>

#define FILE_PAGES UINT64_C(256)
#define HELD_PAGES UINT64_C(100) /* from the file's start: pinned, never changed */
#define CHANGES UINT64_C(100)
#define OTHER_FILES 100u
#define POOL_BYTES (256 * LAB_MIB)
#define CASES_MAX 64u

struct unrelated;

struct holder {
    struct unrelated *what;
    unsigned pins;
    pthread_t thread;
};

/* More files make the metadata's tree higher, so each shape stands beside one with as many
 * files. */
struct shape {
    const char *key, *text;
    unsigned pins, threads; /* that hold them */
    bool other_files;
    const char *at; /* in the picture, for which all engines are measured; null: slots alone */
};

static const struct shape shapes[] = {
    {"none", "no other pins", 0, 0, false, "0"},
    {"10", "10 on other pages of the file, one thread", 10, 1, false, "10"},
    {"100", "100 on other pages of the file, one thread", 100, 1, false, "100"},
    {"1000", "1,000 on other pages of the file, one thread", 1000, 1, false, "1,000"},
    {"same", "10,000 on other pages of the file, one thread", 10000, 1, false, "10,000"},
    {"spread", "10,000 on other pages of the file, 8 threads", 10000, 8, false, NULL},
    {"many", "10,000 on other pages of the file, 400 threads", 10000, 400, false, NULL},
    {"none-others", "no other pins, 100 other files", 0, 0, true, NULL},
    {"others", "10,000 on 100 other files, one thread", 10000, 1, true, NULL},
    {"spread-others", "10,000 on 100 other files, 8 threads", 10000, 8, true, NULL},
    {"many-others", "10,000 on 100 other files, 400 threads", 10000, 400, true, NULL},
};

/* A shape with an engine. */
struct unrelated {
    const struct shape *shape;
    const struct bench_engine *engine;
    struct bench_pool *pool;
    struct hf_file *file, *others[OTHER_FILES];
    struct holder *holders;
    sem_t held, let_go;
};

static struct unrelated cases[CASES_MAX];
static unsigned case_count;

static struct hf_pin *hold_pages(const struct holder *holder)
{
    const struct unrelated *what = holder->what;
    const struct bench_library *library = what->pool->library;
    struct hf_pin *pins = lab_alloc(holder->pins * sizeof *pins);
    struct iovec iov;

    for (unsigned i = 0; i < holder->pins; i++)
        bench_must(
            library,
            library->hf_pin(what->shape->other_files ? what->others[i % OTHER_FILES] : what->file,
                            i % HELD_PAGES * LAB_PAGE, LAB_PAGE, HF_PIN_READ, &iov, 1, &pins[i]),
            "pinning");
    return pins;
}

static void *hold_until_told(void *arg)
{
    struct holder *holder = arg;
    const struct bench_library *library = holder->what->pool->library;
    struct hf_pin *pins = hold_pages(holder);

    sem_post(&holder->what->held);
    sem_wait(&holder->what->let_go);
    for (unsigned i = 0; i < holder->pins; i++)
        bench_must(library, library->hf_unpin(&pins[i]), "unpinning");
    free(pins);
    return NULL;
}

static void open_unrelated_files(struct unrelated *what)
{
    what->file = bench_file_new(what->pool);
    bench_file_fill(what->pool, what->file, FILE_PAGES);
    for (unsigned i = 0; what->shape->other_files && i < OTHER_FILES; i++) {
        what->others[i] = bench_file_new(what->pool);
        bench_file_fill(what->pool, what->others[i], HELD_PAGES);
    }
}

static void begin_case(struct unrelated *what)
{
    unsigned threads = what->shape->threads;

    open_unrelated_files(what);
    sem_init(&what->held, 0, 0);
    sem_init(&what->let_go, 0, 0);
    what->holders = lab_alloc(threads * sizeof *what->holders);
    for (unsigned i = 0; i < threads; i++) {
        what->holders[i] = (struct holder){.what = what, .pins = what->shape->pins / threads};
        if (pthread_create(&what->holders[i].thread, NULL, hold_until_told, &what->holders[i]))
            lab_fail("no thread could be started");
    }
    for (unsigned i = 0; i < threads; i++)
        sem_wait(&what->held);
}

static void end_case(struct unrelated *what)
{
    const struct bench_library *library = what->pool->library;

    for (unsigned i = 0; i < what->shape->threads; i++)
        sem_post(&what->let_go);
    for (unsigned i = 0; i < what->shape->threads; i++)
        pthread_join(what->holders[i].thread, NULL);
    bench_must(library, library->hf_close(what->file), "closing");
    for (unsigned i = 0; what->shape->other_files && i < OTHER_FILES; i++)
        bench_must(library, library->hf_close(what->others[i]), "closing");
    free(what->holders);
    bench_pool_end(what->pool);
}

/* The file has its tail back, and entries for it. */
static void restore(const struct unrelated *what)
{
    const struct bench_library *library = what->pool->library;

    bench_must(library,
               library->hf_fallocate(what->file, 0, HELD_PAGES * LAB_PAGE,
                                     (FILE_PAGES - HELD_PAGES) * LAB_PAGE, NULL),
               "filling a file");
    bench_file_map(what->pool, what->file, HELD_PAGES, FILE_PAGES - HELD_PAGES);
}

static uint64_t time_truncates(void *arg)
{
    const struct unrelated *what = arg;
    const struct bench_library *library = what->pool->library;
    uint64_t start;

    restore(what);
    start = lab_now_ns();
    for (uint64_t i = 1; i <= CHANGES; i++)
        bench_must(library, library->hf_truncate(what->file, (FILE_PAGES - i) * LAB_PAGE, NULL),
                   "truncating");
    return lab_now_ns() - start;
}

static uint64_t time_punches(void *arg)
{
    const struct unrelated *what = arg;
    const struct bench_library *library = what->pool->library;
    uint64_t start;

    restore(what);
    start = lab_now_ns();
    for (uint64_t i = 0; i < CHANGES; i++)
        bench_must(library,
                   library->hf_fallocate(what->file, HF_FALLOC_PUNCH_HOLE,
                                         (HELD_PAGES + i) * LAB_PAGE, LAB_PAGE, NULL),
                   "punching");
    return lab_now_ns() - start;
}

static double measure_truncate(void *state)
{
    return bench_several(time_truncates, state) / CHANGES / 1000;
}

static double measure_punch(void *state)
{
    return bench_several(time_punches, state) / CHANGES / 1000;
}

/* ----------------------------------------------------------------------------- rows ------ */

static const struct bench_panel panel = {"truncates beside pins of other pages of the file",
                                         "pins alive, all of one thread", "one truncate, us", true};

static void add_unrelated_row(struct bench_group *group, struct unrelated *what, bool punches)
{
    const struct shape *shape = what->shape;
    const char *beside = shape->other_files ? "none-others" : "none";
    const char *change = punches ? "punch" : "truncate";

    bench_add(group,
              (struct bench_row){
                  .key = bench_text("unrelated.%s.%s.%s", change, shape->key, what->engine->name),
                  .situation = shape->text,
                  .subject = punches ? bench_text("%s, punch", what->engine->subject)
                                     : what->engine->subject,
                  .beside = shape->threads ? bench_text("unrelated.%s.%s.%s", change, beside,
                                                        what->engine->name)
                                           : NULL,
                  .measure = punches ? measure_punch : measure_truncate,
                  .state = what,
                  .panel = shape->at && !punches && !what->engine->unsafe ? &panel : NULL,
                  .at = shape->at});
}

static void add_case(struct bench_group *group, const struct shape *shape,
                     const struct bench_engine *engine)
{
    struct unrelated *what = &cases[case_count];

    *what = (struct unrelated){
        .shape = shape, .engine = engine, .pool = bench_engine_pool(engine, POOL_BYTES)};
    if (!what->pool)
        return;
    case_count++;
    begin_case(what);
    add_unrelated_row(group, what, false);
    if (engine == bench_engines)
        add_unrelated_row(group, what, true);
}

static void begin_unrelated(struct bench_group *group)
{
    case_count = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (unsigned engine = 0; engine < (shapes[i].at ? BENCH_ENGINES : 1); engine++)
            add_case(group, &shapes[i], &bench_engines[engine]);
}

static void end_unrelated(void)
{
    for (unsigned i = 0; i < case_count; i++)
        end_case(&cases[i]);
}

struct bench_group bench_unrelated_group = {
    .name = "unrelated",
    .title = "truncate of a file's last page, punch of a page, while pins are alive elsewhere",
    .help = "us per truncate while up to 10,000 other pins are alive",
    .unit = "us",
    .ratio = "x none",
    .begin = begin_unrelated,
    .end = end_unrelated,
};
