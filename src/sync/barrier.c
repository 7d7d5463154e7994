/* SPDX-License-Identifier: MIT */
/*
 * The heavy barrier: sys_membarrier. Concurrent callers share: barriers are numbered under a mutex.
 * A caller that gets the mutex needs none of its own if one has begun and ended since it asked.
 * One that cannot get the mutex, since its owner is stopped, makes one for itself.
 */
#include "base/error.h"
#include "base/fence.h"
#include "base/lab.h"
#include "sync/engine.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

static void membarrier(struct shm *shm)
{
    /* ATTACH.SB/m: read after the caller's zap and this fence: a process that is not counted yet
     * makes its first pin later and sees the zap.
     * Pairs with ATTACH.SB/p in shm_attach_done(). */
    hf_fence_full();
    if (hf_load_relaxed(&shm->run->processes) == 1) /* relaxed: ordered by the fence */
        HF_BUG_ON(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0);
    else
        HF_BUG_ON(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) != 0);
    HF_LAB_FENCED(false);
}

void sync_heavy_barrier(struct shm *shm)
{
    struct shm_run *run = shm->run;
    uint64_t begun;
    bool died;

    /* BARRIER.SHARE/w: what the caller did before is visible before it reads which number has
     * begun, so a barrier with a higher number began after it. Pairs with BARRIER.SHARE/b below.
     * Without it: the caller relies on a barrier that began before its zap was visible. */
    hf_fence_full();
    begun = hf_load_acquire(&run->barriers_begun);
    if (!shm_lock_moment(&run->barrier_mutex, &died)) {
        membarrier(shm);
        hf_add_relaxed(&run->stats.barriers, 1); /* relaxed: a count */
        return;
    }
    if (died)
        shm_lock_mended(&run->barrier_mutex); /* the one its owner died in never counts as done */
    if (hf_load_relaxed(&run->barriers_done) <= begun) { /* relaxed: under the mutex */
        hf_store_release(&run->barriers_begun, run->barriers_begun + 1);
        /* BARRIER.SHARE/b: the number is out before the barrier begins (membarrier fences
         * first). */
        membarrier(shm);
        hf_store_release(&run->barriers_done, run->barriers_begun);
        hf_add_relaxed(&run->stats.barriers, 1); /* relaxed: a count */
    }
    shm_unlock(&run->barrier_mutex);
}
