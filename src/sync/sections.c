/* SPDX-License-Identifier: MIT */
/* Waiting for read sections: see sections.h. */
#include "sync/sections.h"

#include "base/futex.h"

#include <sched.h>
#include <time.h>

#define SPINS 200u                /* looks before the first sleep: a section is shorter than that */
#define SLEEP_NS (50 * 1000)      /* then its thread does not run */
#define LOOK_FOR_DEAD_SLEEPS 100u /* 5 ms and more */

bool sections_lock(struct shm *shm)
{
    bool died;

    shm_assert_not_held(&shm->run->barrier_mutex);
    shm_lock_insist(&shm->run->grace_mutex, &died);
    if (died)
        shm_lock_mended(&shm->run->grace_mutex);
    return died;
}

void sections_unlock(struct shm *shm)
{
    shm_unlock(&shm->run->grace_mutex);
}

static bool is_outside(const struct shm_lane *lane, int index)
{
    return !hf_load_acquire(&lane->sections[index]); /* SECTION.DONE/m */
}

static bool owner_is_dead(struct shm *shm, const struct shm_lane *lane)
{
    uint32_t owner = hf_load_acquire(&lane->owner);

    return !owner || owner == SHM_LANE_RESIDUE || !shm_process_alive(shm, owner - 1);
}

static void wait_for(struct shm *shm, const struct shm_lane *lane, int index)
{
    const struct timespec pause = {0, SLEEP_NS};

    for (unsigned tries = 0; !is_outside(lane, index); tries++) {
        if (tries < SPINS) {
            sched_yield();
            continue;
        }
        if (tries % LOOK_FOR_DEAD_SLEEPS == 0 && owner_is_dead(shm, lane))
            return;
        nanosleep(&pause, NULL);
    }
}

void sections_wait(struct shm *shm, int index)
{
    shm_assert_held(&shm->run->grace_mutex);
    /* ATTACH.SB/m: read after the fence or barrier of the caller; a lane beyond it enters its first
     * section after that. */
    uint32_t used = shm_lanes_used(shm);

    for (uint32_t i = 0; i < used; i++)
        wait_for(shm, &shm->lanes[i], index);
}
