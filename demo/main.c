/* SPDX-License-Identifier: MIT */
/*
 * holdfast demo: the same work twice, with the engine that finds the pins a layout change overlaps,
 * and with one that does not look. It succeeds when no pin was seen over a reused block in the
 * first half, and some were in the second. So the check is known to see what it looks for.
 */
#include "demo.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sysexits.h>

#define INPUT "/usr/share"
#define SECONDS 15
#define ALL_WITHIN 55.0 /* seconds, unless --seconds was given */

static const char help_text[] =
    "usage: holdfast demo [--input DIR] [--seconds N] [--seed N] [--json]\n\n"
    "Loads the tree DIR (" INPUT "; the first 8,000 files or 512 MiB) into a pool in memory. Two\n"
    "processes pin random ranges and verify them in place. Two others truncate, punch, move, delete\n"
    "and reload the same files all the time, so that freed blocks are reused at once. A fifth lets\n"
    "equal pages share blocks (holdfast dedup --follow). Then the same again, without the fifth, on\n"
    "an engine that does not look for pins, to show what is prevented.\n\n"
    "  --input DIR    another tree\n"
    "  --seconds N    how long each half runs (15); the second until the bug has shown\n"
    "  --seed N       of the random choices; printed, to be given again\n"
    "  --json         the result for programs\n\n"
    "The pool lies in a folder of its own under $TMPDIR, if that is a tmpfs, else under /dev/shm, and\n"
    "is removed at the end. The status is 0 only if no pin was seen over a reused block in the first\n"
    "half, and at least one in the second.\n";

static const char cure_heading[] =
    "1. THE CURE: engine 'slots'. A layout change waits for the pins it overlaps, and for no others.";
static const char bug_heading[] =
    "2. THE BUG: engine 'blind'. A layout change does not look whether somebody holds the blocks\n"
    "   that it frees. (It exists only in this demonstration and in tests.)";

static void parse_options(int argc, char **argv, struct demo_options *options)
{
    static const struct option names[] = {
        {"input", required_argument, NULL, 'i'}, {"seconds", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'r'},  {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        switch (option) {
        case 'i':
            options->input = optarg;
            break;
        case 's':
            options->seconds = lab_number("--seconds", optarg, 1, 86400);
            break;
        case 'r':
            options->seed = lab_number("--seed", optarg, 0, UINT32_MAX);
            break;
        case 'j':
            options->json = true;
            break;
        case 'h':
            fputs(help_text, stdout);
            exit(EX_OK);
        default:
            exit(EX_USAGE);
        }
    }
    if (optind < argc) {
        lab_say("%s: no operand is wanted here (see `holdfast demo --help`)", argv[optind]);
        exit(EX_USAGE);
    }
}

/* Loading happens once more for the second half, and looking at all of it twice. */
static double half_seconds(const struct demo_options *options, double reading)
{
    double left = (ALL_WITHIN - reading) / 2 - 5;

    if (options->seconds)
        return (double)options->seconds;
    return left < 3 ? 3 : left < SECONDS ? left : SECONDS;
}

static void print_input(const struct demo_options *options, const struct demo_tree *tree,
                        double reading)
{
    char files[LAB_TEXT], bytes[LAB_TEXT];

    printf("Holdfast %s: %s files, %s, of %s, read in %.1f s (seed %" PRIu64 ")\n", hf_version(),
           lab_count_text(files, tree->file_count), lab_bytes_text(bytes, (double)tree->bytes),
           options->input, reading, options->seed);
    if (tree->unreadable)
        printf("(%s of its files or folders could not be read and are left out)\n",
               lab_count_text(files, tree->unreadable));
    putchar('\n');
    fflush(stdout);
}

/* One half in its own folder, with its heading and its table. */
static struct demo_half *run_half(const struct demo_options *options, const struct demo_tree *tree,
                                  const char *engine, bool has_bug, const char *heading,
                                  const char *folder, double seconds)
{
    struct demo_half *half = lab_shared(sizeof *half);
    char *path = lab_alloc(PATH_MAX);

    snprintf(path, PATH_MAX, "%s/%s", folder, engine);
    half->tree = tree;
    half->engine = engine;
    half->has_bug = has_bug;
    half->pool_path = path;
    half->seed = options->seed;
    if (!options->json) {
        puts(heading);
        fflush(stdout);
    }
    demo_half_run(half, seconds);
    if (!options->json)
        demo_print_half(half);
    return half;
}

static bool is_harmed(const struct demo_half *half)
{
    return demo_reused(half) || half->damaged_files || (half->wrong_sizes && !half->dead);
}

static void print_verdict(const struct demo_half *with, const struct demo_half *without)
{
    char pins[LAB_TEXT], reused[LAB_TEXT];

    lab_count_text(pins, demo_pins(with));
    lab_count_text(reused, demo_reused(without));
    if (is_harmed(with))
        printf(
            "Verdict: BROKEN. With the engine that looks for pins, pins or files came to harm.\n");
    else if (with->dead)
        printf("Verdict: none. A process ended before its time.\n");
    else if (!demo_reused(without))
        printf(
            "Verdict: proves nothing. The engine that does not look was not caught; run longer.\n");
    else
        printf("Verdict: of %s pins none was over a reused block; without looking, %s were.\n",
               pins, reused);
}

static int demonstrate(const char *folder, void *arg)
{
    struct demo_options *options = arg;
    struct demo_tree tree;
    struct demo_half *with, *without;
    uint64_t start = lab_now_ns();
    double reading, seconds;
    bool proved;

    demo_tree_read(options->input, folder, &tree);
    reading = (double)(lab_now_ns() - start) / 1e9;
    seconds = half_seconds(options, reading);
    if (!options->json)
        print_input(options, &tree, reading);
    with = run_half(options, &tree, "slots", false, cure_heading, folder, seconds);
    without = run_half(options, &tree, "blind", true, bug_heading, folder, seconds);
    proved = !is_harmed(with) && !with->dead && demo_reused(without);
    if (options->json)
        demo_print_json(options, &tree, with, without, proved);
    else
        print_verdict(with, without);
    return proved ? EX_OK : EX_SOFTWARE;
}

int main(int argc, char **argv)
{
    struct demo_options options = {.input = INPUT};

    if (getrandom(&options.seed, sizeof options.seed, 0) != sizeof options.seed)
        options.seed = lab_now_ns();
    options.seed &= UINT32_MAX;
    parse_options(argc, argv, &options);
    return lab_supervised(demonstrate, &options);
}
