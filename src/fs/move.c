/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_move(): the blocks of a range are copied to other blocks and freed. The copy runs with
 * the gate closed and the layout mutex free, so the rest of the file stays usable. A thread that
 * was let through meanwhile, because it held a pin already, may have written; then the copy is made
 * again.
 *
 * A long range moves in parts, each a layout change of its own. A move changes no content, so
 * stopping between two parts leaves the file whole.
 */
#include "fs/layout.h"

#include "base/error.h"
#include "base/futex.h"

#include <errno.h>
#include <inttypes.h>

#define PART_PAGES 16384u /* 64 MiB */
#define PART_PIECES 64u
#define COPIES_UNLOCKED 3u

struct part {
    struct fs_layout l;
    struct fs_reservation blocks;
    struct meta_extent pieces[PART_PIECES]; /* what lies under it */
    unsigned count;
    uint64_t last; /* page up to which the pieces reach */
};

/* A thread that is let through the closed gate may fill holes there, and give a shared page a block
 * of its own. Otherwise extents cannot leave the range. */
static int take_part(struct part *p, uint64_t page, uint64_t last)
{
    p->count = 0;
    p->last = last;
    while (page <= last) {
        struct meta_extent *piece = &p->pieces[p->count];
        uint64_t skip;
        int rc = fs_extent_at(p->l.fs, p->l.vnode->ino, page, piece);

        if (rc < 0)
            return rc;
        if (piece->count == 0 || piece->page > last)
            return 0;
        skip = piece->page < page ? page - piece->page : 0;
        piece->page += skip;
        piece->block += skip;
        piece->count -= skip;
        if (piece->count > last - piece->page + 1)
            piece->count = last - piece->page + 1;
        page = piece->page + piece->count;
        if (++p->count == PART_PIECES) {
            p->last = page - 1;
            return 0;
        }
    }
    return 0;
}

/* Cuts the pieces down to as many pages as there are blocks. */
static void cut_pieces(struct part *p)
{
    uint64_t room = p->blocks.blocks;

    for (unsigned i = 0; i < p->count; i++) {
        if (p->pieces[i].count < room) {
            room -= p->pieces[i].count;
            continue;
        }
        if (p->pieces[i].count > room || i + 1 < p->count)
            p->last = p->pieces[i].page + room - 1;
        p->pieces[i].count = room;
        p->count = i + 1;
        return;
    }
}

static int reserve_part(struct part *p)
{
    uint64_t want = 0;
    int rc = 0;

    for (unsigned i = 0; i < p->count; i++)
        want += p->pieces[i].count;
    while (rc == 0 && p->blocks.blocks < want && p->blocks.count < SHM_RESERVED)
        rc = fs_reserve(p->l.fs, p->pieces[0].page, SPACE_NO_GOAL, want - p->blocks.blocks,
                        &p->blocks);
    if (rc && rc != -ENOSPC)
        return rc;
    if (!p->blocks.blocks)
        return -ENOSPC;
    cut_pieces(p);
    return 0;
}

static int copy_all(struct part *p)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < p->count; i++)
        rc = fs_copy_run(p->l.fs, &p->pieces[i], &p->blocks);
    fs_reservation_rewind(&p->blocks);
    return rc;
}

/* 0: the copy is the content of the file, and the mutex is held. *gone: the change has been given
 * up. */
static int copy_pieces(struct part *p, bool *gone)
{
    *gone = false;
    for (unsigned i = 0; i < COPIES_UNLOCKED; i++) {
        int copied, rc;

        dax_change_pause(&p->l.change);
        copied = copy_all(p);
        rc = dax_change_resume(&p->l.change);
        *gone = rc < 0;
        if (rc < 0 || copied)
            return rc < 0 ? rc : copied;
        if (rc == 0)
            return 0;
        rc = take_part(p, p->l.change.first, p->last);
        if (rc)
            return rc;
        cut_pieces(p);
    }
    return copy_all(p);
}

static int swap_pieces(struct part *p)
{
    struct fs_layout *l = &p->l;
    int rc;

    l->keep_times = true;
    rc = fs_layout_begin(l);
    for (unsigned i = 0; rc == 0 && i < p->count; i++) {
        rc = fs_layout_remove(l, p->pieces[i].page, p->pieces[i].count);
        rc = rc ? rc : fs_layout_place(l, p->pieces[i].page, p->pieces[i].count, &p->blocks);
    }
    return rc ? rc : fs_layout_commit(l, l->vnode->size);
}

/* Moves pages from *page on, at most to `last`; *page is then the first that is still to do. */
static int move_part(struct fs *fs, struct shm_vnode *vnode, uint64_t *page, uint64_t last,
                     const struct hf_policy *policy)
{
    struct part p;
    bool gone = false;
    int rc = fs_layout_open(&p.l, fs, vnode, *page, last, HF_CHANGE_MOVE, policy);

    if (rc)
        return rc;
    fs_reservation_init(&p.blocks);
    rc = take_part(&p, *page, last);
    if (rc == 0 && p.count) {
        rc = reserve_part(&p);
        rc = rc ? rc : copy_pieces(&p, &gone);
        rc = rc ? rc : swap_pieces(&p);
    }
    if (!gone)
        fs_layout_close(&p.l, rc);
    fs_reservation_drop(fs, &p.blocks);
    if (rc == 0)
        *page = p.last + 1;
    return rc;
}

/* All parts together have one deadline. */
static struct hf_policy what_is_left(const struct hf_policy *policy, uint64_t since_ns)
{
    struct hf_policy left = *policy;
    uint64_t spent = policy->deadline_ns ? hf_now_ns() - since_ns : 0;

    left.deadline_ns = spent < policy->deadline_ns ? policy->deadline_ns - spent : 0;
    return left;
}

int fs_move_pages(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t end,
                  const struct hf_policy *policy, uint64_t since_ns)
{
    bool tried_hard = false;
    int rc = 0;

    while (rc == 0 && page < end) {
        uint64_t last = (end - page < PART_PAGES ? end : page + PART_PAGES) - 1;
        struct hf_policy left = what_is_left(policy, since_ns);

        rc = move_part(fs, vnode, &page, last, &left);
        if (rc == -ENOSPC && !tried_hard) {
            tried_hard = true;
            fs_make_room(fs);
            rc = 0;
        }
    }
    return rc == -ENOSPC ? fs_no_space(fs, end - page) : rc;
}

int fs_move(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len,
            const struct hf_policy *policy)
{
    uint64_t size = hf_load_acquire(&vnode->size);

    if (off % HF_BLOCK_BYTES || off >= size || len > size - off ||
        (len % HF_BLOCK_BYTES && off + len != size))
        return hf_fail(EINVAL,
                       "a move of [%" PRIu64 ", +%" PRIu64
                       ") must be of whole pages inside the file (%" PRIu64 ")",
                       off, len, size);
    return fs_move_pages(fs, vnode, off / HF_BLOCK_BYTES, dax_pages_up(off + len), policy,
                         policy->deadline_ns ? hf_now_ns() : 0);
}
