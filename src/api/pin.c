/* SPDX-License-Identifier: MIT */
/* hf_pin() and hf_unpin(): argument checks around the fast path, which is inline here. Also the
 * sections in which a pin may not leave the fast path. */
#include "api/api.h"
#include "dax/client.h"
#include "dax/pin_fast.h"

#include <inttypes.h>

/* The sentence is not set here: it would not be async-signal-safe with HF_PIN_NOWAIT. */
static int refuse_pin(const struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                      int iovcnt)
{
    if (file->fs->dax.shm->fork_count != hf_fork_count)
        return -ECHILD;
    if (!len || iovcnt < 1 || flags & ~FS_PIN_FLAGS)
        return -EINVAL;
    if ((flags | FS_PIN_READS) & file->pin_refused)
        return -EBADF;
    if (off > HF_FILE_BYTES_MAX || len > HF_FILE_BYTES_MAX - off)
        return -EFAULT;
    return 0;
}

static int slow(struct hf_file *file, const struct dax_request *request, struct hf_pin *pin)
{
    struct meta_extent hole;
    unsigned looks = 0;
    int rc;

    if (request->flags & HF_PIN_NOWAIT)
        return request->off + request->len > hf_load_acquire(&file->vnode->size) ? -EFAULT
                                                                                 : -EAGAIN;
    api_begins("hf_pin");
    dax_yields = request->flags & HF_PIN_YIELD;
    do {
        rc = dax_pin_slow(&file->fs->dax, file->vnode, request, pin, &hole);
        if (rc == -ENODATA && request->flags & HF_PIN_NOFILL) {
            hf_fail(ENODATA, "pin: page %" PRIu64 " is a hole", hole.page);
            break;
        }
        if (rc == -EMLINK && request->flags & HF_PIN_NOFILL && !(request->flags & DAX_PIN_OWNS)) {
            rc = fs_no_pin(file->fs, hole.page);
            break;
        }
        rc = fs_provide(file->fs, file->vnode, rc, &hole);
    } while (rc == 0 && (rc = fs_look_again(&looks)) == 0);
    dax_yields = false;
    return rc;
}

static int explain(const struct hf_file *file, const struct dax_request *request, int rc)
{
    if (request->flags & HF_PIN_NOWAIT)
        return rc;
    switch (rc) {
    case -EINVAL:
        if (!request->len || request->iovcnt < 1)
            return api_no_piece("pin", request->len);
        return hf_fail(EINVAL, "pin: a flag bit is not known (0x%x)", request->flags);
    case -EBADF:
        return api_not_opened(file, "pin");
    case -EFAULT:
        return hf_fail(EFAULT, "pin: the range goes beyond the largest file");
    case -ECHILD:
        return hf_fail(ECHILD, "the handle was made before a fork: open the pool in this process");
    default: /* -E2BIG: fs_many_pieces() */
        return rc;
    }
}

/* U3 of a slot that dax_pin_page() may have taken and released. No word of the lane says whether it
 * has: a signal handler could take that word for a pin of its own. So changes that wait for these
 * pages are woken in any case. Bad arguments may have been in the slot as other pages. */
static void wake_left(struct hf_file *file, uint64_t off, uint64_t len, bool good)
{
    if (hf_load_acquire(&file->vnode->waiters)) /* UNPIN.WAKE/p, as in slots_leave() */
        slots_wake(file->fs->dax.shm, file->vnode, good ? off / HF_BLOCK_BYTES : 0,
                   good ? (off + len - 1) / HF_BLOCK_BYTES : UINT64_MAX);
}

/* All that is not the commonest pin. `caller` is an address in the program. */
static int pin_request(struct hf_file *file, const struct dax_request *request, struct hf_pin *pin,
                       const void *caller)
{
    uint64_t off = request->off, len = request->len;
    uint32_t flags = request->flags;
    struct dax *dax = &file->fs->dax;
    int rc = refuse_pin(file, off, len, flags, request->iovcnt);

    if (rc != -ECHILD)
        wake_left(file, off, len, rc == 0);
    if (rc)
        return explain(file, request, rc);
    dax_line_look(dax, &file->line);
    rc = dax_pin_fast(dax, file->vnode, request, pin);
    if (rc == MM_MISS)
        rc = slow(file, request, pin);
    else if (rc < 0)
        rc = explain(file, request, rc);
    if (rc == -E2BIG && !(flags & HF_PIN_NOWAIT))
        rc = fs_many_pieces(file->fs, file->vnode, off, len, request->iovcnt);
    if (rc > 0 && dax->stacks && !(flags & HF_PIN_NOWAIT))
        dax_stacks_keep(dax, pin->hf_opaque, caller);
    return rc;
}

/* len - 1 is less than the rest of the page: the sum, from as far below 0, is below 0. */
static inline bool in_one_page(uint64_t off, uint64_t len)
{
    uint64_t sum;

    return !__builtin_add_overflow(off | -(uint64_t)HF_BLOCK_BYTES, len - 1, &sum);
}

/* The straight line of an engine that counts. Null: nothing is held. */
static inline char *pin_on_line(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                                struct hf_pin *pin)
{
    if (!file->line.one || !in_one_page(off, len) || (flags | FS_PIN_READS) & file->pin_refused)
        return NULL;
    return file->line.one(&file->line, off, len, flags, pin);
}

static __attribute__((noinline)) int pin_longer(struct hf_file *file, uint64_t off, uint64_t len,
                                                uint32_t flags, struct iovec *iov, int iovcnt,
                                                struct hf_pin *pin)
{
    const struct dax_request request = {
        .off = off, .len = len, .flags = flags, .iov = iov, .iovcnt = iovcnt};

    return pin_request(file, &request, pin, __builtin_return_address(0));
}

static __attribute__((noinline)) int pin_any(struct hf_file *file, uint64_t off, uint64_t len,
                                             uint32_t flags, struct iovec *iov, int iovcnt,
                                             struct hf_pin *pin)
{
    char *at = iovcnt > 0 ? pin_on_line(file, off, len, flags, pin) : NULL;

    if (!at)
        return pin_longer(file, off, len, flags, iov, iovcnt, pin);
    *iov = (struct iovec){at, len};
    return 1;
}

static __attribute__((noinline)) intptr_t pin_longer_at(struct hf_file *file, uint64_t off,
                                                        uint64_t len, uint32_t flags,
                                                        struct hf_pin *pin)
{
    struct iovec piece;
    const struct dax_request request = {
        .off = off, .len = len, .flags = flags, .iov = &piece, .iovcnt = 1};
    int rc = pin_request(file, &request, pin, __builtin_return_address(0));

    return rc < 0 ? rc : (intptr_t)piece.iov_base;
}

static __attribute__((noinline)) intptr_t pin_any_at(struct hf_file *file, uint64_t off,
                                                     uint64_t len, uint32_t flags,
                                                     struct hf_pin *pin)
{
    char *at = pin_on_line(file, off, len, flags, pin);

    return at ? (intptr_t)at : pin_longer_at(file, off, len, flags, pin);
}

/* A pin with flags has a straight line too, which is not so straight. It may be one of many, so it
 * looks for a free slot first. False: as dax_pin_page(). */
static inline __attribute__((always_inline)) bool pin_with_flags(struct hf_file *file, uint64_t off,
                                                                 uint64_t len, uint32_t flags,
                                                                 char **at, struct hf_pin *pin)
{
    const struct shm_lane_of_thread *mine = shm_last_lane;

    if (!in_one_page(off, len) || (flags | FS_PIN_READS) & file->pin_refused)
        return false;
    if (mine->shm == file->line.shm)
        slots_seek(mine->lane, flags);
    return dax_pin_page(&file->line, off, &len, flags, flags & DAX_PIN_OWNS ? MM_READONLY : 0, at,
                        pin);
}

/* The pins that hf_pin() does not do itself. */
static __attribute__((noinline)) int pin_odd(struct hf_file *file, uint64_t off, uint64_t len,
                                             uint32_t flags, struct iovec *iov, int iovcnt,
                                             struct hf_pin *pin)
{
    char *at;

    if (iovcnt <= 0 || !flags || !pin_with_flags(file, off, len, flags, &at, pin))
        return pin_any(file, off, len, flags, iov, iovcnt, pin);
    *iov = (struct iovec){at, len};
    return 1;
}

/* `pin` is volatile so that it stays in memory: the line needs all registers that it need not
 * save. */
int hf_pin(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags, struct iovec *iov,
           int iovcnt, struct hf_pin *volatile pin)
{
    char *at;

    if (__builtin_expect(flags != 0, 0) || __builtin_expect(iovcnt <= 0, 0) ||
        __builtin_expect(!in_one_page(off, len), 0))
        return pin_odd(file, off, len, flags, iov, iovcnt, pin);
    iov->iov_len = len; /* where the line reads it */
    if (!__builtin_expect(dax_pin_page(&file->line, off, &iov->iov_len, 0, 0, &at, pin), 1))
        return pin_any(file, off, iov->iov_len, 0, iov, 1, pin); /* one page is one piece */
    iov->iov_base = at;
    return 1;
}

static __attribute__((noinline)) intptr_t pin_odd_at(struct hf_file *file, uint64_t off,
                                                     uint64_t len, uint32_t flags,
                                                     struct hf_pin *pin)
{
    char *at;

    if (!flags || !pin_with_flags(file, off, len, flags, &at, pin))
        return pin_any_at(file, off, len, flags, pin);
    return (intptr_t)at;
}

intptr_t hf_pin_at(struct hf_file *file, uint64_t off, uint64_t len, uint32_t flags,
                   struct hf_pin *pin)
{
    struct hf_pin *volatile kept; /* in memory, as in hf_pin() */
    char *at;

    if (__builtin_expect(flags != 0, 0) || __builtin_expect(!in_one_page(off, len), 0))
        return pin_odd_at(file, off, len, flags, pin);
    kept = pin;
    if (!__builtin_expect(dax_pin_page(&file->line, off, &len, 0, 0, &at, pin), 1))
        return pin_any_at(file, off, len, 0, kept);
    return (intptr_t)at;
}

int hf_unpin(struct hf_pin *pin)
{
#ifdef HF_DEBUG
    int rc = dax_unpin_fast(pin);

    HF_BUG_ON(rc == -EINVAL);
    return rc;
#else
    return dax_unpin_fast(pin);
#endif
}

void hf_atomic_begin(void)
{
    hf_section_begin();
}

void hf_atomic_end(void)
{
    hf_section_end();
}
