/* SPDX-License-Identifier: MIT */
/* Durations and sums of what the workers count. It calls nothing of demo/, so all may call it. */
#include "demo.h"

#include <math.h>
#include <string.h>

int64_t demo_must(int64_t rc, const char *what, const char *path)
{
    const char *sentence = hf_strerror_detail();

    if (rc < 0)
        lab_fail("%s %s: %s", what, path, sentence[0] ? sentence : strerror((int)-rc));
    return rc;
}

/* ------------------------------------------------------------------------ durations ------ */

/* Below 8 ns a bucket each, then 8 of equal width an octave. */
static unsigned bucket_of(uint64_t ns)
{
    unsigned octave = 63 - (unsigned)__builtin_clzll(ns | 1);

    return ns < 8 ? (unsigned)ns : (octave - 2) * 8 + (unsigned)(ns >> (octave - 3) & 7);
}

void demo_duration_add(struct demo_durations *durations, uint64_t ns)
{
    lab_count(&durations->bucket[bucket_of(ns)], 1);
    lab_count(&durations->count, 1);
    if (ns > durations->max_ns)
        durations->max_ns = ns;
}

void demo_durations_merge(struct demo_durations *into, const struct demo_durations *from)
{
    into->count += from->count;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
    for (unsigned i = 0; i < DEMO_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

double demo_duration_at(const struct demo_durations *durations, double share)
{
    double left = share * (double)durations->count;
    unsigned i = 0;

    if (!durations->count)
        return 0;
    while (i < DEMO_BUCKETS - 1 && left > (double)durations->bucket[i])
        left -= (double)durations->bucket[i++];
    return i < 8 ? i : ldexp(8 + i % 8 + 0.5, (int)(i / 8 - 1));
}

/* ----------------------------------------------------------------------------- sums ------ */

uint64_t demo_pins(const struct demo_half *half)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < DEMO_WORKERS; i++)
        sum += lab_peek(&half->counts[i].pins);
    return sum;
}

uint64_t demo_in_place(const struct demo_half *half)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < DEMO_WORKERS; i++)
        sum += lab_peek(&half->counts[i].bytes);
    return sum;
}

uint64_t demo_reused(const struct demo_half *half)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < DEMO_WORKERS; i++)
        sum += lab_peek(&half->counts[i].foreign) + lab_peek(&half->counts[i].changed);
    return sum;
}

uint64_t demo_changes(const struct demo_half *half)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < DEMO_WORKERS; i++)
        for (unsigned kind = 0; kind < DEMO_RELOAD; kind++)
            sum += lab_peek(&half->counts[i].kinds[kind].count);
    return sum;
}
