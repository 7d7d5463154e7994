/* SPDX-License-Identifier: MIT */
/* Medians, spreads and ratios, as tables and as JSON, and what became of the bars. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The value below which `share` of them lie. */
static double quantile(const double *values, unsigned count, double share)
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
    return quantile(row->samples, bench.runs, 0.5);
}

double bench_middle(const double *values, unsigned count)
{
    return quantile(values, count, 0.5);
}

double bench_ratio(const struct bench_row *row, const struct bench_row *beside)
{
    double ratios[BENCH_RUNS_MAX];

    for (unsigned i = 0; i < bench.runs; i++)
        ratios[i] = row->samples[i] / beside->samples[i];
    return quantile(ratios, bench.runs, 0.5);
}

/* Three digits that count. */
static const char *number_text(char buf[LAB_TEXT], double value)
{
    snprintf(buf, LAB_TEXT, value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value);
    return buf;
}

void bench_print_machine(int argc, char **argv)
{
    printf("holdfast bench");
    for (int i = 1; i < argc; i++)
        printf(" %s", argv[i]);
    putchar('\n');
    for (const struct bench_fact *fact = bench_machine(); fact->name; fact++)
        printf("  %-18s %s\n", fact->name, fact->value);
    printf(
        "  %-18s %u, interleaved; every value is a time, its median and quartiles over the rounds;\n"
        "  %-18s a ratio is the median of the ratios of the rounds\n\n",
        "rounds", bench.runs, "");
    fflush(stdout);
}

static void print_row(const struct bench_row *row, const char *situation)
{
    const struct bench_row *beside = row->beside ? bench_find(row->beside) : NULL;
    char median[LAB_TEXT], low[LAB_TEXT], high[LAB_TEXT], ratio[LAB_TEXT] = "",
                                                          spread[2 * LAB_TEXT + 4];

    snprintf(spread, sizeof spread, "%s .. %s",
             number_text(low, quantile(row->samples, bench.runs, 0.25)),
             number_text(high, quantile(row->samples, bench.runs, 0.75)));
    printf("  %-52s %-34s %9s  %-18s %9s\n", situation, row->subject,
           number_text(median, bench_median(row)), spread,
           beside ? number_text(ratio, bench_ratio(row, beside)) : "");
}

void bench_print_group(const struct bench_group *group)
{
    const char *situation = "";

    printf("%s: %s; %s\n", group->name, group->title, group->unit);
    printf("  %-52s %-34s %9s  %-18s %9s\n", "", "", "median", "quartiles", group->ratio);
    for (unsigned i = 0; i < bench.row_count; i++) {
        const struct bench_row *row = &bench.rows[i];

        if (strcmp(row->group, group->name) != 0)
            continue;
        print_row(row, strcmp(situation, row->situation) ? row->situation : "");
        situation = row->situation;
    }
    putchar('\n');
    fflush(stdout);
}

void bench_print_notes(void)
{
    for (unsigned i = 0; i < bench.note_count; i++)
        printf("Note: %s\n", bench.notes[i]);
    if (bench.note_count)
        putchar('\n');
}

/* ----------------------------------------------------------------------------- bars ------ */

/* What the project promises itself. `row` is measured beside another row, or in its own unit. */
struct bar {
    const char *text, *row, *beside;
    bool at_least;
    double limit;
};

static const struct bar bars[] = {
    {"pin+unpin of a present page, biased: at most 6 ns", "pin.biased.1", NULL, false, 6},
    {"the same, unbiased: at most 12 ns", "pin.unbiased.1", NULL, false, 12},
    {"two threads on one page, biased: at most 1.3 times one", "pin.biased.2", "pin.biased.1",
     false, 1.3},
    {"the same, unbiased: at most 1.3 times one", "pin.unbiased.2", "pin.unbiased.1", false, 1.3},
    {"truncates beside a pinning thread: at least 10 times faster than tmpfs",
     "truncate.busy.tmpfs", "truncate.busy.holdfast", true, 10},
    {"the same: at most 1.3 times those without the drain", "truncate.busy.holdfast",
     "truncate.busy.bare", false, 1.3},
    {"truncates beside an idle thread: at least 4 times faster than tmpfs", "truncate.idle.tmpfs",
     "truncate.idle.holdfast", true, 4},
    {"the same: at most 1.1 times those without the drain", "truncate.idle.holdfast",
     "truncate.idle.bare", false, 1.1},
    {"10,000 unrelated pins, same file: a truncate takes at most twice as long",
     "unrelated.truncate.same", "unrelated.truncate.none", false, 2},
    {"the same on other files", "unrelated.truncate.others", "unrelated.truncate.none-others",
     false, 2},
    {"the same by 8 threads", "unrelated.truncate.spread", "unrelated.truncate.none", false, 2},
    {"the same by 8 threads on other files", "unrelated.truncate.spread-others",
     "unrelated.truncate.none-others", false, 2},
    {"4 KiB random reads in 16 MiB, pinned: at least 3 times faster than pread",
     "read.cached.tmpfs", "read.cached.holdfast", true, 3},
    {"the same in 256 MiB, more than the processor's cache", "read.random.tmpfs",
     "read.random.holdfast", true, 3},
    {"a pin of 1 GiB on huge entries: at most 5000 ns", "pin.1GiB", NULL, false, 5000},
};
#define BARS (sizeof bars / sizeof bars[0])

/* False: its rows were not measured. */
static bool bar_value(const struct bar *bar, double *value)
{
    const struct bench_row *row = bench_find(bar->row);
    const struct bench_row *beside = bar->beside ? bench_find(bar->beside) : NULL;

    if (!row || (bar->beside && !beside))
        return false;
    *value = beside ? bench_ratio(row, beside) : bench_median(row);
    return true;
}

static bool bar_holds(const struct bar *bar, double value)
{
    return bar->at_least ? value >= bar->limit : value <= bar->limit;
}

static bool group_was_measured(const char *key)
{
    size_t len = strcspn(key, ".");

    for (unsigned i = 0; i < bench.row_count; i++)
        if (strlen(bench.rows[i].group) == len && strncmp(bench.rows[i].group, key, len) == 0)
            return true;
    return false;
}

void bench_print_bars(void)
{
    char text[LAB_TEXT];
    double value;

    puts("bars:");
    for (size_t i = 0; i < BARS; i++) {
        if (bar_value(&bars[i], &value))
            printf("  %-74s %9s  %s\n", bars[i].text, number_text(text, value),
                   bar_holds(&bars[i], value) ? "holds" : "MISSED");
        else if (group_was_measured(bars[i].row))
            printf("  %-74s %9s  not measured\n", bars[i].text, "");
    }
}

/* ----------------------------------------------------------------------------- JSON ------ */

static void json_field(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    if (text)
        lab_json_string(stdout, text);
    else
        printf("null");
}

static void json_machine(int argc, char **argv)
{
    printf("{\n  \"command\": [\"holdfast\", \"bench\"");
    for (int i = 1; i < argc; i++) {
        printf(", ");
        lab_json_string(stdout, argv[i]);
    }
    printf("],\n  \"rounds\": %u,\n  \"machine\": {", bench.runs);
    for (const struct bench_fact *fact = bench_machine(); fact->name; fact++) {
        printf("\n    ");
        json_field(fact->name, fact->value);
        printf("%s", fact[1].name ? "," : "\n  },\n");
    }
}

static void json_row(const struct bench_row *row, const char *unit)
{
    const struct bench_row *beside = row->beside ? bench_find(row->beside) : NULL;

    printf("    {");
    json_field("key", row->key);
    printf(", ");
    json_field("situation", row->situation);
    printf(", ");
    json_field("subject", row->subject);
    printf(", \"unit\": \"%s\", \"median\": %.6g, \"min\": %.6g, \"max\": %.6g", unit,
           bench_median(row), quantile(row->samples, bench.runs, 0),
           quantile(row->samples, bench.runs, 1));
    if (beside) {
        printf(", ");
        json_field("beside", beside->key);
        printf(", \"ratio\": %.6g", bench_ratio(row, beside));
    }
    printf(", \"samples\": [");
    for (unsigned i = 0; i < bench.runs; i++)
        printf("%s%.6g", i ? ", " : "", row->samples[i]);
    printf("]}");
}

static void json_bars(void)
{
    double value;

    printf("  \"bars\": [\n");
    for (size_t i = 0; i < BARS; i++) {
        printf("    {");
        json_field("text", bars[i].text);
        printf(", \"limit\": %g, \"measured\": ", bars[i].limit);
        if (bar_value(&bars[i], &value))
            printf("%.6g, \"holds\": %s}", value, bar_holds(&bars[i], value) ? "true" : "false");
        else
            printf("null, \"holds\": null}");
        puts(i + 1 < BARS ? "," : "");
    }
    puts("  ]\n}");
}

void bench_print_json(int argc, char **argv)
{
    json_machine(argc, argv);
    printf("  \"rows\": [\n");
    for (unsigned i = 0; i < bench.row_count; i++) {
        json_row(&bench.rows[i], strcmp(bench.rows[i].group, "pin") == 0 ? "ns" : "us");
        puts(i + 1 < bench.row_count ? "," : "");
    }
    printf("  ],\n  \"notes\": [");
    for (unsigned i = 0; i < bench.note_count; i++) {
        printf("%s", i ? ", " : "");
        lab_json_string(stdout, bench.notes[i]);
    }
    printf("],\n");
    json_bars();
}
