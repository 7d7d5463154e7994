/* SPDX-License-Identifier: MIT */
/* Medians, spreads and ratios. It calls nothing of bench/, so all of bench/ may call it. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_quantile(const double *values, unsigned count, double share)
{
    double sorted[BENCH_RUNS_MAX], at = share * (count - 1);
    unsigned below = (unsigned)at;

    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_value);
    if (below + 1 >= count)
        return sorted[count - 1];
    return sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]);
}

double bench_median(const struct bench_row *row)
{
    return bench_quantile(row->samples, bench.runs, 0.5);
}

double bench_ratio(const struct bench_row *row, const struct bench_row *beside)
{
    double ratios[BENCH_RUNS_MAX];

    for (unsigned i = 0; i < bench.runs; i++)
        ratios[i] = row->samples[i] / beside->samples[i];
    return bench_quantile(ratios, bench.runs, 0.5);
}
