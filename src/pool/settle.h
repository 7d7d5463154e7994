/* SPDX-License-Identifier: MIT */
/* The records of a pool, settled by the first process to attach; see settle.c. */
#ifndef HF_POOL_SETTLE_H
#define HF_POOL_SETTLE_H

#include "base/futex.h"
#include "shm/shm.h"

#include <stdbool.h>
#include <stdint.h>

/* The quarantine of a pool that was made without one. */
#define POOL_QUARANTINE_NS (30 * HF_NS_PER_SEC)

/* For meta, which does not know the segment: shm_under_way() of this attachment. */
uint64_t pool_under_way(void *at, const uint8_t uuid[16]);

/* POOL/meta becomes as it should be. *ghosts: until when devices of dead processes may write, or
 * 0. Alone with the pool. */
int pool_settle_records(const char *dir, struct shm_attach *at, bool readonly, uint64_t *ghosts);

#endif
