/* SPDX-License-Identifier: MIT */
/* What the demonstration prints: the live line, the table of each half, and JSON. */
#include "demo.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define REDRAW_NS (LAB_SEC / 20)

static uint64_t drawn_ns;

void demo_progress(const char *format, ...)
{
    uint64_t now = lab_now_ns();
    va_list args;

    if (now - drawn_ns < REDRAW_NS || isatty(STDERR_FILENO) != 1)
        return;
    drawn_ns = now;
    fputs("\r\033[K  ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
}

void demo_progress_wipe(void)
{
    if (drawn_ns)
        fputs("\r\033[K", stderr);
    drawn_ns = 0;
}

/* ----------------------------------------------------------------------------- sums ------ */

static struct demo_durations kind_durations(const struct demo_half *half, unsigned kind)
{
    struct demo_durations sum = {0};

    for (unsigned i = 0; i < DEMO_WORKERS; i++)
        demo_durations_merge(&sum, &half->counts[i].kinds[kind]);
    return sum;
}

static struct demo_counts sum_counts(const struct demo_half *half)
{
    struct demo_counts sum = {0};

    for (unsigned i = 0; i < DEMO_WORKERS; i++) {
        const struct demo_counts *one = &half->counts[i];

        sum.held += one->held;
        sum.writing += one->writing;
        sum.past_end += one->past_end;
        sum.no_space += one->no_space;
        sum.foreign += one->foreign;
        sum.changed += one->changed;
        sum.gave_up += one->gave_up;
        sum.postponed += one->postponed;
    }
    return sum;
}

/* From the pool's own histogram. Its buckets are octaves: the place inside one is guessed. */
static double waited_at(const struct hf_stats *stats, double share)
{
    double left = share * (double)stats->drains_waited, ns;
    unsigned i = 0;

    if (!stats->drains_waited)
        return 0;
    while (i < HF_WAIT_BUCKETS - 1 && left > (double)stats->wait_log2_ns[i])
        left -= (double)stats->wait_log2_ns[i++];
    ns = ldexp(1 + (stats->wait_log2_ns[i] ? left / (double)stats->wait_log2_ns[i] : 0), (int)i);
    return fmin(ns, (double)stats->wait_ns_max);
}

/* ---------------------------------------------------------------------------- table ------ */

static void row_of_times(const char *name, uint64_t count, double median, double p99, double max)
{
    char a[LAB_TEXT], b[LAB_TEXT], c[LAB_TEXT], d[LAB_TEXT];

    if (count)
        printf("     %-32s %13s %10s %10s %10s\n", name, lab_count_text(a, count),
               lab_ns_text(b, median), lab_ns_text(c, p99), lab_ns_text(d, max));
    else
        printf("     %-32s %13s\n", name, "0");
}

static void row_of_count(const char *name, uint64_t count, const char *remark)
{
    char text[LAB_TEXT];

    printf("   %-34s %13s%s%s\n", name, lab_count_text(text, count), *remark ? "   " : "", remark);
}

static void print_pins(const struct demo_half *half, const struct demo_counts *counts)
{
    char text[LAB_TEXT];

    row_of_count("pins", demo_pins(half), "");
    row_of_count("  a second", (uint64_t)((double)demo_pins(half) / half->seconds), "");
    row_of_count("  held", counts->held, "(for 50 to 500 us, and looked at again)");
    row_of_count("  to write", counts->writing, "(as long, and written through)");
    row_of_count("  refused, behind a cut-off end", counts->past_end, "");
    if (counts->no_space)
        row_of_count("  refused, a hole in a full pool", counts->no_space, "");
    printf("   %-34s %13s\n", "bytes read in place",
           lab_bytes_text(text, (double)demo_in_place(half)));
}

static void print_changes(const struct demo_half *half, const struct demo_counts *counts)
{
    const struct hf_stats *stats = &half->stats;
    char text[LAB_TEXT];

    printf("   %-34s %13s %10s %10s %10s\n", "layout changes",
           lab_count_text(text, demo_changes(half)), "median", "p99", "max");
    for (unsigned kind = 0; kind < DEMO_RELOAD; kind++) {
        struct demo_durations took = kind_durations(half, kind);

        row_of_times(demo_kind_names[kind], took.count, demo_duration_at(&took, 0.5),
                     demo_duration_at(&took, 0.99), (double)took.max_ns);
    }
    row_of_times("that had to wait for pins", stats->drains_waited, waited_at(stats, 0.5),
                 waited_at(stats, 0.99), (double)stats->wait_ns_max);
    row_of_count("  that gave up at their deadline", counts->gave_up,
                 "(200 us; one in ten has one)");
    row_of_count("  that detached held blocks", stats->detaches, "(one in ten may)");
}

static void print_reloads(const struct demo_half *half)
{
    struct demo_durations took = kind_durations(half, DEMO_RELOAD);

    row_of_times("files made whole again", took.count, demo_duration_at(&took, 0.5),
                 demo_duration_at(&took, 0.99), (double)took.max_ns);
}

static void print_merged(const struct demo_half *half)
{
    if (!half->has_bug)
        row_of_count("pages merged meanwhile", half->merged / LAB_PAGE,
                     "(by holdfast dedup --follow: equal pages share a block)");
}

static void print_outcome(const struct demo_half *half, const struct demo_counts *counts)
{
    char first[LAB_TEXT], later[LAB_TEXT], pages[LAB_TEXT], remark[128] = "";

    if (demo_reused(half))
        snprintf(remark, sizeof remark, "(%s at the first look, %s changed while held)",
                 lab_count_text(first, counts->foreign), lab_count_text(later, counts->changed));
    row_of_count("PINS SEEN OVER A REUSED BLOCK", demo_reused(half), remark);
    remark[0] = '\0';
    if (half->damaged_files)
        snprintf(remark, sizeof remark, "(%s pages, by writes through such pins)",
                 lab_count_text(pages, half->damaged_pages));
    row_of_count("FILES DAMAGED WHEN ALL WAS OVER", half->damaged_files, remark);
    if (half->wrong_sizes)
        row_of_count("files of a wrong size", half->wrong_sizes, "");
    if (half->dead)
        row_of_count("processes that died", half->dead, "");
}

void demo_print_half(const struct demo_half *half)
{
    struct demo_counts counts = sum_counts(half);
    char bytes[LAB_TEXT];

    printf(
        "   %u reader and %u writer processes, %.1f s, in a pool of %s that is as good as full\n\n",
        DEMO_READERS, DEMO_WRITERS, half->seconds, lab_bytes_text(bytes, (double)half->pool_bytes));
    print_pins(half, &counts);
    print_changes(half, &counts);
    print_reloads(half);
    print_merged(half);
    print_outcome(half, &counts);
    putchar('\n');
    fflush(stdout);
}

/* ----------------------------------------------------------------------------- JSON ------ */

static void json_times(const char *name, uint64_t count, double median, double p99, double max)
{
    printf("\"%s\": {\"count\": %" PRIu64
           ", \"median_ns\": %.0f, \"p99_ns\": %.0f, \"max_ns\": %.0f}",
           name, count, median, p99, max);
}

static void json_half(const char *name, const struct demo_half *half)
{
    struct demo_counts counts = sum_counts(half);
    const struct hf_stats *stats = &half->stats;

    printf("  \"%s\": {\n    \"engine\": \"%s\", \"seconds\": %.3f, \"pool_bytes\": %" PRIu64 ",\n",
           name, half->engine, half->seconds, half->pool_bytes);
    printf("    \"pins\": %" PRIu64 ", \"pins_held\": %" PRIu64 ", \"pins_to_write\": %" PRIu64
           ", \"pins_past_end\": %" PRIu64 ", \"pins_no_space\": %" PRIu64
           ", \"bytes_in_place\": %" PRIu64 ",\n",
           demo_pins(half), counts.held, counts.writing, counts.past_end, counts.no_space,
           demo_in_place(half));
    printf("    \"layout_changes\": {\n");
    for (unsigned kind = 0; kind < DEMO_KINDS; kind++) {
        struct demo_durations took = kind_durations(half, kind);

        printf("      ");
        json_times(demo_kind_names[kind], took.count, demo_duration_at(&took, 0.5),
                   demo_duration_at(&took, 0.99), (double)took.max_ns);
        puts(kind + 1 < DEMO_KINDS ? "," : "\n    },");
    }
    printf("    ");
    json_times("waited", stats->drains_waited, waited_at(stats, 0.5), waited_at(stats, 0.99),
               (double)stats->wait_ns_max);
    printf(",\n    \"gave_up\": %" PRIu64 ", \"detached\": %" PRIu64 ", \"postponed\": %" PRIu64
           ",\n",
           counts.gave_up, stats->detaches, counts.postponed);
    printf("    \"merged_bytes\": %" PRIu64 ",\n", half->merged);
    printf("    \"pins_over_a_reused_block\": %" PRIu64 ", \"at_first_look\": %" PRIu64
           ", \"while_held\": %" PRIu64 ",\n",
           demo_reused(half), counts.foreign, counts.changed);
    printf("    \"damaged_files\": %" PRIu64 ", \"damaged_pages\": %" PRIu64
           ", \"wrong_sizes\": %" PRIu64 ", \"processes_died\": %" PRIu64 "\n  },\n",
           half->damaged_files, half->damaged_pages, half->wrong_sizes, half->dead);
}

void demo_print_json(const struct demo_options *options, const struct demo_tree *tree,
                     const struct demo_half *with, const struct demo_half *without, bool proved)
{
    printf("{\n  \"version\": \"%s\", \"seed\": %" PRIu64 ", \"input\": ", hf_version(),
           options->seed);
    lab_json_string(stdout, options->input);
    printf(", \"files\": %" PRIu64 ", \"bytes\": %" PRIu64 ",\n", tree->file_count, tree->bytes);
    json_half("with", with);
    json_half("without", without);
    printf("  \"proved\": %s\n}\n", proved ? "true" : "false");
}
