/* SPDX-License-Identifier: MIT */
/* Lanes: the slots of one thread, what it waits for, and which lane is the caller's (lane.c). */
#ifndef HF_SHM_LANE_H
#define HF_SHM_LANE_H

#include "shm/bound.h"
#include "shm/key.h"
#include "shm/segment.h"

/* A lane's slots. First come those for all pins of its thread. Then some for pins of a signal
 * handler inside a library call. The word after them marks: it is SHM_KEY_CLAIMED where the
 * lane has used those that follow. Those are for devices, since a ring has many requests at
 * once. A layout change looks at them only where the mark is set. */
#define SHM_SLOTS 72u
#define SHM_NEAR_SLOTS 32u
#define SHM_SIGNAL_SLOTS 3u
#define SHM_FAR_MARK (SHM_NEAR_SLOTS - 1)
/* Runs of blocks a thread may have reserved at once. */
#define SHM_RESERVED 32u

/* A run of blocks that is taken in the bitmap and not yet in LMDB, or the other way round. count 0:
 * unused. */
struct shm_run_of_blocks {
    uint64_t block, count;
};

/* What a layout change waits for; a thread that looks for cycles reads it. Filled by its own
 * thread, `number` last. */
struct shm_wait {
    /* Never used twice in a lane for long; 0: its thread does not wait. */
    uint32_t number;
    /* Index + 1 of a lane: it waits at the gate of that lane's layout change; 0: for pins of this
     * file. */
    uint32_t gate_lane;
    uint32_t vnode;
    uint64_t first, last;
    uint64_t since_ns;
    /* 1: it waits by a deadline that detaches, so no cycle lasts. */
    uint32_t ends;
    /* Numbers used so far. */
    uint32_t used;
    /* The client that its thread acts for, and the name of that client's process. tid 0: it acts
     * for itself. */
    uint32_t pid, tid;
    uint64_t command[2];
};

/* One thread's slots. Only that thread writes it, except that any thread clears a key to unpin,
 * and the reaper clears all of a dead process. */
struct shm_lane {
    /* Process index + 1; 0: free. */
    uint32_t owner;
    /* 0: its thread has ended; another thread of the process may take it over. */
    uint32_t tid;
    /* Slot to try first; SHM_SLOTS: being taken, so a signal handler takes another. A byte, so that
     * a wrong one leads to no place outside the segment. */
    uint8_t hint;
    /* Of a file's lane marks, that of this lane: its number, modulo SHM_MARKS. A byte, for the same
     * reason. */
    uint8_t mark;
    /* Pins of this thread that are counts; only the thread itself writes it. */
    uint32_t counted;
    /* Of the keys of its own slots, and of a signal handler's. Looks compare them: where both are
     * as before, nothing was pinned since (sync/look.c). */
    uint64_t generation;
    uint64_t signal_generation;
    /* tid << 32. */
    uint64_t who;
    /* Live pins of this thread that are holds, less counts that another thread released. */
    uint32_t slow_pins;
    /* Unbiased pins since it last looked whether the bias may come back. */
    uint32_t fenced;
    /* Its thread is in the callback of a recall. */
    uint32_t calls_back;
    /* How often this thread is in a read section; see sync/sections.h. */
    uint32_t sections[2];
    /* Also the mark. From [SHM_SLOTS] on none is ever free: where a busy hint leads, or a wrong
     * one. */
    SHM_LINE uint64_t keys[SHM_SLOTS + 8];
    /* SHM_PAGES(), written before the key. */
    uint64_t pages[SHM_SLOTS];
    /* Under space_mutex. */
    struct shm_run_of_blocks reserved[SHM_RESERVED];
    struct shm_wait wait;
    struct shm_blocked blocked;
    /* Of slow_pins, leases with a callback; rather too low than too high. */
    uint32_t served;
    /* Of slow_pins, of served: leases that another process has taken. Under table_mutex. */
    uint32_t given, given_served;
    /* 1: its reserved runs are those of an earlier owner that died. */
    uint32_t residue;
} SHM_LINE;

/* The owner of a lane that a dead process has left with reserved runs. fs frees the runs under
 * space_mutex, then swaps in 0. Where no lane is free, a living thread takes such a lane with its
 * runs (residue). */
#define SHM_LANE_RESIDUE UINT32_MAX

/* A lane that a thread of this process has, or had. The handle of a pin in the lane leads to it. So
 * it outlives its thread, and the thread that takes the lane over has the same one: a process has
 * one entry for each lane. */
struct shm_lane_of_thread {
    /* Null: the segment has gone. */
    struct shm *shm;
    struct shm_lane *lane;
    /* What shm_vnode_near_key() needs. */
    const struct shm_vnode *vnodes;
    uint64_t key_mask;
};
#define SHM_LANES_CACHED 4u
#define SHM_HIDDEN __attribute__((visibility("hidden")))
extern SHM_HIDDEN _Thread_local const struct shm_lane_of_thread *shm_my_lanes[SHM_LANES_CACHED];
/* The entry used last. It is one word, so that a signal handler changes all of it or nothing. */
extern SHM_HIDDEN _Thread_local const struct shm_lane_of_thread *shm_last_lane;

struct shm_lane *shm_lane_slow(struct shm *shm);

/* The entry of this thread's lane when it is at hand, else null: shm_lane(). Async-signal-safe. */
static inline const struct shm_lane_of_thread *shm_lane_entry(const struct shm *shm)
{
    const struct shm_lane_of_thread *mine = shm_my_lanes[shm->id % SHM_LANES_CACHED];

    return mine && mine->shm == shm ? mine : NULL;
}
static inline struct shm_lane *shm_lane_fast(const struct shm *shm)
{
    const struct shm_lane_of_thread *mine = shm_lane_entry(shm);

    return mine ? mine->lane : NULL;
}
/* Makes the entry that shm_lane_fast() has found the last one used. Async-signal-safe. */
void shm_lane_use(const struct shm *shm);

/* This thread's lane; null: max_threads are taken. */
static inline struct shm_lane *shm_lane(struct shm *shm)
{
    struct shm_lane *lane = shm_lane_fast(shm);

    return lane ? lane : shm_lane_slow(shm);
}
static inline uint32_t shm_lane_index(const struct shm *shm, const struct shm_lane *lane)
{
    return (uint32_t)(lane - shm->lanes);
}
/* A lane by its number in the segment, which may be wrong: then it is the first one. */
static inline struct shm_lane *shm_lane_at(const struct shm *shm, uint32_t number)
{
    return &shm->lanes[number < shm->limits.lanes ? number : 0];
}
/* -ENOLCK, with the sentence for it: max_threads are taken. */
int shm_no_lane(const struct shm *shm);
/* Takes the mark away if no slot behind it is in use. Nobody takes one meanwhile. */
void shm_lane_unmark(struct shm_lane *lane);
/* Live pins of this thread, slots and holds. */
unsigned shm_lane_pins(const struct shm_lane *lane);
/* Of them, leases with a callback. */
unsigned shm_lane_served(const struct shm_lane *lane);
/* Puts that this process has begun and not ended. */
uint64_t shm_process_puts(const struct shm *shm);
/* Live pins of this process, in all its lanes and holds. */
uint64_t shm_process_pins(const struct shm *shm);

#endif
