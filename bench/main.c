/* SPDX-License-Identifier: MIT */
/*
 * holdfast bench: measures pins, layout changes, reads and writes beside the kernel's own, group by
 * group, each group in rounds. Its options, and the order of the groups. A missed bar is
 * information, not a failure: the status is 0.
 */
#include "bench.h"

#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define RUNS 15
#define RUNS_QUICK 3

#define GROUP(name) &bench_##name##_group,
static struct bench_group *const groups[] = {BENCH_GROUPS};
#undef GROUP
#define GROUPS (sizeof groups / sizeof groups[0])

static const char help_begin[] =
    "usage: holdfast bench [GROUP ...] [--runs N] [--quick] [--json | --csv] [--plot FILE]\n\n"
    "Measures, in interleaved rounds, medians and spreads:\n\n";
static const char help_end[] =
    "\n  --runs N     rounds (15)\n"
    "  --quick      a few short rounds: whether it runs, not what it measures\n"
    "  --json       all samples, for programs\n"
    "  --csv        a line a row, for spreadsheets\n"
    "  --plot FILE  pictures, as SVG, by gnuplot: of one group FILE, of several\n"
    "               FILE with the group's name before its last dot\n\n"
    "Without GROUP all of them. The pools lie in memory that only this process reaches. Files of the\n"
    "kernel are in a folder of their own under $TMPDIR, if that is a tmpfs, else under /dev/shm.\n";

static void print_help(void)
{
    fputs(help_begin, stdout);
    for (size_t i = 0; i < GROUPS; i++)
        printf("  %-10s %s\n", groups[i]->name, groups[i]->help);
    fputs(help_end, stdout);
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
        bench_run_group(groups[i]);
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

static void parse_request(int argc, char **argv, struct request *request)
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
            print_help();
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

    parse_request(argc, argv, &request);
    return lab_supervised(measure_all, &request);
}
