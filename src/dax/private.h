/* SPDX-License-Identifier: MIT */
/* What the files of src/dax share among themselves. */
#ifndef HF_DAX_PRIVATE_H
#define HF_DAX_PRIVATE_H

#include "base/futex.h"
#include "dax/client.h"
#include "dax/dax.h"
#include "mm/mm.h"
#include "sync/engine.h"

/* How often a waiting thread looks whether a process that it waits for has died. The second is for
 * systems without membarrier, where it may miss a wake-up. */
#define DAX_TICK_NS (50 * HF_NS_PER_MS)
#define DAX_TICK_FENCES_NS HF_NS_PER_MS
/* How long a layout change waits before it first looks for cycles and for dead processes. */
#define DAX_FIRST_LOOK_NS (20 * HF_NS_PER_MS)

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
/* Takes out released holds; rebuilds the tree when a reaper asked for it. */
void holds_settle(struct shm *shm, struct shm_vnode *vnode);
/* It would change something, as far as is known without the mutex. */
bool holds_unsettled(const struct shm_vnode *vnode);
/* Calls `found` for every hold in the tree whose range overlaps [first, last], until non-zero. For
 * some of them twice, where the tree is wrong. */
int holds_scan(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last,
               int (*found)(void *arg, uint32_t hold), void *arg);
/* Records a pin, or with `lease` a lease, as a hold. -ENOLCK. */
int holds_publish(struct shm *shm, struct shm_lane *lane, struct shm_vnode *vnode,
                  const struct shm_range *range, const struct hf_lease_options *lease,
                  struct hf_pin *pin);
/* Null: it is a slot, which is never a lease's. */
bool hold_is_lease(const struct shm_hold *hold);
/* Marks a hold as released; any thread, no lock, async-signal-safe. False: it was not live with
 * that key. */
bool holds_release(struct shm *shm, uint64_t *key_word, uint64_t key);

/* --- scan.c: what is held. Under the layout mutex --- */

struct held {
    uint64_t *word, key; /* that name it */
    struct shm_range range;
    uint32_t process, lane;
    struct shm_hold *hold; /* null: it is a slot */
};
typedef int scan_found(void *arg, const struct held *held);
/* Calls `found` for every pin and lease that overlaps [first, last] and is not detached. If it
 * returns non-zero, returns that. Engines that count: for leases, and pins that are holds. */
int scan_held(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
              scan_found *found, void *arg);
/* Nobody is to be waited for: the owner is dead, or has given it up. */
bool held_in_quarantine(const struct shm *shm, const struct held *held);
/* It can end only when the lane's thread goes on (as far as one can know). */
bool held_by_thread(const struct held *held, const struct shm *shm, uint32_t lane);
/* It is held by this thread, or by the thread that it acts for, which waits for it. */
bool held_by_caller(const struct held *held, const struct shm *shm, const struct shm_lane *lane);
bool scan_own(struct dax *dax, struct shm_vnode *vnode, const struct shm_lane *lane, uint64_t first,
              uint64_t last);

/* --- watch.c --- */

/* The pin or lease with this key has been released: tells watchers of the file if it was for
 * writing. After U1 and U2; async-signal-safe. */
void watch_let_go(struct shm *shm, uint64_t key, uint64_t first, uint64_t last);
/* The same for a slot: its word and the key it had. */
void watch_let_go_slot(struct shm *shm, uint64_t key, const uint64_t *word);

/* --- pin_slots.c, pin_counted.c: how pins are made and found, as the engine wants it --- */

static inline uint64_t request_first(const struct dax_request *request)
{
    return request->off / HF_BLOCK_BYTES;
}

static inline uint64_t request_last(const struct dax_request *request)
{
    return (request->off + request->len - 1) / HF_BLOCK_BYTES;
}

typedef int dax_found_count(void *arg, uint64_t page, uint32_t *count);

struct dax_pinning {
    /* dax_pin_fast(). */
    int (*pin)(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
               struct hf_pin *pin);
    /* The straight line of that engine; null: it is in pin_fast.h. */
    dax_pin_one *(*one)(const struct sync_engine *engine);
    /* Under the layout mutex: pins the range, which lies in the pieces. -ENOLCK. */
    int (*publish)(struct dax *dax, struct shm_lane *lane, struct shm_vnode *vnode,
                   const struct shm_range *range, const struct mm_pieces *pieces,
                   struct hf_pin *pin);
    /* L4, where scan_held() has found nobody to wait for. Calls `found` with each page of [first,
     * last] that has other pins, and with their count. Ends when that returns non-zero, and returns
     * it. 0; -errno. */
    int (*find)(struct dax *dax, const struct shm_vnode *vnode, uint64_t first, uint64_t last,
                dax_found_count *found, void *arg);
};

extern const struct dax_pinning pinning_slots, pinning_counted;
int pin_counted_unpin(struct hf_pin *pin);

/* --- policy.c --- */

/* Counts that a layout change gave up, if it did: not what fails for another reason, nor -EAGAIN,
 * which is tried again and counted then. Returns rc. */
int dax_count_end(struct dax *dax, int rc);

/* --- gate.c --- */

/* The gate other than `own` that overlaps [first, last]; null: none. */
struct shm_gate *gate_over(struct shm_vnode *vnode, uint64_t first, uint64_t last,
                           const struct shm_gate *own);
bool gate_owner_died(struct dax *dax, const struct shm_gate *gate);
void gate_open(struct shm_vnode *vnode, struct shm_gate *gate);
void gate_open_of_dead(struct shm_vnode *vnode, struct shm_gate *gate);
/* Makes waiters, wait_first and wait_last what the gates say. A wait that begins needs
 * before_wait() after it. */
void gate_waits_changed(struct shm_vnode *vnode);
/* Drops the mutex, sleeps until that gate may have opened, takes the mutex again. An error, with a
 * sentence, when the thread's bound ends the wait (shm/bound.h), or the mutex cannot be had. Then
 * it is not held, and the wait has ended. */
int gate_wait(struct dax *dax, struct shm_vnode *vnode, const struct shm_gate *gate,
              struct shm_waiting *waiting);
/* A slot of the file is taken, for a pin or for a walk that may still find none. */
bool gate_anybody(struct dax *dax, struct shm_vnode *vnode);
/* The same, over pages of [first, last]. */
bool gate_anybody_over(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last);

/* --- cycle.c: which layout change waits for which --- */

/* The layout change of this thread is about to sleep: at the gate of `gate_lane` (index + 1), or
 * (0) for the pins of [first, last]. wait_ends() is due. */
void wait_begins(struct dax_change *change, uint32_t gate_lane);
void wait_ends(struct dax_change *change);
bool wait_cancelled(const struct dax_change *change);
/* Layout changes wait for each other in a cycle, and this one, which waits, is the youngest in it.
 * Called with no mutex held. */
bool wait_in_cycle(struct dax_change *change);

/* --- recall.c --- */

/* The change has met a lease: recalls it, once for each change. Under the layout mutex. */
void recall_ask(struct dax_change *change, struct shm_hold *hold);
/* Blocks of the lease are about to leave the file. Its holder takes the mutex to read the request,
 * and so learns what has become of them, even if this process is killed. Under the layout mutex,
 * before the transaction commits. */
void recall_before_detach(struct dax_change *change, struct shm_hold *hold);
/* They have left it. `want`: as recall_make_want() made it for those pages. Under the layout
 * mutex. */
void recall_detached(struct shm *shm, const struct shm_vnode *vnode, struct shm_hold *hold,
                     const struct shm_want *want);
struct shm_want recall_make_want(const struct dax_change *change, const struct shm_range *range,
                                 uint32_t state);
/* The owner of the layout mutex died: tells the holders that it was to tell. Under that mutex. */
void recall_recover(struct shm *shm, const struct shm_vnode *vnode);

/* --- tables.c --- */

/* After L3 of dax_collapse_begin(): whether a walk may be in the node that was taken out. */
void tables_look(struct dax_change *change);
/* L7: nodes that the change has taken out of the file's table. */
void tables_settle(struct dax_change *change, bool committed);

/* --- shrink.c --- */

/* Frees the nodes of roots that were taken out earlier, with those of the root, if no slot of the
 * file is left. Under the layout mutex, with a gate over the whole file. */
void shrink_strays(struct dax *dax, struct shm_vnode *vnode);

/* --- holders.c: what a change has found --- */

/* -ENOMEM. */
int holders_add(struct dax_change *change, const struct dax_holder *holder);
/* A page that is counted, in the order of pages; those in a row become one holder. Nothing that it
 * holds is detached: such changes take only shared blocks and free pages out of a file. */
int holders_add_counted(struct dax_change *change, uint64_t page);
/* Called after the last holder was added, and before the first question. -ENOMEM. */
int holders_order(struct dax_change *change);
void holders_drop(struct dax_change *change);
/* From `page` on: how many of `count` pages are held by the same holders, or by none. */
uint64_t holders_alike(const struct dax_change *change, uint64_t page, uint64_t count, bool *held);
/* Those that hold a page of [first, last], until `each` says something else than 0. */
int holders_over(const struct dax_change *change, uint64_t first, uint64_t last,
                 int (*each)(void *arg, const struct dax_holder *holder), void *arg);

/* --- records.c: the pages that holders do not hold any more, since they were detached --- */

struct record_range {
    uint64_t holder, key;
    uint64_t first, last;
};
/* A copy of the records of a file; all zero: not read yet. */
struct records {
    struct record_range *ranges;
    size_t count;
};

/* Under the mutex. False: no memory. */
bool records_read(const struct shm *shm, const struct shm_vnode *vnode, struct records *records);
void records_drop(struct records *records);
/* The records leave the holder a part of [first, last]. */
bool records_leave(const struct records *records, uint64_t holder, uint64_t key, uint64_t first,
                   uint64_t last);
/* Likewise, of the file as it is now; `records` is read when it is wanted for the first time. Under
 * the mutex, which is held until records_drop(). */
bool records_still_hold(const struct shm *shm, const struct shm_vnode *vnode,
                        struct records *records, uint64_t holder, uint64_t key, uint64_t first,
                        uint64_t last);

/* --- detach.c --- */

void detach_commit(struct dax_change *change);
void detach_abort(struct dax_change *change);
/* After the death of a process in the middle of a change: settles the blocks that it was about to
 * detach. */
void detach_recover(struct dax *dax, struct shm_vnode *vnode, bool committed);

static inline bool detach_is_record(const struct shm *shm, const struct shm_hold *hold,
                                    const struct shm_vnode *vnode)
{
    return SHM_HOLD_KIND(hf_load_acquire(&hold->state)) == SHM_HOLD_DETACHED &&
           hf_load_acquire(&hold->vnode) == shm_vnode_number(shm, vnode);
}

/* The record of the file to which a link of its list leads. SHM_NONE: the list ends, or the link is
 * wrong, and the rest of the list is lost. It may still be a ring: each walk counts its steps. */
static inline uint32_t detach_record_at(const struct shm *shm, const struct shm_vnode *vnode,
                                        const uint32_t *link)
{
    uint32_t at = shm_hold_at(shm, link);

    return at != SHM_NONE && detach_is_record(shm, &shm->holds[at], vnode) ? at : SHM_NONE;
}

/* The holder that a record of detached blocks names has released them. */
static inline bool detach_holder_gone(const struct shm *shm, const struct shm_hold *record)
{
    const uint64_t *word = shm_word_at(shm, record->holder);

    return !word || hf_load_acquire(word) != record->holder_key; /* UNPIN.DONE/m */
}

#endif
