/* SPDX-License-Identifier: MIT */
/*
 * fsck's look at caches of objects. To the pool a cache is two files, so this comes after the check
 * of the pool, and only if that has left no problem. The pool is opened like any other; read-only,
 * unless something is to be repaired.
 */
#include "fsck_caches.h"

#include "cache_find.h"

#include <errno.h>
#include <holdfast/cache.h>
#include <string.h>

struct checking {
    struct hf_pool *pool;
    bool repair;
    void (*report)(void *arg, const char *sentence);
    void *arg;
    struct fsck_caches *out;
    int status;
};

static bool check_one(void *arg, const char *path)
{
    struct hfc_check_result result = {.size = sizeof(result)};
    struct checking *checking = arg;
    int rc = hfc_check(checking->pool, path, checking->repair ? HF_CHECK_REPAIR : 0,
                       checking->report, checking->arg, &result);

    if (rc == -ENOENT || rc == -ENAMETOOLONG) /* another file that is called index */
        return true;
    if (rc != 0) {
        checking->status = cli_fail_why(path, hfc_detail(), rc);
        return true;
    }
    checking->out->caches++;
    checking->out->objects += result.objects;
    checking->out->problems += result.problems;
    checking->out->repaired += result.repaired;
    return true;
}

int fsck_check_caches(const char *path, bool repair,
                      void (*report)(void *arg, const char *sentence), void *arg,
                      struct fsck_caches *out)
{
    struct checking checking = {.repair = repair, .report = report, .arg = arg, .out = out};
    int status, walked;

    *out = (struct fsck_caches){0};
    status = cli_pool_open(path, repair ? 0 : HF_OPEN_RDONLY, &checking.pool);
    if (status != EX_OK)
        return status;
    walked = cache_find(checking.pool, check_one, &checking);
    return cli_pool_close(checking.pool, path, checking.status ? checking.status : walked);
}
