/* SPDX-License-Identifier: MIT */
/*
 * The verbs demo and bench: programs of their own, because they link variants of the library that
 * must not be in libholdfast.so. They are looked for beside the running program first, so that the
 * build folder and a moved installation work. Then they are looked for where they were installed.
 */
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of the running program, in buf. */
static bool program_folder(char buf[PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", buf, PATH_MAX - 1);
    char *slash;

    if (len < 0)
        return false;
    buf[len] = '\0';
    slash = strrchr(buf, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return true;
}

static bool find_program(const char *topic, char found[PATH_MAX])
{
    char folder[PATH_MAX];
    int len;

    if (program_folder(folder)) {
        len = snprintf(found, PATH_MAX, "%s/../%s/holdfast-%s", folder, topic, topic);
        if (len < PATH_MAX && access(found, X_OK) == 0)
            return true;
        len = snprintf(found, PATH_MAX, "%s/../libexec/holdfast/holdfast-%s", folder, topic);
        if (len < PATH_MAX && access(found, X_OK) == 0)
            return true;
    }
    snprintf(found, PATH_MAX, "%s/holdfast-%s", HF_LIBEXEC_DIR, topic);
    return access(found, X_OK) == 0;
}

/* operands[-1] is the verb, which becomes the program's own name. */
static int launch(const char *topic, char **operands)
{
    char path[PATH_MAX];

    if (!find_program(topic, path)) {
        cli_note("%s: there is no such program; it is installed with holdfast (ninja install)",
                 path);
        return EX_UNAVAILABLE;
    }
    operands[-1] = path;
    fflush(stdout);
    execv(path, operands - 1);
    return cli_fail_host(path, errno);
}

static int demo_run(int count, char **operands)
{
    (void)count;
    return launch("demo", operands);
}

static int bench_run(int count, char **operands)
{
    (void)count;
    return launch("bench", operands);
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
