/* SPDX-License-Identifier: MIT */
/* The verbs cp and snapshot: copies inside a pool, which share blocks. */
#include "copy_tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct hf_policy policy;
static const char *reflink = "auto";
static bool recursive;

static struct cli_option cp_options[] = {
    {.name = "recursive",
     .letter = 'r',
     .kind = CLI_FLAG,
     .value = &recursive,
     .help = "directories too, with all that is in them"},
    {.name = "reflink",
     .kind = CLI_TEXT,
     .value = &reflink,
     .value_name = "WHEN",
     .words = "auto always never",
     .help = "share blocks: auto (copy where the engine cannot share), always, never"},
    CLI_POLICY_OPTION(policy, "when a pin may write to a file that is copied"),
    {0},
};

static bool read_sharing(enum copy_sharing *out)
{
    static const char *const words[] = {"auto", "always", "never"};

    for (int i = 0; i < 3; i++) {
        if (strcmp(reflink, words[i]) == 0) {
            *out = (enum copy_sharing)i;
            return true;
        }
    }
    return false;
}

static bool is_directory(struct hf_pool *pool, const char *path)
{
    struct stat st;

    return hf_stat(pool, path, 0, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool same_file(struct hf_pool *pool, const char *a, const char *b)
{
    struct stat left, right;

    return hf_stat(pool, a, HF_AT_NOFOLLOW, &left) == 0 &&
           hf_stat(pool, b, HF_AT_NOFOLLOW, &right) == 0 && left.st_ino == right.st_ino;
}

/* A failed copy is named and the others go on, except after a signal. */
static void copy_one(struct copy_tree *copy, const char *from, const char *to, bool into)
{
    char *name = cli_last_name(from);
    char *target = into ? cli_join(to, name) : cli_strdup(to);

    if (same_file(copy->transfer.pool, from, target)) {
        copy->transfer.status = cli_usage("%s and %s are the same file", from, target);
    } else if (!copy_tree_make(copy, from, target, recursive, true)) {
        copy->transfer.stop = cli_interrupted();
    }
    free(target);
    free(name);
}

static int end_copies(struct copy_tree *copy, const char *pool_path)
{
    free(copy->dirs);
    return transfer_end(&copy->transfer, pool_path);
}

static int cp_run(int count, char **operands)
{
    const char *to = operands[count - 1];
    struct copy_tree copy = {.policy = &policy};
    struct hf_pool *pool;
    bool into;
    int status;

    if (!read_sharing(&copy.sharing))
        return cli_usage("--reflink %s: must be auto, always or never", reflink);
    status = cli_pool_open(operands[0], 0, &pool);
    if (status != EX_OK)
        return status;
    into = is_directory(pool, to);
    if (count > 3 && !into) {
        status = cli_usage("%s: must be a directory of the pool, since there are %d things to copy",
                           to, count - 2);
        return cli_pool_close(pool, operands[0], status);
    }
    transfer_begin(&copy.transfer, pool);
    for (int i = 1; i < count - 1 && !copy.transfer.stop; i++)
        copy_one(&copy, operands[i], to, into);
    return end_copies(&copy, operands[0]);
}

const struct cli_verb cli_verb_cp = {
    .name = "cp",
    .operands = "POOL FROM... TO",
    .summary = "copy inside the pool: the copy shares blocks until one side writes",
    .details =
        "Keeps modes, owners, times, links, extended attributes and holes. Copies into TO if\n"
        "that is a directory, else to TO, which is replaced in one step. Each file is copied\n"
        "as of one moment: the copy waits for pins that may write to it, as POLICY says.",
    .options = cp_options,
    .operands_min = 3,
    .operands_max = 1 << 20,
    .run = cp_run,
};

static struct cli_option snapshot_options[] = {
    CLI_POLICY_OPTION(policy, "when a pin may write to a file of DIR"),
    {0},
};

static int snapshot_run(int count, char **operands)
{
    struct copy_tree copy = {.policy = &policy, .sharing = COPY_SHARES};
    struct hf_pool *pool;
    struct stat st;
    int status = cli_pool_open(operands[0], 0, &pool);

    (void)count;
    if (status != EX_OK)
        return status;
    transfer_begin(&copy.transfer, pool);
    if (!is_directory(pool, operands[1]) && hf_stat(pool, operands[1], 0, &st) == 0) {
        copy.transfer.status = EX_NOINPUT;
        cli_note("%s: is not a directory", operands[1]);
    } else if (!copy_tree_make(&copy, operands[1], operands[2], true, false) &&
               !cli_interrupted()) {
        cli_progress_wipe(&copy.transfer.progress);
        cli_note("%s was not made", operands[2]);
    }
    return end_copies(&copy, operands[0]);
}

const struct cli_verb cli_verb_snapshot = {
    .name = "snapshot",
    .operands = "POOL FROM NEW",
    .summary = "keep a directory as it is now, as NEW, which shares all blocks with it",
    .details =
        "Each file is copied as of one moment. NEW must not exist; it appears when it is whole.",
    .options = snapshot_options,
    .operands_min = 3,
    .operands_max = 3,
    .run = snapshot_run,
};
