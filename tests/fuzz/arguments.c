/* SPDX-License-Identifier: MIT */
/*
 * The arguments of each verb: the first byte chooses the verb, the rest are arguments that end with
 * a NUL. What is accepted is within the bounds of its option, and complete. The verb is not run.
 */
#include "cli.h"
#include "fuzz.h"

#include <stdio.h>

#define ARGUMENTS_MAX 32u

static FILE *nowhere;

static void begin(void)
{
    nowhere = fopen("/dev/null", "we");
    EXPECT(nowhere != NULL);
}

/* What it prints is not wanted. */
static int parse(char **args, int *count)
{
    FILE *out = stdout, *err = stderr;
    int status;

    stdout = stderr = nowhere;
    status = cli_parse(cli_current_verb, args, count);
    stdout = out;
    stderr = err;
    return status;
}

static unsigned split(char *bytes, size_t len, char **args)
{
    unsigned count = 0;

    for (char *at = bytes; at < bytes + len && count < ARGUMENTS_MAX; at += strlen(at) + 1)
        args[count++] = at;
    args[count] = NULL;
    return count;
}

static void forget(const struct cli_verb *verb)
{
    for (struct cli_option *option = verb->options; option && option->name; option++)
        option->given = false;
}

static void expect_within(const struct cli_option *option)
{
    uint64_t number;

    if (option->kind == CLI_BYTES || option->kind == CLI_TIME)
        number = *(const uint64_t *)option->value;
    else if (option->kind == CLI_COUNT)
        number = *(const uint32_t *)option->value;
    else
        return;
    EXPECT(number >= option->min && number <= option->max);
}

static void expect_complete(const struct cli_verb *verb, int count, unsigned given, char **args)
{
    EXPECT(count >= verb->operands_min && count <= verb->operands_max && (unsigned)count <= given);
    for (int i = 0; i < count; i++)
        EXPECT(args[i][0] != '\0');
    EXPECT(args[count] == NULL);
    for (struct cli_option *option = verb->options; option && option->name; option++) {
        EXPECT(option->given || !option->required);
        if (option->given)
            expect_within(option);
        if (option->given && option->kind == CLI_TEXT)
            EXPECT((*(const char **)option->value)[0] != '\0');
        if (option->given && option->kind == CLI_MODE)
            EXPECT(*(const mode_t *)option->value > 0 && *(const mode_t *)option->value <= 0777);
    }
}

static const struct cli_verb *choose_below(const struct cli_verb *verb, uint64_t number)
{
    uint64_t verbs = 0;

    while (verb->verbs[verbs])
        verbs++;
    return verb->verbs[number % verbs];
}

static void run(const uint8_t *bytes, size_t len)
{
    struct fuzz_input input = {bytes, len};
    char text[FUZZ_INPUT_MAX + 1] = "", *args[ARGUMENTS_MAX + 1];
    unsigned verbs = 0, given;
    int count = 0, status;

    while (cli_verbs[verbs])
        verbs++;
    cli_current_verb = cli_verbs[fuzz_take(&input, 1) % verbs];
    if (cli_current_verb->verbs)
        cli_current_verb = choose_below(cli_current_verb, fuzz_take(&input, 1));
    if (cli_current_verb->raw)
        return;
    memcpy(text, input.at, input.left);
    given = split(text, input.left, args);
    forget(cli_current_verb);
    status = parse(args, &count);
    EXPECT(status == -1 || status == EX_OK || status == EX_USAGE);
    if (status == -1)
        expect_complete(cli_current_verb, count, given, args);
}

const struct fuzz_target fuzz_target = {begin, run};
