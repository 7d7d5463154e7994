/* SPDX-License-Identifier: MIT */
/*
 * The rows of this run: each group adds its own when it begins, and is then measured in rounds,
 * each row once a round. The tables, bars and pictures read the samples from here.
 */
#include "bench.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define REPEATS 11u /* of what is short, within a sample */
#define SAMPLE_NS UINT64_C(50000000)

struct bench bench;

char *bench_text(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        lab_fail("out of memory");
    va_end(args);
    return text;
}

void bench_note(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        lab_fail("out of memory");
    va_end(args);
    if (bench.note_count < sizeof bench.notes / sizeof bench.notes[0])
        bench.notes[bench.note_count++] = text;
}

void bench_add(const struct bench_group *group, struct bench_row row)
{
    if (bench.row_count == BENCH_ROWS_MAX)
        lab_fail("more than %u rows", BENCH_ROWS_MAX);
    row.group = group->name;
    row.unit = row.unit ? row.unit : group->unit;
    row.samples = lab_alloc(bench.runs * sizeof *row.samples);
    bench.rows[bench.row_count++] = row;
}

const struct bench_row *bench_find(const char *key)
{
    for (unsigned i = 0; i < bench.row_count; i++)
        if (strcmp(bench.rows[i].key, key) == 0)
            return &bench.rows[i];
    return NULL;
}

double bench_several(uint64_t (*once)(void *arg), void *arg)
{
    const unsigned most = bench.quick ? 1 : REPEATS;
    const uint64_t end = lab_now_ns() + SAMPLE_NS;
    double ns[REPEATS];
    unsigned count = 0;

    do
        ns[count++] = (double)once(arg);
    while (count < most && lab_now_ns() < end);
    return bench_quantile(ns, count, 0.5);
}

/* The round before the first one counts for nothing: it fills caches. */
void bench_run_group(struct bench_group *group)
{
    unsigned first = bench.row_count;
    bool live = isatty(STDERR_FILENO) == 1;

    group->begin(group);
    for (unsigned round = 0; round <= bench.runs; round++)
        for (unsigned i = first; i < bench.row_count; i++) {
            double value;

            if (live)
                fprintf(stderr, "\r\033[K  %s: round %u of %u, %s", group->name, round, bench.runs,
                        bench.rows[i].key);
            value = bench.rows[i].measure(bench.rows[i].state);
            if (round)
                bench.rows[i].samples[round - 1] = value;
        }
    if (live)
        fputs("\r\033[K", stderr);
    group->end();
}
