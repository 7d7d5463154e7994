/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_clone_range(). In one transaction, pages of one file come to lie on the blocks of another
 * file's pages, and their content is not read. Owns also the part of hf_copy_range() that does the
 * same, for pages that are not held.
 *
 * Two changes are under way at once. The change of `to` takes its old blocks out. The change of
 * `from` keeps writers away from blocks that are about to have two owners. Pages of `from` that are
 * held are copied, as fork(2) copies pinned pages: a clone must not freeze a page that another
 * process uses. Two clones that cross do not wait for each other in a cycle. Gates are closed in
 * the order of file and place, and mutexes are taken in the order of files. No mutex is held during
 * a wait.
 *
 * hf_copy_range() never waits for pins. So its part works as a merge does (dedup.c): both mutexes
 * are held from the look to the commit. Pages that are held, or lie under another change's gate,
 * are left to be copied.
 */
#include "base/error.h"
#include "fs/end.h"
#include "fs/io.h"
#include "fs/layout.h"
#include "fs/unshare.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A run of `from`: shared, or copied into the next blocks of the reservation. */
struct piece {
    struct meta_extent run;
    bool copied;
};

struct clone {
    struct fs *fs;
    struct shm_vnode *from;
    uint64_t first, pages; /* of `from` */
    uint64_t to_first;
    uint64_t from_end; /* of the cloned range, in bytes */
    uint64_t end;      /* the same in `to` */
    /* Bytes of the page after `pages`, in which `to` goes on. If it is not 0, that page is
     * copied. */
    uint64_t tail;
    bool has_tail;     /* it has a block, which is the last of `copies` */
    uint64_t old_size; /* of `to` */
    struct fs_layout l;
    struct dax_change source;
    struct fs_reservation copies;
    struct piece *pieces;
    size_t count, room;
    size_t most; /* pieces that one transaction takes */
};

#define PIECES_AT_ONCE 1024u /* of a copy, which may be made in several steps */

static bool one_file(const struct clone *c)
{
    return c->from == c->l.vnode;
}

/* ---- gates and mutexes ---- */

static int open_source(struct clone *c, const struct hf_policy *policy)
{
    int rc = dax_share_begin(&c->fs->dax, c->from, c->first, c->first + c->pages - 1, policy,
                             &c->source);

    if (rc == 0)
        dax_change_pause(&c->source);
    return rc;
}

static int open_layout(struct clone *c, struct shm_vnode *to, const struct hf_policy *policy)
{
    int rc = fs_layout_open(&c->l, c->fs, to, c->to_first, c->to_first + c->pages - 1,
                            HF_CHANGE_CLONE, policy);

    if (rc == 0)
        dax_change_pause(&c->l.change);
    return rc;
}

/* Under both mutexes. The source keeps its blocks, and its size, unless it is the target too: then
 * that has been intended. */
static int end_both(struct clone *c, int rc)
{
    bool committed = c->l.committed, same = one_file(c);

    if (committed && !same)
        dax_change_intend(&c->source, 0, c->from->size);
    c->source.keeps_mutex = same;
    dax_change_end(&c->source, committed);
    rc = fs_layout_close(&c->l, rc);
    if (committed && same && c->old_size < c->end) /* which the close could not see */
        fs_changed(c->fs, c->from, c->old_size / HF_BLOCK_BYTES, DAX_LAST);
    return rc;
}

/* Gates are closed, and both mutexes free. 0: both are held, and there is no holder to wait for. */
static int drain_both(struct clone *c)
{
    struct dax_change *busy, *other;
    int rc;

    for (;;) {
        rc = dax_lock_two(&c->fs->dax, c->from, c->l.vnode);
        if (rc) {
            dax_change_give_up(&c->source);
            dax_change_give_up(&c->l.change);
            return rc;
        }
        busy = &c->source;
        other = &c->l.change;
        rc = dax_change_look(busy);
        if (rc == 0) {
            busy = &c->l.change;
            other = &c->source;
            rc = dax_change_look(busy);
        }
        if (rc == 0)
            return 0;
        if (rc < 0)
            return end_both(c, rc);
        dax_unlock_two(&c->fs->dax, c->from, c->l.vnode);
        rc = dax_change_resume(busy);
        if (rc < 0) {
            dax_change_give_up(other);
            return rc;
        }
        dax_change_pause(busy);
    }
}

static int open_both(struct clone *c, struct shm_vnode *to, const struct hf_policy *to_policy,
                     const struct hf_policy *policy)
{
    bool from_first = c->from->ino < to->ino || (c->from == to && c->first < c->to_first);
    int rc;

    rc = from_first ? open_source(c, policy) : open_layout(c, to, to_policy);
    if (rc)
        return rc;
    rc = from_first ? open_layout(c, to, to_policy) : open_source(c, policy);
    if (rc == 0)
        return drain_both(c);
    dax_change_give_up(from_first ? &c->source : &c->l.change);
    return rc;
}

/* ---- what is shared, and what is copied ---- */

static int add_piece(struct clone *c, const struct meta_extent *run, bool copied)
{
    if (c->count == c->room) {
        size_t room = c->room ? c->room * 2 : 16;
        struct piece *more = realloc(c->pieces, room * sizeof *more);

        if (!more)
            return hf_fail(ENOMEM, "no memory for a list of %zu runs of blocks", room);
        c->pieces = more;
        c->room = room;
    }
    c->pieces[c->count++] = (struct piece){*run, copied};
    return 0;
}

/* Cuts an extent of `from` at the borders between copied and shared pages. */
static int add_extent(struct clone *c, struct meta_extent run)
{
    uint64_t end = run.page + run.count;
    int rc = 0;

    if (!c->source.holder_count)
        return add_piece(c, &run, false);
    while (rc == 0 && run.page < end) {
        bool copied = dax_change_holds(&c->source, run.page, run.page);

        run.count = 1;
        while (run.page + run.count < end &&
               dax_change_holds(&c->source, run.page + run.count, run.page + run.count) == copied)
            run.count++;
        rc = add_piece(c, &run, copied);
        run.page += run.count;
        run.block += run.count;
    }
    return rc;
}

static int find_pieces(struct clone *c)
{
    uint64_t page = c->first, end = c->first + c->pages;
    struct meta_extent extent;
    struct meta_txn *txn;
    int rc = meta_begin_read(c->fs->dax.meta, &txn);

    if (rc)
        return rc;
    while (page < end && c->count < c->most &&
           (rc = meta_extent_find(txn, c->from->ino, page, &extent)) == 0 && extent.page < end) {
        uint64_t skip = page > extent.page ? page - extent.page : 0;

        extent.page += skip;
        extent.block += skip;
        extent.count -= skip;
        extent.count = extent.count < end - extent.page ? extent.count : end - extent.page;
        rc = add_extent(c, extent);
        if (rc)
            break;
        page = extent.page + extent.count;
    }
    meta_end_read(txn);
    if (page < end && c->count >= c->most) {
        c->pages = page - c->first;
        c->end = (c->to_first + c->pages) * HF_BLOCK_BYTES;
    }
    return rc == -ENOENT ? 0 : rc;
}

/* ---- copies ---- */

static int reserve_copies(struct clone *c)
{
    uint64_t want = c->tail ? 1 : 0;
    int rc = 0;

    for (size_t i = 0; i < c->count; i++)
        want += c->pieces[i].copied ? c->pieces[i].run.count : 0;
    while (rc == 0 && c->copies.blocks < want)
        rc = fs_reserve(c->fs, c->to_first, SPACE_NO_GOAL, want - c->copies.blocks, &c->copies);
    return rc;
}

/* A page of a file; null: it is a hole. */
static int block_under(struct clone *c, const struct shm_vnode *vnode, uint64_t page, char **out)
{
    struct meta_extent extent;
    int rc = fs_extent_at(c->fs, vnode->ino, page, &extent);

    *out = NULL;
    return rc <= 0 ? rc : fs_memory(c->fs, extent.block + (page - extent.page), 1, out);
}

/* The page in which the clone ends and `to` goes on gets its bytes from both files. */
static int make_tail(struct clone *c)
{
    struct fs_reserved_run run;
    char *cloned, *kept, *page;
    int rc = block_under(c, c->from, c->first + c->pages, &cloned);

    rc = rc ? rc : block_under(c, c->l.vnode, c->to_first + c->pages, &kept);
    c->has_tail = cloned || kept;
    if (rc || !c->has_tail)
        return rc;
    HF_BUG_ON(!fs_reservation_take(&c->copies, 1, &run));
    rc = fs_memory(c->fs, run.block, 1, &page);
    if (rc)
        return rc;
    memset(page, 0, HF_BLOCK_BYTES);
    if (cloned)
        memcpy(page, cloned, c->tail);
    if (kept)
        memcpy(page + c->tail, kept + c->tail, HF_BLOCK_BYTES - c->tail);
    return fs_persist(c->fs, page, HF_BLOCK_BYTES);
}

static int make_copies(struct clone *c)
{
    int rc = reserve_copies(c);

    for (size_t i = 0; rc == 0 && i < c->count; i++)
        if (c->pieces[i].copied)
            rc = fs_copy_run(c->fs, &c->pieces[i].run, &c->copies);
    if (rc == 0 && c->tail)
        rc = make_tail(c);
    fs_reservation_rewind(&c->copies);
    return rc;
}

/* In a durable pool the clone is there after a power cut, so its blocks must be too. */
static int persist_shared(struct clone *c)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && c->fs->durable && i < c->count; i++) {
        const struct meta_extent *run = &c->pieces[i].run;
        char *at;

        if (c->pieces[i].copied)
            continue;
        rc = fs_memory(c->fs, run->block, run->count, &at);
        rc = rc ? rc : fs_persist(c->fs, at, run->count * HF_BLOCK_BYTES);
    }
    return rc;
}

/* ---- the transaction ---- */

static int place_piece(struct clone *c, const struct piece *piece)
{
    struct fs_layout *l = &c->l;
    struct meta_extent run = piece->run;
    int rc;

    run.page = c->to_first + (run.page - c->first);
    run.shared = true;
    if (piece->copied)
        return fs_layout_place(l, run.page, run.count, &c->copies);
    rc = fs_txn_share(&l->txn, &run);
    rc = rc ? rc : meta_extent_mark(l->txn.meta, c->from->ino, piece->run.page, run.count, true);
    rc = rc ? rc : meta_extent_insert(l->txn.meta, l->vnode->ino, &run);
    l->inode.blocks += rc ? 0 : run.count;
    return rc;
}

static int transact(struct clone *c)
{
    struct fs_layout *l = &c->l;
    uint64_t size = l->vnode->size > c->end ? l->vnode->size : c->end;
    int rc = fs_layout_begin(l);

    rc = rc ? rc : fs_txn_may_share(&l->txn);
    rc = rc ? rc : fs_layout_remove(l, c->to_first, c->pages + (c->tail ? 1 : 0));
    for (size_t i = 0; rc == 0 && i < c->count; i++)
        rc = place_piece(c, &c->pieces[i]);
    if (rc == 0 && c->has_tail)
        rc = fs_layout_place(l, c->to_first + c->pages, 1, &c->copies);
    l->txn.reservation = c->copies.blocks ? &c->copies : NULL;
    return rc ? rc : fs_layout_commit(l, size);
}

/* A later growth of `to` may show only zeros and holes past its present end. */
static int zero_target_tail(struct clone *c)
{
    struct shm_vnode *to = c->l.vnode;

    if (c->end <= to->size || to->size / HF_BLOCK_BYTES >= c->to_first)
        return 0;
    return fs_zero_own_tail(c->fs, to, c->end);
}

/* The last page may not be the clone's alone. */
static void cut_tail(struct clone *c)
{
    c->old_size = c->l.vnode->size;
    c->tail = c->old_size > c->end ? c->end % HF_BLOCK_BYTES : 0;
    c->pages -= c->tail ? 1 : 0;
}

static int clone_once(struct clone *c, struct shm_vnode *to, const struct hf_policy *to_policy,
                      const struct hf_policy *policy)
{
    int rc;

    fs_reservation_init(&c->copies);
    c->count = 0;
    rc = open_both(c, to, to_policy, policy);
    if (rc)
        return rc;
    cut_tail(c);
    rc = c->from->size < c->from_end ? -ESTALE : fs_steps_settle(c->fs, c->from);
    rc = rc ? rc : zero_target_tail(c);
    rc = rc ? rc : find_pieces(c);
    rc = rc ? rc : make_copies(c);
    rc = rc ? rc : persist_shared(c);
    rc = rc ? rc : transact(c);
    rc = end_both(c, rc);
    fs_reservation_drop(c->fs, &c->copies);
    return rc;
}

/* ---- the call ---- */

static int check_request(const struct hf_file *from, uint64_t from_off, const struct hf_file *to,
                         uint64_t to_off, uint64_t len, uint64_t size)
{
    int rc = fs_may_share(from->fs);

    if (rc)
        return rc;
    if (from_off % HF_BLOCK_BYTES || to_off % HF_BLOCK_BYTES || from_off > size ||
        len > size - from_off || (len % HF_BLOCK_BYTES && from_off + len != size))
        return hf_fail(EINVAL,
                       "a clone of [%" PRIu64 ", +%" PRIu64 ") to %" PRIu64
                       " must be of whole pages, up to end of file at most (%" PRIu64 ")",
                       from_off, len, to_off, size);
    if (to_off > HF_FILE_BYTES_MAX || len > HF_FILE_BYTES_MAX - to_off)
        return hf_fail(EFBIG, "a file ends at %" PRIu64 " bytes", (uint64_t)HF_FILE_BYTES_MAX);
    return fs_check_apart(from, from_off, to, to_off, len);
}

/* A writer of the source cannot be detached: its blocks stay. */
static struct hf_policy for_source(const struct hf_policy *policy)
{
    struct hf_policy out = *policy;

    if (out.kind == HF_POLICY_DEADLINE_DETACH)
        out.kind = HF_POLICY_DEADLINE;
    else if (out.kind == HF_POLICY_DETACH)
        out.kind = HF_POLICY_NOWAIT;
    return out;
}

static int clone_pages(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                       uint64_t len, const struct hf_policy *policy)
{
    struct hf_policy source = for_source(policy);
    struct clone c = {.fs = from->fs,
                      .from = from->vnode,
                      .first = from_off / HF_BLOCK_BYTES,
                      .pages = dax_pages_up(len),
                      .to_first = to_off / HF_BLOCK_BYTES,
                      .from_end = from_off + len,
                      .end = to_off + len,
                      .most = SIZE_MAX};
    const struct clone whole = c;
    int rc = clone_once(&c, to->vnode, policy, &source);

    if (rc == -ENOSPC || rc == -ENOLCK) {
        fs_make_room(c.fs);
        free(c.pieces);
        c = whole;
        rc = clone_once(&c, to->vnode, policy, &source);
    }
    free(c.pieces);
    return rc == -ENOSPC ? fs_no_space(c.fs, 1) : rc;
}

static int clone_range(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                       uint64_t len, const struct hf_policy *policy)
{
    uint64_t size = dax_size(&from->fs->dax, from->vnode);
    int rc;

    if (len == 0 && from_off <= size)
        len = size - from_off;
    rc = check_request(from, from_off, to, to_off, len, size);
    if (rc || len == 0)
        return rc;
    fs_will_change(from->fs, from->vnode, from_off, len);
    return clone_pages(from, from_off, to, to_off, len, policy);
}

int fs_clone_range(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                   uint64_t len, const struct hf_policy *policy)
{
    int rc;

    do
        rc = clone_range(from, from_off, to, to_off, len, policy);
    while (rc == -ESTALE); /* the source was cut short meanwhile */
    return rc;
}

/* ---- for a copy: without waiting ---- */

/* Cuts the range down to its first pages that are not held on either side. If there are none, *held
 * is how many pages from the first on are held. */
static void clip_at_held(struct clone *c, uint64_t *held)
{
    const struct dax_change *changes[2] = {&c->source, &c->l.change};
    uint64_t pages = c->pages;
    struct dax_run run;

    *held = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t first = changes[i]->first;

        if (!dax_change_held_run(changes[i], first, changes[i]->last, &run))
            continue;
        if (run.first == first && *held < run.last - first + 1)
            *held = run.last - first + 1;
        pages = fs_min(pages, run.first - first);
    }
    if (pages < c->pages)
        c->end = (c->to_first + pages) * HF_BLOCK_BYTES;
    c->pages = pages;
}

static bool other_gate(const struct clone *c, struct shm_vnode *to)
{
    struct dax *dax = &c->fs->dax;
    uint64_t first = c->to_first, last = c->to_first + c->pages - 1;

    if (c->end > to->size) {
        first = fs_min(first, to->size / HF_BLOCK_BYTES);
        last = DAX_LAST;
    }
    return dax_gate_over(dax, to, first, last) ||
           dax_gate_over(dax, c->from, c->first, c->first + c->pages - 1);
}

/* Takes the last page only where it is the end of both. False: nothing is left. */
static bool cut_part_page(struct clone *c, const struct shm_vnode *to, uint64_t len)
{
    uint64_t part = len % HF_BLOCK_BYTES, end = c->first * HF_BLOCK_BYTES + len;

    if (end > c->from->size)
        return false;
    if (part && (end != c->from->size || to->size > c->end)) {
        c->pages--;
        c->end -= part;
    }
    return c->pages;
}

/* Under both mutexes, where no other change has a gate. L2 to L6 of docs/ORDERING.md. */
static int share_now(struct clone *c, struct shm_vnode *to, uint64_t *held)
{
    int rc = dax_change_now(&c->fs->dax, c->from, c->first, c->first + c->pages - 1, &c->source);

    if (rc)
        return rc;
    rc = fs_layout_now(&c->l, c->fs, to, c->to_first, c->to_first + c->pages - 1);
    if (rc == 0) {
        clip_at_held(c, held);
        if (c->pages) {
            rc = find_pieces(c);
            rc = rc ? rc : persist_shared(c);
            c->l.keep_times = false;
            rc = rc ? rc : transact(c);
            c->l.keep_times = true; /* the copy tells those that watch, at its end */
        }
        rc = fs_layout_close(&c->l, rc);
    }
    dax_change_end(&c->source, false); /* nothing of it has changed */
    return rc;
}

static int clone_now(struct clone *c, struct shm_vnode *to, uint64_t len, uint64_t *held)
{
    int rc = fs_steps_settle(c->fs, c->from);

    if (rc || !cut_part_page(c, to, len) || other_gate(c, to)) {
        c->pages = 0;
        return rc;
    }
    c->l.vnode = to;
    rc = zero_target_tail(c);
    return rc ? rc : share_now(c, to, held);
}

ssize_t fs_clone_now(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                     uint64_t len, uint64_t *held)
{
    struct clone c = {.fs = from->fs,
                      .from = from->vnode,
                      .first = from_off / HF_BLOCK_BYTES,
                      .pages = dax_pages_up(len),
                      .to_first = to_off / HF_BLOCK_BYTES,
                      .end = to_off + len,
                      .most = PIECES_AT_ONCE};
    uint64_t pages = 0;
    int rc;

    shm_assert_none_held();
    rc = dax_lock_two(&c.fs->dax, c.from, to->vnode);
    if (rc)
        return rc;
    fs_reservation_init(&c.copies);
    rc = clone_now(&c, to->vnode, len, &pages);
    dax_unlock_two(&c.fs->dax, c.from, to->vnode);
    fs_trim_follow(c.fs);
    free(c.pieces);
    if (rc || c.pages)
        return rc ? rc : (ssize_t)(c.end - to_off);
    *held = fs_min(len, pages * HF_BLOCK_BYTES);
    return 0;
}
