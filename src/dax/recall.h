/* SPDX-License-Identifier: MIT */
/* A request in a hold, as both sides see it. See recall.c. */
#ifndef HF_DAX_RECALL_H
#define HF_DAX_RECALL_H

#include "base/atomic.h"
#include "shm/shm.h"

#include <stdbool.h>

/* The request that counts. */
static inline struct shm_want *recall_want_of(struct shm_hold *hold)
{
    return &hold->recall.wants[hf_load_acquire(&hold->recall.asked) & SHM_ASKED_WHICH];
}

static inline bool recall_is_pending(const struct shm_hold *hold)
{
    return hf_load_acquire(&hold->recall.asked) & SHM_ASKED_PENDING;
}

/* Wakes the thread of notify.c in that process. */
void recall_wake(struct shm_process *process);
/* The new owner of a lease is told what the old owner was told. Under the layout mutex. */
void recall_again(struct shm *shm, const struct shm_vnode *vnode, struct shm_hold *hold);

#endif
