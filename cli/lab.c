/* SPDX-License-Identifier: MIT */
/* The verbs demo and bench: they link variants of the library that libholdfast.so must not have. */
#include "cli.h"

/* operands[-1] is the verb, which is the program's own name then. */
static int demo_run(int count, char **operands)
{
    (void)count;
    return cli_launch("demo", operands - 1);
}

static int bench_run(int count, char **operands)
{
    (void)count;
    return cli_launch("bench", operands - 1);
}

const struct cli_verb cli_verb_demo = {
    .name = "demo",
    .operands = "[--input DIR] [--seconds N] [--seed N] [--json]",
    .summary = "show pins and layout changes on a real tree, with the protocol and without",
    .raw = true,
    .run = demo_run,
};

const struct cli_verb cli_verb_bench = {
    .name = "bench",
    .operands = "[OPTION] ...",
    .summary = "measure pins, layout changes and reads beside the kernel's own",
    .raw = true,
    .run = bench_run,
};
