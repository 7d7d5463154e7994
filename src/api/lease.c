/* SPDX-License-Identifier: MIT */
/* Argument checks of leases and recalls, and of hf_cancel(). */
#include "api/api.h"
#include "dax/client.h"

#define LEASE_FLAGS (HF_PIN_WRITE | HF_PIN_YIELD | HF_PIN_GPU)

static const struct hf_lease_options plain = {.size = sizeof plain};

static int check_lease_options(const struct hf_lease_options *options, uint32_t flags)
{
    if (options->size != sizeof *options)
        return hf_fail(EINVAL, "options->size is %zu, not sizeof(struct hf_lease_options), %zu",
                       options->size, sizeof *options);
    if (options->flags & ~flags || options->reserved)
        return hf_fail(EINVAL,
                       "lease: flags 0x%x are not known here, or the reserved field is not 0",
                       options->flags);
    return 0;
}

static int check_lease(const struct hf_file *file, uint64_t off, uint64_t len,
                       const struct hf_lease_options *options, const struct iovec *iov, int iovcnt,
                       const struct hf_lease *lease)
{
    int rc = api_check_file(file);

    rc = rc ? rc : check_lease_options(options, LEASE_FLAGS);
    if (rc)
        return rc;
    if (!iov || !lease)
        return api_null("iov or lease");
    if (!len || iovcnt < 1)
        return api_no_piece("lease", len);
    if ((options->flags | FS_PIN_READS) & file->pin_refused)
        return api_not_opened(file, "lease");
    if (off > HF_FILE_BYTES_MAX || len > HF_FILE_BYTES_MAX - off)
        return hf_fail(EFAULT, "lease: the range goes beyond the largest file");
    return 0;
}

int hf_lease(struct hf_file *file, uint64_t off, uint64_t len,
             const struct hf_lease_options *options, struct iovec *iov, int iovcnt,
             struct hf_lease *lease)
{
    api_begins(__func__);
    struct dax_request request = {.off = off, .len = len, .iov = iov, .iovcnt = iovcnt};
    struct meta_extent hole;
    unsigned looks = 0;
    int rc;

    request.lease = options ? options : &plain;
    rc = check_lease(file, off, len, request.lease, iov, iovcnt, lease);
    if (rc)
        return rc;
    request.flags = request.lease->flags & ~HF_PIN_YIELD;
    dax_yields = request.lease->flags & HF_PIN_YIELD;
    do {
        rc = dax_lease(&file->fs->dax, file->vnode, &request, lease, &hole);
        rc = fs_provide(file->fs, file->vnode, rc, &hole);
    } while (rc == 0 && (rc = fs_look_again(&looks)) == 0);
    dax_yields = false;
    if (rc == -E2BIG)
        return fs_many_pieces(file->fs, file->vnode, off, len, iovcnt);
    if (rc > 0 && file->fs->dax.stacks)
        dax_stacks_keep(&file->fs->dax, lease->hf_opaque, __builtin_return_address(0));
    return rc;
}

int hf_lease_release(const struct hf_lease *lease)
{
    return dax_lease_release(lease);
}

int hf_lease_quarantine(const struct hf_lease *lease)
{
    return lease ? dax_lease_quarantine(lease) : api_null("lease");
}

int hf_lease_state(const struct hf_lease *lease)
{
    return dax_lease_state(lease);
}

int hf_lease_give(const struct hf_lease *lease, struct hf_lease_token *out)
{
    if (!lease || !out)
        return api_null("lease or out");
    return dax_lease_give(lease, out);
}

int hf_lease_take(struct hf_pool *pool, const struct hf_lease_token *token,
                  const struct hf_lease_options *options, struct iovec *iov, int iovcnt,
                  struct hf_lease *lease)
{
    api_begins(__func__);
    struct dax_request request = {.iov = iov, .iovcnt = iovcnt};
    int rc = api_check_pool(pool);

    if (rc)
        return rc;
    if (!token || !lease || (!iov && iovcnt))
        return api_null("token, iov or lease");
    request.lease = options ? options : &plain;
    rc = check_lease_options(request.lease, 0);
    if (rc == 0 && request.lease->label)
        rc = hf_fail(EINVAL, "lease: a lease that is taken keeps its label, so label is null");
    if (rc == 0 && iovcnt < 0)
        rc = hf_fail(EINVAL, "lease: iovcnt is below 0");
    rc = rc ? rc : dax_lease_take(&pool->fs.dax, token, &request, lease);
    if (rc >= 0 && pool->fs.dax.stacks)
        dax_stacks_keep(&pool->fs.dax, lease->hf_opaque, __builtin_return_address(0));
    return rc;
}

int hf_recall_fd(struct hf_pool *pool)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    return rc ? rc : dax_recall_fd(&pool->fs.dax);
}

int hf_recall_next(struct hf_pool *pool, struct hf_recall *out)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc == 0 && !out)
        rc = api_null("out");
    return rc ? rc : dax_recall_next(&pool->fs.dax, out);
}

int hf_cancel(struct hf_pool *pool, pid_t tid)
{
    int rc = api_check_pool(pool);

    if (rc)
        return rc;
    rc = dax_cancel(&pool->fs.dax, tid);
    return rc == -ESRCH ? hf_fail(ESRCH, "thread %d of this process waits in no layout change", tid)
                        : rc;
}
