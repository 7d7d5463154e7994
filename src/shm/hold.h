/* SPDX-License-Identifier: MIT */
/*
 * Holds: pins beyond a lane's slots, leases, and blocks that left their file while they were held
 * (arena.c). Handing a lease over is in lane.c, since it moves between the counts of lanes.
 */
#ifndef HF_SHM_HOLD_H
#define HF_SHM_HOLD_H

#include "shm/key.h"
#include "shm/segment.h"

#include <holdfast/holdfast.h>

struct shm_lane;

enum shm_hold_kind {
    SHM_HOLD_FREE = 0,
    /* Being filled. */
    SHM_HOLD_TAKEN,
    /* A pin beyond a lane's slots. */
    SHM_HOLD_PIN,
    SHM_HOLD_LEASE,
    /* A lease that its owner offers to others; see take_given() in src/dax/lease.c. */
    SHM_HOLD_GIVEN,
    /* Any of these, of a process that died; or a released one that is about to be freed. */
    SHM_HOLD_DEAD,
    /* A run of blocks that left its file while `holder` held it. */
    SHM_HOLD_DETACHED,
    /* A lease that its owner has given up, while its device may go on. Nobody waits for the owner,
     * and the blocks are kept until ends_ns. */
    SHM_HOLD_QUARANTINED,
    /* A run of blocks of no file, for a caller to fill: src/fs/put.c. Under space_mutex. */
    SHM_HOLD_PUT,
    /* The same, of a put that nobody will commit: its blocks are to be free again. */
    SHM_HOLD_PUT_LEFT,
};
/* A hold's kind and its owner (process index + 1) in one word, so that both change at once. */
#define SHM_HOLD_STATE(kind, owner) ((uint32_t)(owner) << 8 | (uint32_t)(kind))
#define SHM_HOLD_KIND(state) ((state)&0xff)
#define SHM_HOLD_OWNER(state) ((state) >> 8)
static inline bool shm_hold_holds(uint32_t state)
{
    uint32_t kind = SHM_HOLD_KIND(state);

    return kind == SHM_HOLD_PIN || kind == SHM_HOLD_LEASE || kind == SHM_HOLD_GIVEN ||
           kind == SHM_HOLD_QUARANTINED;
}
static inline bool shm_hold_given_up(uint32_t state)
{
    return SHM_HOLD_KIND(state) == SHM_HOLD_QUARANTINED;
}

static inline bool shm_hold_is_put(uint32_t state)
{
    return SHM_HOLD_KIND(state) == SHM_HOLD_PUT || SHM_HOLD_KIND(state) == SHM_HOLD_PUT_LEFT;
}

/* What a layout change wants of the holder of a lease. */
struct shm_want {
    /* The change's id; 0: nobody has wanted anything yet. */
    uint64_t change;
    uint64_t first, last, deadline_ns;
    /* enum hf_change_kind. */
    uint32_t why;
    /* enum hf_lease_state: the state of the lease under this want. */
    uint32_t state;
};

/* The want that counts. */
#define SHM_ASKED_WHICH 1u
/* The holder has not been told of it yet. */
#define SHM_ASKED_PENDING 2u

/* The request that the holder of a lease is told. All but `state` is under the layout mutex. A want
 * is written beside the one that counts, then `asked` says that it counts, then `state` is raised.
 * A process that is killed in between leaves a whole want, and the next owner of the mutex does the
 * rest (recall_recover()). */
struct shm_recall {
    /* enum hf_lease_state. */
    uint32_t state;
    /* A callback will release it, whatever its thread waits for. */
    uint32_t served;
    uint32_t asked;
    /* DETACHED: the first is the want that `holder` is told of, if it is a lease. */
    struct shm_want wants[2];
};

#define SHM_LABEL_WORDS (HF_LABEL_BYTES / sizeof(uint64_t))

struct shm_hold {
    /* As a slot's, while it is live. */
    uint64_t key;
    uint64_t generation;
    /* SHM_HOLD_STATE(). */
    uint32_t state;
    struct shm_range range;
    uint64_t since_ns;
    /* Of a lease, bytes. */
    uint64_t off, len;
    /* The tree: of the subtree; and its children. */
    uint64_t max_last;
    uint32_t left, right;
    /* QUARANTINED: until then its blocks go to nobody. */
    uint64_t ends_ns;
    /* The lane that counts it in slow_pins. */
    uint32_t lane;
    uint32_t vnode;
    /* DETACHED: offset of the key word in the segment, and its value. PUT: the inode, and the key
     * of the put's first hold. */
    uint64_t holder, holder_key;
    /* DETACHED, PUT: where range.first lies, or is to lie. */
    uint64_t block;
    /* Of the released and the detached list; the next hold of the same put. */
    uint32_t link;
    /* The sum of the words that a walk of the tree goes by: hold_sum() in src/dax/holds.c. */
    uint32_t sum;
    struct shm_recall recall;
    /* Of a lease: hf_lease_options.label, filled up with zeros; else the first is 0. It is there
     * before the key, and stays as long. */
    uint64_t label[SHM_LABEL_WORDS];
};

/* The entry that a word leads to; SHM_NONE: there is none, or the word is wrong. */
static inline uint32_t shm_hold_at(const struct shm *shm, const uint32_t *word)
{
    return shm_index(word, shm->limits.holds);
}
uint32_t shm_hold_alloc(struct shm *shm);
/* The key of the next one to have the entry, which is the caller's. */
uint64_t shm_hold_next_key(const struct shm *shm, struct shm_hold *hold, uint32_t flags,
                           uint32_t vnode);
/* How many there are, without those that were released and only wait to be freed. */
uint32_t shm_holds_in_use(const struct shm *shm);
void shm_hold_free(struct shm *shm, uint32_t hold);
/* -ENOLCK, with the sentence for it: max_leases are taken. */
int shm_no_hold(const struct shm *shm);
/* A lease that is offered becomes this process's, counted in `lane`. Under table_mutex. False: it
 * was not in state `was`. */
bool shm_hand_over(struct shm *shm, struct shm_hold *hold, uint32_t was, struct shm_lane *lane);
/* A lease of this process with that key goes into quarantine, which begins now. Its lane does not
 * count it any more. Async-signal-safe. False: this process has no such lease. */
bool shm_give_up(struct shm *shm, struct shm_hold *hold, uint64_t key);
/* Completes a handing over in which a process died (shm_hand_over()). Under table_mutex. */
void shm_handing_mend(struct shm *shm);

#endif
