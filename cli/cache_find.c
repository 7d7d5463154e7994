/* SPDX-License-Identifier: MIT */
/*
 * Finds what may be a cache of objects: a directory with a file called `index`. Whether that is the
 * index of a cache, libholdfast-cache knows.
 */
#include "cache_find.h"

#include <errno.h>
#include <holdfast/serve.h>
#include <stdlib.h>
#include <string.h>

struct finding {
    bool (*found)(void *arg, const char *path);
    void *arg;
    int status;
};

static bool see_entry(void *arg, const struct cli_found *found)
{
    struct finding *finding = arg;
    size_t len = strlen(found->path);
    char *path;
    bool more;

    if (!S_ISREG(found->type) || strcmp(found->name, "index") != 0)
        return true;
    path = cli_strdup(found->path);
    path[len - strlen("/index")] = '\0';
    more = finding->found(finding->arg, path[0] ? path : "/");
    free(path);
    return more;
}

static bool see_failure(void *arg, const char *path, int rc)
{
    struct finding *finding = arg;

    finding->status = cli_fail(path, rc);
    return true;
}

int cache_find(struct hf_pool *pool, bool (*found)(void *arg, const char *path), void *arg)
{
    struct finding finding = {.found = found, .arg = arg, .status = EX_OK};
    const struct cli_visitor visitor = {.below = true,
                                        .entry = see_entry,
                                        .failed = see_failure,
                                        .status = &finding.status,
                                        .arg = &finding};

    cli_walk(pool, HF_ROOT_INO, "/", &visitor);
    return finding.status;
}
