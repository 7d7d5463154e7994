/* SPDX-License-Identifier: MIT */
/*
 * Small files, in one folder of some thousand files and in a tree. One, two and four processes
 * make, open, read, look at and delete them. The calls of tmpfs stand beside those of the library,
 * on the same memory. A value is what all processes together do in a second. The rows `grows` say
 * how many times that is what one process does, in the same round.
 */
#include "files.h"

struct files_case {
    struct files_task task;
    unsigned processes;
    double rate; /* of the last round */
};

struct growth {
    const struct files_case *one, *many;
};

static const struct {
    const char *key, *text;
} layouts[FILES_LAYOUTS] = {{"flat", "one folder"}, {"tree", "64 folders"}};

static const struct {
    const char *key, *text, *calls[FILES_STORES];
} acts[FILES_ACTS] = {
    {"create", "made", {"hf_openat, hf_write, hf_close", "openat, write, close, tmpfs"}},
    {"open", "opened", {"hf_openat, hf_close", "openat, close, tmpfs"}},
    {"read", "read", {"hf_openat, hf_read, hf_close", "openat, read, close, tmpfs"}},
    {"stat", "looked at", {"hf_statat", "fstatat, tmpfs"}},
    {"delete", "deleted", {"hf_unlinkat", "unlinkat, tmpfs"}},
};

static const char *const stores[FILES_STORES] = {"holdfast", "tmpfs"};
static const unsigned process_counts[] = {1, 2, FILES_WORKERS};
#define COUNTS (sizeof process_counts / sizeof process_counts[0])

static double measure_rate(void *state)
{
    struct files_case *one = state;

    one->rate = files_workers_run(&one->task, one->processes) / 1000;
    return one->rate;
}

static double measure_growth(void *state)
{
    const struct growth *growth = state;

    return growth->many->rate / growth->one->rate;
}

static struct files_case *add_rate(struct bench_group *group, struct files_task task,
                                   unsigned processes)
{
    struct files_case *one = lab_alloc(sizeof *one);
    char *row =
        bench_text("files.%s.%s.%u", layouts[task.layout].key, acts[task.act].key, processes);

    *one = (struct files_case){task, processes, 0};
    bench_add(group, (struct bench_row){
                         .key = bench_text("%s.%s", row, stores[task.store]),
                         .situation = bench_text("%s, %s, %u process%s", acts[task.act].text,
                                                 layouts[task.layout].text, processes,
                                                 processes == 1 ? "" : "es"),
                         .subject = acts[task.act].calls[task.store],
                         .beside = task.store == FILES_TMPFS ? NULL : bench_text("%s.tmpfs", row),
                         .measure = measure_rate,
                         .state = one,
                         .unit = "1000/s",
                         .more_is_better = true});
    return one;
}

static void add_growth(struct bench_group *group, const struct files_case *one,
                       const struct files_case *many)
{
    struct growth *growth = lab_alloc(sizeof *growth);
    const struct files_task *task = &many->task;
    char *row = bench_text("files.%s.%s.%u", layouts[task->layout].key, acts[task->act].key,
                           many->processes);

    *growth = (struct growth){one, many};
    bench_add(group,
              (struct bench_row){
                  .key = bench_text("%s.grows.%s", row, stores[task->store]),
                  .situation = bench_text("%s, %s, %u processes beside one", acts[task->act].text,
                                          layouts[task->layout].text, many->processes),
                  .subject = acts[task->act].calls[task->store],
                  .beside = task->store == FILES_TMPFS ? NULL : bench_text("%s.grows.tmpfs", row),
                  .measure = measure_growth,
                  .state = growth,
                  .unit = "times",
                  .more_is_better = true});
}

/* The two stores take turns; what a growth compares has been measured shortly before. */
static void add_act(struct bench_group *group, enum files_layout layout, enum files_act act)
{
    struct files_case *cases[COUNTS][FILES_STORES];

    for (unsigned i = 0; i < COUNTS; i++)
        for (unsigned store = 0; store < FILES_STORES; store++)
            cases[i][store] =
                add_rate(group, (struct files_task){layout, act, store}, process_counts[i]);
    for (unsigned i = 1; i < COUNTS; i++)
        for (unsigned store = 0; store < FILES_STORES; store++)
            add_growth(group, cases[0][store], cases[i][store]);
}

static void begin_files(struct bench_group *group)
{
    files_stores_begin();
    files_workers_begin();
    for (unsigned layout = 0; layout < FILES_LAYOUTS; layout++)
        for (unsigned act = 0; act < FILES_ACTS; act++)
            add_act(group, layout, act);
    files_attach_begin(group);
}

struct bench_group bench_files_group = {
    .name = "files",
    .title = "files of 4 KiB",
    .help = "small files made, opened, read, looked at, deleted, beside tmpfs; attaching",
    .ratio = "x tmpfs",
    .begin = begin_files,
    .end = files_workers_end,
};
