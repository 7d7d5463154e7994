/* SPDX-License-Identifier: MIT */
/* What was measured, for programs: JSON with every sample, CSV with a line a row. */
#include "bench.h"

#include <string.h>

static void json_field(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    lab_json_string(stdout, text);
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

static void json_row(const struct bench_row *row)
{
    const struct bench_row *beside = row->beside ? bench_find(row->beside) : NULL;

    printf("    {");
    json_field("key", row->key);
    printf(", ");
    json_field("situation", row->situation);
    printf(", ");
    json_field("subject", row->subject);
    printf(", \"unit\": \"%s\", \"median\": %.6g, \"min\": %.6g, \"max\": %.6g", row->unit,
           bench_median(row), bench_quantile(row->samples, bench.runs, 0),
           bench_quantile(row->samples, bench.runs, 1));
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

void bench_print_json(int argc, char **argv)
{
    json_machine(argc, argv);
    printf("  \"rows\": [\n");
    for (unsigned i = 0; i < bench.row_count; i++) {
        json_row(&bench.rows[i]);
        puts(i + 1 < bench.row_count ? "," : "");
    }
    printf("  ],\n  \"notes\": [");
    for (unsigned i = 0; i < bench.note_count; i++) {
        printf("%s", i ? ", " : "");
        lab_json_string(stdout, bench.notes[i]);
    }
    printf("],\n");
    bench_print_json_bars();
    puts("}");
}

/* In quotes, and no text here has any. */
static void csv_text(const char *text)
{
    printf("\"%s\",", text);
}

void bench_print_csv(void)
{
    puts("group,key,situation,subject,unit,median,quartile1,quartile3,min,max,beside,ratio");
    for (unsigned i = 0; i < bench.row_count; i++) {
        const struct bench_row *row = &bench.rows[i];
        const struct bench_row *beside = row->beside ? bench_find(row->beside) : NULL;

        csv_text(row->group);
        csv_text(row->key);
        csv_text(row->situation);
        csv_text(row->subject);
        csv_text(row->unit);
        for (const double *share = (const double[]){0.5, 0.25, 0.75, 0, 1, -1}; *share >= 0;
             share++)
            printf("%.6g,", bench_quantile(row->samples, bench.runs, *share));
        csv_text(beside ? beside->key : "");
        if (beside)
            printf("%.6g", bench_ratio(row, beside));
        putchar('\n');
    }
}
