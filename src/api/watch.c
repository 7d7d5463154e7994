/* SPDX-License-Identifier: MIT */
/* Argument checks of the calls for programs that keep copies. */
#include "api/api.h"

int hf_watch(struct hf_file *file, int on)
{
    api_begins(__func__);
    int rc = api_check_file(file);

    if (rc == 0 && on != 0 && on != 1 && on != HF_WATCH_STORES)
        rc = hf_fail(EINVAL, "watch: on is %d, neither 0, 1 nor HF_WATCH_STORES", on);
    if (rc == 0)
        rc = dax_watch(&file->fs->dax, file->vnode, &file->watches, on);
    return rc;
}

int hf_watch_next(struct hf_pool *pool, uint64_t timeout_ns, struct hf_watch_report *out)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc == 0 && !out)
        rc = api_null("out");
    return rc ? rc : dax_watch_next(&pool->fs.dax, timeout_ns, out);
}
