/* SPDX-License-Identifier: MIT */
/*
 * Owns hf_pool_trim(), and the trim that a pool makes by itself. The memory of free blocks goes
 * back to the system. Calls media for the punch, back.c for the bits that say what has memory, and
 * shm for the registrations of devices.
 *
 * Why no block is given out while it is punched. The bitmap gives blocks out, under space_mutex. A
 * step looks for free blocks, clears their bits and punches them under one hold of the same mutex.
 * So nobody has the block when the step begins, and nobody gets it before its memory has gone. A
 * step is of one huge run at most, so that others wait for the mutex no longer than for a
 * transaction. Other threads come first: a step that finds one asleep at the mutex makes a pause.
 *
 * Why nobody touches a block that has no memory. A thread that reserves blocks gets memory for
 * those whose bits are 0, under the same mutex (back.c). The bits are 0 before the punch.
 *
 * Why no device writes into memory that has gone. While the memory is registered, no page of it
 * may be replaced (shm/registered.c). Registrations are made under table_mutex, and a step looks
 * for them and punches under that mutex. Either the registration is found, and the step gives
 * nothing back; or it comes after the punch, and its driver looks up the new pages. Memory on a
 * disk is registered with no device, so there table_mutex is left alone. A device that was given a
 * block by a pin or a lease writes into no free block. The block is not free before its holder has
 * let go, or the quarantine of a dead holder has ended (shm/reap.c).
 *
 * Killed at any instruction. Before the bits are cleared: nothing has happened. After that, before
 * the punch: blocks have memory and no bit, which costs their next owner one look. After the punch:
 * as if the step had ended. Both mutexes are robust: the bitmap is made again, and these bits are
 * not touched by that.
 *
 * The first unit keeps its memory, except on hugetlbfs. Otherwise the file could be without any
 * memory. media_look() would then take it for one that was made in the place of a lost one.
 *
 * Huge runs come first, so that what stays is what no huge entry can map. A pass goes from the
 * pool's end to its start. Blocks are given out from the start on, so what stays is used next.
 *
 * The kernel is asked which free blocks have memory: how many in all, and where. On hugetlbfs it
 * does not say where, so each free page there is punched.
 *
 * By itself (fs_trim_follow()). A call that has freed blocks, or has got memory for some, ends with
 * a look. If free blocks have more memory than the pool's watermark, the thread gives back what is
 * above 7/8 of it, in whole units. The thread holds nothing then. A look costs an fstat(2), and is
 * made only if there was such a call since the last one (trim_look). Threads that look at the same
 * time see each other's changes, since the word is exchanged. A process that is killed before its
 * look leaves the rest to the next call of any process that frees blocks.
 *
 * Where single blocks cannot be given back, a trim may find too little to give back. Then the pool
 * makes no other one by itself before a group has become free as a whole (groups_freed). That
 * number is read before the trim looks, so a group that becomes free meanwhile is not missed.
 */
#include "fs/space.h"
#include "fs/txn.h"

#include "base/error.h"
#include "base/lab.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

#define GROUPS_A_LOOK 1024u                    /* of one step, under space_mutex */
#define STRETCH_BLOCKS (64 * SHM_GROUP_BLOCKS) /* passed over at once where it has no memory */
#define PAUSE_NS 20000

struct trimming {
    struct fs *fs;
    uint64_t keep_blocks;
    uint64_t unit_blocks; /* what the memory gives back at once */
    uint64_t first;       /* what is before stays */
    uint64_t end;         /* what is from here on is done */
    uint64_t at;          /* where the last group before `end` goes on; 0: at its start */
    bool whole;           /* this pass is for whole huge runs */
    bool enough;
    struct hf_trim_result result;
};

/* Before the first punch of a pool, once: the next first process to attach has to look for blocks
 * without memory. */
static int record_trimmed(struct fs *fs)
{
    struct shm_run *run = fs->dax.shm->run;
    struct meta_super super;
    struct fs_txn txn;
    int rc;

    if (hf_load_acquire(&run->trimmed))
        return 0;
    rc = fs_begin(fs, &txn);
    if (rc)
        return rc;
    rc = meta_super_get(txn.meta, &super);
    super.compat |= META_COMPAT_TRIMMED;
    rc = fs_txn_end(&txn, rc ? rc : meta_super_put(txn.meta, &super));
    if (rc == 0)
        hf_store_release(&run->trimmed, 1u);
    return rc;
}

/* ---- one punch, under space_mutex ---- */

static int punch_free(struct trimming *t, uint64_t block, uint64_t count)
{
    struct media *media = &t->fs->dax.media;
    uint64_t before = 0, after = 0;
    int rc = media_resident(media, &before);

    shm_assert_held(&t->fs->dax.shm->run->space_mutex);
    if (rc)
        return rc;
    fs_unback(t->fs, block, count);
    if (HF_LAB_BROKEN(HF_LAB_TRIM_UNLOCKED))
        fs_space_unlock(t->fs);
    HF_LAB_AT(HF_LAB_TRIMS);
    rc = media_punch(media, block * HF_BLOCK_BYTES, count * HF_BLOCK_BYTES);
    if (HF_LAB_BROKEN(HF_LAB_TRIM_UNLOCKED))
        (void)fs_space_lock(t->fs);
    rc = rc ? rc : media_resident(media, &after);
    if (rc == 0 && after < before)
        t->result.given_bytes += before - after;
    return rc;
}

static int punch_unless_registered(struct trimming *t, uint64_t block, uint64_t count)
{
    struct shm *shm = t->fs->dax.shm;
    int rc;

    if (media_is_on_disk(&t->fs->dax.media))
        return punch_free(t, block, count);
    rc = shm_lock_table(shm);
    if (rc)
        return rc;
    t->result.registrations = shm_registrations(shm);
    if (HF_LAB_BROKEN(HF_LAB_TRIM_REGISTERED))
        shm_unlock_table(shm);
    if (t->result.registrations == 0)
        rc = punch_free(t, block, count);
    if (!HF_LAB_BROKEN(HF_LAB_TRIM_REGISTERED))
        shm_unlock_table(shm);
    return rc;
}

/* ---- what to punch, under space_mutex ---- */

static bool is_free(const struct shm *shm, uint64_t block, uint64_t count)
{
    for (uint64_t group = block / SHM_GROUP_BLOCKS;
         group < (block + count + SHM_GROUP_BLOCKS - 1) / SHM_GROUP_BLOCKS; group++)
        if (shm->group_free[group] != SHM_GROUP_BLOCKS)
            return false;
    return true;
}

/* To the next block that has memory, as far as the kernel says it. */
static uint64_t skip_holes(const struct trimming *t, uint64_t block, uint64_t end)
{
    if (block >= end)
        return end;
    return media_next_allocated(&t->fs->dax.media, block * HF_BLOCK_BYTES, end * HF_BLOCK_BYTES) /
           HF_BLOCK_BYTES;
}

/* Where many groups before `end` have no memory, `end` goes before them. */
static bool skip_stretch(struct trimming *t)
{
    uint64_t begin = t->end - STRETCH_BLOCKS;

    if (t->end % STRETCH_BLOCKS || t->at || skip_holes(t, begin, t->end) < t->end)
        return false;
    t->end = begin;
    return true;
}

/* The last huge run before `end`, or larger page of hugetlbfs, from its first block with memory on.
 * The count is 0 when it is not free as a whole. */
static uint64_t next_whole(struct trimming *t, uint64_t *count)
{
    uint64_t step = t->unit_blocks > SHM_GROUP_BLOCKS ? t->unit_blocks : SHM_GROUP_BLOCKS;
    uint64_t end = t->end, begin = (end - 1) / step * step, block;

    t->end = begin;
    *count = 0;
    if (begin + step != end || !is_free(t->fs->dax.shm, begin, step))
        return begin;
    block = begin > t->first ? begin : t->first;
    block = skip_holes(t, block, end) / t->unit_blocks * t->unit_blocks;
    *count = end - block;
    return block;
}

/* The next free run inside a group that has others too. */
static uint64_t next_part(struct trimming *t, uint64_t *count)
{
    const struct shm *shm = t->fs->dax.shm;
    uint64_t end = t->end, group = (end - 1) / SHM_GROUP_BLOCKS;
    uint64_t block = t->at ? t->at : group * SHM_GROUP_BLOCKS;

    if (shm->group_free[group] == 0 || shm->group_free[group] == SHM_GROUP_BLOCKS)
        block = end;
    block = block > t->first ? block : t->first;
    block = fs_space_next(shm, skip_holes(t, block, end), end, false);
    t->at = fs_space_next(shm, block, end, true);
    block = skip_holes(t, block, t->at);
    *count = t->at - block;
    if (t->at == end) {
        t->end = group * SHM_GROUP_BLOCKS;
        t->at = 0;
    }
    return block;
}

/* No more than there is above what is to stay. `end`: the pass's before. */
static int limit_count(struct trimming *t, uint64_t block, uint64_t *count, uint64_t end)
{
    uint64_t backed, over;
    int rc = t->keep_blocks ? fs_backed_free(t->fs, &backed) : 0;

    if (rc || !t->keep_blocks)
        return rc;
    over =
        backed > t->keep_blocks ? (backed - t->keep_blocks) / t->unit_blocks * t->unit_blocks : 0;
    t->enough = over == 0;
    if (over >= *count)
        return 0;
    *count = over;
    t->end = end; /* again: a part of it may have had no memory */
    t->at = t->whole ? 0 : block + over;
    return 0;
}

static int step_locked(struct trimming *t)
{
    int rc = 0;

    if (t->end > shm_pool_blocks(t->fs->dax.shm)) { /* it has been shrunk meanwhile */
        t->end = shm_pool_blocks(t->fs->dax.shm);
        t->at = 0;
    }
    for (unsigned n = 0; rc == 0 && n < GROUPS_A_LOOK && t->end > t->first; n++) {
        uint64_t count, block, end = t->end;

        if (skip_stretch(t))
            continue;
        block = t->whole ? next_whole(t, &count) : next_part(t, &count);
        if (!count)
            continue;
        rc = limit_count(t, block, &count, end);
        return rc || !count ? rc : punch_unless_registered(t, block, count);
    }
    return rc;
}

static int trim_step(struct trimming *t)
{
    struct shm_mutex *mutex = &t->fs->dax.shm->run->space_mutex;
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    int rc = fs_space_lock(t->fs);
    bool wanted;

    if (rc)
        return rc;
    rc = step_locked(t);
    wanted = shm_lock_is_wanted(mutex);
    fs_space_unlock(t->fs);
    if (wanted)
        nanosleep(&pause, NULL);
    return rc;
}

/* ---- all of it ---- */

static int trim_pass(struct trimming *t, bool whole)
{
    int rc = 0;

    t->whole = whole;
    t->at = 0;
    t->end = shm_pool_blocks(t->fs->dax.shm);
    while (rc == 0 && t->end > t->first && !t->enough && !t->result.registrations)
        rc = trim_step(t);
    return rc;
}

/* What a file longer than the pool has too much, in a transaction. */
static int cut_to_record(struct trimming *t)
{
    struct media *media = &t->fs->dax.media;
    uint64_t before = 0, after = 0;
    struct meta_super super;
    struct fs_txn txn;
    int rc = fs_begin(t->fs, &txn);

    if (rc)
        return rc;
    rc = meta_super_get(txn.meta, &super);
    rc = rc ? rc : media_resident(media, &before);
    rc = rc ? rc : fs_space_cut(t->fs, super.pool_bytes);
    rc = rc ? rc : media_resident(media, &after);
    fs_abort(&txn);
    if (rc == 0 && after < before)
        t->result.given_bytes += before - after;
    return rc;
}

/* Cuts off what a killed shrink has left past the pool's end. A process that grows the pool just
 * now has made the file longer, and does that again. The segment's word for the pool's size may be
 * wrong, so it decides only whether to look. */
static int cut_what_is_left(struct trimming *t)
{
    const struct media *media = &t->fs->dax.media;
    uint64_t bytes;
    int rc = media_can_be_cut(media) ? media_bytes(media, &bytes) : 1;

    if (rc)
        return rc == 1 ? 0 : rc;
    return bytes > shm_pool_blocks(t->fs->dax.shm) * HF_BLOCK_BYTES ? cut_to_record(t) : 0;
}

static int begin_trim(struct trimming *t)
{
    struct fs *fs = t->fs;
    uint64_t unit;
    int rc = fs_may_write(fs);

    rc = rc ? rc : media_unit(&fs->dax.media, &unit);
    rc = rc ? rc : record_trimmed(fs);
    if (rc)
        return rc;
    t->unit_blocks = unit / HF_BLOCK_BYTES;
    t->first = fs->dax.media.kind == MEDIA_HUGETLBFS ? 0 : t->unit_blocks;
    return 0;
}

static int trim_all(struct trimming *t)
{
    int rc = cut_what_is_left(t);

    rc = rc ? rc : trim_pass(t, true);
    return rc == 0 && t->unit_blocks == 1 ? trim_pass(t, false) : rc;
}

static int refuse_registered(uint32_t registrations)
{
    return hf_fail(EBUSY,
                   "devices have the pool's memory registered (%" PRIu32
                   " times), so none of it is given back: holdfast info shows the number",
                   registrations);
}

int fs_trim(struct fs *fs, uint64_t keep_bytes, struct hf_trim_result *out)
{
    struct trimming t = {
        .fs = fs, .keep_blocks = keep_bytes / HF_BLOCK_BYTES, .result = {.size = out->size}};
    int rc;

    shm_assert_none_held();
    rc = begin_trim(&t);
    if (rc == 0 && shm_registrations(fs->dax.shm))
        return refuse_registered(shm_registrations(fs->dax.shm));
    rc = rc ? rc : trim_all(&t);
    if (rc == 0 && t.result.registrations && !t.result.given_bytes)
        return refuse_registered(t.result.registrations);
    rc = rc ? rc : media_resident(&fs->dax.media, &t.result.resident_bytes);
    if (rc == 0)
        *out = t.result;
    return rc;
}

/* ---- by itself ---- */

static bool stands_above(const struct fs *fs, uint64_t above)
{
    const struct shm_run *run = fs->dax.shm->run;
    uint64_t backed;

    /* relaxed: a look ahead */
    return hf_load_relaxed(&run->free_blocks) > above &&
           hf_load_relaxed(&run->trim_tried) != hf_load_relaxed(&run->groups_freed) + 1 &&
           fs_backed_free(fs, &backed) == 0 && backed > above;
}

void fs_trim_down(struct fs *fs)
{
    struct shm_run *run = fs->dax.shm->run;
    uint64_t above = run->trim_above_blocks, freed;
    struct trimming t = {.fs = fs};
    int rc;

    shm_assert_none_held();
    if (fs->dax.readonly)
        return;
    (void)hf_xchg_acq_rel(&run->trim_look, 0u);
    if (!stands_above(fs, above) || shm_registrations(fs->dax.shm))
        return;
    freed = hf_load_acquire(&run->groups_freed);
    rc = begin_trim(&t);
    if (rc == 0) { /* whole units, or the last one would stay above */
        t.keep_blocks = (above - above / 8) / t.unit_blocks * t.unit_blocks;
        rc = trim_all(&t);
    }
    if (rc != -EINTR && rc != -EBUSY && !t.enough && !t.result.registrations)
        hf_store_release(&run->trim_tried, freed + 1);
}
