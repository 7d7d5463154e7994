/* SPDX-License-Identifier: MIT */
/*
 * holdfast bench: measures pins, layout changes, reads and writes beside the kernel's own, group by
 * group, each group in rounds. A missed bar is information, not a failure: the status is 0.
 */
#include "bench.h"

#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define RUNS 15
#define RUNS_QUICK 3
#define REPEATS 11u /* of what is short, within a sample */
#define SAMPLE_NS UINT64_C(50000000)

struct bench bench;

static struct bench_group *const groups[] = {
    &bench_pin_group,       &bench_truncate_group, &bench_punch_group, &bench_mixed_group,
    &bench_unrelated_group, &bench_read_group,     &bench_write_group, &bench_mount_group,
};
#define GROUPS (sizeof groups / sizeof groups[0])

static const char help_text[] =
    "usage: holdfast bench [GROUP ...] [--runs N] [--quick] [--json | --csv] [--plot FILE]\n\n"
    "Measures, in interleaved rounds, medians and spreads:\n\n"
    "  pin        ns per pin+unpin by each engine, and of other ways to hold a page: threads, ranges\n"
    "  truncate   ms for 100 truncates by each engine, beside tmpfs and a disk's file system\n"
    "  punch      ms for 100 punches, likewise\n"
    "  mixed      pins a second and us per layout change, one each 10 us to 10 ms, by each engine\n"
    "  unrelated  us per truncate while up to 10,000 other pins are alive\n"
    "  read       4 KiB at random in place, and 256 MiB from end to end, beside tmpfs\n"
    "  write      a new file of 256 MiB, beside tmpfs\n"
    "  mount      a mounted pool beside bindfs: content, names, dbench; the library beside it\n\n"
    "  --runs N     rounds (15)\n"
    "  --quick      a few short rounds: whether it runs, not what it measures\n"
    "  --json       all samples, for programs\n"
    "  --csv        a line a row, for spreadsheets\n"
    "  --plot FILE  pictures, as SVG, by gnuplot: of one group FILE, of several\n"
    "               FILE with the group's name before its last dot\n\n"
    "Without GROUP all of them. The pools lie in memory that only this process reaches, files of the\n"
    "kernel in a folder of their own under $TMPDIR, if that is a tmpfs, else under /dev/shm.\n";

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
static void run_group(struct bench_group *group)
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

struct request {
    int argc;
    char **argv;
    bool chosen[GROUPS];
};

static void print_end(const struct request *request)
{
    switch (bench.form) {
    case BENCH_TABLES:
        bench_print_notes();
        bench_print_bars();
        break;
    case BENCH_JSON:
        bench_print_json(request->argc, request->argv);
        break;
    case BENCH_CSV:
        bench_print_csv();
        break;
    }
}

static int measure_all(const char *folder, void *arg)
{
    const struct request *request = arg;
    cpu_set_t allowed;

    sched_getaffinity(0, sizeof allowed, &allowed);
    bench.cpus = (unsigned)CPU_COUNT(&allowed);
    bench.folder = folder;
    bench_find_disk();
    bench_stay_on_cpu(0);
    if (bench.form == BENCH_TABLES)
        bench_print_machine(request->argc, request->argv);
    for (size_t i = 0; i < GROUPS; i++) {
        if (!request->chosen[i])
            continue;
        run_group(groups[i]);
        if (bench.form == BENCH_TABLES)
            bench_print_group(groups[i]);
    }
    print_end(request);
    if (bench.plot)
        bench_plot();
    return EX_OK;
}

static void choose(struct request *request, const char *name)
{
    for (size_t i = 0; i < GROUPS; i++)
        if (strcmp(groups[i]->name, name) == 0) {
            request->chosen[i] = true;
            return;
        }
    lab_say("%s: there is no such group (see `holdfast bench --help`)", name);
    exit(EX_USAGE);
}

static void parse(int argc, char **argv, struct request *request)
{
    static const struct option names[] = {
        {"runs", required_argument, NULL, 'r'},
        {"quick", no_argument, NULL, 'q'},
        {"json", no_argument, NULL, 'j'},
        {"csv", no_argument, NULL, 'c'},
        {"plot", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        switch (option) {
        case 'r':
            bench.runs = (unsigned)lab_number("--runs", optarg, 1, BENCH_RUNS_MAX);
            break;
        case 'q':
            bench.quick = true;
            break;
        case 'j':
            bench.form = BENCH_JSON;
            break;
        case 'c':
            bench.form = BENCH_CSV;
            break;
        case 'p':
            bench.plot = optarg;
            break;
        case 'h':
            fputs(help_text, stdout);
            exit(EX_OK);
        default:
            exit(EX_USAGE);
        }
    }
    for (int i = optind; i < argc; i++)
        choose(request, argv[i]);
    for (size_t i = 0; optind == argc && i < GROUPS; i++)
        request->chosen[i] = true;
    if (bench.plot)
        bench_plot_check();
    if (!bench.runs)
        bench.runs = bench.quick ? RUNS_QUICK : RUNS;
}

int main(int argc, char **argv)
{
    struct request request = {.argc = argc, .argv = argv};

    parse(argc, argv, &request);
    return lab_guarded(measure_all, &request);
}
