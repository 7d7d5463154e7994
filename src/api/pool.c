/* SPDX-License-Identifier: MIT */
/* Argument checks of the calls on a whole pool. */
#include "api/api.h"
#include "base/file_limit.h"

#include <holdfast/compact.h>
#include <inttypes.h>
#include <string.h>

static int check_pool_options(const char *call, const struct hf_pool_options *options)
{
    static const uint64_t zero[2];

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
    struct hf_file_limit limit;
    int rc = check_pool_options(__func__, options);

    if (rc == 0 && !path)
        rc = api_null("path");
    if (rc)
        return rc;
    hf_file_limit_begin(&limit);
    rc = pool_create(path, options);
    hf_file_limit_end(&limit);
    return rc;
}

int hf_pool_open(const char *path, uint32_t flags, struct hf_pool **out)
{
    api_begins(__func__);
    struct hf_file_limit limit;
    int rc;

    if (!path || !out)
        return api_null("path or out");
    if (flags & ~HF_OPEN_RDONLY)
        return api_flags("hf_pool_open", flags);
    hf_file_limit_begin(&limit);
    rc = pool_open(path, flags, NULL, out);
    hf_file_limit_end(&limit);
    return rc;
}

int hf_pool_open_engine(const char *path, uint32_t flags, const char *engine, struct hf_pool **out)
{
    api_begins(__func__);
    struct hf_file_limit limit;
    int rc;

    if (!path || !out || !engine)
        return api_null("path, engine or out");
    if (flags & ~HF_OPEN_RDONLY)
        return api_flags("hf_pool_open_engine", flags);
    hf_file_limit_begin(&limit);
    rc = pool_open(path, flags, engine, out);
    hf_file_limit_end(&limit);
    return rc;
}

int hf_pool_open_anonymous(const struct hf_pool_options *options, struct hf_pool **out)
{
    api_begins(__func__);
    struct hf_file_limit limit;
    int rc = check_pool_options(__func__, options);

    if (rc)
        return rc;
    if (!out)
        return api_null("out");
    if (options->data_path)
        return hf_fail(EINVAL, "an anonymous pool has no data_path");
    hf_file_limit_begin(&limit);
    rc = pool_open_anonymous(options, out);
    hf_file_limit_end(&limit);
    return rc;
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
    struct hf_file_limit limit;
    int rc = api_check_pool(pool);

    if (rc)
        return rc;
    hf_file_limit_begin(&limit);
    rc = pool_grow(&pool->fs, pool_bytes);
    hf_file_limit_end(&limit);
    return rc;
}

int hf_pool_shrink(struct hf_pool *pool, uint64_t pool_bytes, const struct hf_policy *policy)
{
    api_begins(__func__);
    struct hf_policy definite;
    struct shm_bound before;
    int rc = api_check_pool(pool);

    rc = rc ? rc : api_policy(&pool->fs, policy, &definite);
    if (rc)
        return rc;
    before = api_bound(&definite);
    rc = pool_shrink(&pool->fs, pool_bytes, &definite);
    shm_bound = before;
    return rc;
}

int hf_pool_trim(struct hf_pool *pool, uint64_t keep_bytes, struct hf_trim_result *out)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc)
        return rc;
    if (!out || out->size != sizeof *out)
        return hf_fail(EINVAL, "out->size is not sizeof(struct hf_trim_result)");
    if (keep_bytes % HF_BLOCK_BYTES)
        return hf_fail(EINVAL, "keep_bytes of %" PRIu64 " is not a multiple of %u", keep_bytes,
                       HF_BLOCK_BYTES);
    fs_make_room(&pool->fs);
    return fs_trim(&pool->fs, keep_bytes, out);
}

static int check_memory(const struct hf_pool *pool, const struct hf_pool_memory *out)
{
    int rc = api_check_pool(pool);

    if (rc == 0 && (!out || out->size != sizeof *out))
        rc = hf_fail(EINVAL, "out->size is not sizeof(struct hf_pool_memory)");
    return rc;
}

int hf_pool_memory(struct hf_pool *pool, struct hf_pool_memory *out)
{
    api_begins(__func__);
    int rc = check_memory(pool, out);

    return rc ? rc : pool_memory(&pool->fs, out);
}

int hf_pool_memory_fd(struct hf_pool *pool)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    return rc ? rc : dax_growth_fd(&pool->fs.dax);
}

int hf_pool_register(struct hf_pool *pool, uint32_t purpose, struct hf_pool_memory *out)
{
    api_begins(__func__);
    int rc = check_memory(pool, out);

    if (rc == 0 && purpose & ~HF_PIN_GPU)
        rc = api_flags(__func__, purpose);
    return rc ? rc : pool_register(&pool->fs, purpose, out);
}

int hf_pool_unregister(struct hf_pool *pool, uint32_t purpose)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc == 0 && purpose & ~HF_PIN_GPU)
        rc = api_flags(__func__, purpose);
    return rc ? rc : pool_unregister(&pool->fs, purpose);
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
    struct hf_file_limit limit;
    int rc;

    if (!path)
        return api_null("path");
    if (flags & ~HF_CHECK_REPAIR)
        return api_flags("hf_pool_check", flags);
    if (!out || out->size != sizeof *out)
        return hf_fail(EINVAL, "out->size is not sizeof(struct hf_check_result)");
    hf_file_limit_begin(&limit);
    rc = pool_check(path, flags, report, progress, arg, out);
    hf_file_limit_end(&limit);
    return rc;
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
