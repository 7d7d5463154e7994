/* SPDX-License-Identifier: MIT */
/*
 * Owns the emptying of the blocks past a new end of the pool. It also empties a group (gather.c),
 * and gives that up where anything is in the way. Blocks of files past an end are moved, as by
 * hf_move(). Each other block there becomes free by itself, or a file's, and that is waited for as
 * the policy says. A detached block becomes free with its last pin. A block that a dead process's
 * device may use becomes free at the end of its quarantine. A block of a put becomes a file's with
 * its commit. Blocks that a change in steps has still to free become free with its steps.
 *
 * Nobody is given blocks there meanwhile (fs_space_bar()). So each pass over the files finds fewer.
 * Blocks of an earlier reservation or put may have become a file's; the next pass finds them. After
 * a pass that finds no block of a file, only what is waited for is left.
 *
 * A block that several files share is copied for each of them: nothing tells which files those are.
 *
 * A move copies while the layout mutex is free. A thread that was let through the gate may
 * meanwhile have given a shared page a block of its own. Then the copy reads a block that has left
 * its file. What it reads is not used, but the memory must be there. Such a copy has had its
 * reservation since before the mutex was free, so before that block was freed. So when nothing past
 * the bound is in use, the reservations of that moment are waited for, each until it has gone.
 */
#include "fs/vnode.h"

#include "base/error.h"
#include "base/futex.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

struct vacating {
    struct fs *fs;
    uint64_t bound, end; /* blocks from the first on, before the second, are to be emptied */
    bool keeps_shared;   /* blocks that may be shared are in the way */
    const struct hf_policy *policy;
    uint64_t since_ns;
    /* Where the look goes on, and what it has found. */
    uint64_t ino, page, count;
};

/* The first run of the file at or after v->page that lies there. -ENOENT: none. -EBUSY: it has to
 * stay. */
static int find_in_file(struct vacating *v, struct meta_txn *txn)
{
    struct meta_extent extent;
    int rc;

    while ((rc = meta_extent_find(txn, v->ino, v->page, &extent)) == 0) {
        uint64_t skip = extent.block < v->bound ? v->bound - extent.block : 0;

        if (skip < extent.count && extent.block + skip < v->end) {
            v->page = extent.page + skip;
            v->count = fs_min(extent.count - skip, v->end - (extent.block + skip));
            return v->keeps_shared && extent.shared ? -EBUSY : 0;
        }
        v->page = extent.page + extent.count;
    }
    return rc;
}

/* -ENOENT: no file has blocks there from that page on. */
static int find_to_move(struct vacating *v)
{
    struct meta_inode inode;
    struct meta_txn *txn;
    int rc = meta_begin_read(v->fs->dax.meta, &txn);

    if (rc)
        return rc;
    while ((rc = meta_inode_next(txn, &v->ino, &inode)) == 0) {
        rc = S_ISREG(inode.mode) ? find_in_file(v, txn) : -ENOENT;
        if (rc != -ENOENT)
            break;
        v->ino++;
        v->page = 0;
    }
    meta_end_read(txn);
    return rc;
}

/* A file that has gone has no blocks any more. */
static int move_found(struct vacating *v)
{
    struct shm_vnode *vnode;
    int rc = fs_vnode_open(v->fs, v->ino, &vnode);

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    rc = fs_move_pages(v->fs, vnode, v->page, v->page + v->count, v->policy, v->since_ns);
    fs_vnode_close(v->fs, vnode);
    return rc;
}

/* 1: something was moved; 0: no file has anything there. */
static int vacate_pass(struct vacating *v)
{
    int rc, moved = 0;

    v->ino = v->page = 0;
    while ((rc = find_to_move(v)) == 0) {
        rc = move_found(v);
        if (rc)
            return rc;
        moved = 1;
        v->page += v->count;
    }
    return rc == -ENOENT ? moved : rc;
}

/* Blocks past the bound that are in use; -errno. */
static int64_t used_past_bound(struct vacating *v)
{
    int64_t used;
    int rc = fs_space_lock(v->fs);

    if (rc)
        return rc;
    used = (int64_t)fs_space_used_from(v->fs, v->bound);
    fs_space_unlock(v->fs);
    return used;
}

static const char *why_ended(int err)
{
    return err == -ETIMEDOUT ? "past the deadline: "
           : err == -EINTR   ? "interrupted by a signal, or cancelled: "
                             : "";
}

static int still_used(int64_t used, int err)
{
    return hf_fail(-err,
                   "%s%" PRId64 " KiB past the new end are in no file and in use: by pins or "
                   "devices of what has left its file, by puts that have not ended, or by calls "
                   "at work: call again when they have ended (holdfast pins shows them)",
                   why_ended(err), used * 4);
}

static void sleep_a_tick(struct shm_waiting *waiting)
{
    const struct timespec tick = {.tv_nsec = SHM_LOOK_AGAIN_NS};

    if (nanosleep(&tick, NULL))
        waiting->interrupted = true;
}

/* For what no file has. Looks again soon, since no word tells of it. */
static int await_others(struct vacating *v, struct shm_waiting *waiting, int64_t used)
{
    uint32_t kind = v->policy->kind;
    int rc = kind == HF_POLICY_NOWAIT || kind == HF_POLICY_DETACH
                 ? -EBUSY
                 : shm_waiting_goes_on(v->fs->dax.shm, waiting, 0, 0);

    if (rc)
        return still_used(used, rc);
    sleep_a_tick(waiting);
    fs_make_room(v->fs);
    return 0;
}

/* Until nothing past the bound is in use. The counts of the segment may be wrong, so the files are
 * looked at in any case: what is cut cannot be mended. */
static int empty_it(struct vacating *v, struct shm_waiting *waiting)
{
    int64_t used;
    int rc = vacate_pass(v);

    while (rc >= 0 && (used = used_past_bound(v)) != 0) {
        rc = used < 0 ? (int)used : vacate_pass(v);
        if (rc)
            continue;
        fs_make_room(v->fs);
        used = used_past_bound(v);
        if (used)
            rc = used < 0 ? (int)used : await_others(v, waiting, used);
    }
    return rc < 0 ? rc : 0;
}

/* ---- copies at work ---- */

/* Of each lane, the reservation that is waited for; 0 blocks: none. */
struct begun {
    uint32_t lanes, holder;
    struct shm_run_of_blocks *runs;
};

/* Under space_mutex. Those of other threads; all: also such as were not there the last time. */
static uint32_t count_begun(struct shm *shm, struct begun *begun, bool all)
{
    uint32_t count = 0;

    shm_assert_held(&shm->run->space_mutex);
    for (uint32_t i = 0; i < begun->lanes; i++) {
        struct shm_lane *lane = &shm->lanes[i];
        uint32_t owner = hf_load_acquire(&lane->owner);
        struct shm_run_of_blocks *run = &begun->runs[i], is = lane->reserved[0];

        if (all)
            *run = is;
        if (!owner || owner == SHM_LANE_RESIDUE || lane == shm_lane(shm) || !is.count ||
            is.block != run->block)
            run->count = 0;
        if (run->count) {
            begun->holder = owner;
            count++;
        }
    }
    return count;
}

static int look_for_copies(struct vacating *v, struct begun *begun, bool first, uint32_t *count)
{
    int rc = fs_space_lock(v->fs);

    if (rc)
        return rc;
    *count = count_begun(v->fs->dax.shm, begun, first);
    fs_space_unlock(v->fs);
    return 0;
}

static int await_begun(struct vacating *v, struct begun *begun, struct shm_waiting *waiting)
{
    uint32_t count;
    int rc = look_for_copies(v, begun, true, &count);

    while (rc == 0 && count) {
        rc = shm_waiting_goes_on(v->fs->dax.shm, waiting, begun->holder, 0);
        if (rc)
            return shm_waiting_failed(v->fs->dax.shm, waiting, rc,
                                      "memory past the new end (a copy may be under way)");
        sleep_a_tick(waiting);
        fs_make_room(v->fs);
        rc = look_for_copies(v, begun, false, &count);
    }
    return rc;
}

/* Each call waits a moment for them at least, as for a lock. */
static int await_copies(struct vacating *v, struct shm_lane *lane)
{
    struct begun begun = {.lanes = shm_lanes_used(v->fs->dax.shm)};
    struct shm_waiting waiting;
    int rc;

    begun.runs = calloc(begun.lanes ? begun.lanes : 1, sizeof *begun.runs);
    if (!begun.runs)
        return hf_fail(ENOMEM, "no memory for a list of %u threads", begun.lanes);
    shm_waiting_begin(&waiting, false, &lane->blocked);
    rc = await_begun(v, &begun, &waiting);
    shm_waiting_end(&waiting);
    free(begun.runs);
    return rc;
}

int fs_vacate_group(struct fs *fs, uint64_t group)
{
    const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};
    struct vacating v = {.fs = fs,
                         .bound = group * SHM_GROUP_BLOCKS,
                         .end = (group + 1) * SHM_GROUP_BLOCKS,
                         .keeps_shared = true,
                         .policy = &nowait};
    int rc;

    shm_assert_none_held();
    rc = vacate_pass(&v);
    return rc < 0 ? rc : 0;
}

int fs_vacate(struct fs *fs, uint64_t blocks, const struct hf_policy *policy, uint64_t since_ns)
{
    struct vacating v = {
        .fs = fs, .bound = blocks, .end = UINT64_MAX, .policy = policy, .since_ns = since_ns};
    struct shm_lane *lane = shm_lane(fs->dax.shm);
    struct shm_waiting waiting;
    int rc;

    shm_assert_none_held();
    if (!lane)
        return shm_no_lane(fs->dax.shm);
    shm_waiting_begin(&waiting, true, &lane->blocked);
    rc = empty_it(&v, &waiting);
    shm_waiting_end(&waiting);
    return rc ? rc : await_copies(&v, lane);
}
