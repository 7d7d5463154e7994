/* SPDX-License-Identifier: MIT */
/* The verbs mkdir and mv: names without content. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool parents, keep_target, exchange;
static mode_t directory_mode = 0755;

static struct cli_option mkdir_options[] = {
    {.name = "parents",
     .letter = 'p',
     .kind = CLI_FLAG,
     .value = &parents,
     .help = "also the directories above it; no error if it exists"},
    {.name = "mode",
     .letter = 'm',
     .kind = CLI_MODE,
     .value = &directory_mode,
     .value_name = "MODE",
     .help = "permission bits of the last directory, in octal (0755)"},
    {0},
};

/* -EEXIST is fine if it is a directory already. */
static int make_unless_there(struct hf_pool *pool, const char *path, mode_t mode)
{
    struct stat st;
    int rc = hf_mkdir(pool, path, mode);

    if (rc == -EEXIST && hf_stat(pool, path, 0, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return rc;
}

static int make_with_parents(struct hf_pool *pool, char *path)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        int rc;

        *slash = '\0';
        rc = make_unless_there(pool, path, 0755);
        *slash = '/';
        if (rc != 0)
            return rc;
    }
    return make_unless_there(pool, path, directory_mode);
}

static int mkdir_run(int count, char **operands)
{
    struct hf_pool *pool;
    int worst = cli_pool_open(operands[0], 0, &pool);

    if (worst != EX_OK)
        return worst;
    for (int i = 1; i < count; i++) {
        int rc = parents ? make_with_parents(pool, operands[i])
                         : hf_mkdir(pool, operands[i], directory_mode);

        if (rc != 0)
            worst = cli_fail(operands[i], rc);
    }
    return cli_pool_close(pool, operands[0], worst);
}

const struct cli_verb cli_verb_mkdir = {
    .name = "mkdir",
    .operands = "POOL PATH...",
    .summary = "make directories in the pool",
    .options = mkdir_options,
    .operands_min = 2,
    .operands_max = 1 << 20,
    .run = mkdir_run,
};

static struct cli_option mv_options[] = {
    {.name = "no-replace",
     .letter = 'n',
     .kind = CLI_FLAG,
     .value = &keep_target,
     .help = "fail if the new name exists"},
    {.name = "exchange",
     .letter = 'x',
     .kind = CLI_FLAG,
     .value = &exchange,
     .help = "swap the two names"},
    {0},
};

static int move_operand(struct hf_pool *pool, const char *from, const char *to, bool into)
{
    uint32_t flags = (keep_target ? HF_RENAME_NOREPLACE : 0) | (exchange ? HF_RENAME_EXCHANGE : 0);
    char *name = into ? cli_last_name(from) : NULL;
    char *target = into ? cli_join(to, name) : cli_strdup(to);
    int rc = hf_rename(pool, from, target, flags);
    int status = rc == 0 ? EX_OK : cli_fail(from, rc);

    free(target);
    free(name);
    return status;
}

static int mv_run(int count, char **operands)
{
    const char *to = operands[count - 1];
    struct hf_pool *pool;
    struct stat st;
    bool into;
    int worst;

    if (keep_target && exchange)
        return cli_usage("--no-replace and --exchange exclude each other");
    worst = cli_pool_open(operands[0], 0, &pool);
    if (worst != EX_OK)
        return worst;
    into = !exchange && hf_stat(pool, to, 0, &st) == 0 && S_ISDIR(st.st_mode);
    if (count > 3 && !into) {
        worst =
            cli_usage("%s: must be a directory, since there are %d names to move", to, count - 2);
    } else {
        for (int i = 1; i < count - 1; i++) {
            int status = move_operand(pool, operands[i], to, into);

            if (status != EX_OK)
                worst = status;
        }
    }
    return cli_pool_close(pool, operands[0], worst);
}

const struct cli_verb cli_verb_mv = {
    .name = "mv",
    .operands = "POOL FROM... TO",
    .summary = "rename, or move into a directory of the pool",
    .options = mv_options,
    .operands_min = 3,
    .operands_max = 1 << 20,
    .run = mv_run,
};
