/* SPDX-License-Identifier: MIT */
/* A pool that a server looks at: see watched.h. */
#include "watched.h"

#include "cli.h"

#include <stdlib.h>
#include <sys/stat.h>

static bool stat_lock(const char *path, struct stat *st)
{
    char *lock = cli_join(path, "lock");
    bool found = stat(lock, st) == 0;

    free(lock);
    return found;
}

static bool has_its_path(const struct watched *watched)
{
    struct stat st;

    return stat_lock(watched->path, &st) && st.st_dev == watched->dev && st.st_ino == watched->ino;
}

/* The lock is looked at first: a pool that takes the path in between is opened at the next look. */
static int open_watched(struct watched *watched)
{
    struct stat st = {0};

    stat_lock(watched->path, &st);
    watched->dev = st.st_dev;
    watched->ino = st.st_ino;
    return hf_pool_open(watched->path, HF_OPEN_RDONLY, &watched->pool);
}

struct hf_pool *watched_pool(struct watched *watched)
{
    int rc = 0;

    if (watched->pool != NULL && !has_its_path(watched))
        watched_close(watched);
    if (watched->pool == NULL)
        rc = open_watched(watched);
    if (rc != 0) {
        watched->pool = NULL;
        watched_looked(watched, rc);
    }
    return watched->pool;
}

void watched_looked(struct watched *watched, int rc)
{
    if (rc != 0 && rc != watched->failure)
        cli_fail(watched->path, rc);
    if (rc == 0 && watched->failure != 0)
        cli_note("%s: can be read again", watched->path);
    watched->failure = rc;
    if (rc != 0)
        watched_close(watched);
}

void watched_close(struct watched *watched)
{
    if (watched->pool != NULL)
        hf_pool_close(watched->pool);
    watched->pool = NULL;
}
