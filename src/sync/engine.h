/* SPDX-License-Identifier: MIT */
/*
 * The contract of an engine: how pins and layout changes of one file find each other.
 *
 * Words: a pin is published when it can be found. It is in a slot (slots.h), or is one more in the
 * count of each of its blocks (counts.h). A walk reads entries; that of an engine that counts lies
 * between enter() and leave() and counts as it goes. A layout change calls zap_begins(), zaps
 * entries, calls zapped(), then looks for pins: scan() of slots, freeze() of blocks.
 *
 *   A  Exclusion. When a walk has read an entry from before the zap and gives its pin out, the look
 *      that follows zapped() finds the pin, unless it has been let go.
 *   B  Handover. What a holder did to the blocks before it let go happens before the look that does
 *      not find it any more.
 *   C  Stillness. Between a look that found nobody in [first, last] and the end of the change, no
 *      walk over a page of [first, last] gives a pin out: the entries are gone and the gate keeps
 *      new ones out.
 *   D  Wake-up. A holder that lets go after before_wait() (or counts_wait()) returned wakes the
 *      change.
 *   E  Progress. enter(), leave() and walks never wait for pins, nor, but for percpu-rwsem, for a
 *      layout change. A look never waits for pins. zap_begins() and zapped() wait at most for walks
 *      that are under way. They fail after a moment, or at once for a process that is stopped in
 *      one. Then entries are gone, but nothing else has changed, and zap_pending says so.
 *   F  Nodes. When zapped() has returned, a walk that began before the zap is found by scan(), or
 *      has ended, or does no harm when it reads nodes that are another file's by then.
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

typedef int sync_found(void *arg, const struct sync_holder *holder);

struct sync_engine {
    const char *name;
    bool fences_only;   /* no file is ever biased: the pool does without sys_membarrier */
    bool needs_barrier; /* nothing works without it */
    bool one_process;   /* only for pools that no second process can attach to */
    bool looks_again;   /* the walk counts only what is not 0, then reads the entry again */
    /* On a slow path of each thread that pins, before its first enter() can do; null: nothing is
     * needed. */
    void (*join)(void);
    /* Around the walk of a pin; both null: nothing is needed. enter: a number for leave(); -EAGAIN:
     * it would have to sleep and may not, or this thread cannot yet. */
    int (*enter)(struct shm *shm, struct shm_lane *lane, bool nowait);
    void (*leave)(struct shm *shm, struct shm_lane *lane, int section);
    /* L2: before entries are cleared; null: nothing is needed. 0: zapped() follows; else -EBUSY or
     * -EINTR, with a sentence: nothing may be cleared. */
    int (*zap_begins)(struct shm *shm) SHM_MAY_FAIL;
    /* L3: after entries were cleared (`cleared`: at least one was present). 0; or -EBUSY or -EINTR,
     * with a sentence: to be called again, by this change or by the next one. */
    int (*zapped)(struct shm *shm, struct shm_vnode *vnode, bool cleared) SHM_MAY_FAIL;
    /* L4: calls `found` for every pin of the vnode in a slot that overlaps [first, last], until it
     * returns non-zero, which is then returned. */
    int (*scan)(struct shm *shm, uint32_t vnode, uint64_t first, uint64_t last, sync_found *found,
                void *arg);
    /* L4 of an engine whose pins are counts; null: pins are in slots. Freezes those of
     * [block, block+count) that are not pinned. The count of the first that is; null: none is. */
    uint32_t *(*freeze)(struct shm *shm, uint64_t block, uint64_t count);
    /* L5: vnode->waiters is set, another scan follows, then a sleep. */
    void (*before_wait)(struct shm *shm, struct shm_vnode *vnode);
};

/* The engine can name the holder of each pin, so pins can be listed, and blocks detached. */
static inline bool sync_knows_holders(const struct sync_engine *engine)
{
    return !engine->freeze;
}
/* Files may share blocks. A merge holds two layout mutexes while it looks for pins, so nothing may
 * wait for walks there. */
static inline bool sync_shares(const struct sync_engine *engine)
{
    return sync_knows_holders(engine) || engine->looks_again;
}
/* How many counts a pool of so many blocks needs. */
static inline uint64_t sync_count_words(const struct sync_engine *engine, uint64_t blocks)
{
    return engine->freeze ? blocks : 0;
}

/* The engine of that name; null: there is none in this build. */
const struct sync_engine *sync_engine_find(const char *name);

/* Every running thread of every attached process executes a full fence before it returns. Shared:
 * one that began after the call serves the caller too. */
void sync_heavy_barrier(struct shm *shm);

extern const struct sync_engine sync_slots, sync_slots_fenced, sync_refcount, sync_srcu,
    sync_percpu_rwsem, sync_rcu;
#ifdef HF_LAB
extern const struct sync_engine sync_slots_membarrier, sync_unpatched, sync_blind;
#endif

/* ---- shared by several ---- */

/* slots.c */
int slots_scan(struct shm *shm, uint32_t vnode, uint64_t first, uint64_t last, sync_found *found,
               void *arg);
void slots_before_wait(struct shm *shm, struct shm_vnode *vnode);
/* counts.c: slots are not used, so scan() finds none. */
uint32_t *counts_freeze(struct shm *shm, uint64_t block, uint64_t count);
int counts_scan(struct shm *shm, uint32_t vnode, uint64_t first, uint64_t last, sync_found *found,
                void *arg);

/* True: something was cleared since the last barrier or grace period of the vnode. Ended by
 * sync_zap_settled(). */
static inline bool sync_zap_pending(const struct shm_vnode *vnode, bool cleared)
{
    /* Nobody can have walked where no entry was, unless a change was killed between zap and
     * barrier. */
    return cleared || hf_load_acquire(&vnode->zap_pending);
}
static inline void sync_zap_settled(struct shm_vnode *vnode)
{
    hf_store_release(&vnode->zap_pending, 0u);
}

#endif
