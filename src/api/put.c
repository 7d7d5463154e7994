/* SPDX-License-Identifier: MIT */
/* Argument checks of putting in place: memory to fill that no file has yet. */
#include "api/api.h"
#include "fs/put.h"

#include <inttypes.h>

#define PUT_FLAGS HF_PIN_GPU /* what fills it */

static int check_wish(const struct fs_put_wish *wish)
{
    if (!wish->iov)
        return api_null("iov");
    if (wish->flags & ~PUT_FLAGS)
        return api_flags("hf_put_begin", wish->flags);
    if (!wish->len || wish->iovcnt < 1)
        return api_no_piece("put", wish->len);
    if (wish->off % HF_BLOCK_BYTES)
        return hf_fail(EINVAL, "put: an offset is a multiple of %u", HF_BLOCK_BYTES);
    if (wish->off >= HF_FILE_BYTES_MAX || wish->len > HF_FILE_BYTES_MAX - wish->off)
        return hf_fail(EFBIG, "a file ends at %" PRIu64 " bytes", HF_FILE_BYTES_MAX);
    return 0;
}

int hf_put_begin(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                 struct iovec *iov, int iovcnt, struct hf_put *put)
{
    api_begins(__func__);
    const struct fs_put_wish wish = {off, len, flags, iov, iovcnt};
    int rc = api_check_placed(file);

    rc = rc ? rc : check_wish(&wish);
    if (rc == 0 && !put)
        rc = api_null("put");
    return rc ? rc : fs_put_begin(file, &wish, put);
}

static int check_commit(const struct hf_file *file, const struct hf_put *put, uint64_t len)
{
    int rc = api_check_placed(file);

    if (rc == 0 && !put)
        rc = api_null("put");
    if (rc == 0 && !len)
        rc = hf_fail(EINVAL, "put: a length of 0; hf_put_abort() ends it without a byte");
    return rc;
}

int hf_put_commit(struct hf_file *file, const struct hf_put *put, uint64_t len)
{
    api_begins(__func__);
    int rc = check_commit(file, put, len);

    return rc ? rc : fs_put_commit(file, put, len, NULL);
}

int hf_put_commit_as(struct hf_file *file, const struct hf_put *put, uint64_t len, const char *path,
                     uint32_t flags)
{
    api_begins(__func__);
    struct fs_first_name name = {.to = {META_ROOT_INO, path}, .flags = flags};
    int rc = check_commit(file, put, len);

    if (rc == 0 && !path)
        rc = api_null("path");
    if (rc == 0 && flags & ~HF_RENAME_NOREPLACE)
        rc = api_flags("hf_put_commit_as", flags);
    return rc ? rc : fs_put_commit(file, put, len, &name);
}

int hf_put_abort(struct hf_pool *pool, const struct hf_put *put)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc == 0 && !put)
        rc = api_null("put");
    return rc ? rc : fs_put_abort(&pool->fs, put);
}
