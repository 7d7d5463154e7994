/* SPDX-License-Identifier: MIT */
/*
 * The verb rm. A pinned file goes under the policy. With nowait or at a deadline it stays and is
 * named, and the rest goes on.
 */
#include "cli.h"

#include <errno.h>
#include <holdfast/serve.h>
#include <string.h>

static bool recursive, force;
static struct hf_policy policy;

static struct cli_option rm_options[] = {
    {.name = "recursive",
     .letter = 'r',
     .kind = CLI_FLAG,
     .value = &recursive,
     .help = "directories too, with all that is in them"},
    {.name = "force",
     .letter = 'f',
     .kind = CLI_FLAG,
     .value = &force,
     .help = "a name that is not there is not an error"},
    CLI_POLICY_OPTION(policy, "when a pin holds part of a file"),
    {0},
};

struct removal {
    struct hf_pool *pool;
    struct cli_progress progress;
    int status;
};

static bool refuse(struct removal *removal, const char *path, int rc)
{
    if (rc == -ENOENT && force)
        return true;
    cli_progress_wipe(&removal->progress);
    removal->status = cli_fail(path, rc);
    return false;
}

/* False: something is left, and was named. */
static bool report_removal(struct removal *removal, const char *path, int rc)
{
    if (rc != 0)
        return refuse(removal, path, rc);
    removal->progress.items++;
    cli_progress_step(&removal->progress, path);
    return true;
}

/* An entry that exists all the time is seen once, so removing while reading misses nothing. */
static bool remove_found_entry(void *arg, const struct cli_found *found)
{
    struct removal *removal = arg;

    return S_ISDIR(found->type) ||
           report_removal(removal, found->path,
                          hf_unlinkat(removal->pool, found->dir, found->name, &policy));
}

static bool remove_emptied(void *arg, const struct cli_found *directory, bool emptied)
{
    struct removal *removal = arg;

    return emptied && !cli_interrupted() &&
           report_removal(removal, directory->path,
                          hf_rmdirat(removal->pool, directory->dir, directory->name));
}

static bool fail_removal_read(void *arg, const char *path, int rc)
{
    return refuse(arg, path, rc);
}

static void remove_path(struct removal *removal, const char *path)
{
    const struct cli_visitor visitor = {.below = true,
                                        .entry = remove_found_entry,
                                        .leave = remove_emptied,
                                        .failed = fail_removal_read,
                                        .status = &removal->status,
                                        .arg = removal};
    struct stat st;
    int rc = hf_stat(removal->pool, path, HF_AT_NOFOLLOW, &st);

    if (rc != 0) {
        refuse(removal, path, rc);
    } else if (!S_ISDIR(st.st_mode)) {
        report_removal(removal, path, hf_unlink(removal->pool, path, &policy));
    } else if (!recursive) {
        removal->status = EX_NOINPUT;
        cli_note("%s: is a directory (-r removes directories)", path);
    } else if (cli_walk(removal->pool, st.st_ino, path, &visitor) &&
               path[strspn(path, "/")] != '\0') {
        report_removal(removal, path, hf_rmdir(removal->pool, path));
    }
}

static int rm_run(int count, char **operands)
{
    struct removal removal = {.status = EX_OK};
    int status = cli_pool_open(operands[0], 0, &removal.pool);

    if (status != EX_OK)
        return status;
    cli_progress_begin(&removal.progress, "names removed");
    for (int i = 1; i < count && !cli_interrupted(); i++)
        remove_path(&removal, operands[i]);
    cli_progress_wipe(&removal.progress);
    return cli_pool_close(removal.pool, operands[0], removal.status);
}

const struct cli_verb cli_verb_rm = {
    .name = "rm",
    .operands = "POOL PATH...",
    .summary = "remove names, and files with their last name",
    .details = "Waits while a file is pinned, unless POLICY says otherwise: wait, nowait,\n"
               "detach, deadline:TIME or deadline-detach:TIME. `rm -r POOL /` empties the pool.",
    .options = rm_options,
    .operands_min = 2,
    .operands_max = 1 << 20,
    .run = rm_run,
};
