/* SPDX-License-Identifier: MIT */
/* hf_pin() and hf_unpin(): argument checks around the fast path, which is inline here. */
#include "base/error.h"
#include "base/fork.h"
#include "dax/pin_fast.h"
#include "fs/fs.h"

#define FLAGS (HF_PIN_WRITE | HF_PIN_NOWAIT | DAX_PIN_TOUCHERS)

/* The sentence is not set here: it would not be async-signal-safe with HF_PIN_NOWAIT. */
static int refuse(const struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                  const struct iovec *iov, int iovcnt, const struct hf_pin *pin)
{
    if (!len || iovcnt < 1 || !iov || !pin || flags & ~FLAGS)
        return -EINVAL;
    if (!file->readable || (flags & HF_PIN_WRITE && !file->writable))
        return -EBADF;
    if (off > HF_FILE_BYTES_MAX || len > HF_FILE_BYTES_MAX - off)
        return -EFAULT;
    return 0;
}

static __attribute__((noinline)) int slow(struct hf_file *file, uint64_t off, uint64_t len,
                                          uint32_t flags, struct iovec *iov, int iovcnt,
                                          struct hf_pin *pin)
{
    struct meta_extent hole;
    int rc;

    if (flags & HF_PIN_NOWAIT)
        return off + len > hf_load_acquire(&file->vnode->size) ? -EFAULT : -EAGAIN;
    do {
        rc = dax_pin_slow(&file->fs->dax, file->vnode, off, len, flags, iov, iovcnt, pin, &hole);
        if (rc != -ENODATA)
            return rc;
        rc = fs_fill(file->fs, file->vnode, hole.page, hole.count);
    } while (rc == 0);
    return rc;
}

static __attribute__((noinline)) int explain(int rc, uint32_t flags)
{
    if (flags & HF_PIN_NOWAIT)
        return rc;
    switch (rc) {
    case -EINVAL:
        return hf_fail(EINVAL, "pin: len is 0, iovcnt below 1, or a flag bit is not known (0x%x)", flags);
    case -EBADF:
        return hf_fail(EBADF, "pin: the file was not opened for that");
    case -EFAULT:
        return hf_fail(EFAULT, "pin: the range goes beyond the largest file");
    case -ECHILD:
        return hf_fail(ECHILD, "the handle was made before a fork: open the pool in this process");
    default:
        return hf_fail(E2BIG, "pin: the range lies in more pieces than there are iovecs");
    }
}

int hf_pin(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags, struct iovec *iov,
           int iovcnt, struct hf_pin *pin)
{
    int rc = refuse(file, off, len, flags, iov, iovcnt, pin);

    if (__builtin_expect(file->fs->dax.shm->fork_count != hf_fork_count, 0))
        rc = -ECHILD;
    if (__builtin_expect(rc, 0))
        return explain(rc, flags);
    rc = dax_pin_fast(&file->fs->dax, file->vnode, off, len, flags, iov, iovcnt, pin);
    if (__builtin_expect(rc > 0, 1))
        return rc;
    return rc == MM_MISS ? slow(file, off, len, flags, iov, iovcnt, pin) : explain(rc, flags);
}

int hf_unpin(struct hf_pin *pin)
{
    int rc = dax_unpin(pin);

#ifdef HF_DEBUG
    HF_BUG_ON(rc == -EINVAL);
#endif
    return rc;
}
