/* SPDX-License-Identifier: MIT */
/*
 * Owns the making of a free group where all free blocks are scattered, for a run that is to lie
 * right (compact.c). The group with the most free blocks is emptied: what files have there moves to
 * free blocks elsewhere, as by hf_move(), and waits for nobody. A group under a huge entry has no
 * free block, so none is ever chosen.
 *
 * Nothing tells which file has a block, so each group costs a look at all extents.
 *
 * While a group is emptied, its blocks are given out last (the word `gathered`). That is only a
 * preference: a call that finds no other block takes one there, and the group is given up. So the
 * word may be stale or wrong, and a process that is killed here leaves nothing to be mended. What
 * counts is looked at under space_mutex: the group is reserved only if all of it is free.
 */
#include "fs/space.h"

#include "base/error.h"

#include <errno.h>

static bool is_tried(const struct fs_gathering *gathering, uint64_t group)
{
    for (unsigned i = 0; i < gathering->tries; i++)
        if (gathering->tried[i] == group)
            return true;
    return false;
}

/* Under space_mutex. The blocks in use there have room elsewhere. */
static bool choose_group(const struct fs *fs, const struct fs_gathering *gathering, uint64_t *group)
{
    const struct shm *shm = fs->dax.shm;
    uint64_t groups = shm_blocks_to_give(shm) / SHM_GROUP_BLOCKS, most = 0;

    shm_assert_held(&shm->run->space_mutex);
    for (uint64_t i = 0; i < groups; i++)
        if (shm->group_free[i] > most && shm->group_free[i] < SHM_GROUP_BLOCKS &&
            !is_tried(gathering, i)) {
            most = shm->group_free[i];
            *group = i;
        }
    return most > 0 && fs_space_to_give(fs) >= SHM_GROUP_BLOCKS;
}

static int begin_gathering(struct fs *fs, const struct fs_gathering *gathering, uint64_t *group,
                           uint64_t *used)
{
    struct shm *shm = fs->dax.shm;
    int rc = fs_space_lock(fs);

    if (rc)
        return rc;
    if (choose_group(fs, gathering, group)) {
        shm->run->gathered = *group + 1;
        *used = SHM_GROUP_BLOCKS - shm->group_free[*group];
    } else {
        rc = -ENOSPC;
    }
    fs_space_unlock(fs);
    return rc;
}

/* Somebody is in the way, or there was no room. */
static bool is_in_vain(int rc)
{
    return rc == -EBUSY || rc == -EDEADLK || rc == -ETIMEDOUT || rc == -EAGAIN || rc == -ENOSPC;
}

int fs_gather(struct fs *fs, struct fs_gathering *gathering, struct fs_reservation *reservation,
              uint64_t *moved)
{
    shm_assert_none_held();
    while (gathering->tries < FS_GATHER_TRIES) {
        uint64_t group, used;
        int rc = begin_gathering(fs, gathering, &group, &used);

        if (rc)
            return rc;
        rc = fs_vacate_group(fs, group);
        if (rc == 0 || is_in_vain(rc)) { /* also to take the word back */
            int reserved = fs_reserve_gathered(fs, group, reservation);

            rc = reserved == -ENOSPC ? 1 : reserved;
        }
        if (rc <= 0) {
            *moved = rc ? 0 : used;
            return rc;
        }
        gathering->tried[gathering->tries++] = group;
    }
    return -ENOSPC;
}
