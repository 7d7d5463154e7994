/* SPDX-License-Identifier: MIT */
/*
 * A reader-writer semaphore with readers that write only to their own lane. The walk counts under
 * the read lock, the change zaps under the write lock.
 *
 * A: a reader raises its counter, then looks for a writer, with no fence in between. The writer
 * says that it is there, and makes a heavy barrier, which lends every reader its fence. Then it
 * waits until all counters are 0. So each walk is before the zap, with its counts made, or after
 * the zap. A reader that finds a writer sleeps on the writer's mutex. That is why the kernel could
 * not use this engine: get_user_pages_fast is called where nothing may sleep. And a signal handler
 * that pins inside a reader would wait for a writer that waits for that reader; so with
 * HF_PIN_NOWAIT it only tries. When a writer dies, the reaper takes the word back, or the next
 * thread to lock the mutex does.
 */
#include "base/fence.h"
#include "base/may_sleep.h"
#include "sync/engine.h"
#include "sync/sections.h"

#include <errno.h>

static int lock_writers(struct shm *shm)
{
    bool died;
    int rc = sections_lock(shm, &died);

    if (rc == 0 && died)
        hf_store_release(&shm->run->grace_writer, 0u); /* it died before it let the readers in */
    return rc;
}

static void let_readers_in(struct shm *shm)
{
    /* Release: readers that find no writer see the zap. */
    hf_store_release(&shm->run->grace_writer, 0u);
    sections_unlock(shm);
}

/* -EAGAIN: the writer is stopped, or waits for long itself. The layout mutex is another way in. */
static int enter_behind_writer(struct shm *shm, struct shm_lane *lane)
{
    if (lock_writers(shm))
        return -EAGAIN;
    section_enter(lane, 0);
    sections_unlock(shm);
    return 0;
}

static int rwsem_enter(struct shm *shm, struct shm_lane *lane, bool nowait)
{
    if (!nowait)
        hf_may_sleep("hf_pin");
    if (rwsem_try_enter(shm, lane))
        return 0;
    return nowait ? -EAGAIN : enter_behind_writer(shm, lane);
}

static void rwsem_leave(struct shm *shm, struct shm_lane *lane, int section)
{
    (void)shm;
    section_leave(lane, section);
}

static int rwsem_zap_begins(struct shm *shm)
{
    int rc = lock_writers(shm);

    if (rc)
        return rc;
    hf_store_seq_cst(&shm->run->grace_writer, shm->self + 1);
    /* RWSEM.SB/m: see there. Pairs with RWSEM.SB/p in rwsem_try_enter(). */
    sync_heavy_barrier(shm);
    rc = sections_wait(shm, 0);
    if (rc)
        let_readers_in(shm);
    return rc;
}

static int rwsem_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    (void)cleared;
    let_readers_in(shm);
    sync_zap_settled(vnode);
    return 0;
}

const struct sync_engine sync_percpu_rwsem = {
    .name = "percpu-rwsem",
    .needs_barrier = true,
    .enter = rwsem_enter,
    .leave = rwsem_leave,
    .zap_begins = rwsem_zap_begins,
    .zapped = rwsem_zapped,
    .scan = counts_scan,
    .freeze = counts_freeze,
    .before_wait = slots_before_wait,
};
