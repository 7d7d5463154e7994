/* SPDX-License-Identifier: MIT */
/* What the files of src/dax share among themselves. */
#ifndef HF_DAX_PRIVATE_H
#define HF_DAX_PRIVATE_H

#include "base/futex.h"
#include "dax/dax.h"
#include "mm/mm.h"
#include "sync/engine.h"

/* How often who waits looks whether a process it waits for has died; and how often where a wake-up
 * may be missed because there is no membarrier. */
#define DAX_TICK_NS (50 * HF_NS_PER_MS)
#define DAX_TICK_FENCES_NS HF_NS_PER_MS

static inline uint64_t dax_tick(const struct dax *dax, uint64_t until_ns)
{
    uint64_t tick = hf_now_ns() + (hf_load_acquire(&dax->shm->run->fences_only) ? DAX_TICK_FENCES_NS
                                                                                : DAX_TICK_NS);

    return tick < until_ns ? tick : until_ns;
}

static inline void dax_count(uint64_t *counter, uint64_t add)
{
    hf_add_relaxed(counter, add); /* relaxed: a count that orders nothing */
}

/* --- holds.c: the tree of holds of a file, by range. Under the layout mutex --- */

void holds_insert(struct shm *shm, struct shm_vnode *vnode, uint32_t hold);
/* Takes out what was let go; rebuilds the tree when a reaper asked for it. */
void holds_settle(struct shm *shm, struct shm_vnode *vnode);
/* Calls `found` for every hold in the tree whose range overlaps [first, last], until non-zero. */
int holds_scan(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last,
               int (*found)(void *arg, uint32_t hold), void *arg);
/* Marks a hold as let go; any thread, no lock, async-signal-safe. False: it was not live with that key. */
bool holds_release(struct shm *shm, uint64_t *key_word, uint64_t key);

/* --- counted.c: pins under an engine that counts --- */

/* dax_pin_fast() there. */
int counted_pin(struct dax *dax, struct shm_vnode *vnode, uint64_t off, uint64_t len,
                uint32_t flags, struct iovec *iov, int iovcnt, struct hf_pin *pin);
/* Under the layout mutex: counts the blocks of the pieces. False: they are no single run; take a hold. */
bool counted_publish(struct dax *dax, struct shm_lane *lane, const struct mm_pieces *pieces,
                     struct hf_pin *pin);
int counted_unpin(struct hf_pin *pin);
/* L4: freezes the blocks under pages [first, last]. 0; 1 with the count of a block that is pinned; -errno. */
int counted_find(struct dax *dax, const struct shm_vnode *vnode, uint64_t first, uint64_t last,
                 uint32_t **busy);

/* --- gate.c --- */

/* The gate other than `own` that overlaps [first, last]; null: none. */
struct shm_gate *gate_over(struct shm_vnode *vnode, uint64_t first, uint64_t last,
                           const struct shm_gate *own);
bool gate_owner_died(struct dax *dax, const struct shm_gate *gate);
void gate_open(struct shm_vnode *vnode, struct shm_gate *gate);
void gate_open_of_dead(struct shm_vnode *vnode, struct shm_gate *gate);
/* Makes waiters, wait_first and wait_last what the gates say. A wait that begins needs before_wait() after it. */
void gate_waits_changed(struct shm_vnode *vnode);
/* Drops the mutex, sleeps until a gate opens or `until_ns`, takes the mutex again. 0, -EINTR, -ETIMEDOUT. */
int gate_wait(struct dax *dax, struct shm_vnode *vnode, uint64_t until_ns);
/* A slot of the file is taken, for a pin or for a walk that may still find none. */
bool gate_anybody(struct dax *dax, struct shm_vnode *vnode);
/* A pin of this thread overlaps [first, last]. */
bool gate_self_holds(struct dax *dax, struct shm_vnode *vnode, struct shm_lane *lane,
                     uint64_t first, uint64_t last);

/* --- detach.c --- */

/* The part of [first, last] that the holder holds in the file as it is now, without what was
 * detached under it: false: nothing. */
bool detach_still_holds(struct shm *shm, struct shm_vnode *vnode, uint64_t key_at, uint64_t key,
                        uint64_t first, uint64_t last);
void detach_commit(struct dax_change *change);
void detach_abort(struct dax_change *change);
/* After the death of a process in the middle of a change. */
void detach_recover(struct shm *shm, struct shm_vnode *vnode, bool committed);

static inline uint64_t shm_at(const struct shm *shm, const void *word)
{
    return (uint64_t)((const char *)word - (const char *)shm->run);
}
static inline uint64_t *shm_word(const struct shm *shm, uint64_t at)
{
    return (uint64_t *)((char *)shm->run + at);
}

#endif
