/* SPDX-License-Identifier: MIT */
/*
 * Read sections of threads, for the engines that wait for walks. There are two counters a lane,
 * which only the lane's thread writes (signal handlers nest), and a mutex for the threads that
 * wait. A thread is in a section only inside one call of the library, where it sleeps for nothing.
 * But it may be preempted there, or stopped by a signal. So threads that wait give up after a
 * moment, since they hold the layout mutex and grace_mutex. A layout change comes again as its
 * policy says. The sections of the dead are passed over.
 */
#ifndef HF_SYNC_SECTIONS_H
#define HF_SYNC_SECTIONS_H

#include "base/fence.h"
#include "shm/shm.h"

static inline void section_enter(struct shm_lane *lane, int index)
{
    hf_inc_own(&lane->sections[index]);
}

/* SECTION.DONE/p: what was read and counted inside comes before the section is seen to have ended.
 * Pairs with SECTION.DONE/m in sections_wait(). Without it: the change looks at the counts too
 * early. */
static inline void section_leave(struct shm_lane *lane, int index)
{
    hf_dec_own(&lane->sections[index]);
}

/* ---- srcu: which section it is, for section_leave() ---- */

static inline int srcu_enter(struct shm *shm, struct shm_lane *lane)
{
    int index = (int)(hf_load_relaxed(&shm->run->grace_index) & 1); /* relaxed: either will do */

    section_enter(lane, index);
    /* SRCU.SB/p: the section must be visible before the entries are read.
     * Pairs with SRCU.SB/m in srcu_zapped(). Without it: the change sees no section and the walk
     * reads an old entry, which it counts too late. */
    hf_fence_full();
    return index;
}

/* ---- percpu-rwsem: a writer comes first. False: there is one, and the section has ended ---- */

static inline bool rwsem_try_enter(struct shm *shm, struct shm_lane *lane)
{
    section_enter(lane, 0);
    /* RWSEM.SB/p: the counter must be visible before the writer is looked for; the heavy barrier
     * sees to that. Pairs with RWSEM.SB/m in rwsem_zap_begins(). Without it: the writer sees no
     * reader and the reader no writer, and the walk reads an entry that it counts too late. */
    hf_fence_light();
    if (__builtin_expect(!hf_load_acquire(&shm->run->grace_writer), 1))
        return true;
    section_leave(lane, 0);
    return false;
}

/* ---- threads that wait for sections ---- */

/* Other threads want the mutexes that a thread holds while it waits for walks. So the wait has this
 * bound, not the caller's. */
static inline struct shm_bound sections_bound(void)
{
    return (struct shm_bound){.patience = SHM_PATIENCE_NONE, .cancelled = shm_bound.cancelled};
}
/* As shm_waiting_goes_on(), within that bound; and no signal is lost when a process was seen to be
 * stopped first. */
int sections_wait_goes_on(struct shm *shm, struct shm_waiting *waiting, uint32_t holder,
                          uint64_t term);

/* *died: the last owner of the mutex died in it. 0, or as sections_wait(). */
int sections_lock(struct shm *shm, bool *died) SHM_MAY_FAIL;
void sections_unlock(struct shm *shm);
/* Waits until each lane has been seen outside of its section `index` once, but no longer than a
 * moment. Does not wait for a stopped process. -EBUSY, with the sentence that names it. -EINTR:
 * cancelled, or a signal. */
int sections_wait(struct shm *shm, int index) SHM_MAY_FAIL;

#endif
