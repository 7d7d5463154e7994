/* SPDX-License-Identifier: MIT */
/* The client that this thread acts for: hf_act_for(). */
#ifndef HF_DAX_CLIENT_H
#define HF_DAX_CLIENT_H

#include "base/atomic.h"
#include "holdfast/serve.h"
#include "shm/shm.h"

#include <stdbool.h>

/* size 0: the thread acts for itself. */
extern _Thread_local struct hf_client dax_client;

/* The call under way does not pass a gate, and does not wait there: HF_PIN_YIELD. */
extern _Thread_local bool dax_yields;

void dax_client_set(struct hf_client client);
void dax_client_in_child(void);

static inline bool dax_client_nowait(void)
{
    return dax_client.flags & HF_CLIENT_NOWAIT;
}

static inline bool dax_client_cancelled(void)
{
    return dax_client.cancelled && hf_load_acquire(dax_client.cancelled);
}

/* The thread of the lane is thread `tid` of process `pid` (0: not known). */
bool dax_lane_is(const struct shm *shm, uint32_t lane, pid_t pid, pid_t tid);
/* It is the thread that this thread acts for. */
bool dax_lane_is_client(const struct shm *shm, uint32_t lane);
/* The lane of the thread that this thread acts for; null: it is not known, or does not use the pool
 * itself. */
const struct shm_lane *dax_client_lane(const struct shm *shm);

/* The process of that thread and its name, if it can be found, else ""; reads /proc. */
void dax_client_process(pid_t *pid, char command[16]);

#endif
