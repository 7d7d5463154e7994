/* SPDX-License-Identifier: MIT */
/*
 * Deliberate breakage for lab builds (tests/wrong, the demo's second half, the benchmark's bare
 * rows): each bit takes one edge out of the protocol. In a real build HF_LAB_BROKEN() is the
 * constant false and nothing of it is left.
 */
#ifndef HF_BASE_LAB_H
#define HF_BASE_LAB_H

#define HF_LAB_NO_PIN_FENCE 0x01u /* PIN.SB/p gone: an unbiased pin does not fence */
#define HF_LAB_NO_GATE 0x02u      /* GATE.RULE gone: faults pass a closed gate and fill entries */
#define HF_LAB_LATE_PUBLISH 0x04u /* the slot is published after the walk */
#define HF_LAB_NO_HEAVY 0x08u     /* no heavy barrier when the bias is taken away */
#define HF_LAB_NO_DRAIN 0x10u     /* layout changes look for nobody, as with the engine blind */
#define HF_LAB_NO_WATCH_BARRIER 0x20u /* WATCH.SB/m gone: no heavy barrier when watching begins */
#define HF_LAB_NO_CLOSE_WAIT 0x40u    /* WATCH.CLOSE gone: a closing watcher counts as closed */
#define HF_LAB_NO_THAW 0x80u          /* THAW.PUB gone: a root goes back over frozen blocks */
#define HF_LAB_NO_TAKE_BACK 0x100u    /* meta/commit.c: what does not count is left to LMDB */
#define HF_LAB_NO_LATE_RECALL 0x200u  /* a mended file tells no lease what was detached */
#define HF_LAB_NO_EARLY_RECALL 0x400u /* only the thread that detaches tells the leases */
#define HF_LAB_VERSION_FIRST 0x800u   /* an entry of POOL/recent counts before its size is there */
#define HF_LAB_NO_REDO 0x1000u /* COPY.SB/p gone: a write does not look whether it is to go again */
#define HF_LAB_NO_WAKE_BARRIER 0x2000u /* UNPIN.WAKE/m gone: no heavy barrier after `waiters` */
#define HF_LAB_NO_GRACE_KEPT 0x4000u /* GRACE.KEEP gone: a wait for sections that gave up counts */
#define HF_LAB_SHARES_HELD 0x8000u   /* held pages are merged, and cloned with many files */
#define HF_LAB_SHARED_WRITABLE 0x10000u  /* pins for writing and leases are given shared blocks */
#define HF_LAB_GIVEN_UP_FREE 0x80000u    /* a lease that was given up is released at once */
#define HF_LAB_EARLY_UNLOCK 0x20000u     /* hf_clone_files() unlocks its files before it commits */
#define HF_LAB_PUTS_FORGOTTEN 0x40000u   /* a bitmap that is made again has no block of a put */
#define HF_LAB_TRIM_UNLOCKED 0x100000u   /* a trim unlocks the bitmap before it punches */
#define HF_LAB_TRIM_REGISTERED 0x200000u /* and of the registrations */
#define HF_LAB_TAIL_STAYS 0x1000000u     /* growing keeps what others have left past the end */
#define HF_LAB_CLAIMS_EARLY 0x2000000u   /* a sweep looks for holds before its transaction */
#define HF_LAB_LEAF_STAYS 0x400000u  /* a compaction does not clear the entries that it replaces */
#define HF_LAB_LEAF_UNSEEN 0x800000u /* it looks for nobody, nor for walks in their node */
#define HF_LAB_INTENT_UNSEEN 0x10000000u    /* a look at extents does not apply the intent */
#define HF_LAB_ANY_PID_NAMESPACE 0x8000000u /* processes of several namespaces may attach */
#define HF_LAB_INTENT_UNTOLD 0x4000000u /* an intent is stored while a word says there is none */
#define HF_LAB_UNANNOUNCED 0x40000000u  /* the steps of a mutex are not announced to the kernel */
#define HF_LAB_ANY_LIFE UINT64_C(0x200000000) /* a look takes what another life of a vnode had */
#define HF_LAB_UNMARKED                                                                            \
    UINT64_C(0x1000000000) /* FAR.MARK gone: slots for devices, without a mark */
#define HF_LAB_NO_SECOND_LOOK UINT64_C(0x400000000) /* COUNT.SB/p gone: what is counted is pinned */
#define HF_LAB_HOLDS_LOST UINT64_C(0x800000000) /* a vnode goes before its ended holds are freed */
#define HF_LAB_TOLD_FIRST                                                                          \
    UINT64_C(0x8000000000) /* fs/join.c: others hear that it has committed before it does */
#define HF_LAB_PART_KEPT                                                                           \
    UINT64_C(0x800000000000) /* fs/task.c: a change that fails is committed with the others */
#define HF_LAB_NO_MARK UINT64_C(0x10000000000)         /* a pin does not mark its lane */
#define HF_LAB_MARK_LATE UINT64_C(0x20000000000)       /* MARK.SB/p gone */
#define HF_LAB_NO_CENSUS UINT64_C(0x40000000000)       /* MARK.BIAS/m gone */
#define HF_LAB_NO_SECOND_READ UINT64_C(0x80000000000)  /* MARK.KEEP/m gone */
#define HF_LAB_MARKS_SURE UINT64_C(0x100000000000)     /* a death beside cleared marks is missed */
#define HF_LAB_SEES_TOO_EARLY UINT64_C(0x200000000000) /* SEEN.ALL/p gone: no hint is busy */
#define HF_LAB_SEES_TOO_LATE UINT64_C(0x400000000000)  /* the generation is read after the keys */
#define HF_LAB_READERS_UNLOCKED                                                                    \
    UINT64_C(0x100000000) /* LMDB's table of readers is only looked at before */

/* Not broken either: each change that a thread makes for another fails at its end (fs/task.c). */
#define HF_LAB_TASK_FAILS UINT64_C(0x1000000000000)
/* Nor is this: a task stays in its place until a host takes it, or its thread has the mutex. */
#define HF_LAB_TASKS_STAY UINT64_C(0x2000000000000)
/* Nor is this: changes of more than two extents go in steps. */
#define HF_LAB_SHORT_STEPS 0x20000000u
/* Not broken, but in steps: threads stop at the points below, and a pin's key is kept back as a
 * processor may. Such pins leave the straight line (dax_pin_page()), which has no points. */
#define HF_LAB_STEPS 0x80000000u

/* Where a thread stands between two steps of the protocol. */
enum hf_lab_point {
    HF_LAB_WALKED, /* P3 is done, with an engine that counts: the entry is read and not counted */
    HF_LAB_COPIES, /* a write has its pin, or a copy has found a hole, and is about to copy */
    HF_LAB_UNWATCHED, /* a close has stopped watching, and has not closed */
    HF_LAB_AWAITS,    /* a change is about to sleep until a watcher comes back */
    HF_LAB_COMMITTED, /* a change has committed, and has not listed what it detached */
    HF_LAB_CLONES,    /* hf_clone_files() is about to commit */
    HF_LAB_TRIMS,     /* a trim is about to punch free blocks out */
    HF_LAB_COMPACTS,  /* hf_compact() has copied a run, and is about to commit */
    HF_LAB_DESCENDS,  /* P3 has found a node of entries, and is about to read them */
    HF_LAB_DELETES,   /* a deletion has freed some of a file's extents, and goes on */
    HF_LAB_CLAIMS,    /* a sweep of what an earlier segment left has looked for holds */
    HF_LAB_LOCKS,     /* a thread has a mutex, which is not in its list yet */
    HF_LAB_UNLOCKS,   /* it still has one that has gone from its list */
    HF_LAB_GROWS,     /* a growth has synced the longer memory, and has not recorded it */
    HF_LAB_COMPARES,  /* a look at a holder, or at a record of detached blocks, of many */
    HF_LAB_OVERLAYS,  /* a look at a file is about to look for its vnode, into it, and once more */
    HF_LAB_OPENS,   /* a call has found a file, and is about to open it, or to change its record */
    HF_LAB_SHRINKS, /* the holds of a file are settled, and are about to be looked for */
    HF_LAB_JOINS,   /* a change of a durable pool is about to let in others that wait */
    HF_LAB_JOINED,  /* they have made their changes, and it is about to commit all */
    HF_LAB_SETTLES, /* it has committed, and nobody knows yet */
    HF_LAB_TAKES,   /* a pin has its key, and has not stored it */
    HF_LAB_LOOKED,  /* a look has read the slots of a lane */
    HF_LAB_UNMARKS, /* a look has cleared marks, and has not read their lanes again */
    HF_LAB_READERS, /* LMDB's table of readers was free, and LMDB is about to take its mutex */
};

#ifdef HF_LAB
#include <stdbool.h>
#include <stdint.h>

/* Whether this thread is in steps; and what a test does when such a thread comes to a point. */
extern _Thread_local bool hf_lab_stepped;
extern void (*hf_lab_at)(enum hf_lab_point point);
void hf_lab_reach(enum hf_lab_point point);

/* A store buffer of one store, in software. No other thread sees a store made with hf_lab_keep()
 * until the same thread fences, any thread makes a heavy barrier, or hf_lab_drain() runs. A
 * processor's own buffer rarely holds a store for so long. One thread at a time may have the
 * buffer. */
void hf_lab_keep(uint64_t *word, uint64_t value);
void hf_lab_drain(void);

extern uint64_t hf_lab_break;
#define HF_LAB_AT(point)                                                                           \
    do {                                                                                           \
        if (HF_LAB_BROKEN(HF_LAB_STEPS))                                                           \
            hf_lab_reach(point);                                                                   \
    } while (0)
/* A fence of this thread, or of all. */
#define HF_LAB_FENCED(of_this_thread)                                                              \
    do {                                                                                           \
        if (HF_LAB_BROKEN(HF_LAB_STEPS) && (hf_lab_stepped || !(of_this_thread)))                  \
            hf_lab_drain();                                                                        \
    } while (0)
#define HF_LAB_BROKEN(bit) (__builtin_expect((hf_lab_break & (bit)) != 0, 0))
#else
#define HF_LAB_BROKEN(bit) 0
#define HF_LAB_AT(point) ((void)0)
#define HF_LAB_FENCED(of_this_thread) ((void)0)
#endif

#endif
