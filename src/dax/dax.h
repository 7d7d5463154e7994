/* SPDX-License-Identifier: MIT */
/*
 * Where pages meet files: faults, the gate, the drain, layout changes, detaching. The protocol is
 * in docs/ORDERING.md; its steps L1..L7 stand in change.c.
 *
 * How src/fs changes a file's blocks:
 *
 *     struct dax_change change;
 *     rc = dax_change_begin(dax, vnode, first, last, policy, &change);      L1..L5
 *     if (rc)
 *         return rc;                      nothing has changed, no lock is held
 *     ... one write transaction: for every run taken out of the file, dax_change_split() says which
 *         parts are free now and which a pin still holds (only with a detaching policy) ...
 *     dax_change_end(&change, committed); L7
 *
 * Between begin and end the layout mutex is held and no pin overlaps [first, last], other than
 * those being detached. A long copy goes between dax_change_pause() and dax_change_resume().
 */
#ifndef HF_DAX_H
#define HF_DAX_H

#include "base/fence.h"
#include "holdfast/serve.h"
#include "media/media.h"
#include "meta/meta.h"
#include "mm/mm.h"
#include "shm/shm.h"

struct sync_engine;
struct dax_pinning;

struct dax {
    struct shm *shm;
    struct media media;
    struct meta *meta;
    const struct sync_engine *engine;
    const struct dax_pinning *pinning; /* how pins are made with that engine */
    struct hf_policy policy;           /* of the pool; never HF_POLICY_DEFAULT */
    bool readonly;
    struct dax_stacks *stacks; /* null: HOLDFAST_DEBUG does not ask for them */
    struct recalls *recalls;   /* of this process's leases (notify.c); null: none was needed yet */
};

/* Gives the pool the engine of that name. False: this build has none. */
bool dax_use_engine(struct dax *dax, const char *name);

#define DAX_LAST UINT64_MAX /* as a last page: "to the end of the file and beyond" */

/* The pages that so many bytes take, a part of a page included. */
static inline uint64_t dax_pages_up(uint64_t bytes)
{
    return (bytes + HF_BLOCK_BYTES - 1) / HF_BLOCK_BYTES;
}

/* -EUCLEAN, with a sentence (fault.c). */
int dax_refuse_outside(uint64_t block, uint64_t count);

/* ---- policies (policy.c) ---- */

static inline bool dax_policy_timed(uint32_t kind)
{
    return kind == HF_POLICY_DEADLINE || kind == HF_POLICY_DEADLINE_DETACH;
}
static inline bool dax_policy_detaches(uint32_t kind)
{
    return kind == HF_POLICY_DETACH || kind == HF_POLICY_DEADLINE_DETACH;
}
/* -EINVAL: its kind or its reserved field is not known, or it has a deadline for nothing. */
int dax_policy_check(const struct hf_policy *policy);
/* The end of its deadline, which begins now. */
uint64_t dax_policy_until(const struct hf_policy *policy);
/* Fills in the `bound` of a call with this policy, which is definite. HF_NEVER: no deadline. */
void dax_policy_bound(struct shm_bound *bound, const struct hf_policy *policy, uint64_t until_ns);

/* ---- the layout mutex (gate.c) ---- */

/* Takes the vnode's layout mutex, and first waits while a gate overlaps pages [first, last]. A
 * thread that holds a pin in the pool does not wait and gets 1. It may read extents and fill holes,
 * but entries of the gate's range are not installed. -EINTR, -EBUSY, -ETIMEDOUT: the thread's bound
 * (shm/bound.h); -EAGAIN: the client is not to wait, or dax_yields (client.h); -ENOLCK. Recovers
 * the vnode when the mutex's owner died. */
int dax_lock(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last);
/* Takes the mutex alone, whatever the gates say: for size and times, or to look. An error:
 * shm_lock(). */
int dax_lock_any(struct dax *dax, struct shm_vnode *vnode) SHM_MAY_FAIL;
/* Likewise, for work that can be left undone: false when another thread keeps it for longer than a
 * moment. */
bool dax_lock_moment(struct dax *dax, struct shm_vnode *vnode) SHM_MAY_FAIL;
/* False when anybody has it. */
bool dax_lock_now(struct dax *dax, struct shm_vnode *vnode) SHM_MAY_FAIL;
void dax_unlock(struct dax *dax, struct shm_vnode *vnode);
/* Both mutexes, in the order of vnodes; one, where it is one file. An error: none is held. */
int dax_lock_two(struct dax *dax, struct shm_vnode *a, struct shm_vnode *b) SHM_MAY_FAIL;
void dax_unlock_two(struct dax *dax, struct shm_vnode *a, struct shm_vnode *b);
/* Under the mutex: 0; or -EIO: a process died in a transaction on the file, before or after its
 * commit, which is not known. */
int dax_check_settled(const struct shm_vnode *vnode);
/* Under the mutex: a layout change has its gate over pages of [first, last]. */
bool dax_gate_over(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last);
/* The size, for a caller that does not take the mutex. After a death in a transaction on the file
 * the size is settled first, since perhaps no other thread comes to do that. */
uint64_t dax_size(struct dax *dax, struct shm_vnode *vnode);

/* ---- pins (pin.c) ---- */

/* A pin of hf_write(), for the time of one copy. A layout change waits for it even if its policy
 * detaches. Otherwise the rest of the write would go into a block that has left the file. */
#define DAX_PIN_COPY UINT32_C(0x40)
/* A pin with one of these is of blocks that are the file's alone. */
#define DAX_PIN_OWNS (HF_PIN_WRITE | HF_PIN_COHERENT)

/* What hf_pin() or hf_lease() asks for. The arguments are good. */
struct dax_request {
    uint64_t off, len;
    uint32_t flags;
    struct iovec *iov; /* room for the pieces */
    int iovcnt;
    const struct hf_lease_options *lease; /* null: a pin */
};

/* Frees holds that were released, or were a dead process's, and are still in the trees of their
 * files. For a caller that found none free (-ENOLCK). */
void dax_settle_holds(struct dax *dax);

/* The slow path of hf_pin(): waits at gates, fills entries, pins. Number of iovecs, or -errno as
 * hf_pin(). Where the range has a hole: -ENODATA with *hole (pages [page, page+count)), nothing is
 * held: fill it (fs_fill) and call again.
 * -EMLINK, likewise: the pin is to be of blocks that are the file's alone, and those of *hole may
 * not be: fs_unshare(). */
int dax_pin_slow(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
                 struct hf_pin *pin, struct meta_extent *hole);

struct dax_line;
/* A pin of bytes of one page, for a handle that may pin with these flags. Their address; null:
 * nothing is held, and the longer way has to do it. Async-signal-safe with HF_PIN_NOWAIT. */
typedef char *dax_pin_one(const struct dax_line *line, uint64_t off, uint64_t len, uint32_t flags,
                          struct hf_pin *pin);

/* What a pin of a present page reads of its handle, in one cache line. Only `mapped` changes. */
struct dax_line {
    const struct shm *shm; /* no segment: each pin of this handle takes the longer way */
    struct shm_vnode *vnode;
    uint64_t key;    /* of its pins that have no flags, without a generation */
    uint64_t mapped; /* dax_turned() of the memory that was mapped when the handle last looked */
    char *base;      /* MM_PRESENT below that of the pool's memory, for entries with this flag */
    struct mm_nodes nodes; /* of the pool */
    /* Of an engine that counts: its line, and where it counts. Else null. */
    SHM_LINE dax_pin_one *one;
    const struct shm *counts;
} SHM_LINE;

/* An entry, turned so that its flags are the highest bits. One unsigned comparison with `mapped`
 * refuses it when it is missing, has another flag too, or leads to what is not mapped. */
static inline uint64_t dax_turned(uint64_t entry)
{
    uint64_t there = entry - MM_PRESENT;

    return there >> 4 | there << 60;
}
/* The bytes that were mapped then. */
static inline uint64_t dax_line_bytes(const struct dax_line *line)
{
    return hf_load_relaxed(&line->mapped) << 4; /* relaxed: only grows */
}
/* A handle's. Without `readable` no pin of it takes the straight line. */
struct dax_line dax_line_of(const struct dax *dax, struct shm_vnode *vnode, bool readable);
/* Looks again how much memory is mapped. Async-signal-safe. */
static inline void dax_line_look(const struct dax *dax, struct dax_line *line)
{
    uint64_t mapped = dax_turned(hf_load_relaxed(&dax->media.mapped_bytes) | MM_PRESENT);

    if (hf_load_relaxed(&line->mapped) != mapped) /* relaxed: an old one only costs time */
        hf_store_relaxed(&line->mapped, mapped);
}

/* Fast path, then slow path. */
int dax_pin(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
            struct hf_pin *pin, struct meta_extent *hole);
int dax_unpin(struct hf_pin *pin);

/* hf_held(): 1, 0, or -errno. Called with no lock held (held.c). */
int dax_held(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last);

/* ---- leases (lease.c, notify.c) ---- */

/* As dax_pin_slow(), for hf_lease(). */
int dax_lease(struct dax *dax, struct shm_vnode *vnode, const struct dax_request *request,
              struct hf_lease *lease, struct meta_extent *hole);
int dax_lease_release(const struct hf_lease *lease);
int dax_lease_quarantine(const struct hf_lease *lease);
int dax_lease_state(const struct hf_lease *lease);
int dax_lease_give(const struct hf_lease *lease, struct hf_lease_token *out);
/* The request's range is the lease's own. */
int dax_lease_take(struct dax *dax, const struct hf_lease_token *token,
                   const struct dax_request *request, struct hf_lease *lease);
int dax_recall_fd(struct dax *dax);
int dax_recall_next(struct dax *dax, struct hf_recall *out);
/* For programs that told a device of the pool's memory (notify.c). The first returns how many bytes
 * there are now; dax_growth_fd() is not readable from then on until there are more.
 * dax_tell_growth() tells all processes of a growth. */
uint64_t dax_growth_told(struct dax *dax);
int dax_map_pool(struct dax *dax); /* maps all of the memory that the pool has now */
int dax_growth_fd(struct dax *dax);
void dax_tell_growth(struct dax *dax);
/* 1: a callback runs now; or waits until none does: 0. -EDEADLK: it runs in this thread. */
int dax_recall_calls(struct dax *dax, bool await_end);
/* In the child of a fork, where only the calling thread exists. */
void dax_recall_in_child(void);
/* Before the pool is detached: ends the thread of callbacks. */
void dax_recall_end(struct dax *dax);

int dax_pins(struct dax *dax, int (*each)(void *arg, const struct hf_pin_info *info), void *arg);

/* ---- where pins were made (stacks.c) ---- */

/* If HOLDFAST_DEBUG asks for it: from now on the stack of each pin and lease of this process is
 * kept. */
void dax_stacks_begin(struct dax *dax);
void dax_stacks_end(struct dax *dax);
/* The pin or lease of that handle was just made, called from `caller` (the address to return to).
 * Allocates nothing, but takes a lock: not async-signal-safe. */
void dax_stacks_keep(struct dax *dax, const uint64_t opaque[3], const void *caller);
/* Lists the live pins and leases of this process on stderr, if there are any and stacks are
 * kept. */
void dax_stacks_print(struct dax *dax, const char *pool);

/* ---- processes that keep copies (watch.c) ---- */

/* hf_watch() of a handle; *watches: how it does. Called with no lock held. An error: shm_lock(),
 * but not for `on` 0. */
int dax_watch(struct dax *dax, struct shm_vnode *vnode, int *watches, int on);
int dax_watch_next(struct dax *dax, uint64_t timeout_ns, struct hf_watch_report *out);
void dax_report(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last);
/* The file loses its last name while processes have it open. Tells the processes that watch it that
 * all has changed, and waits for them, also while they close it. Called with no lock held. */
void dax_gone(struct dax *dax, struct shm_vnode *vnode);

/* Pages [first, last] have changed: tells the processes that watch the file, and waits for them.
 * Called with no lock held, after the change and before the call that made it returns. */
static inline void dax_changed(struct dax *dax, struct shm_vnode *vnode, uint64_t first,
                               uint64_t last)
{
    shm_assert_none_held();
    /* WATCH.SB/p: what has changed must be visible before the flag is read; the heavy barrier in
     * dax_watch() sees to that. Pairs with WATCH.SB/m in dax_watch(). */
    hf_fence_light();
    if (__builtin_expect(hf_load_acquire(&vnode->waiters) & SHM_WATCHED, 0))
        dax_report(dax, vnode, first, last);
}

void dax_ask(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last);

/* Pages [first, last] are about to change. Processes that may have stored into copies of them are
 * told to write these back, and waited for. Called with no lock held. */
static inline void dax_will_change(struct dax *dax, struct shm_vnode *vnode, uint64_t first,
                                   uint64_t last)
{
    shm_assert_none_held();
    if (__builtin_expect(hf_load_acquire(&vnode->waiters) & SHM_ASKED, 0))
        dax_ask(dax, vnode, first, last);
}

/* ---- layout changes (change.c, holders.c, detach.c) ---- */

struct dax_holder {   /* found by the drain and left, because it or the policy detaches */
    uint64_t at, key; /* offset of the key word in the segment, and its value */
    uint64_t first, last;
    uint64_t max_last; /* see holders.c */
};

struct dax_run { /* pages */
    uint64_t first, last;
};

struct dax_span { /* pages from `first` to the next span, held by the same holders */
    uint64_t first;
    uint64_t run_last; /* of the spans from here on that are held, or not held, as this one */
    bool held;
};

struct dax_change {
    struct dax *dax;
    struct shm_vnode *vnode;
    struct shm_lane *lane; /* of its thread */
    uint64_t id;           /* of this change in the pool */
    uint64_t first, last;
    enum hf_change_kind why;
    struct hf_policy policy;
    uint64_t until_ns;
    uint64_t waits_since_ns; /* 0: it has not waited */
    uint64_t passed;         /* vnode->passed at dax_change_pause() */
    uint64_t old_root;       /* of a change of the whole file: its page table, freed at the end */
    struct mm_leaf leaf;     /* of dax_collapse_begin(): the node of small entries, likewise */
    uint64_t gateless;       /* vnode->gateless when it was taken */
    uint32_t gate;           /* index in vnode->gates */
    bool zapped;             /* L3 is done */
    bool lost;               /* the mutex could not be taken again, in L5 */
    bool now;                /* it has no gate: dax_change_now() */
    bool keeps_mutex;        /* its end leaves it to the caller */
    bool shares;             /* its blocks stay, and get one more owner: dax_share_begin() */
    bool collapses;          /* dax_collapse_begin() */
    bool leaf_in_use;        /* a walk may be in the node `leaf` */
    struct dax_holder *holders;
    unsigned holder_count, holder_room;
    struct dax_span *spans;
    unsigned span_count;
    uint32_t detached; /* list of holds made by dax_change_split() */
};

/* The policy is a definite one, not HF_POLICY_DEFAULT. */
int dax_change_begin(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
                     enum hf_change_kind why, const struct hf_policy *policy,
                     struct dax_change *change);
/* A change for a caller that has the layout mutex already, and keeps it. It does not wait and
 * closes no gate. Each holder that is found keeps its blocks, as with HF_POLICY_DETACH, but no
 * lease is recalled. For blocks that are shared, or become shared. */
int dax_change_now(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
                   struct dax_change *change);
/* As dax_change_now(), for the MM_HUGE_PAGES pages from `first` on, which one huge entry can map.
 * Their small entries go with the node that has them, unless a walk may be in it. With holders, the
 * caller changes nothing. */
int dax_collapse_begin(struct dax *dax, struct shm_vnode *vnode, uint64_t first,
                       struct dax_change *change);
/* Under the mutex: small entries may map the page. */
bool dax_has_small(struct dax *dax, struct shm_vnode *vnode, uint64_t page);
/* Under the mutex: a look ahead, whether pages of [first, last] are held. It clears no entries, so
 * a pin that is being made may be missed. */
bool dax_is_held(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last);
/* Under the mutex: fills the entries of [first, last], which are inside the file and have blocks,
 * as far as no gate is over them. */
void dax_enter(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last);
/* As dax_change_begin(), but the blocks stay in the file and are to get another owner. So it waits
 * only for holders that may write. dax_change_holds() says which pages others hold; these must not
 * be shared. The policy does not detach. */
int dax_share_begin(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last,
                    const struct hf_policy *policy, struct dax_change *change);
/* Looks again, after dax_change_pause(), under the mutex that the caller has taken. 0: there is no
 * holder to wait for. 1: there is: call dax_change_resume() without the mutex. -errno: give the
 * change up. */
int dax_change_look(struct dax_change *change);
/* hf_cancel(). */
int dax_cancel(struct dax *dax, pid_t tid);

/* Drops the mutex, keeps the gate; takes it again. resume returns 0: no thread was let through
 * meanwhile. 1: a thread was, since it already held a pin. It has released its pin again, but may
 * have written: copy again. -errno: the change has been given up as by dax_change_end(change,
 * false). */
void dax_change_pause(struct dax_change *change);
int dax_change_resume(struct dax_change *change);
/* Ends it instead. */
void dax_change_give_up(struct dax_change *change);

/* Inside the write transaction: the run `run` (pages and blocks) leaves the file. Calls `free_run`
 * for the parts that are not held, and `held_run` for the parts that detached pins hold, which go
 * into LMDB's detached table. -ENOLCK: no hold is left to record them (mkpool --max-leases): abort
 * the transaction. */
int dax_change_split(struct dax_change *change, const struct meta_extent *run,
                     int (*free_run)(void *arg, const struct meta_extent *part),
                     int (*held_run)(void *arg, const struct meta_extent *part), void *arg);
/* True: a detached pin holds a page of [first, last]. */
bool dax_change_holds(const struct dax_change *change, uint64_t first, uint64_t last);
/* The first pages of [first, last] that detached pins hold, without a gap; false: none. */
bool dax_change_held_run(const struct dax_change *change, uint64_t first, uint64_t last,
                         struct dax_run *run);

/* Before the transaction commits: notes the version and size that it gives the inode. A process
 * that finds us dead tells by them on which side of the commit we died. Version 0: it has
 * failed. */
void dax_change_intend(struct dax_change *change, uint64_t version, uint64_t size);
/* A transaction has committed, and another one of this change follows. Blocks that the first has
 * detached stay detached, whatever becomes of the second. */
void dax_change_landed(struct dax_change *change);
/* The transaction was given up, or its commit has failed: it has detached nothing. */
void dax_change_failed(struct dax_change *change);
/* Opens the gate, wakes those at it, drops the mutex unless keeps_mutex is set. committed:
 * vnode->size is the intended size now. */
void dax_change_end(struct dax_change *change, bool committed);

/* ---- detached blocks (detach.c, reclaim.c) ---- */

/* Finds the runs of detached blocks that have lost their last holder. `gone` deletes some of them
 * from the detached table and frees them, in one transaction; then their records go. Cheap when
 * run->reclaim is 0. Call with no lock held; before every allocation, statvfs and close. */
int dax_reclaim(struct dax *dax,
                int (*gone)(void *arg, const struct meta_detached *runs, size_t count), void *arg);

/* ---- giving up what only saves time (shrink.c) ---- */

/* Frees the page table and the entry of a vnode, unless it is open, held, dirty or has detached
 * blocks: then false. Called with no lock held. */
bool dax_shrink_vnode(struct dax *dax, struct shm_vnode *vnode);
/* Under pressure: frees all such vnodes, and the page tables of open ones without pins. Returns how
 * many nodes came free. */
uint64_t dax_shrink(struct dax *dax);

#endif
