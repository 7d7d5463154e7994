/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_compact(). A run of MM_HUGE_PAGES pages is laid on a free group of blocks, so that one
 * huge entry maps it. A run that lies right already, but is mapped by small entries, only loses
 * those.
 *
 * Each run is a layout change of its own, with the steps of hf_dedup_range(). The layout mutex is
 * held from the look for holders to the commit, so no gate is needed. The copy is of 2 MiB at most.
 * A run that anybody holds is left alone. Until the commit, nothing has changed, except that
 * entries are missing. The copy lies in a reservation, which goes with its process.
 *
 * Where no group is free as a whole, one is emptied (gather.c), with no lock held. Then the run is
 * looked at again. After some groups that could not be emptied, the call tries no more.
 *
 * With a policy that waits, the call first waits for the holders of a run behind a gate, as
 * hf_move() does. The same steps follow while that gate is closed.
 */
#include "fs/layout.h"
#include "fs/space.h"

#include "base/error.h"
#include "base/futex.h"
#include "base/lab.h"
#include "sync/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define RUN_BYTES (MM_HUGE_PAGES * (uint64_t)HF_BLOCK_BYTES)

struct compaction {
    struct fs *fs;
    struct shm_vnode *vnode;
    bool looks;                     /* and changes nothing */
    const struct hf_policy *policy; /* null: it waits for nobody */
    uint64_t since_ns;
    struct hf_compact_result out;
    struct fs_gathering gathering;
    struct fs_reservation blocks; /* a free group for the run, if one was needed */
    /* the run, and the first one behind it that may be all blocks */
    uint64_t first, next;
    unsigned count;
    struct meta_extent pieces[MM_HUGE_PAGES];
    bool laid, shared, small; /* lies right; may have blocks of others; has had small entries */
};

/* ---- what lies under a run ---- */

static bool lies_right(const struct compaction *c)
{
    return c->count == 1 && (c->pieces[0].block - c->pieces[0].page) % MM_HUGE_PAGES == 0;
}

static int read_pieces(struct compaction *c, struct meta_txn *txn)
{
    uint64_t page = c->first, end = c->first + MM_HUGE_PAGES;

    c->shared = false;
    for (c->count = 0; page < end; c->count++) {
        struct meta_extent *piece = &c->pieces[c->count];
        int rc = meta_extent_find(txn, c->vnode->ino, page, piece);
        uint64_t skip;

        if (rc == -ENOENT || (rc == 0 && piece->page > page)) { /* a hole */
            c->count = 0;
            c->next =
                rc ? UINT64_MAX : (piece->page + MM_HUGE_PAGES - 1) / MM_HUGE_PAGES * MM_HUGE_PAGES;
            return 0;
        }
        if (rc)
            return rc;
        skip = page - piece->page;
        piece->page += skip;
        piece->block += skip;
        piece->count = fs_min(piece->count - skip, end - page);
        page += piece->count;
        c->shared |= piece->shared;
    }
    c->laid = lies_right(c);
    return 0;
}

/* Under the mutex. 1: the run is all blocks; 0: it has a hole, or ends past end of file. */
static int look_at_run(struct compaction *c)
{
    struct meta_txn *txn;
    int rc;

    shm_assert_held(&c->vnode->mutex);
    c->next = c->first + MM_HUGE_PAGES;
    if (c->next > dax_pages_up(c->vnode->size)) {
        c->next = UINT64_MAX;
        return 0;
    }
    rc = meta_begin_read(c->fs->dax.meta, &txn);
    if (rc)
        return rc;
    rc = read_pieces(c, txn);
    meta_end_read(txn);
    c->small |= dax_has_small(&c->fs->dax, c->vnode, c->first);
    return rc ? rc : c->count != 0;
}

/* ---- one run ---- */

static int copy_run_together(struct compaction *c)
{
    char *to, *from, *at;
    int rc = fs_memory(c->fs, c->blocks.runs[0].block, MM_HUGE_PAGES, &to);

    at = to;
    for (unsigned i = 0; rc == 0 && i < c->count; i++) {
        uint64_t bytes = c->pieces[i].count * HF_BLOCK_BYTES;

        rc = fs_memory(c->fs, c->pieces[i].block, c->pieces[i].count, &from);
        if (rc)
            break;
        fs_map_around(c->fs, at, bytes);
        memmove(at, from, bytes); /* a wrong bitmap gives a block twice */
        at += bytes;
    }
    return rc ? rc : fs_persist(c->fs, to, RUN_BYTES);
}

static int swap_run(struct fs_layout *l, uint64_t first, struct fs_reservation *blocks)
{
    int rc = fs_layout_begin(l);

    rc = rc ? rc : fs_layout_remove(l, first, MM_HUGE_PAGES);
    rc = rc ? rc : fs_layout_place(l, first, MM_HUGE_PAGES, blocks);
    HF_LAB_AT(HF_LAB_COMPACTS);
    return rc ? rc : fs_layout_commit(l, l->vnode->size);
}

/* Under the mutex, with blocks if the run does not lie right. 1: it was held after all. */
static int collapse_run(struct compaction *c)
{
    struct fs_layout l;
    bool held;
    int rc = fs_layout_collapse(&l, c->fs, c->vnode, c->first);

    shm_assert_held(&c->vnode->mutex);
    if (rc)
        return rc;
    held = dax_change_holds(&l.change, l.change.first, l.change.last) &&
           !HF_LAB_BROKEN(HF_LAB_LEAF_UNSEEN);
    if (!held && !c->laid) {
        rc = copy_run_together(c);
        rc = rc ? rc : swap_run(&l, c->first, &c->blocks);
    }
    rc = fs_layout_close(&l, rc);
    if (rc == 0 && c->small)
        dax_enter(&c->fs->dax, c->vnode, c->first, c->first + MM_HUGE_PAGES - 1);
    return rc ? rc : held;
}

static bool in_the_way(struct compaction *c)
{
    struct dax *dax = &c->fs->dax;
    uint64_t last = c->first + MM_HUGE_PAGES - 1;

    return !HF_LAB_BROKEN(HF_LAB_LEAF_UNSEEN) && dax_is_held(dax, c->vnode, c->first, last);
}

/* What becomes of a run. Nothing of one that is held, or has no room, is counted yet. */
enum { DONE, HELD, NO_ROOM };

/* Under the mutex: a run that could be better, and is not held as far as one can see. */
static int mend_run(struct compaction *c)
{
    int rc = 0;

    shm_assert_held(&c->vnode->mutex);
    if (!c->laid && !c->blocks.count)
        rc = fs_reserve_group(c->fs, &c->blocks);
    if (rc == -ENOSPC)
        return NO_ROOM;
    rc = rc ? rc : collapse_run(c);
    fs_reservation_drop(c->fs, &c->blocks);
    if (rc)
        return rc < 0 ? rc : HELD;
    c->out.run_bytes += RUN_BYTES;
    c->out.huge_bytes += RUN_BYTES;
    c->out.moved_bytes += c->laid ? 0 : RUN_BYTES;
    return DONE;
}

/* Under the mutex. */
static int treat_run(struct compaction *c, bool gate_is_ours)
{
    uint64_t last = c->first + MM_HUGE_PAGES - 1;
    bool is_huge, must_stay;
    int rc = dax_check_settled(c->vnode);

    shm_assert_held(&c->vnode->mutex);
    rc = rc ? rc : look_at_run(c);
    if (rc <= 0)
        return rc;
    is_huge = c->laid && !c->small;
    must_stay = c->shared && !c->laid;
    if (!is_huge && !must_stay && !c->looks &&
        ((!gate_is_ours && dax_gate_over(&c->fs->dax, c->vnode, c->first, last)) || in_the_way(c)))
        return HELD;
    if (!is_huge && !must_stay && !c->looks)
        return mend_run(c);
    c->out.run_bytes += RUN_BYTES;
    if (is_huge) {
        c->out.was_huge += RUN_BYTES;
        c->out.huge_bytes += RUN_BYTES;
    } else if (must_stay) {
        c->out.shared_bytes += RUN_BYTES;
    }
    return DONE;
}

/* ---- one that is held ---- */

/* The deadline is one of all runs together. */
static struct hf_policy policy_now(const struct compaction *c)
{
    struct hf_policy left = *c->policy;
    uint64_t spent = left.deadline_ns ? hf_now_ns() - c->since_ns : 0;

    left.deadline_ns = spent < left.deadline_ns ? left.deadline_ns - spent : 0;
    return left;
}

/* The change has not got through, since pages of the run are in use. */
static bool is_in_use(int rc)
{
    return rc == -EBUSY || rc == -ETIMEDOUT || rc == -EDEADLK;
}

static int wait_and_treat(struct compaction *c)
{
    const struct hf_policy left = policy_now(c);
    struct fs_layout wait;
    int rc = fs_layout_open(&wait, c->fs, c->vnode, c->first, c->first + MM_HUGE_PAGES - 1,
                            HF_CHANGE_MOVE, &left);

    if (rc)
        return is_in_use(rc) ? HELD : rc;
    wait.keep_times = true;
    rc = treat_run(c, true);
    (void)fs_layout_close(&wait, rc < 0 ? rc : 0);
    return rc;
}

/* A change of the whole file takes its table out, and gives it back. So the small entries that were
 * seen before the wait still count after it. */
static int try_run(struct compaction *c)
{
    int rc = dax_lock_any(&c->fs->dax, c->vnode);

    c->small = false;
    if (rc == 0) {
        rc = treat_run(c, false);
        dax_unlock(&c->fs->dax, c->vnode);
        fs_trim_follow(c->fs);
    }
    if (rc == HELD && c->policy) {
        fs_reservation_drop(c->fs, &c->blocks); /* nobody waits with blocks of others */
        rc = wait_and_treat(c);
    }
    return rc;
}

static int make_room_for_run(struct compaction *c)
{
    uint64_t moved = 0;
    int rc = fs_gather(c->fs, &c->gathering, &c->blocks, &moved);

    c->out.moved_bytes += moved * HF_BLOCK_BYTES;
    return rc;
}

static int compact_run(struct compaction *c)
{
    int rc = try_run(c);

    if (rc == NO_ROOM) {
        rc = make_room_for_run(c);
        rc = rc == -ENOSPC ? NO_ROOM : rc;
        rc = rc ? rc : try_run(c);
        fs_reservation_drop(c->fs, &c->blocks);
    }
    if (rc > 0) {
        c->out.run_bytes += RUN_BYTES;
        *(rc == HELD ? &c->out.held_bytes : &c->out.no_space_bytes) += RUN_BYTES;
    }
    return rc > 0 ? 0 : rc;
}

/* ---- the call ---- */

static int check_compaction(const struct fs *fs, uint64_t off, uint64_t size, bool looks)
{
    int rc = looks ? 0 : fs_may_write(fs);

    if (rc)
        return rc;
    if (!sync_knows_holders(fs->dax.engine))
        return hf_fail(EOPNOTSUPP, "engine %s has no huge entries", fs->dax.engine->name);
    if (off > size)
        return hf_fail(EINVAL, "off %" PRIu64 " is past end of file, %" PRIu64, off, size);
    return 0;
}

int fs_compact(struct fs *fs, struct shm_vnode *vnode, uint64_t off, uint64_t len, uint32_t flags,
               const struct hf_policy *policy, struct hf_compact_result *out)
{
    uint64_t size = dax_size(&fs->dax, vnode), end;
    struct compaction c = {.fs = fs,
                           .vnode = vnode,
                           .looks = flags & HF_COMPACT_LOOK,
                           .policy = policy,
                           .since_ns = policy && policy->deadline_ns ? hf_now_ns() : 0,
                           .out = {.size = out->size}};
    int rc = check_compaction(fs, off, size, c.looks);

    if (rc)
        return rc;
    fs_reservation_init(&c.blocks);
    end = len && len < size - off ? (off + len) / HF_BLOCK_BYTES : dax_pages_up(size);
    for (c.first = (off + RUN_BYTES - 1) / RUN_BYTES * MM_HUGE_PAGES;
         rc == 0 && c.first < end && end - c.first >= MM_HUGE_PAGES; c.first = c.next)
        rc = compact_run(&c);
    if (rc == 0)
        *out = c.out;
    return rc;
}
