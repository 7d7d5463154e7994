/* SPDX-License-Identifier: MIT */
/*
 * Owns what is tried before a call fails for lack of space: blocks that dead processes had, or that
 * pins held, are given back. Calls reclaim.c, which takes locks and makes transactions. So each
 * function here is called with no lock held. They all need space.c, which therefore calls none of
 * them.
 */
#include "base/error.h"
#include "fs/space.h"

#include <errno.h>

/* A process that was killed after its commit may have freed blocks in the records alone. The next
 * one that locks the space counts them. A call that looks how much is free does not lock it. */
static void count_again(struct fs *fs)
{
    if (!fs->dax.readonly && fs_space_lock(fs) == 0)
        fs_space_unlock(fs);
}

void fs_make_room(struct fs *fs)
{
    fs_reap(fs);
    fs_reclaim(fs);
    count_again(fs);
}

int fs_room_for(struct fs *fs, uint64_t blocks)
{
    if (fs_space_to_give(fs) >= blocks)
        return 0;
    fs_make_room(fs);
    if (fs_space_to_give(fs) >= blocks)
        return 0;
    return fs_no_space(fs, blocks);
}

int fs_reserve_hard(struct fs *fs, uint64_t page, uint64_t goal, uint64_t count,
                    struct fs_reservation *reservation)
{
    int rc;

    if (hf_load_acquire(&fs->dax.shm->run->reclaim))
        fs_reclaim(fs);
    rc = fs_reserve(fs, page, goal, count, reservation);
    if (rc == 0) /* it may have got memory for its neighbours too */
        fs_trim_follow(fs);
    if (rc != -ENOSPC)
        return rc;
    fs_make_room(fs);
    rc = fs_reserve(fs, page, goal, count, reservation);
    return rc == -ENOSPC ? fs_no_space(fs, count) : rc;
}
