/* SPDX-License-Identifier: MIT */
/*
 * The program `holdfast`: finds the verb and runs it. Owns the table of verbs, the signals and the
 * exit. A verb returns an exit code of sysexits.h and never ends the program itself. So the pool is
 * always detached cleanly, also after Ctrl-C and into a closed pipe.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define REPEAT_US 50000

#define VERB(name) extern const struct cli_verb cli_verb_##name;
#include "verbs.def"
#undef VERB

const struct cli_verb *const cli_verbs[] = {
#define VERB(name) &cli_verb_##name,
#include "verbs.def"
#undef VERB
    NULL,
};

const struct cli_verb *cli_current_verb;
bool cli_mount_helper;

static volatile sig_atomic_t ending_signal;

/* A signal ends a wait inside the library only when it comes in that wait, not shortly before it.
 * So others follow, until the verb knows that it is to end. None comes while it cleans up. */
static void repeat_signal(suseconds_t period_us)
{
    const struct itimerval period = {{0, period_us}, {0, period_us}};

    setitimer(ITIMER_REAL, &period, NULL);
}

bool cli_interrupted(void)
{
    if (ending_signal == 0)
        return false;
    repeat_signal(0);
    return true;
}

void cli_interrupt(int signal_number)
{
    ending_signal = signal_number;
    repeat_signal(REPEAT_US);
}

static void repeat(int signal_number)
{
    (void)signal_number;
}

/* Without SA_RESTART, so that waits inside the library return; the second one ends at once. */
static void catch_end_signals(void)
{
    struct sigaction action = {.sa_handler = cli_interrupt, .sa_flags = (int)SA_RESETHAND};
    const struct sigaction again = {.sa_handler = repeat};
    const int caught[] = {SIGINT, SIGTERM, SIGHUP};

    sigaction(SIGALRM, &again, NULL);
    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
        sigaction(caught[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* `ulimit -f`: the call fails, and says so */
}

const struct cli_verb *cli_find_verb(const char *name)
{
    for (const struct cli_verb *const *verb = cli_verbs; *verb != NULL; verb++) {
        if (strcmp((*verb)->name, name) == 0)
            return *verb;
    }
    return NULL;
}

/* Of the program that knows the verb that is called, explained or completed; null: this one. */
static const char *topic_called(int argc, char **argv)
{
    const char *first = argc > 1 ? argv[1] : "";
    bool about = strcmp(first, "help") == 0 || (strcmp(first, "complete") == 0 && argc > 3);
    const struct cli_verb *verb = about && argc > 2 ? cli_find_verb(argv[2]) : cli_find_verb(first);

    return verb ? verb->topic : NULL;
}

/* Verbs that a build may have left out are not unknown to the user. */
static int unknown_verb(const char *name)
{
    static const char *const optional[][2] = {
        {"cache", "-Dcache=false"},        {"serve", "-Dcluster=disabled"},
        {"cluster", "-Dcluster=disabled"}, {"mount", "-Dmount=disabled"},
        {"demo", "-Dlab=false"},           {"bench", "-Dlab=false"}};

    for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++) {
        if (strcmp(name, optional[i][0]) != 0)
            continue;
        cli_note("%s: this holdfast was built without it (meson's option %s)", name,
                 optional[i][1]);
        return EX_UNAVAILABLE;
    }
    return cli_usage("%s: there is no such verb (see `holdfast help`)", name);
}

static void print_verbs(FILE *out)
{
    fprintf(out, "usage: holdfast VERB POOL [PATH] ... [OPTION] ...\n\n");
    for (const struct cli_verb *const *verb = cli_verbs; *verb != NULL; verb++)
        fprintf(out, "  %-10s %s\n", (*verb)->name, (*verb)->summary);
    fprintf(out, "\n`holdfast VERB --help` says more about a verb, holdfast(1) about all.\n");
}

static int help_run(int count, char **operands)
{
    const struct cli_verb *verb;

    if (count == 0) {
        print_verbs(stdout);
        return EX_OK;
    }
    verb = cli_find_verb(operands[0]);
    if (verb == NULL)
        return unknown_verb(operands[0]);
    cli_print_help(verb);
    return EX_OK;
}

const struct cli_verb cli_verb_help = {
    .name = "help",
    .operands = "[VERB]",
    .summary = "list the verbs, or explain one",
    .operands_max = 1,
    .run = help_run,
};

static int version_run(int count, char **operands)
{
    (void)count;
    (void)operands;
    printf("holdfast %d.%d.%d, library %s\n", HF_VERSION_MAJOR, HF_VERSION_MINOR, HF_VERSION_PATCH,
           hf_version());
    return EX_OK;
}

const struct cli_verb cli_verb_version = {
    .name = "version",
    .operands = "",
    .summary = "print the version of the program and of the library",
    .run = version_run,
};

/* The verb of `verb->verbs` that the first argument names; null: *status is the exit code. */
static const struct cli_verb *choose_below(const struct cli_verb *verb, char **args, int *status)
{
    const struct cli_verb *below;

    if (args[0] == NULL) {
        *status = cli_usage("too few arguments: holdfast %s %s", verb->name, verb->operands);
        return NULL;
    }
    below = cli_find_below(verb, args[0]);
    if (below == NULL && strcmp(args[0], "--help") == 0) {
        cli_print_help(verb);
        *status = EX_OK;
    } else if (below == NULL) {
        *status =
            cli_usage("%s: there is no such verb (see `holdfast %s --help`)", args[0], verb->name);
    }
    return below;
}

static int run_verb(const struct cli_verb *verb, char **args)
{
    int count = 0, status = EX_OK;

    if (verb->verbs != NULL) {
        verb = choose_below(verb, args++, &status);
        if (verb == NULL)
            return status;
        cli_current_verb = verb;
    }
    if (!verb->raw) {
        status = cli_parse(verb, args, &count);
        if (status >= 0)
            return status;
        return verb->run(count, args);
    }
    while (args[count] != NULL)
        count++;
    return verb->run(count, args);
}

/* All output must have arrived; a reader that went away is not a failure. */
static int finish_output(int status)
{
    bool broken = ferror(stdout) != 0;
    int error = fflush(stdout) != 0 ? errno : broken ? EIO : 0;

    if (error == 0 || error == EPIPE || status != EX_OK)
        return status;
    return cli_fail_host("standard output", error);
}

/* If some of descriptors 0 to 2 were not given, the next files that are opened would get their
 * numbers, a pool's among them. So they are opened here, in a way that can be neither read nor
 * written. A verb that writes to standard output then gets an error. */
static bool occupy_streams(void)
{
    int fd;

    do
        fd = open("/", O_PATH | O_DIRECTORY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    return fd >= 0 && close(fd) == 0;
}

static void die_of_signal(void)
{
    signal(ending_signal, SIG_DFL);
    kill(getpid(), ending_signal);
}

/* mount(8) runs mount.TYPE POOL DIR [-sfnv] [-o OPTION,...]: the letters are about itself, but for
 * f, which means not to mount. */
static int run_as_mount_helper(char **args)
{
    bool fake = false;
    char **kept = args;

    for (char **arg = args; *arg != NULL; arg++) {
        if ((*arg)[0] == '-' && (*arg)[strspn(*arg + 1, "sfnv") + 1] == '\0')
            fake |= strchr(*arg, 'f') != NULL;
        else
            *kept++ = *arg;
    }
    *kept = NULL;
    cli_current_verb = cli_find_verb("mount");
    if (cli_current_verb == NULL)
        return unknown_verb("mount");
    cli_mount_helper = true;
    return fake ? EX_OK : run_verb(cli_current_verb, args);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    int status;

    if (!occupy_streams())
        return EX_OSERR;
    setlocale(LC_CTYPE, "");
    if (strncmp(basename(argv[0]), "mount.", 6) == 0)
        return run_as_mount_helper(argv + 1);
    if (topic_called(argc, argv) != NULL)
        return cli_launch(topic_called(argc, argv), argv);
    if (argc < 2) {
        print_verbs(stderr);
        return EX_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0)
        name = "version";
    if (strcmp(name, "complete") == 0)
        return finish_output(cli_complete(argc - 2, argv + 2));
    cli_current_verb = cli_find_verb(name);
    if (cli_current_verb == NULL)
        return unknown_verb(name);
    catch_end_signals();
    status = finish_output(run_verb(cli_current_verb, argv + 2));
    if (cli_interrupted())
        die_of_signal();
    return status;
}
