/* SPDX-License-Identifier: MIT */
/*
 * Owns which free blocks a request gets, the lock around them, and two words beside the bitmap
 * (bitmap.c). No group below first_free_group has a free block. Blocks from fresh_block on were
 * never given out, so their memory is zero.
 *
 * Calls bitmap.c, and meta for one thing only. Before blocks are given out for the first time, LMDB
 * records a bound above them (fresh_saved). So after a restart no process takes written memory for
 * zeros.
 *
 * Small requests take the lowest free blocks that lie in one piece, so freed ones are reused at
 * once. Where a short search finds no such piece, they take the lowest ones. Large requests take
 * whole free groups, so that a huge entry can map them.
 */
#include "fs/space.h"
#include "fs/queue.h"
#include "fs/task.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>

#define ALIGN_BLOCKS 64u     /* requests from here on are laid for huge entries */
#define FRESH_STEP 16384u    /* 64 MiB: how far LMDB's bound runs ahead */
#define GROUPS_LOOKED_AT 64u /* for one piece, by one request */

void fs_space_free(struct fs *fs, uint64_t block, uint64_t count)
{
    struct shm_run *run = fs->dax.shm->run;

    shm_assert_held_or_alone(&fs->dax.shm->run->space_mutex,
                             !hf_load_acquire(&fs->dax.shm->run->ready));
    if (!bitmap_in_pool(fs->dax.shm, block, count))
        return;
    bitmap_mark(fs->dax.shm, block, count, false);
    hf_store_release(&run->trim_look, 1u);
    run->first_free_group = fs_min(run->first_free_group, block / SHM_GROUP_BLOCKS);
}

void fs_space_grow(struct fs *fs, uint64_t pool_blocks)
{
    struct shm *shm = fs->dax.shm;
    struct shm_run *run = shm->run;
    uint64_t old = shm_pool_blocks(shm);

    shm_assert_held_or_alone(&fs->dax.shm->run->space_mutex,
                             !hf_load_acquire(&fs->dax.shm->run->ready));
    if (pool_blocks <= old || pool_blocks > shm->limits.limit_blocks)
        return;
    for (uint64_t group = old / SHM_GROUP_BLOCKS; group < pool_blocks / SHM_GROUP_BLOCKS; group++)
        shm->group_free[group] = SHM_GROUP_BLOCKS;
    run->first_free_group = fs_min(run->first_free_group, old / SHM_GROUP_BLOCKS);
    hf_store_relaxed(&run->free_blocks,
                     run->free_blocks + pool_blocks - old); /* relaxed: as in bitmap_mark() */
    hf_store_release(&run->pool_blocks, pool_blocks);
}

/* ---- the lock ---- */

static int rebuild_bitmap(struct fs *fs)
{
    struct meta_txn *txn;
    int rc = meta_begin_look(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = fs_space_build(fs, txn);
    meta_end_look(txn);
    return rc;
}

/* When it cannot be built (a damaged pool) every block counts as taken: nothing more is given
 * out. */
static void mark_all_taken(struct shm *shm)
{
    bitmap_mark(shm, 0, shm_pool_blocks(shm), true);
}

/* space_stale says that the bitmap has still to be built. It stays set when building fails, or when
 * the process is killed meanwhile. */
static int mend_bitmap(struct fs *fs, bool died)
{
    struct shm_run *run = fs->dax.shm->run;
    int rc;

    run->space_stale = 1;
    if (died)
        shm_lock_mended(&run->space_mutex);
    rc = rebuild_bitmap(fs);
    if (rc)
        mark_all_taken(fs->dax.shm);
    if (rc == 0 || rc == -EUCLEAN)
        run->space_stale = 0;
    if (rc)
        fs_space_unlock(fs);
    return rc;
}

static int mend_if_needed(struct fs *fs, bool died)
{
    if (__builtin_expect(!died && !fs->dax.shm->run->space_stale, 1))
        return 0;
    return mend_bitmap(fs, died);
}

#define WHAT "the pool's metadata"

int fs_space_lock(struct fs *fs)
{
    struct shm_run *run = fs->dax.shm->run;
    bool died;
    int rc;

    shm_assert_not_held(&run->table_mutex);
    rc = shm_lock(fs->dax.shm, &run->space_mutex, WHAT, &died);
    return rc ? rc : mend_if_needed(fs, died);
}

bool fs_space_lock_now(struct fs *fs, int *rc)
{
    struct shm_run *run = fs->dax.shm->run;
    bool died;

    shm_assert_not_held(&run->table_mutex);
    if (!shm_lock_now(&run->space_mutex, &died))
        return false;
    *rc = mend_if_needed(fs, died);
    return true;
}

int fs_space_lock_or(struct fs *fs, struct shm_call_away *away)
{
    bool died;
    int rc = shm_lock_or(fs->dax.shm, &fs->dax.shm->run->space_mutex, WHAT, &died, away);

    return rc ? rc : mend_if_needed(fs, died);
}

/* A thread that comes into the queue after this look tries the mutex after that, and finds it
 * free: both are locked instructions. */
void fs_space_unlock(struct fs *fs)
{
    shm_unlock(&fs->dax.shm->run->space_mutex);
    if (__builtin_expect(fs_queue_waits(&fs->joint), 0))
        fs_queue_unlocked(&fs->joint);
}

/* ---- reserving ---- */

/* Before blocks below `end` are given out for the first time. */
static int save_fresh(struct fs *fs, uint64_t end)
{
    struct shm_run *run = fs->dax.shm->run;
    uint64_t bound =
        fs_min((end + FRESH_STEP - 1) / FRESH_STEP * FRESH_STEP, shm_pool_blocks(fs->dax.shm));
    struct meta_super super;
    struct meta_txn *txn;
    /* In another transaction of this thread it cannot be done (task.c). */
    int rc = fs->host_in_txn ? -EAGAIN : meta_begin_write(fs->dax.meta, &txn);

    if (rc)
        return rc;
    rc = meta_super_get(txn, &super);
    if (rc == 0) {
        super.fresh_block = bound;
        rc = meta_super_put(txn, &super);
    }
    if (rc) {
        meta_abort(txn);
        return rc;
    }
    rc = meta_commit(txn);
    if (rc == 0)
        run->fresh_saved = bound;
    return rc;
}

static struct fs_reserved_run *run_for(struct fs_reservation *reservation, uint64_t block)
{
    struct fs_reserved_run *run;

    if (reservation->count) {
        run = &reservation->runs[reservation->count - 1];
        if (run->block + run->count == block)
            return run;
    }
    if (reservation->count == SHM_RESERVED)
        return NULL;
    run = &reservation->runs[reservation->count++];
    *run = (struct fs_reserved_run){block, 0, 0};
    return run;
}

/* Takes [block, block+*count), which is free, or as much of its front as can have memory. */
static int take_run(struct fs *fs, struct fs_reservation *reservation, uint64_t block,
                    uint64_t *count)
{
    struct shm_run *run = fs->dax.shm->run;
    uint64_t fresh = run->fresh_block, zeros, old;
    struct fs_reserved_run *into;
    int rc = 0;

    if (block + *count > run->fresh_saved)
        rc = save_fresh(fs, block + *count);
    rc = rc ? rc : fs_back(fs, block, count, &zeros);
    if (rc)
        return rc;
    into = run_for(reservation, block);
    if (!into)
        return -ENOSPC;
    old = fs_min(fs_min(fresh, zeros), block + *count);
    old = old > block ? old - block : 0;
    if (old)
        into->used_before = into->count + old;
    into->count += *count;
    if (block + *count > fresh)
        run->fresh_block = block + *count;
    reservation->lane->reserved[into - reservation->runs] =
        (struct shm_run_of_blocks){into->block, into->count};
    reservation->blocks += *count;
    bitmap_mark(fs->dax.shm, block, *count, true);
    return 0;
}

/* Takes up to `count` free blocks from `block` on; *taken says how many. */
static int take_from(struct fs *fs, struct fs_reservation *reservation, uint64_t block,
                     uint64_t count, uint64_t *taken)
{
    struct shm *shm = fs->dax.shm;
    uint64_t blocks = shm_blocks_to_give(shm), end;
    int rc;

    *taken = 0;
    if (block >= blocks)
        return 0;
    count = fs_min(count, blocks - block);
    end = fs_space_next(shm, block, block + count, true);
    if (end == block)
        return 0;
    count = end - block;
    rc = take_run(fs, reservation, block, &count);
    if (rc == 0)
        *taken = count;
    return rc;
}

/* How many of `count` blocks from there on come before the group that is being emptied, or after
 * it. */
static uint64_t beside_gathered(const struct shm *shm, uint64_t block, uint64_t count)
{
    uint64_t word = shm->run->gathered, first = word ? (word - 1) * SHM_GROUP_BLOCKS : UINT64_MAX;

    if (block >= first)
        return block - first < SHM_GROUP_BLOCKS ? 0 : count;
    return fs_min(count, first - block);
}

/* Takes whole free groups. The first one is entered as far from its start as `page` is from the
 * start of its 2 MiB of the file. */
static int take_groups(struct fs *fs, struct fs_reservation *reservation, uint64_t page,
                       uint64_t count, uint64_t *taken)
{
    struct shm *shm = fs->dax.shm;
    uint64_t groups = shm_blocks_to_give(shm) / SHM_GROUP_BLOCKS;
    uint64_t group = shm->run->first_free_group, n = 0;
    int rc = 0;

    *taken = 0;
    while (rc == 0 && count - *taken >= ALIGN_BLOCKS) {
        while (group < groups && (shm->group_free[group] != SHM_GROUP_BLOCKS ||
                                  !beside_gathered(shm, group * SHM_GROUP_BLOCKS, 1)))
            group++;
        if (group >= groups)
            break;
        rc = take_from(fs, reservation,
                       group * SHM_GROUP_BLOCKS + (page + *taken) % SHM_GROUP_BLOCKS,
                       count - *taken, &n);
        *taken += n;
        group += n == 0; /* its count is wrong */
    }
    return rc;
}

/* A free run of so many blocks that begins in the group. */
static uint64_t find_piece(const struct shm *shm, uint64_t group, uint64_t count)
{
    uint64_t block = group * SHM_GROUP_BLOCKS, group_end = block + SHM_GROUP_BLOCKS, end;
    uint64_t blocks = shm_blocks_to_give(shm);

    while ((block = fs_space_next(shm, block, group_end, false)) < group_end) {
        if (count > blocks - block)
            return SPACE_NO_GOAL;
        end = fs_space_next(shm, block, block + count, true);
        if (end == block + count && beside_gathered(shm, block, count) == count)
            return block;
        block = end;
    }
    return SPACE_NO_GOAL;
}

/* Takes all of them in one piece, or nothing. A program wants the bytes of a small file at one
 * address, and a hole of a few blocks is left for requests that fit. */
static int take_piece(struct fs *fs, struct fs_reservation *reservation, uint64_t count,
                      uint64_t *taken)
{
    const struct shm *shm = fs->dax.shm;
    uint64_t groups = shm_blocks_to_give(shm) / SHM_GROUP_BLOCKS, block = SPACE_NO_GOAL;
    unsigned looks = 0;

    *taken = 0;
    for (uint64_t group = shm->run->first_free_group;
         group < groups && block == SPACE_NO_GOAL && looks < GROUPS_LOOKED_AT; group++)
        if (shm->group_free[group]) {
            block = find_piece(shm, group, count);
            looks++;
        }
    return block == SPACE_NO_GOAL ? 0 : take_from(fs, reservation, block, count, taken);
}

/* Blocks that it skips have no memory, and can get none. Where the file system is full, blocks that
 * have theirs are given out. */
static int take_lowest(struct fs *fs, struct fs_reservation *reservation, uint64_t count)
{
    struct shm *shm = fs->dax.shm;
    uint64_t blocks = shm_blocks_to_give(shm), groups = blocks / SHM_GROUP_BLOCKS, n;
    uint64_t group = shm->run->first_free_group, block;
    int rc = 0, none = 0;

    while (group < groups && !shm->group_free[group])
        group++;
    shm->run->first_free_group = group;
    block = group * SHM_GROUP_BLOCKS;
    while (rc == 0 && count && block < blocks) {
        group = block / SHM_GROUP_BLOCKS;
        block = fs_space_next(shm, block, (group + 1) * SHM_GROUP_BLOCKS, false);
        if (block == (group + 1) * SHM_GROUP_BLOCKS)
            continue;
        n = beside_gathered(shm, block, count);
        if (n == 0) {
            block = (group + 1) * SHM_GROUP_BLOCKS;
            continue;
        }
        rc = take_from(fs, reservation, block, n, &n);
        count -= n;
        block += n;
        if (rc == -ENOSPC && reservation->count < SHM_RESERVED && fs_may_lack_memory(fs)) {
            block = fs_next_backed(fs, block + 1, blocks);
            none = rc;
            rc = 0;
        }
    }
    return rc ? rc : count ? none : 0;
}

static int reserve_blocks(struct fs *fs, uint64_t page, uint64_t goal, uint64_t count,
                          struct fs_reservation *reservation)
{
    uint64_t before = reservation->blocks, n = 0;
    int rc = 0;

    if (goal != SPACE_NO_GOAL)
        rc = take_from(fs, reservation, goal, beside_gathered(fs->dax.shm, goal, count), &n);
    count -= n;
    page += n;
    if (rc == 0 && count >= ALIGN_BLOCKS) {
        rc = take_groups(fs, reservation, page, count, &n);
        count -= n;
    }
    if (rc == 0 && count > 1) {
        rc = take_piece(fs, reservation, count, &n);
        count -= n;
    }
    if ((rc == 0 || rc == -ENOSPC) && count)
        rc = take_lowest(fs, reservation, count);
    if (rc == 0 && reservation->blocks == before && fs->dax.shm->run->gathered) {
        fs->dax.shm->run->gathered = 0; /* the last blocks there are */
        rc = take_lowest(fs, reservation, count);
    }
    return rc;
}

/* Runs that a thread finds reserved in its lane before it has begun are left over from the lane's
 * earlier life. */
static void clear_lane(struct fs *fs, struct shm_lane *lane)
{
    for (unsigned r = 0; r < SHM_RESERVED; r++) {
        struct shm_run_of_blocks run;

        if (__builtin_expect(!hf_load_acquire(&lane->reserved[r].count), 1))
            continue;
        run = bitmap_reserved(lane, r);
        if (run.count)
            fs_space_free(fs, run.block, run.count);
        lane->reserved[r].count = 0;
    }
    hf_store_release(&lane->residue, 0u);
}

void fs_space_sweep(struct fs *fs)
{
    struct shm *shm = fs->dax.shm;
    uint32_t used = shm_lanes_used(shm);

    shm_assert_held(&fs->dax.shm->run->space_mutex);
    for (uint32_t i = 0; i < used; i++) {
        struct shm_lane *lane = &shm->lanes[i];
        uint32_t owner = hf_load_acquire(&lane->owner);

        if (owner == SHM_LANE_RESIDUE || hf_load_acquire(&lane->residue) ||
            (owner && !hf_load_acquire(&lane->tid)))
            clear_lane(fs, lane);
        if (owner == SHM_LANE_RESIDUE) /* unless a thread takes it just now */
            (void)hf_cas_acq_rel(&lane->owner, owner, 0u);
    }
}

static int get_lane(struct fs *fs, struct fs_reservation *reservation)
{
    int rc = fs_may_write(fs);

    if (rc || reservation->lane)
        return rc;
    reservation->lane = shm_lane(fs->dax.shm);
    return reservation->lane ? 0 : shm_no_lane(fs->dax.shm);
}

/* Takes space_mutex. */
static int begin_reserving(struct fs *fs, struct fs_reservation *reservation)
{
    int rc = get_lane(fs, reservation);

    rc = rc ? rc : fs_space_lock(fs);
    if (rc == 0 && !reservation->count)
        clear_lane(fs, reservation->lane);
    return rc;
}

int fs_reserve_group(struct fs *fs, struct fs_reservation *reservation)
{
    uint64_t taken;
    int rc;

    HF_BUG_ON(reservation->count);
    rc = begin_reserving(fs, reservation);
    if (rc)
        return rc;
    rc = take_groups(fs, reservation, 0, SHM_GROUP_BLOCKS, &taken);
    if (taken && (taken < SHM_GROUP_BLOCKS || reservation->count > 1)) {
        fs_reservation_settle(fs, reservation);
        rc = rc ? rc : -ENOSPC;
    }
    fs_space_unlock(fs);
    return rc || taken ? rc : -ENOSPC;
}

int fs_reserve_gathered(struct fs *fs, uint64_t group, struct fs_reservation *reservation)
{
    struct shm *shm = fs->dax.shm;
    uint64_t taken = 0;
    int rc;

    HF_BUG_ON(reservation->count);
    rc = begin_reserving(fs, reservation);
    if (rc)
        return rc;
    if (shm->run->gathered == group + 1)
        shm->run->gathered = 0;
    if (group < shm_pool_blocks(shm) / SHM_GROUP_BLOCKS &&
        shm->group_free[group] == SHM_GROUP_BLOCKS)
        rc = take_from(fs, reservation, group * SHM_GROUP_BLOCKS, SHM_GROUP_BLOCKS, &taken);
    if (taken < SHM_GROUP_BLOCKS)
        fs_reservation_settle(fs, reservation);
    fs_space_unlock(fs);
    return rc || taken == SHM_GROUP_BLOCKS ? rc : -ENOSPC;
}

struct reserving {
    struct fs_task task;
    struct fs *fs;
    uint64_t page, goal, count;
    struct fs_reservation *reservation;
};

static int reserve_work(struct fs_task *task)
{
    const struct reserving *r = (struct reserving *)task;
    uint64_t before = r->reservation->blocks;

    if (!r->reservation->count)
        clear_lane(r->fs, r->reservation->lane);
    (void)reserve_blocks(r->fs, r->page, r->goal, r->count, r->reservation);
    return r->reservation->blocks > before ? 0 : FS_ALONE;
}

int fs_reserve(struct fs *fs, uint64_t page, uint64_t goal, uint64_t count,
               struct fs_reservation *reservation)
{
    struct reserving r = {{.work = reserve_work}, fs, page, goal, count, reservation};
    uint64_t before = reservation->blocks;
    int rc = get_lane(fs, reservation);

    if (rc)
        return rc;
    if (fs_task(fs, &r.task) == 0)
        return 0;
    rc = begin_reserving(fs, reservation);
    if (rc)
        return rc;
    rc = reserve_blocks(fs, page, goal, count, reservation);
    fs_space_unlock(fs);
    if (reservation->blocks > before)
        return 0;
    return rc ? rc : -ENOSPC;
}

int fs_no_space(struct fs *fs, uint64_t blocks)
{
    const struct shm_run *run = fs->dax.shm->run;
    /* relaxed: for a sentence */
    uint64_t free_blocks = hf_load_relaxed(&run->free_blocks);
    uint64_t detached = hf_load_relaxed(&run->detached_blocks);

    if (fs_may_lack_memory(fs) && free_blocks >= blocks)
        return hf_fail(ENOSPC,
                       "no space: %" PRIu64 " KiB wanted, %" PRIu64 " KiB free without memory, and "
                       "the file system that has the pool's memory is full (remove other files "
                       "there)",
                       blocks * 4, free_blocks * 4);
    return hf_fail(ENOSPC,
                   "no space: %" PRIu64 " KiB wanted, %" PRIu64 " of %" PRIu64 " KiB free, %" PRIu64
                   " KiB detached but pinned "
                   "(delete files, or holdfast grow)",
                   blocks * 4, free_blocks * 4, shm_pool_blocks(fs->dax.shm) * 4, detached * 4);
}

/* ---- using a reservation up ---- */

bool fs_reservation_take(struct fs_reservation *reservation, uint64_t max,
                         struct fs_reserved_run *out)
{
    const struct fs_reserved_run *run = &reservation->runs[reservation->next_run];
    uint64_t at, count;

    if (reservation->next_run + 1 < reservation->count && reservation->next_at == run->count) {
        run = &reservation->runs[++reservation->next_run];
        reservation->next_at = 0;
    }
    at = reservation->next_at;
    if (!reservation->count || at == run->count || max == 0)
        return false;
    count = fs_min(max, run->count - at);
    *out = (struct fs_reserved_run){
        run->block + at, count, run->used_before > at ? fs_min(run->used_before - at, count) : 0};
    reservation->next_at += count;
    return true;
}

void fs_reservation_rewind(struct fs_reservation *reservation)
{
    reservation->next_run = 0;
    reservation->next_at = 0;
}

void fs_reservation_hold(struct fs *fs, struct fs_reservation *reservation, const uint32_t *holds)
{
    shm_assert_held(&fs->dax.shm->run->space_mutex);
    for (unsigned r = 0; r < reservation->count; r++)
        reservation->lane->reserved[r].count = 0;
    reservation->holds = holds;
}

/* A hold that goes takes the put with it. */
static void unreserve(struct fs *fs, const struct fs_reservation *reservation, unsigned r)
{
    if (!reservation->holds) {
        reservation->lane->reserved[r].count = 0;
        return;
    }
    hf_store_release(&fs->dax.shm->holds[reservation->holds[r]].key, UINT64_C(0));
    shm_hold_free(fs->dax.shm, reservation->holds[r]);
}

void fs_reservation_settle(struct fs *fs, struct fs_reservation *reservation)
{
    shm_assert_held(&fs->dax.shm->run->space_mutex);
    for (unsigned r = 0; r < reservation->count; r++) {
        const struct fs_reserved_run *run = &reservation->runs[r];
        uint64_t kept = r < reservation->next_run    ? run->count
                        : r == reservation->next_run ? reservation->next_at
                                                     : 0;

        if (kept < run->count)
            fs_space_free(fs, run->block + kept, run->count - kept);
        unreserve(fs, reservation, r);
    }
    reservation->count = 0;
    reservation->blocks = 0;
    fs_reservation_rewind(reservation);
}

/* For when space_mutex cannot be had, since its owner is stopped or the pool damaged. The runs stay
 * with the lane until it is swept, or until its thread reserves again. The reservation forgets
 * them: before a second drop, another process may have swept them and given them to a file. */
static void leave_to_lane(struct fs_reservation *reservation)
{
    hf_store_release(&reservation->lane->residue, 1u);
    fs_reservation_init(reservation);
}

void fs_reservation_drop(struct fs *fs, struct fs_reservation *reservation)
{
    struct shm_run *run = fs->dax.shm->run;
    bool died;

    if (!reservation->count)
        return;
    if (!shm_lock_moment(&run->space_mutex, &died)) {
        leave_to_lane(reservation);
        return;
    }
    if ((died || run->space_stale) && mend_bitmap(fs, died)) {
        leave_to_lane(reservation);
        return;
    }
    fs_reservation_rewind(reservation);
    fs_reservation_settle(fs, reservation);
    fs_space_unlock(fs);
}
