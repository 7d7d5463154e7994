/* SPDX-License-Identifier: MIT */
/*
 * us per truncate and punch of one page while 10,000 other pins are alive, none of which overlaps it: by one thread or
 * spread over several, on other pages of the file or on other files. Each case has its own pool, since
 * who holds pins in a pool is looked at by all layout changes of it.
 */
#include "bench.h"

#include <stdlib.h>

#define PINS 10000u
#define FILE_PAGES UINT64_C(256)
#define HELD_PAGES UINT64_C(100) /* from the file's start: pinned, never changed */
#define CHANGES UINT64_C(100)
#define REPEATS 10u
#define OTHER_FILES 100u
#define POOL_BYTES (256 * LAB_MIB)

struct unrelated;

struct holder {
    struct unrelated *what;
    unsigned pins;
    pthread_t thread;
};

struct unrelated {
    const char *key, *text;
    unsigned threads; /* that hold the pins; 0: nobody does */
    bool other_files;
    struct bench_pool *pool;
    struct hf_file *file, *others[OTHER_FILES];
    struct holder *holders;
    sem_t held, let_go;
};

/* More files make the metadata's tree higher, so each case stands beside one with as many files. */
static struct unrelated cases[] = {
    {.key = "none", .text = "no other pins"},
    {.key = "none-others", .text = "no other pins, 100 other files", .other_files = true},
    {.key = "same", .text = "10,000 on other pages of the file, one thread", .threads = 1},
    {.key = "others",
     .text = "10,000 on 100 other files, one thread",
     .threads = 1,
     .other_files = true},
    {.key = "spread", .text = "10,000 on other pages of the file, 8 threads", .threads = 8},
    {.key = "spread-others",
     .text = "10,000 on 100 other files, 8 threads",
     .threads = 8,
     .other_files = true},
    {.key = "many", .text = "10,000 on other pages of the file, 400 threads", .threads = 400},
    {.key = "many-others",
     .text = "10,000 on 100 other files, 400 threads",
     .threads = 400,
     .other_files = true},
};
#define CASES (sizeof cases / sizeof cases[0])

static struct hf_pin *hold(const struct holder *holder)
{
    const struct unrelated *what = holder->what;
    const struct bench_library *library = what->pool->library;
    struct hf_pin *pins = lab_alloc(holder->pins * sizeof *pins);
    struct iovec iov;

    for (unsigned i = 0; i < holder->pins; i++)
        bench_must(library,
                   library->hf_pin(what->other_files ? what->others[i % OTHER_FILES] : what->file,
                                   i % HELD_PAGES * LAB_PAGE, LAB_PAGE, HF_PIN_READ, &iov, 1,
                                   &pins[i]),
                   "pinning");
    return pins;
}

static void *hold_until_told(void *arg)
{
    struct holder *holder = arg;
    const struct bench_library *library = holder->what->pool->library;
    struct hf_pin *pins = hold(holder);

    sem_post(&holder->what->held);
    sem_wait(&holder->what->let_go);
    for (unsigned i = 0; i < holder->pins; i++)
        bench_must(library, library->hf_unpin(&pins[i]), "unpinning");
    free(pins);
    return NULL;
}

static void open_files(struct unrelated *what)
{
    what->pool = bench_pool_new(&bench_real, NULL, POOL_BYTES);
    what->file = bench_file_new(what->pool);
    bench_file_fill(what->pool, what->file, FILE_PAGES);
    for (unsigned i = 0; what->other_files && i < OTHER_FILES; i++) {
        what->others[i] = bench_file_new(what->pool);
        bench_file_fill(what->pool, what->others[i], HELD_PAGES);
    }
}

static void begin_case(struct unrelated *what)
{
    open_files(what);
    sem_init(&what->held, 0, 0);
    sem_init(&what->let_go, 0, 0);
    what->holders = lab_alloc(what->threads * sizeof *what->holders);
    for (unsigned i = 0; i < what->threads; i++) {
        what->holders[i] = (struct holder){.what = what, .pins = PINS / what->threads};
        if (pthread_create(&what->holders[i].thread, NULL, hold_until_told, &what->holders[i]))
            lab_fail("no thread could be started");
    }
    for (unsigned i = 0; i < what->threads; i++)
        sem_wait(&what->held);
}

static void end_case(struct unrelated *what)
{
    for (unsigned i = 0; i < what->threads; i++)
        sem_post(&what->let_go);
    for (unsigned i = 0; i < what->threads; i++)
        pthread_join(what->holders[i].thread, NULL);
    bench_must(&bench_real, hf_close(what->file), "closing");
    for (unsigned i = 0; what->other_files && i < OTHER_FILES; i++)
        bench_must(&bench_real, hf_close(what->others[i]), "closing");
    free(what->holders);
    bench_pool_end(what->pool);
}

/* The file has its tail back, and entries for it. */
static void restore(const struct unrelated *what)
{
    bench_must(&bench_real,
               hf_fallocate(what->file, 0, HELD_PAGES * LAB_PAGE,
                            (FILE_PAGES - HELD_PAGES) * LAB_PAGE, NULL),
               "filling a file");
    bench_file_map(what->pool, what->file, HELD_PAGES, FILE_PAGES - HELD_PAGES);
}

static uint64_t time_truncates(const struct unrelated *what)
{
    uint64_t start;

    restore(what);
    start = lab_now_ns();
    for (uint64_t i = 1; i <= CHANGES; i++)
        bench_must(&bench_real, hf_truncate(what->file, (FILE_PAGES - i) * LAB_PAGE, NULL),
                   "truncating");
    return lab_now_ns() - start;
}

static uint64_t time_punches(const struct unrelated *what)
{
    uint64_t start;

    restore(what);
    start = lab_now_ns();
    for (uint64_t i = 0; i < CHANGES; i++)
        bench_must(&bench_real,
                   hf_fallocate(what->file, HF_FALLOC_PUNCH_HOLE, (HELD_PAGES + i) * LAB_PAGE,
                                LAB_PAGE, NULL),
                   "punching");
    return lab_now_ns() - start;
}

static double middle(const struct unrelated *what,
                     uint64_t (*time_changes)(const struct unrelated *))
{
    unsigned repeats = bench.quick ? 1 : BENCH_REPEATS;
    double us[BENCH_REPEATS];

    for (unsigned i = 0; i < repeats; i++)
        us[i] = (double)time_changes(what) / CHANGES / 1000;
    return bench_middle(us, repeats);
}

static double measure_truncate(void *state)
{
    return middle(state, time_truncates);
}

static double measure_punch(void *state)
{
    return middle(state, time_punches);
}

static void add_row(struct bench_group *group, struct unrelated *what, const char *change,
                    double (*measure)(void *state))
{
    const char *beside = what->other_files ? "none-others" : "none";

    bench_add(group,
              (struct bench_row){
                  .key = bench_text("unrelated.%s.%s", change, what->key),
                  .situation = what->text,
                  .subject = bench_text("Holdfast, %s", change),
                  .beside = what->threads ? bench_text("unrelated.%s.%s", change, beside) : NULL,
                  .measure = measure,
                  .state = what});
}

static void begin(struct bench_group *group)
{
    for (size_t i = 0; i < CASES; i++) {
        begin_case(&cases[i]);
        add_row(group, &cases[i], "truncate", measure_truncate);
        add_row(group, &cases[i], "punch", measure_punch);
    }
}

static void end(void)
{
    for (size_t i = 0; i < CASES; i++)
        end_case(&cases[i]);
}

struct bench_group bench_unrelated_group = {
    .name = "unrelated",
    .title =
        "truncate of a file's last page, punch of a page, while other pins are alive elsewhere",
    .unit = "us",
    .ratio = "x none",
    .begin = begin,
    .end = end,
};
