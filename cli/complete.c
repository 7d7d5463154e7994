/* SPDX-License-Identifier: MIT */
/*
 * `holdfast complete WORD...`: what may stand in the place of the last word, which the user has
 * begun to type. The completions of bash, zsh and fish ask it, so none of them knows a verb. The
 * answers come from the tables that the arguments are parsed by, and from the pool.
 *
 * Each word is printed as '=WORD<tab>HELP'. The shell acts on lines that begin with a colon. They
 * ask for files, directories or pools of the host, or say that a word may go on (nospace).
 */
#include "cli.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELP_OPTIONS_MAX 32
#define HELP_LINE 256

/* Of a verb that is a program of its own, read from its help. */
static struct cli_option help_options[HELP_OPTIONS_MAX + 1];
static size_t help_count;

static bool begins(const char *word, const char *typed)
{
    return strncmp(word, typed, strlen(typed)) == 0;
}

static bool offer(const char *typed, const char *before, const char *word, const char *help)
{
    size_t len = strlen(before);

    if (strncmp(typed, before, len) != 0 || !begins(word, typed + len))
        return false;
    printf("=%s%s\t%s\n", before, word, help);
    return true;
}

static void offer_verbs(const char *typed, const struct cli_verb *const *verbs)
{
    for (const struct cli_verb *const *verb = verbs; *verb != NULL; verb++)
        offer(typed, "", cli_own_name(*verb), (*verb)->summary);
}

/* --- paths inside the pool --- */

static void offer_entry(const char *typed, const char *before, const struct hf_dirent *entry)
{
    char word[HF_NAME_MAX + 2];

    if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0 ||
        strpbrk(entry->name, "\t\n"))
        return;
    snprintf(word, sizeof(word), "%s%s", entry->name, S_ISDIR(entry->type) ? "/" : "");
    offer(typed, before, word, "");
}

static void offer_directory(struct hf_pool *pool, const char *typed, const char *before)
{
    struct hf_dirent entry;
    struct hf_dir *dir;

    if (hf_opendir(pool, before[0] ? before : "/", &dir) != 0)
        return;
    while (hf_readdir(dir, &entry) > 0)
        offer_entry(typed, before, &entry);
    hf_closedir(dir);
}

/* A pool that cannot be opened has nothing to offer. */
static void offer_paths(const char *pool_path, const char *typed)
{
    const char *slash = strrchr(typed, '/');
    char *before = cli_strdup(typed);
    struct hf_pool *pool;

    before[slash ? slash + 1 - typed : 0] = '\0';
    printf(":nospace\n");
    if (pool_path != NULL && hf_pool_open(pool_path, HF_OPEN_RDONLY, &pool) == 0) {
        offer_directory(pool, typed, before);
        hf_pool_close(pool);
    }
    free(before);
}

/* --- values of options --- */

static bool is_called(const char *name, const char *what)
{
    size_t len = strlen(what);

    return strncmp(name, what, len) == 0 && strchr(" ].,", name[len]) != NULL;
}

/* The words of a list with blanks between. Several may stand in one value, parted by commas. */
static void offer_words(const struct cli_option *option, const char *typed, const char *before)
{
    char *words = cli_strdup(option->words), *rest = words, *word;
    const char *comma = strrchr(typed, ',');
    char *all = cli_strdup(typed);
    size_t kept = strlen(before);

    if (strchr(option->value_name, ',') && comma != NULL)
        kept = (size_t)(comma + 1 - typed);
    all[kept] = '\0';
    while ((word = strsep(&rest, " ")) != NULL) {
        if (offer(typed, all, word, "") && word[strlen(word) - 1] == ':')
            printf(":nospace\n");
    }
    if (strchr(option->value_name, ','))
        printf(":nospace\n");
    free(words);
    free(all);
}

/* `before` is the front of the typed word that is not of the value: "--policy=" */
static void offer_value(const struct cli_option *option, const char *pool, const char *typed,
                        const char *before)
{
    if (option->words != NULL)
        offer_words(option, typed, before);
    else if (is_called(option->value_name, "FILE"))
        printf(":files\n");
    else if (is_called(option->value_name, "DIR"))
        printf(":directories\n");
    else if (is_called(option->value_name, "PATH"))
        offer_paths(pool, typed);
}

/* --- options --- */

static const struct cli_option *option_called(const struct cli_option *options, const char *word)
{
    size_t len = strcspn(word, "=");

    if (word[0] != '-' || word[1] == '\0')
        return NULL;
    for (const struct cli_option *option = options; option && option->name; option++) {
        if (word[1] == '-'
                ? strlen(option->name) == len - 2 && strncmp(option->name, word + 2, len - 2) == 0
                : word[1] == option->letter && word[2] == '\0')
            return option;
    }
    return NULL;
}

static bool takes_next(const struct cli_option *options, const char *word)
{
    const struct cli_option *option = option_called(options, word);

    return option != NULL && option->value_name != NULL && strchr(word, '=') == NULL;
}

static void offer_options(const struct cli_option *options, const char *typed)
{
    char word[HELP_LINE];

    for (const struct cli_option *option = options; option && option->name; option++) {
        snprintf(word, sizeof(word), "--%s", option->name);
        offer(typed, "", word, option->help);
        snprintf(word, sizeof(word), "-%c", option->letter);
        if (option->letter != 0)
            offer(typed, "", word, option->help);
    }
    offer(typed, "", "--help", "say what the verb does");
}

/* --- verbs that are programs of their own --- */

/* "--plot FILE   pictures ..." */
static void add_option(char *line)
{
    struct cli_option *option = &help_options[help_count];
    char *rest = line + 2, *end = rest + strcspn(rest, " ");

    if (help_count == HELP_OPTIONS_MAX)
        return;
    *option = (struct cli_option){.name = cli_strdup(""), .help = ""};
    if (*end == ' ' && end[1] >= 'A' && end[1] <= 'Z')
        option->value_name = cli_strdup(end + 1);
    *end = '\0';
    option->name = cli_strdup(rest);
    option->help = "";
    help_count++;
}

/* Options go to the list; a line "  NAME   TEXT" is an operand, which is offered. */
static void read_help_line(char *line, const char *typed)
{
    char *name = line + 2, *end;

    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "  ", 2) != 0 || name[0] == ' ')
        return;
    if (strncmp(name, "--", 2) == 0) {
        add_option(name);
        return;
    }
    end = name + strspn(name, "abcdefghijklmnopqrstuvwxyz");
    if (end == name || *end != ' ')
        return;
    *end = '\0';
    if (typed != NULL)
        offer(typed, "", name, end + 1 + strspn(end + 1, " "));
}

static pid_t start_help(const struct cli_verb *verb, int fds[2])
{
    char help[] = "--help", *args[] = {help, help, NULL};
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    child = fork();
    if (child == 0) {
        dup2(fds[1], STDOUT_FILENO);
        _exit(verb->run(1, args + 1));
    }
    close(fds[1]);
    return child;
}

/* Reads the help of the program; its operands are offered if `typed` is not null. */
static void read_help(const struct cli_verb *verb, const char *typed)
{
    char line[HELP_LINE];
    int fds[2];
    pid_t child;
    FILE *in;

    fflush(stdout);
    child = start_help(verb, fds);
    in = child > 0 ? fdopen(fds[0], "re") : NULL;
    while (in != NULL && fgets(line, sizeof(line), in) != NULL)
        read_help_line(line, typed);
    if (in != NULL)
        fclose(in);
    if (child > 0)
        waitpid(child, NULL, 0);
}

/* --- operands --- */

static void offer_operand(const char *name, const char *pool, const char *typed)
{
    if (is_called(name, "POOL"))
        printf(":pools\n");
    else if (is_called(name, "DIR"))
        printf(":directories\n");
    else if (is_called(name, "SOURCE") || is_called(name, "TARGET"))
        printf(":files\n");
    else if (is_called(name, "VERB"))
        offer_verbs(typed, cli_verbs);
    else if (is_called(name, "KEY"))
        return; /* to read keys, the cache would have to be opened, and perhaps mended */
    else
        offer_paths(pool, typed);
}

/* Operand `number` of "POOL SOURCE... [PATH]": after one that may be repeated, each later one may
 * follow. */
static void offer_operands(const struct cli_verb *verb, int number, const char *pool,
                           const char *typed)
{
    char *all = cli_strdup(verb->operands), *rest = all, *name;
    bool repeats = false;

    for (int i = 0; (name = strsep(&rest, " ")) != NULL && i <= number; i++) {
        name += strspn(name, "[");
        repeats |= strstr(name, "...") != NULL;
        if (name[0] != '\0' && (i == number || repeats))
            offer_operand(name, pool, typed);
    }
    free(all);
}

/* words[0] is the verb, words[count - 1] the word that is typed. */
static void complete_verb(const struct cli_verb *verb, int count, char **words)
{
    const char *typed = words[count - 1], *pool = NULL, *equals = strchr(typed, '=');
    const struct cli_option *options = verb->raw ? help_options : verb->options;
    int operands = 0;

    if (verb->raw)
        read_help(verb, typed[0] == '-' || takes_next(options, words[count - 2]) ? NULL : typed);
    for (int i = 1; i < count - 1; i++) {
        if (takes_next(options, words[i]))
            i++;
        else if (words[i][0] != '-' && operands++ == 0)
            pool = words[i];
    }
    if (count > 2 && takes_next(options, words[count - 2])) {
        offer_value(option_called(options, words[count - 2]), pool, typed, "");
    } else if (typed[0] == '-' && equals != NULL && option_called(options, typed) != NULL) {
        char *before = cli_strdup(typed);

        before[equals + 1 - typed] = '\0';
        if (option_called(options, typed)->value_name != NULL)
            offer_value(option_called(options, typed), pool, typed, before);
        free(before);
    } else if (typed[0] == '-') {
        offer_options(options, typed);
    } else if (!verb->raw) {
        offer_operands(verb, operands, pool, typed);
    }
}

static void complete_words(const struct cli_verb *verb, int count, char **words)
{
    const struct cli_verb *below = cli_find_below(verb, words[1]);

    if (verb->verbs == NULL)
        complete_verb(verb, count, words);
    else if (count == 2 && words[1][0] == '-')
        offer_options(NULL, words[1]);
    else if (count == 2)
        offer_verbs(words[1], verb->verbs);
    else if (below != NULL)
        complete_verb(below, count - 1, words + 1);
}

int cli_complete(int count, char **words)
{
    if (count == 1)
        offer_verbs(words[0], cli_verbs);
    for (const struct cli_verb *const *verb = cli_verbs; count > 1 && *verb != NULL; verb++) {
        if (strcmp((*verb)->name, words[0]) == 0)
            complete_words(*verb, count, words);
    }
    return EX_OK;
}
