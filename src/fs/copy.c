/* SPDX-License-Identifier: MIT */
/*
 * Owns copies from file to file. Whole pages that are not held come to lie on the same blocks
 * (clone.c). For the rest, the source is pinned a piece at a time, and the target is written from
 * the pinned memory. A hole of the source costs the target no block where the target has a hole
 * too.
 *
 * COPY.WAIT: a pin of the source is never held while waiting for pins or at a gate. So a layout
 * change waits for it no longer than the copying of one piece takes. The wait cannot become a cycle
 * either, since a holder of a pin is let through the gates of the target (GATE.RULE). Copies let
 * through one after the other could keep a layout change of the target out for ever. So each piece
 * begins with nothing held and waits at the target's gates first: a gate that closes after that is
 * passed at most once.
 */
#include "base/error.h"
#include "base/lab.h"
#include "fs/end.h"
#include "fs/fill.h"
#include "fs/io.h"
#include "fs/unshare.h"
#include "sync/engine.h"

#include <errno.h>
#include <inttypes.h>

#define PIECE_BYTES (FILL_CHUNK_PAGES * (uint64_t)HF_BLOCK_BYTES)

static const char zeros[16 * HF_BLOCK_BYTES];

/* ---- holes ---- */

/* Finds where the data or hole at `off` ends. 1: it is data; 0: a hole. */
static int same_until(struct hf_file *file, uint64_t off, uint64_t *end)
{
    struct meta_extent extent;
    int rc = fs_extent_at(file->fs, file->ino, off / HF_BLOCK_BYTES, &extent);

    if (rc < 0)
        return rc;
    if (rc)
        *end = (extent.page + extent.count) * HF_BLOCK_BYTES;
    else
        *end = extent.count ? extent.page * HF_BLOCK_BYTES : UINT64_MAX;
    return rc;
}

/* Grows the file over [off, off+len), which then reads as zeros. 0: it has grown meanwhile. */
static ssize_t grow_over(struct hf_file *to, uint64_t len, uint64_t off)
{
    struct shm_vnode *vnode = to->vnode;
    int passed, rc = fs_end_lock(to->fs, vnode, off, &passed);
    ssize_t done = 0;

    if (rc)
        return rc;
    if (off >= vnode->size) {
        rc = fs_grow_file(to->fs, vnode, off + len);
        done = rc ? rc : (ssize_t)len;
        vnode->passed += passed ? 1 : 0;
    }
    dax_unlock(&to->fs->dax, vnode);
    return done;
}

/* How much of [off, off+len) of the source is a hole inside the file. Size and extents are looked
 * at under the mutex. Else the file may be cut short between the two, and what it has lost would
 * count as a hole. */
static ssize_t hole_at(struct hf_file *from, uint64_t off, uint64_t len)
{
    uint64_t size, end = 0;
    int rc = dax_lock_any(&from->fs->dax, from->vnode);

    if (rc)
        return rc;
    size = from->vnode->size;
    rc = off < size ? same_until(from, off, &end) : 1;
    dax_unlock(&from->fs->dax, from->vnode);
    if (rc)
        return rc < 0 ? rc : 0;
    return (ssize_t)fs_min(len, fs_min(end, size) - off);
}

static ssize_t copy_hole(struct hf_file *to, uint64_t len, uint64_t off)
{
    uint64_t size = hf_load_acquire(&to->vnode->size), end;
    int rc;

    if (off >= size)
        return grow_over(to, len, off);
    rc = same_until(to, off, &end);
    if (rc < 0)
        return rc;
    len = fs_min(len, fs_min(end, size) - off);
    if (rc)
        return fs_write_untold(to, zeros, fs_min(len, sizeof zeros), off);
    fs_vnode_touch(to->fs, to->vnode);
    return (ssize_t)len;
}

/* ---- pieces ---- */

static ssize_t copy_data(struct hf_file *to, const struct iovec *iov, int count, uint64_t off)
{
    ssize_t done = 0, n = 0;

    for (int i = 0; i < count; i++) {
        n = fs_write_untold(to, iov[i].iov_base, iov[i].iov_len, off + (uint64_t)done);
        if (n > 0)
            done += n;
        if (n < (ssize_t)iov[i].iov_len)
            break;
    }
    return done ? done : n;
}

/* COPY.WAIT */
static int wait_at_gates(struct hf_file *to, uint64_t off, uint64_t len)
{
    int rc =
        dax_lock(&to->fs->dax, to->vnode, off / HF_BLOCK_BYTES, (off + len - 1) / HF_BLOCK_BYTES);

    if (rc < 0)
        return rc;
    dax_unlock(&to->fs->dax, to->vnode);
    return 0;
}

/* Of a page that lies on a shared block, where the engine gives no pins of such blocks. */
static ssize_t copy_read(struct hf_file *from, uint64_t from_off, struct hf_file *to,
                         uint64_t to_off, uint64_t len)
{
    char copy[HF_BLOCK_BYTES];
    ssize_t n = fs_read(from, copy, fs_min(len, sizeof copy), from_off);

    return n > 0 ? fs_write_untold(to, copy, (size_t)n, to_off) : n;
}

/* 0: end of file. */
static ssize_t copy_pinned(struct hf_file *from, uint64_t from_off, struct hf_file *to,
                           uint64_t to_off, uint64_t len)
{
    struct iovec iov[IO_PIECES];
    struct meta_extent hole;
    struct hf_pin pin;
    unsigned looks = 0;
    ssize_t done = 0;

    while (done == 0) {
        uint64_t size = dax_size(&from->fs->dax, from->vnode), n;
        ssize_t rc;

        if (from_off >= size)
            break;
        len = fs_min(len, size - from_off);
        n = fs_min(len, PIECE_BYTES);
        rc = wait_at_gates(to, to_off, n);
        rc = rc ? rc : fs_pin_some(from, from_off, &n, HF_PIN_READ, iov, &pin, &hole);
        if (rc > 0) {
            done = copy_data(to, iov, (int)rc, to_off);
            dax_unpin(&pin);
        } else if (rc == -ENODATA) {
            HF_LAB_AT(HF_LAB_COPIES);
            rc = hole_at(from, from_off, len);
            if (rc > 0)
                done = copy_hole(to, (uint64_t)rc, to_off);
        } else if (rc == -EMLINK) {
            done = copy_read(from, from_off, to, to_off, n);
            rc = 0;
        }
        if (rc >= 0 && done == 0)
            rc = fs_look_again(&looks);
        if (rc < 0)
            return rc;
    }
    return done;
}

int fs_check_apart(const struct hf_file *a, uint64_t a_off, const struct hf_file *b, uint64_t b_off,
                   uint64_t len)
{
    if (a->vnode != b->vnode || a_off >= b_off + len || b_off >= a_off + len)
        return 0;
    return hf_fail(EINVAL,
                   "%" PRIu64 " bytes at %" PRIu64 " and at %" PRIu64 " of the same file overlap",
                   len, a_off, b_off);
}

/* Shares as much of the next *len bytes as it can. 0: *len bytes are to be copied before it is
 * worth another try. Where sharing fails, a copy may still succeed. */
static ssize_t share_some(struct hf_file *from, uint64_t from_off, struct hf_file *to,
                          uint64_t to_off, uint64_t *len)
{
    uint64_t into = from_off % HF_BLOCK_BYTES, held = 0;
    ssize_t n;

    if (into != to_off % HF_BLOCK_BYTES || !sync_shares(from->fs->dax.engine))
        return 0;
    if (into) {
        *len = fs_min(*len, HF_BLOCK_BYTES - into);
        return 0;
    }
    n = fs_clone_now(from, from_off, to, to_off, *len, &held);
    if (n > 0)
        return n;
    *len = held ? held : *len;
    return 0;
}

ssize_t fs_copy_range(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                      size_t len)
{
    uint64_t size = dax_size(&from->fs->dax, from->vnode), done = 0, want;
    uint64_t to_size = hf_load_acquire(&to->vnode->size);
    ssize_t n = 0;

    if (from_off >= size || len == 0)
        return 0;
    want = fs_min(len, size - from_off);
    if (to_off >= HF_FILE_BYTES_MAX)
        return hf_fail(EFBIG, "a file ends at %" PRIu64 " bytes", HF_FILE_BYTES_MAX);
    n = fs_check_apart(from, from_off, to, to_off, want);
    n = n ? n : fs_uncapable(to->fs, to->vnode);
    if (n)
        return n;
    want = fs_min(want, HF_FILE_BYTES_MAX - to_off);
    fs_will_change(to->fs, to->vnode, to_off, want);
    while (done < want) {
        uint64_t part = want - done;

        n = share_some(from, from_off + done, to, to_off + done, &part);
        if (n == 0)
            n = copy_pinned(from, from_off + done, to, to_off + done, part);
        if (n <= 0)
            break;
        done += (uint64_t)n;
    }
    if (!done)
        return n;
    n = fs_uncapable(to->fs, to->vnode);
    fs_written(to, to_size, to_off, done);
    return n ? n : (ssize_t)done;
}
