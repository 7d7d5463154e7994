/* SPDX-License-Identifier: MIT */
/*
 * The verb mount, and mount.fuse.holdfast, as which mount(8) calls the same program. Options of
 * fstab(5) that are for other programs (noauto, x-...) are accepted and ignored.
 */
#include "cli.h"

#include "mount.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool foreground;
static const char *option_list;

static struct cli_option mount_options[] = {
    {.name = "foreground",
     .letter = 'f',
     .kind = CLI_FLAG,
     .value = &foreground,
     .help = "stay until the pool is unmounted; Ctrl-C unmounts it"},
    {.name = "options",
     .letter = 'o',
     .kind = CLI_TEXT,
     .value = &option_list,
     .value_name = "OPTION,...",
     .words = "ro allow_other cache=none cache=auto entry_timeout=1 attr_timeout=1 remount",
     .help = "ro, allow_other, cache=none, cache=auto, entry_timeout=1, attr_timeout=1, remount, "
             "and mount(8)'s suid, dev, exec, atime"},
    {0},
};

/* Options that the kernel gets, and options that are ignored. */
static const char *const kernel_words[] = {"ro",    "rw",      "suid",       "nosuid", "dev",
                                           "nodev", "exec",    "noexec",     "atime",  "noatime",
                                           "sync",  "dirsync", "allow_other"};
static const char *const ignored_words[] = {"relatime",
                                            "nodiratime",
                                            "strictatime",
                                            "lazytime",
                                            "async",
                                            "silent",
                                            "defaults",
                                            "auto",
                                            "noauto",
                                            "user",
                                            "nouser",
                                            "users",
                                            "owner",
                                            "group",
                                            "_netdev",
                                            "nofail",
                                            "default_permissions",
                                            "remount"};

static bool is_one_of(const char *word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

/* mount(8) names these when it remounts, as /proc/self/mountinfo does. */
static bool is_kernels_own(const char *word)
{
    static const char *const names[] = {"user_id=", "group_id=", "rootmode=", "max_read=",
                                        "blksize=", "fd=",       "subtype=",  "fsname="};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(word, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

#define TIMEOUT_MAX 86400 /* seconds */

/* The value of an option that is a time. EX_USAGE: it is none. */
static int take_seconds(const char *word, const char *value, double *seconds)
{
    char *end;
    double number = strtod(value, &end);

    if (strspn(value, "0123456789.") != strlen(value) || end == value || *end != '\0' ||
        number > TIMEOUT_MAX)
        return cli_usage("-o %s: not a number of seconds from 0 to %d, such as 1 or 0.5", word,
                         TIMEOUT_MAX);
    *seconds = number;
    return EX_OK;
}

/* Sorts one option; EX_USAGE: it is none. */
static int take_option(const char *word, struct mount_plan *plan, char *kernel)
{
    if (strcmp(word, "cache=none") == 0 || strcmp(word, "cache=auto") == 0) {
        plan->cached = word[6] == 'a';
        return EX_OK;
    }
    if (strncmp(word, "entry_timeout=", 14) == 0)
        return take_seconds(word, word + 14, &plan->entry_seconds);
    if (strncmp(word, "attr_timeout=", 13) == 0)
        return take_seconds(word, word + 13, &plan->attr_seconds);
    if (is_one_of(word, kernel_words, sizeof kernel_words / sizeof *kernel_words)) {
        if (strcmp(word, "ro") == 0 || strcmp(word, "rw") == 0)
            plan->readonly = word[1] == 'o';
        strcat(strcat(kernel, *kernel ? "," : ""), word);
        return EX_OK;
    }
    if (is_one_of(word, ignored_words, sizeof ignored_words / sizeof *ignored_words) ||
        strncmp(word, "x-", 2) == 0 || strncmp(word, "comment=", 8) == 0)
        return EX_OK;
    if (plan->remount && is_kernels_own(word))
        return EX_OK;
    return cli_usage("-o %s: there is no such option (see `holdfast mount --help`)", word);
}

/* mount(8) drops the words suid and dev before it calls us, since a mount of root's has both unless
 * a word forbids them. This one has both only if the pool is root's too: files that another user
 * made may lie. */
static bool has_suid_and_dev(const char *pool)
{
    struct stat st;

    return cli_mount_helper && getuid() == 0 && stat(pool, &st) == 0 && st.st_uid == 0;
}

/* Whether one of the options is this word. */
static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; (at = strstr(at, word)); at += len)
        if ((at == list || at[-1] == ',') && (at[len] == '\0' || at[len] == ','))
            return true;
    return false;
}

static int mount_verb_run(int count, char **operands)
{
    struct mount_plan plan = {.pool = operands[0],
                              .dir = operands[1],
                              .foreground = foreground,
                              .fail = cli_fail,
                              .fail_host = cli_fail_host};
    char *list = cli_strdup(option_list ? option_list : ""), *rest = list, *word;
    char *kernel = cli_alloc(strlen(list) + 2 + strlen("suid,dev"));
    int status = EX_OK;

    (void)count;
    plan.remount = has_word(list, "remount");
    strcpy(kernel, !plan.remount && has_suid_and_dev(plan.pool) ? "suid,dev" : "");
    while (status == EX_OK && (word = strsep(&rest, ",")))
        if (*word)
            status = take_option(word, &plan, kernel);
    plan.options = kernel;
    if (status == EX_OK)
        status = mount_run(&plan);
    free(kernel);
    free(list);
    return status;
}

const struct cli_verb cli_verb_mount = {
    .name = "mount",
    .operands = "POOL DIR",
    .summary = "let ordinary programs use the pool's files under a directory",
    .details =
        "Library users may pin the same files meanwhile. A truncate or punch through the mount\n"
        "waits for pins as the pool's policy says. cache=none (the default) passes every read\n"
        "and write on. cache=auto lets the kernel keep content, and drops the parts that other\n"
        "processes change. With entry_timeout and attr_timeout it goes on using names and\n"
        "attributes for so many seconds. Unmount with umount DIR, or fusermount3 -u DIR.",
    .options = mount_options,
    .operands_min = 2,
    .operands_max = 2,
    .run = mount_verb_run,
};
