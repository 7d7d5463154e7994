/* SPDX-License-Identifier: MIT */
/* The tables for people. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* Three digits that count. */
const char *bench_number_text(char buf[LAB_TEXT], double value)
{
    static const double below[] = {0.09995, 0.9995, 9.995, 99.95};
    int digits = 4;

    for (size_t i = 0; i < sizeof below / sizeof below[0] && value >= below[i]; i++)
        digits--;
    snprintf(buf, LAB_TEXT, "%.*f", digits, value);
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
        "  %-18s %u, interleaved; a value is the median of its rounds, the spread their quartiles,\n"
        "  %-18s a ratio the median of the ratios of the single rounds\n\n",
        "rounds", bench.runs, "");
    fflush(stdout);
}

static void print_columns(const char *subject, const char *median, const char *spread,
                          const char *ratio)
{
    if (*ratio)
        printf("    %-40s %9s  %-20s %11s\n", subject, median, spread, ratio);
    else
        printf("    %-40s %9s  %s\n", subject, median, spread);
}

static void print_row(const struct bench_row *row)
{
    const struct bench_row *beside = row->beside ? bench_find(row->beside) : NULL;
    char median[LAB_TEXT], low[LAB_TEXT], high[LAB_TEXT], ratio[LAB_TEXT] = "",
                                                          spread[2 * LAB_TEXT + 4];

    snprintf(spread, sizeof spread, "%s .. %s",
             bench_number_text(low, bench_quantile(row->samples, bench.runs, 0.25)),
             bench_number_text(high, bench_quantile(row->samples, bench.runs, 0.75)));
    print_columns(row->subject, bench_number_text(median, bench_median(row)), spread,
                  beside ? bench_number_text(ratio, bench_ratio(row, beside)) : "");
}

static void print_published(const struct bench_group *group)
{
    printf("  %s\n", group->published_by);
    for (const struct bench_published *what = group->published; what->subject; what++)
        print_columns(what->subject, what->value, "", what->ratio);
}

void bench_print_group(const struct bench_group *group)
{
    const char *situation = "";

    printf("%s: %s%s%s\n", group->name, group->title, group->unit ? "; " : "",
           group->unit ? group->unit : "");
    print_columns("", "median", "quartiles", group->ratio);
    for (unsigned i = 0; i < bench.row_count; i++) {
        const struct bench_row *row = &bench.rows[i];

        if (strcmp(row->group, group->name) != 0)
            continue;
        if (strcmp(situation, row->situation) != 0)
            printf("  %s\n", row->situation);
        print_row(row);
        situation = row->situation;
    }
    if (group->published)
        print_published(group);
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
