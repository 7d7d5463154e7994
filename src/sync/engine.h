/* SPDX-License-Identifier: MIT */
/*
 * The contract of an engine: how pins and layout changes of one file find each other.
 *
 * Words: a pin is published from the engine's enter (slots_publish() for the slots engines) to its
 * leave; a walk reads entries in between. A layout change zaps entries, then calls zapped(), then
 * scan().
 *
 *   A  Exclusion. When a walk has read an entry from before the zap, the scan() that follows
 *      zapped() finds the pin, unless it has left.
 *   B  Handover. What a holder did to the blocks before it left happens before scan() returns
 *      without finding it.
 *   C  Stillness. Between a scan() that found nobody in [first, last] and the end of the change,
 *      no walk over a page of [first, last] can succeed: the entries are gone and the gate keeps
 *      new ones out.
 *   D  Wake-up. A holder that leaves after before_wait() returned sees vnode->waiters and wakes.
 *   E  Progress. enter, leave and walks never wait for a layout change; scan() never waits for pins.
 */
#ifndef HF_SYNC_ENGINE_H
#define HF_SYNC_ENGINE_H

#include "shm/shm.h"

struct sync_holder {
    uint64_t *key;
    uint64_t value; /* of the key when it was found */
    struct shm_range range;
    const struct shm_lane *lane;
};

struct sync_engine {
    const char *name;
    bool fences_only; /* no file is ever biased: the pool does without sys_membarrier */
    /* L3: after entries were cleared (`cleared`: at least one was present). */
    void (*zapped)(struct shm *shm, struct shm_vnode *vnode, bool cleared);
    /* L4: calls `found` for every pin of the vnode in a lane that overlaps [first, last], until it
     * returns non-zero, which is then returned. */
    int (*scan)(struct shm *shm, uint32_t vnode, uint64_t first, uint64_t last,
                int (*found)(void *arg, const struct sync_holder *holder), void *arg);
    /* L5: vnode->waiters is set, another scan follows, then a sleep. */
    void (*before_wait)(struct shm *shm, struct shm_vnode *vnode);
};

/* The engine of that name; null: there is none in this build. */
const struct sync_engine *sync_engine_find(const char *name);

/* Every running thread of every attached process executes a full fence before it returns. Shared:
 * one that began after the call serves the caller too. */
void sync_heavy_barrier(struct shm *shm);

extern const struct sync_engine sync_slots, sync_slots_fenced;
#ifdef HF_LAB
extern const struct sync_engine sync_unpatched;
#endif

#endif
