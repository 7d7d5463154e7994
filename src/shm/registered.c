/* SPDX-License-Identifier: MIT */
/*
 * Owns the registrations of the pool's memory: how often each process has told a driver of it.
 *
 * A driver looks the pages of the memory up once, and goes on with them. So while a living process
 * has a registration, no page of the pool's memory may be given back to the system. Otherwise the
 * mapping would get a new page, and the device would write into the old one. A thread that gives
 * memory back (fs/trim.c) asks shm_registrations() under table_mutex, under which they are made,
 * and keeps that mutex until the memory has gone.
 *
 * One is given up without the mutex. A thread that gives memory back and still sees it only gives
 * back less.
 *
 * A count is one word, so a process that is killed while it changes one leaves the old count or the
 * new. The count goes with its process, without a quarantine. A dead process's device may still
 * write, but only into blocks that its pins and leases keep (reap.c), wherever these lie. No living
 * process waits for these writes.
 */
#include "base/error.h"
#include "shm/private.h"

#include <errno.h>

int shm_register(struct shm *shm, unsigned purpose)
{
    uint32_t *count = &shm->processes[shm->self].registered[purpose];
    int rc = shm_lock_table(shm);

    if (rc)
        return rc;
    hf_add_acq_rel(count, 1);
    shm_unlock_table(shm);
    return 0;
}

int shm_unregister(struct shm *shm, unsigned purpose)
{
    uint32_t *count = &shm->processes[shm->self].registered[purpose], before;

    do
        before = hf_load_acquire(count);
    while (before && !hf_cas_acq_rel(count, before, before - 1));
    return before ? 0 : hf_fail(EINVAL, "the pool's memory is not registered for that purpose");
}

static uint32_t of_process(const struct shm *shm, uint32_t process)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < SHM_PURPOSES; i++)
        sum += hf_load_acquire(&shm->processes[process].registered[i]);
    return sum;
}

uint32_t shm_registrations_own(const struct shm *shm)
{
    return of_process(shm, shm->self);
}

uint32_t shm_registrations(const struct shm *shm)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < shm->limits.processes; i++)
        if (hf_load_acquire(&shm->processes[i].state) == SHM_PROCESS_LIVE)
            sum += of_process(shm, i);
    return sum;
}
