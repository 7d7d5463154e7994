/* SPDX-License-Identifier: MIT */
/* Argument checks of the calls on a whole pool. */
#include "api/api.h"

#include <string.h>

static int check_options(const char *call, const struct hf_pool_options *options)
{
    static const uint64_t zero[3];

    if (!options)
        return api_null("options");
    if (options->size != sizeof *options)
        return hf_fail(EINVAL, "options->size is %zu, not sizeof(struct hf_pool_options), %zu",
                       options->size, sizeof *options);
    if (options->flags & ~HF_POOL_DURABLE)
        return api_flags(call, options->flags);
    if (memcmp(options->reserved, zero, sizeof zero) != 0)
        return hf_fail(EINVAL, "a reserved field of the options is not zero");
    return 0;
}

int hf_pool_create(const char *path, const struct hf_pool_options *options)
{
    api_begins(__func__);
    int rc = check_options(__func__, options);

    if (rc == 0 && !path)
        rc = api_null("path");
    return rc ? rc : pool_create(path, options);
}

int hf_pool_open(const char *path, uint32_t flags, struct hf_pool **out)
{
    api_begins(__func__);
    if (!path || !out)
        return api_null("path or out");
    if (flags & ~HF_OPEN_RDONLY)
        return api_flags("hf_pool_open", flags);
    return pool_open(path, flags, NULL, out);
}

int hf_pool_open_engine(const char *path, uint32_t flags, const char *engine, struct hf_pool **out)
{
    api_begins(__func__);
    if (!path || !out || !engine)
        return api_null("path, engine or out");
    if (flags & ~HF_OPEN_RDONLY)
        return api_flags("hf_pool_open_engine", flags);
    return pool_open(path, flags, engine, out);
}

int hf_pool_open_anonymous(const struct hf_pool_options *options, struct hf_pool **out)
{
    api_begins(__func__);
    int rc = check_options(__func__, options);

    if (rc)
        return rc;
    if (!out)
        return api_null("out");
    if (options->data_path)
        return hf_fail(EINVAL, "an anonymous pool has no data_path");
    return pool_open_anonymous(options, out);
}

int hf_pool_close(struct hf_pool *pool)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    return rc ? rc : pool_close(pool);
}

int hf_pool_grow(struct hf_pool *pool, uint64_t pool_bytes)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    return rc ? rc : pool_grow(&pool->fs, pool_bytes);
}

int hf_pool_info(struct hf_pool *pool, struct hf_pool_info *out)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc)
        return rc;
    if (!out || out->size != sizeof *out)
        return hf_fail(EINVAL, "out->size is not sizeof(struct hf_pool_info)");
    return pool_info(&pool->fs, out);
}

int hf_pool_check(const char *path, uint32_t flags, void (*report)(void *arg, const char *sentence),
                  void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                  struct hf_check_result *out)
{
    api_begins(__func__);
    if (!path)
        return api_null("path");
    if (flags & ~HF_CHECK_REPAIR)
        return api_flags("hf_pool_check", flags);
    if (!out || out->size != sizeof *out)
        return hf_fail(EINVAL, "out->size is not sizeof(struct hf_check_result)");
    return pool_check(path, flags, report, progress, arg, out);
}

int hf_statvfs(struct hf_pool *pool, struct statvfs *out)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc == 0 && !out)
        rc = api_null("out");
    return rc ? rc : pool_statvfs(&pool->fs, out);
}

int hf_pins(struct hf_pool *pool, int (*each)(void *arg, const struct hf_pin_info *info), void *arg)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc == 0 && !each)
        rc = api_null("each");
    return rc ? rc : dax_pins(&pool->fs.dax, each, arg);
}

int hf_extents(struct hf_pool *pool, uint64_t ino,
               int (*each)(void *arg, const struct hf_extent_info *info), void *arg)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc == 0 && !each)
        rc = api_null("each");
    return rc ? rc : fs_extents(&pool->fs, ino, each, arg);
}

int hf_path(struct hf_pool *pool, uint64_t ino, char *buf, size_t len)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc == 0 && !buf)
        rc = api_null("buf");
    return rc ? rc : fs_path(&pool->fs, ino, buf, len);
}

int hf_stats(struct hf_pool *pool, struct hf_stats *out)
{
    int rc = api_check_pool(pool);

    if (rc)
        return rc;
    if (!out || out->size != sizeof *out)
        return hf_fail(EINVAL, "out->size is not sizeof(struct hf_stats)");
    return pool_stats(&pool->fs, out);
}
