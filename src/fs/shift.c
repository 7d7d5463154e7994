/* SPDX-License-Identifier: MIT */
/*
 * Owns HF_FALLOC_COLLAPSE_RANGE and HF_FALLOC_INSERT_RANGE: blocks stay where they are, and sit
 * under other pages of the file afterwards. So every page from `off` on is in the layout change.
 * Pages that a detaching policy leaves pinned are copied, and the pins keep the old blocks.
 *
 * With many extents the transaction only says what the file is from then on, and they are moved in
 * steps after it (meta/intent.c).
 */
#include "fs/layout.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

struct shift {
    struct fs_layout l;
    struct fs_reservation copies;
    uint64_t page, count; /* taken out, or put in */
};

static int aligned(uint64_t off, uint64_t len)
{
    if (off % HF_BLOCK_BYTES == 0 && len % HF_BLOCK_BYTES == 0)
        return 0;
    return hf_fail(EINVAL, "offset %" PRIu64 " and length %" PRIu64 " must be multiples of %u", off,
                   len, HF_BLOCK_BYTES);
}

static int can_collapse(const struct shift *s, uint64_t size)
{
    if (s->page + s->count < dax_pages_up(size))
        return 0;
    return hf_fail(EINVAL, "the range must end before end of file (%" PRIu64 ")", size);
}

static int collapse(struct shift *s)
{
    struct fs_layout *l = &s->l;
    uint64_t size = l->vnode->size, after = s->page + s->count;
    int rc = fs_layout_copy_held(l, after, DAX_LAST, &s->copies);

    rc = rc ? rc : fs_layout_begin(l);
    rc = rc ? rc : fs_layout_swap_held(l, after, DAX_LAST, &s->copies);
    rc = rc ? rc : fs_layout_intend(l, META_INTENT_COLLAPSE, s->page, s->count);
    if (rc == 0) {
        rc = fs_layout_remove(l, s->page, s->count);
        rc = rc ? rc : meta_extent_shift(l->txn.meta, l->vnode->ino, after, -(int64_t)s->count);
    }
    return rc < 0 ? rc : fs_layout_commit(l, size - s->count * HF_BLOCK_BYTES);
}

/* Blocks that were allocated past end of file move up too. */
static int fits(const struct fs_layout *l, uint64_t count)
{
    struct meta_extent last;
    int rc = meta_extent_before(l->txn.meta, l->vnode->ino, UINT64_MAX, &last);

    if (rc == -ENOENT)
        return 0;
    if (rc == 0 && last.page + last.count + count > HF_FILE_BYTES_MAX / HF_BLOCK_BYTES)
        return hf_fail(EFBIG, "what follows would move beyond %" PRIu64 " bytes",
                       HF_FILE_BYTES_MAX);
    return rc;
}

static int can_insert(const struct shift *s, uint64_t size)
{
    if (s->page >= dax_pages_up(size))
        return hf_fail(EINVAL, "the place must be before end of file (%" PRIu64 ")", size);
    if (s->count > (HF_FILE_BYTES_MAX - size) / HF_BLOCK_BYTES)
        return hf_fail(EFBIG, "a file ends at %" PRIu64 " bytes", HF_FILE_BYTES_MAX);
    return 0;
}

static int insert(struct shift *s)
{
    struct fs_layout *l = &s->l;
    uint64_t size = l->vnode->size;
    int rc = fs_layout_copy_held(l, s->page, DAX_LAST, &s->copies);

    rc = rc ? rc : fs_layout_begin(l);
    rc = rc ? rc : fits(l, s->count);
    rc = rc ? rc : fs_layout_swap_held(l, s->page, DAX_LAST, &s->copies);
    rc = rc ? rc : fs_layout_intend(l, META_INTENT_INSERT, s->page, s->count);
    if (rc == 0) {
        rc = meta_extent_split(l->txn.meta, l->vnode->ino, s->page);
        rc = rc ? rc : meta_extent_shift(l->txn.meta, l->vnode->ino, s->page, (int64_t)s->count);
    }
    return rc < 0 ? rc : fs_layout_commit(l, size + s->count * HF_BLOCK_BYTES);
}

struct shift_kind {
    enum hf_change_kind why;
    int (*can)(const struct shift *s, uint64_t size); /* asked before and after the drain */
    int (*change)(struct shift *s);
};

static int shift(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                 const struct hf_policy *policy, const struct shift_kind *kind)
{
    struct shift s = {.page = off / HF_BLOCK_BYTES, .count = len / HF_BLOCK_BYTES};
    int rc = aligned(off, len);

    rc = rc ? rc : kind->can(&s, hf_load_acquire(&vnode->size));
    rc = rc ? rc : fs_layout_open(&s.l, fs, vnode, s.page, DAX_LAST, kind->why, policy);
    if (rc)
        return rc;
    rc = kind->can(&s, vnode->size);
    rc = fs_layout_close(&s.l, rc ? rc : kind->change(&s));
    fs_reservation_drop(fs, &s.copies);
    return rc;
}

int fs_collapse(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                const struct hf_policy *policy)
{
    static const struct shift_kind kind = {HF_CHANGE_COLLAPSE, can_collapse, collapse};

    return shift(fs, vnode, off, len, policy, &kind);
}

int fs_insert(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
              const struct hf_policy *policy)
{
    static const struct shift_kind kind = {HF_CHANGE_INSERT, can_insert, insert};

    return shift(fs, vnode, off, len, policy, &kind);
}
