/* SPDX-License-Identifier: MIT */
/*
 * The verb rm. A file that is pinned goes under the policy: with nowait or at a deadline it stays,
 * is named, and the rest goes on.
 */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool recursive, force;
static struct hf_policy policy;

static struct cli_option rm_options[] = {
    {.name = "recursive",
     .letter = 'r',
     .kind = CLI_FLAG,
     .value = &recursive,
     .help = "directories too, with what is in them"},
    {.name = "force",
     .letter = 'f',
     .kind = CLI_FLAG,
     .value = &force,
     .help = "what is not there is no error"},
    {.name = "policy",
     .letter = 'p',
     .kind = CLI_POLICY,
     .value = &policy,
     .value_name = "POLICY",
     .help = "when a pin holds part of a file"},
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

static bool remove_path(struct removal *removal, const char *path);

/* An entry that exists all the time is seen once, so removing while reading misses nothing. */
static bool remove_entries(struct removal *removal, const char *path)
{
    struct hf_dirent entry;
    struct hf_dir *dir;
    bool all_gone = true;
    int rc = hf_opendir(removal->pool, path, &dir);

    if (rc != 0)
        return refuse(removal, path, rc);
    while (!cli_interrupted() && (rc = hf_readdir(dir, &entry)) > 0) {
        char *inner;

        if (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0)
            continue;
        inner = cli_join(path, entry.name);
        all_gone = remove_path(removal, inner) && all_gone;
        free(inner);
    }
    hf_closedir(dir);
    if (rc < 0)
        return refuse(removal, path, rc);
    return all_gone && !cli_interrupted();
}

/* False: something is left, and was named. */
static bool remove_path(struct removal *removal, const char *path)
{
    struct stat st;
    int rc = hf_stat(removal->pool, path, HF_AT_NOFOLLOW, &st);

    if (rc != 0)
        return refuse(removal, path, rc);
    if (!S_ISDIR(st.st_mode)) {
        rc = hf_unlink(removal->pool, path, &policy);
    } else if (!recursive) {
        removal->status = EX_NOINPUT;
        cli_note("%s: is a directory (-r removes directories)", path);
        return false;
    } else {
        if (!remove_entries(removal, path))
            return false;
        rc = path[strspn(path, "/")] != '\0' ? hf_rmdir(removal->pool, path) : 0;
    }
    if (rc != 0)
        return refuse(removal, path, rc);
    removal->progress.items++;
    cli_progress_step(&removal->progress, path);
    return true;
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
    .details = "A file that is pinned is waited for, unless POLICY says otherwise: wait, nowait,\n"
               "detach, deadline:TIME or deadline-detach:TIME. `rm -r POOL /` empties the pool.",
    .options = rm_options,
    .operands_min = 2,
    .operands_max = 1 << 20,
    .run = rm_run,
};
