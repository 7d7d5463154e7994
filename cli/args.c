/* SPDX-License-Identifier: MIT */
/*
 * Reads the arguments of a verb by its table of options. An argument that is not allowed is
 * refused: the sentence names it and what is allowed. Options may stand anywhere; '--' ends them;
 * '-' alone is an operand. The same table prints --help, which the shell completion reads.
 */
#include "cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_OF_TEXT 80

/* A decimal number at the start of text; false: there is none, or it is too big. */
static bool read_number(const char *text, uint64_t *out, const char **end)
{
    char *stop;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *out = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0;
}

static bool scale(uint64_t number, uint64_t factor, uint64_t *out)
{
    return !__builtin_mul_overflow(number, factor, out);
}

/* 123, 64K, 8G, 8GiB; powers of 1024. */
static bool read_bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGTPE";
    const char *end, *unit;
    uint64_t number;

    if (!read_number(text, &number, &end))
        return false;
    if (*end == '\0') {
        *out = number;
        return true;
    }
    unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
    if (unit == NULL || (end[1] != '\0' && strcmp(end + 1, "iB") != 0))
        return false;
    return scale(number, UINT64_C(1) << (10 * (unit - units + 1)), out);
}

/* 100ms, 5s, 2m; the unit is needed. */
static bool read_duration(const char *text, uint64_t *out_ns)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {
        {"ns", 1},
        {"us", 1000},
        {"ms", 1000000},
        {"s", UINT64_C(1000000000)},
        {"m", UINT64_C(60000000000)},
        {"h", UINT64_C(3600000000000)},
    };
    const char *end;
    uint64_t number;

    if (!read_number(text, &number, &end))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0)
            return scale(number, units[i].ns, out_ns);
    }
    return false;
}

/* As read_duration(), and a bare number is seconds. */
static bool read_time(const char *text, uint64_t *out_ns)
{
    const char *end;
    uint64_t number;

    if (read_number(text, &number, &end) && *end == '\0')
        return scale(number, UINT64_C(1000000000), out_ns);
    return read_duration(text, out_ns);
}

static bool read_policy(const char *text, struct hf_policy *out)
{
    static const struct {
        const char *word;
        uint32_t kind;
    } words[] = {
        {"wait", HF_POLICY_WAIT},
        {"nowait", HF_POLICY_NOWAIT},
        {"detach", HF_POLICY_DETACH},
        {"deadline:", HF_POLICY_DEADLINE},
        {"deadline-detach:", HF_POLICY_DEADLINE_DETACH},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t len = strlen(words[i].word);
        bool timed = words[i].word[len - 1] == ':';
        struct hf_policy policy = {.kind = words[i].kind};

        if (timed ? strncmp(text, words[i].word, len) != 0 : strcmp(text, words[i].word) != 0)
            continue;
        if (timed && !read_duration(text + len, &policy.deadline_ns))
            return false;
        *out = policy;
        return true;
    }
    return false;
}

static bool read_mode(const char *text, mode_t *out)
{
    char *end;
    unsigned long bits;

    if (text[0] < '0' || text[0] > '7')
        return false;
    errno = 0;
    bits = strtoul(text, &end, 8);
    if (errno != 0 || *end != '\0' || bits == 0 || bits > 0777)
        return false;
    *out = (mode_t)bits;
    return true;
}

static int refuse_value(const struct cli_option *option, const char *text)
{
    char least[CLI_SIZE_TEXT], most[CLI_SIZE_TEXT], from[CLI_TIME_TEXT], to[CLI_TIME_TEXT];

    switch (option->kind) {
    case CLI_BYTES:
        return cli_usage("--%s %s: a size is a number from %s to %s, which may end in K, M, G or T"
                         " (like 4096, 64K or 8G)",
                         option->name, text, cli_size(least, option->min),
                         cli_size(most, option->max));
    case CLI_COUNT:
        return cli_usage("--%s %s: must be a number from %" PRIu64 " to %" PRIu64, option->name,
                         text, option->min, option->max);
    case CLI_TIME:
        return cli_usage("--%s %s: a time is a number of seconds or has a unit, from %s to %s"
                         " (like 2, 5s or 100ms)",
                         option->name, text, cli_duration(from, option->min),
                         cli_duration(to, option->max));
    case CLI_MODE:
        return cli_usage("--%s %s: a mode is octal permission bits from 1 to 0777 (like 0660)",
                         option->name, text);
    case CLI_POLICY:
        return cli_usage("--%s %s: a policy is wait, nowait, detach, deadline:TIME or"
                         " deadline-detach:TIME (TIME like 100ms or 5s)",
                         option->name, text);
    default:
        return cli_usage("--%s: must not be empty", option->name);
    }
}

/* Returns -1, or the exit code. */
static int store_value(struct cli_option *option, const char *text)
{
    uint64_t number;
    const char *end;
    bool good = true;

    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->value = true;
        break;
    case CLI_TEXT:
        good = text[0] != '\0';
        *(const char **)option->value = text;
        break;
    case CLI_BYTES:
        good = read_bytes(text, &number) && number >= option->min && number <= option->max;
        if (good)
            *(uint64_t *)option->value = number;
        break;
    case CLI_COUNT:
        good = read_number(text, &number, &end) && *end == '\0' && number >= option->min &&
               number <= option->max;
        if (good)
            *(uint32_t *)option->value = (uint32_t)number;
        break;
    case CLI_TIME:
        good = read_time(text, &number) && number >= option->min && number <= option->max;
        if (good)
            *(uint64_t *)option->value = number;
        break;
    case CLI_MODE:
        good = read_mode(text, option->value);
        break;
    case CLI_POLICY:
        good = read_policy(text, option->value);
        break;
    }
    option->given = true;
    return good ? -1 : refuse_value(option, text);
}

static struct cli_option *find_option(const struct cli_verb *verb, const char *name, size_t len)
{
    for (struct cli_option *option = verb->options; option && option->name; option++) {
        if (strlen(option->name) == len && memcmp(option->name, name, len) == 0)
            return option;
    }
    return NULL;
}

static struct cli_option *find_letter(const struct cli_verb *verb, char letter)
{
    for (struct cli_option *option = verb->options; option && option->name; option++) {
        if (option->letter == letter)
            return option;
    }
    return NULL;
}

static int refuse_unknown(const struct cli_verb *verb, const char *arg)
{
    return cli_usage("%s: there is no such option (see `holdfast %s --help`)", arg, verb->name);
}

/* --name, --name=value or --name value; *next is the argument after it. */
static int parse_long(const struct cli_verb *verb, const char *arg, char ***next)
{
    const char *name = arg + 2;
    const char *equals = strchr(name, '=');
    struct cli_option *option =
        find_option(verb, name, equals ? (size_t)(equals - name) : strlen(name));

    if (option == NULL)
        return refuse_unknown(verb, arg);
    if (option->kind == CLI_FLAG) {
        if (equals != NULL)
            return cli_usage("--%s takes no value", option->name);
        return store_value(option, "");
    }
    if (equals != NULL)
        return store_value(option, equals + 1);
    if (**next == NULL)
        return cli_usage("--%s needs a value: --%s %s", option->name, option->name,
                         option->value_name);
    return store_value(option, *(*next)++);
}

/* -lR is -l -R; a letter with a value takes the rest or the next argument. */
static int parse_letters(const struct cli_verb *verb, const char *arg, char ***next)
{
    for (const char *letter = arg + 1; *letter != '\0'; letter++) {
        struct cli_option *option = find_letter(verb, *letter);
        int status;

        if (option == NULL)
            return refuse_unknown(verb, arg);
        if (option->kind != CLI_FLAG) {
            if (letter[1] != '\0')
                return store_value(option, letter + 1);
            if (**next == NULL)
                return cli_usage("-%c needs a value: -%c %s", *letter, *letter, option->value_name);
            return store_value(option, *(*next)++);
        }
        status = store_value(option, "");
        if (status >= 0)
            return status;
    }
    return -1;
}

static int check_complete(const struct cli_verb *verb, int count, char **operands)
{
    if (count < verb->operands_min)
        return cli_usage("too few arguments: holdfast %s %s", verb->name, verb->operands);
    if (count > verb->operands_max)
        return cli_usage("%s: one argument too many: holdfast %s %s", operands[verb->operands_max],
                         verb->name, verb->operands);
    for (struct cli_option *option = verb->options; option && option->name; option++) {
        if (option->required && !option->given)
            return cli_usage("--%s %s is needed", option->name, option->value_name);
    }
    for (int i = 0; i < count; i++) {
        if (operands[i][0] == '\0')
            return cli_usage("argument %d is empty: holdfast %s %s", i + 1, verb->name,
                             verb->operands);
    }
    return -1;
}

int cli_parse(const struct cli_verb *verb, char **args, int *count)
{
    char **operand = args, **next = args;
    bool options_ended = false;

    while (*next != NULL) {
        char *arg = *next++;
        int status = -1;

        if (options_ended || arg[0] != '-' || arg[1] == '\0') {
            *operand++ = arg;
        } else if (strcmp(arg, "--") == 0) {
            options_ended = true;
        } else if (strcmp(arg, "--help") == 0) {
            cli_print_help(verb);
            return EX_OK;
        } else if (arg[1] == '-') {
            status = parse_long(verb, arg, &next);
        } else {
            status = parse_letters(verb, arg, &next);
        }
        if (status >= 0)
            return status;
    }
    *count = (int)(operand - args);
    *operand = NULL;
    return check_complete(verb, *count, args);
}

const char *cli_own_name(const struct cli_verb *verb)
{
    const char *blank = strrchr(verb->name, ' ');

    return blank != NULL ? blank + 1 : verb->name;
}

const struct cli_verb *cli_find_below(const struct cli_verb *verb, const char *name)
{
    for (const struct cli_verb *const *below = verb->verbs; below && *below; below++) {
        if (strcmp(cli_own_name(*below), name) == 0)
            return *below;
    }
    return NULL;
}

static void print_option(const struct cli_option *option)
{
    char left[PAGE_OF_TEXT], letter[8] = "";

    if (option->letter != 0)
        snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    snprintf(left, sizeof(left), "%s--%s%s%s", letter, option->name, option->value_name ? " " : "",
             option->value_name ? option->value_name : "");
    printf("  %-26s %s%s\n", left, option->help, option->required ? " (needed)" : "");
}

void cli_print_help(const struct cli_verb *verb)
{
    bool has_options = verb->options != NULL && verb->options->name != NULL;

    printf("usage: holdfast %s%s%s%s\n\n%s.\n", verb->name, verb->operands[0] ? " " : "",
           verb->operands, has_options ? " [OPTION] ..." : "", verb->summary);
    if (verb->details != NULL)
        printf("\n%s\n", verb->details);
    if (has_options || verb->verbs != NULL)
        printf("\n");
    for (const struct cli_option *option = verb->options; option && option->name; option++)
        print_option(option);
    for (const struct cli_verb *const *below = verb->verbs; below && *below; below++)
        printf("  %-10s %s\n", cli_own_name(*below), (*below)->summary);
}
