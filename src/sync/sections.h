/* SPDX-License-Identifier: MIT */
/*
 * Read sections of threads, for the engines that wait for walks. There are two counters a lane,
 * which only the lane's thread writes (signal handlers nest), and a mutex for the threads that
 * wait. A thread is in a section only inside one call of the library, where it sleeps for nothing.
 * But it may be preempted there, or stopped by a signal, and then all layout changes of the pool
 * wait with it. The sections of the dead are passed over.
 */
#ifndef HF_SYNC_SECTIONS_H
#define HF_SYNC_SECTIONS_H

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

/* True: the last owner of the mutex died in it. */
bool sections_lock(struct shm *shm);
void sections_unlock(struct shm *shm);
/* Waits until each lane has been seen outside of its section `index` once. */
void sections_wait(struct shm *shm, int index);

#endif
