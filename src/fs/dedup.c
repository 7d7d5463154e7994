/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_dedup_range(): pages of two files that hold the same come to lie on one block, and pages
 * of zeros become holes.
 *
 * A batch of pages is one transaction. Both layout mutexes are held from the look to the commit,
 * without a wait in between. Entries are cleared on both sides, then holders are looked for, then
 * the pages are compared. A pin that was taken before is found, and its page left alone; one that
 * comes after finds no entry, and waits for the mutex. So the pages cannot change between the
 * comparison and the sharing (docs/ORDERING.md 3.34). In a range where another layout change has
 * its gate nothing is done at all.
 */
#include "base/error.h"
#include "base/lab.h"
#include "fs/io.h"
#include "fs/layout.h"
#include "fs/unshare.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BATCH_PAGES 256u

struct side {
    struct shm_vnode *vnode;
    uint64_t first;
    uint64_t block[BATCH_PAGES]; /* of each page; NO_BLOCK: a hole */
};

#define NO_BLOCK UINT64_MAX

struct batch {
    struct fs *fs;
    struct side kept, left; /* the blocks that stay, and those that go */
    bool holes;             /* no block is kept: pages of zeros of the other file become holes */
    uint64_t pages;
    uint64_t last_bytes; /* of the last page, that count */
    bool share[BATCH_PAGES];
    struct dax_change look; /* of the kept side */
    struct fs_layout l;     /* of the other one */
    struct hf_dedup_result *out;
};

/* ---- looking and comparing ---- */

static int find_blocks(struct batch *b, struct side *side)
{
    uint64_t page = side->first, end = side->first + b->pages;
    struct meta_extent extent;
    struct meta_txn *txn;
    int rc = meta_begin_read(b->fs->dax.meta, &txn);

    if (rc)
        return rc;
    for (uint64_t i = 0; i < b->pages; i++)
        side->block[i] = NO_BLOCK;
    while (page < end && (rc = meta_extent_find(txn, side->vnode->ino, page, &extent)) == 0) {
        page = extent.page > page ? extent.page : page;
        for (; page < end && page < extent.page + extent.count; page++)
            side->block[page - side->first] = extent.block + (page - extent.page);
    }
    meta_end_read(txn);
    return rc == -ENOENT ? 0 : rc;
}

static int page_at(struct batch *b, const struct side *side, uint64_t i, char **out)
{
    static const char zeros[HF_BLOCK_BYTES];

    if (side->block[i] != NO_BLOCK)
        return fs_memory(b->fs, side->block[i], 1, out);
    *out = (char *)zeros;
    return 0;
}

static uint64_t bytes_of(const struct batch *b, uint64_t i)
{
    return i + 1 == b->pages ? b->last_bytes : HF_BLOCK_BYTES;
}

/* Made while others may write, so its answer may be wrong for pages that they are writing. */
static bool differs_now(const void *kept, const void *left, uint64_t bytes)
{
    const uint64_t *a = kept, *b = left;

    for (uint64_t i = 0; i < bytes / sizeof *a; i++)
        if (hf_load_relaxed(&a[i]) != hf_load_relaxed(&b[i])) /* relaxed: it is only a look */
            return true;
    return false;
}

static bool differs(const void *kept, const void *left, uint64_t bytes)
{
    return memcmp(kept, left, bytes) != 0;
}

/* Of the pages that are still to be shared, leaves out pairs that differ. */
static int compare_pages(struct batch *b, bool (*unlike)(const void *, const void *, uint64_t))
{
    for (uint64_t i = 0; i < b->pages; i++) {
        char *kept, *left;
        int rc;

        if (!b->share[i] || b->kept.block[i] == b->left.block[i])
            continue;
        rc = page_at(b, &b->kept, i, &kept);
        rc = rc ? rc : page_at(b, &b->left, i, &left);
        if (rc)
            return rc;
        if (unlike(kept, left, bytes_of(b, i))) {
            b->share[i] = false;
            b->out->same = 0;
        }
    }
    return 0;
}

static bool wanted(const struct batch *b, uint64_t i)
{
    return b->share[i] && (b->holes || b->kept.block[i] != NO_BLOCK) &&
           b->left.block[i] != NO_BLOCK && b->kept.block[i] != b->left.block[i];
}

static bool any_wanted(const struct batch *b)
{
    for (uint64_t i = 0; i < b->pages; i++)
        if (wanted(b, i))
            return true;
    return false;
}

/* Leaves out pages that are held, on either side. */
static void leave_held(struct batch *b)
{
    for (uint64_t i = 0; i < b->pages && !HF_LAB_BROKEN(HF_LAB_SHARES_HELD); i++) {
        uint64_t kept = b->kept.first + i, left = b->left.first + i;

        if (!wanted(b, i) || ((b->holes || !dax_change_holds(&b->look, kept, kept)) &&
                              !dax_change_holds(&b->l.change, left, left)))
            continue;
        b->share[i] = false;
        b->out->held_bytes += bytes_of(b, i);
    }
}

/* ---- sharing ---- */

/* How many pages from the i-th on are to be shared and lie in one run on either side. */
static uint64_t run_at(const struct batch *b, uint64_t i)
{
    uint64_t n = 1;

    while (i + n < b->pages && wanted(b, i + n) &&
           (b->holes || b->kept.block[i + n] == b->kept.block[i] + n))
        n++;
    return n;
}

/* After a power cut the other file must still have its present content. */
static int persist_kept(struct batch *b)
{
    int rc = 0;

    for (uint64_t i = 0, n; rc == 0 && b->fs->durable && !b->holes && i < b->pages; i += n) {
        char *at;

        n = 1;
        if (!wanted(b, i))
            continue;
        n = run_at(b, i);
        rc = fs_memory(b->fs, b->kept.block[i], n, &at);
        rc = rc ? rc : fs_persist(b->fs, at, n * HF_BLOCK_BYTES);
    }
    return rc;
}

static int share_run(struct batch *b, uint64_t i, uint64_t n)
{
    struct fs_layout *l = &b->l;
    struct meta_extent run = {b->left.first + i, b->kept.block[i], n, true};
    int rc = fs_layout_remove(l, run.page, n);

    if (rc || b->holes)
        return rc;
    rc = fs_txn_share(&l->txn, &run);
    rc = rc ? rc : meta_extent_mark(l->txn.meta, b->kept.vnode->ino, b->kept.first + i, n, true);
    rc = rc ? rc : meta_extent_insert(l->txn.meta, l->vnode->ino, &run);
    l->inode.blocks += rc ? 0 : n;
    return rc;
}

static int share_all(struct batch *b, uint64_t *bytes)
{
    int rc = persist_kept(b);

    rc = rc ? rc : fs_layout_begin(&b->l);
    rc = rc || b->holes ? rc : fs_txn_may_share(&b->l.txn);
    for (uint64_t i = 0, n; rc == 0 && i < b->pages; i += n) {
        n = 1;
        if (!wanted(b, i))
            continue;
        n = run_at(b, i);
        rc = share_run(b, i, n);
        *bytes += (n - 1) * HF_BLOCK_BYTES + bytes_of(b, i + n - 1);
    }
    return rc ? rc : fs_layout_commit(&b->l, b->l.vnode->size);
}

/* Under both mutexes. L2 to L6 of docs/ORDERING.md, on both sides. */
static int share_batch(struct batch *b)
{
    uint64_t bytes = 0;
    int rc = b->holes ? 0
                      : dax_change_now(&b->fs->dax, b->kept.vnode, b->kept.first,
                                       b->kept.first + b->pages - 1, &b->look);

    if (rc)
        return rc;
    rc = fs_layout_now(&b->l, b->fs, b->left.vnode, b->left.first, b->left.first + b->pages - 1);
    if (rc == 0) {
        leave_held(b);
        rc = compare_pages(b, differs);
        if (rc == 0 && any_wanted(b))
            rc = share_all(b, &bytes);
        rc = fs_layout_close(&b->l, rc);
    }
    if (!b->holes)
        dax_change_end(&b->look, false); /* nothing of it has changed */
    b->out->shared_bytes += rc ? 0 : bytes;
    return rc;
}

/* ---- the call ---- */

static bool past_end(const struct side *side, uint64_t pages, uint64_t last_bytes)
{
    uint64_t end = (side->first + pages - 1) * HF_BLOCK_BYTES + last_bytes;

    return end > side->vnode->size || (last_bytes != HF_BLOCK_BYTES && end != side->vnode->size);
}

static bool gate_over(const struct batch *b, const struct side *side)
{
    return dax_gate_over(&b->fs->dax, side->vnode, side->first, side->first + b->pages - 1);
}

/* Under both mutexes. */
static int look_and_share(struct batch *b)
{
    int rc = fs_steps_settle(b->fs, b->kept.vnode);

    if (rc)
        return rc;
    if (past_end(&b->kept, b->pages, b->last_bytes) || past_end(&b->left, b->pages, b->last_bytes))
        return hf_fail(EINVAL, "the range is not of whole pages, or ends past end of file");
    if (gate_over(b, &b->kept) || gate_over(b, &b->left)) {
        b->out->held_bytes += (b->pages - 1) * HF_BLOCK_BYTES + b->last_bytes;
        return 0;
    }
    rc = find_blocks(b, &b->left);
    for (uint64_t i = 0; b->holes && i < b->pages; i++)
        b->kept.block[i] = NO_BLOCK;
    rc = rc || b->holes ? rc : find_blocks(b, &b->kept);
    rc = rc ? rc
            : compare_pages(b, differs_now); /* what differs is not worth clearing entries for */
    return rc == 0 && any_wanted(b) ? share_batch(b) : rc;
}

static int one_batch(struct batch *b)
{
    struct dax *dax = &b->fs->dax;
    int rc = dax_lock_two(dax, b->kept.vnode, b->left.vnode);

    if (rc)
        return rc;
    for (uint64_t i = 0; i < b->pages; i++)
        b->share[i] = true;
    rc = look_and_share(b);
    dax_unlock_two(dax, b->kept.vnode, b->left.vnode);
    fs_trim_follow(b->fs);
    return rc;
}

static int check_ranges(const struct hf_file *a, uint64_t a_off, const struct hf_file *b,
                        uint64_t b_off, uint64_t len)
{
    int rc = fs_may_share(b->fs);

    if (rc)
        return rc;
    if (a_off % HF_BLOCK_BYTES || b_off % HF_BLOCK_BYTES || a_off > HF_FILE_BYTES_MAX ||
        b_off > HF_FILE_BYTES_MAX || len > HF_FILE_BYTES_MAX - a_off ||
        len > HF_FILE_BYTES_MAX - b_off)
        return hf_fail(EINVAL,
                       "%" PRIu64 " bytes at %" PRIu64 " and at %" PRIu64 " are not whole pages",
                       len, a_off, b_off);
    return a ? fs_check_apart(a, a_off, b, b_off, len) : 0;
}

int fs_dedup_range(struct hf_file *a, uint64_t a_off, struct hf_file *b, uint64_t b_off,
                   uint64_t len, struct hf_dedup_result *out)
{
    struct hf_dedup_result result = {.size = out->size, .same = 1};
    struct batch batch = {.fs = b->fs, .holes = !a, .out = &result};
    int rc = check_ranges(a, a_off, b, b_off, len);

    a_off = a ? a_off : b_off;
    batch.kept.vnode = a ? a->vnode : b->vnode;
    batch.left.vnode = b->vnode;
    for (uint64_t done = 0, n; rc == 0 && done < len; done += n) {
        n = len - done < BATCH_PAGES * HF_BLOCK_BYTES ? len - done : BATCH_PAGES * HF_BLOCK_BYTES;
        batch.kept.first = (a_off + done) / HF_BLOCK_BYTES;
        batch.left.first = (b_off + done) / HF_BLOCK_BYTES;
        batch.pages = dax_pages_up(n);
        batch.last_bytes = (n - 1) % HF_BLOCK_BYTES + 1;
        rc = one_batch(&batch);
    }
    if (rc == 0)
        *out = result;
    return rc;
}
