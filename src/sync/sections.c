/* SPDX-License-Identifier: MIT */
/* Waiting for read sections: see sections.h. */
#include "sync/sections.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#define SPINS 200u               /* looks before the first sleep: a section is shorter than that */
#define SLEEP_NS (50 * 1000)     /* then its thread does not run */
#define LOOK_AT_OWNER_SLEEPS 20u /* 1 ms and more */

int sections_wait_goes_on(struct shm *shm, struct shm_waiting *waiting, uint32_t holder,
                          uint64_t term)
{
    struct shm_bound before = shm_bound;
    int rc;

    shm_bound = sections_bound();
    rc = shm_waiting_goes_on(shm, waiting, holder, term);
    shm_bound = before;
    return rc == -EBUSY && waiting->interrupted ? -EINTR : rc;
}

int sections_lock(struct shm *shm, bool *died)
{
    struct shm_bound before = shm_bound;
    int rc;

    shm_assert_not_held(&shm->run->barrier_mutex);
    shm_bound = sections_bound();
    rc = shm_lock(shm, &shm->run->grace_mutex, "the wait for read sections", died);
    shm_bound = before;
    if (rc == 0 && *died)
        shm_lock_mended(&shm->run->grace_mutex);
    return rc;
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

/* 0; 1: wait on; -errno. */
static int look_at_owner(struct shm *shm, const struct shm_lane *lane, int index,
                         struct shm_waiting *waiting)
{
    uint32_t owner = hf_load_acquire(&lane->owner);
    int rc;

    if (owner_is_dead(shm, lane))
        return 0;
    rc = sections_wait_goes_on(shm, waiting, owner, shm_lane_index(shm, lane));
    if (rc == 0)
        return 1;
    return is_outside(lane, index) ? 0 : rc; /* it was stopped elsewhere */
}

static int wait_for(struct shm *shm, const struct shm_lane *lane, int index,
                    struct shm_waiting *waiting)
{
    const struct timespec pause = {0, SLEEP_NS};
    int rc = 1;

    for (unsigned tries = 0; rc == 1 && !is_outside(lane, index); tries++) {
        if (tries < SPINS)
            sched_yield();
        else if (tries % LOOK_AT_OWNER_SLEEPS == 0)
            rc = look_at_owner(shm, lane, index, waiting);
        else if (nanosleep(&pause, NULL))
            waiting->interrupted = true;
    }
    return rc == 1 ? 0 : rc;
}

static int wait_for_all(struct shm *shm, int index, struct shm_waiting *waiting)
{
    /* ATTACH.SB/m: read after the fence or barrier of the caller; a lane beyond it enters its first
     * section after that. */
    uint32_t used = shm_lanes_used(shm);
    int rc = 0;

    for (uint32_t i = 0; i < used && rc == 0; i++)
        rc = wait_for(shm, &shm->lanes[i], index, waiting);
    return rc;
}

int sections_wait(struct shm *shm, int index)
{
    struct shm_lane *mine = shm_lane_fast(shm);
    struct shm_waiting waiting;
    int rc;

    shm_assert_held(&shm->run->grace_mutex);
    shm_waiting_begin(&waiting, false, mine ? &mine->blocked : NULL);
    rc = wait_for_all(shm, index, &waiting);
    shm_waiting_end(&waiting);
    return rc ? shm_waiting_failed(shm, &waiting, rc, "a read section") : 0;
}
