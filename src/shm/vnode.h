/* SPDX-License-Identifier: MIT */
/* Vnodes: the files in use, with their gates and their layout mutex (vnode.c). */
#ifndef HF_SHM_VNODE_H
#define HF_SHM_VNODE_H

#include "shm/key.h"
#include "shm/segment.h"

/* A file: layout changes under way at once, in disjoint ranges. */
#define SHM_GATES 4u

/* The range of a layout change under way. New pins wait at it; pages in it get no entries. */
struct shm_gate {
    uint64_t first, last;
    /* Of its owner, index + 1; 0: this gate is open. */
    uint32_t lane;
    /* Of its owner; and the process entry's life, so that a dead owner is known after its entry is
     * reused. */
    uint32_t process;
    uint32_t life;
    /* 1: its owner waits for pins. */
    uint32_t waits;
    /* 1: its owner gave up and could not have the mutex: the gate is to be opened as a dead
     * process's. */
    uint32_t given_up;
    /* How often this gate was closed. */
    uint64_t term;
};

/* A layout change waits for pins: wake it. */
#define SHM_WAITS 1u
/* Detached blocks may lose their last holder: have them reclaimed. */
#define SHM_DETACHED 2u
/* Some process wants to be told what changes; see shm_report(). */
#define SHM_WATCHED 4u
/* A process wants to be told before it changes, to write back what it has stored itself. */
#define SHM_ASKED 8u

/* Lane marks of a file. Lanes share a mark when there are more lanes. */
#define SHM_MARKS 256u

enum shm_vnode_state { SHM_VNODE_FREE = 0, SHM_VNODE_NEW, SHM_VNODE_READY };
/* A file without names. It may still be open; or it is closed for good; or it was made without a
 * name, and may get one. */
enum shm_orphan { SHM_ORPHAN_NOT = 0, SHM_ORPHAN_OPEN, SHM_ORPHAN_CLOSED, SHM_ORPHAN_UNNAMED };

/* How many releases of its holds there were, ever. When as many have ended as begun, each such hold
 * is on the stack `released`, or was taken from it. The stack's links alone do not tell that. */
struct shm_let_go {
    /* Raised before the key is cleared, and after the hold is on the stack. */
    uint32_t begun, ended;
    /* Taken from the stack. Under the mutex. */
    uint32_t taken;
};

/* A file in use. The first line is all that a pin of a present page reads. */
struct shm_vnode {
    /* Page table, see src/mm/mm.h; 0: empty. */
    uint64_t root;
    /* 1: pins need no fence. */
    uint32_t bias;
    /* What an unpin has to do: SHM_WAITS, SHM_DETACHED, SHM_WATCHED, SHM_ASKED. */
    uint32_t waiters;
    /* Bytes. This is what counts; LMDB may not know it yet (dirty). */
    uint64_t size;
    uint64_t ino;
    /* enum shm_vnode_state. */
    uint32_t state;
    /* Under table_mutex. */
    uint32_t hash_next;
    /* Of this entry, in all its lives, so that a pin need not divide; else shm_vnode_number(). */
    uint64_t index;

    /* Under the mutex. */
    SHM_LINE struct shm_gate gates[SHM_GATES];
    /* Futex: raised when a gate opens. */
    uint32_t gate_seq;
    /* Futex: raised by unpins when waiters is set. */
    uint32_t drain_seq;
    /* Entries were cleared and no barrier was made since. */
    uint32_t zap_pending;
    /* A thread sleeps on gate_seq. Under the mutex. */
    uint32_t gate_waiters;
    /* Layout changes ever. Under the mutex. */
    uint64_t changes;
    /* The number of changes at the last look, and when that was: for slots_rebias(). */
    uint64_t looked_changes, looked_ns;
    /* Times a thread was let through a closed gate, ever. */
    uint64_t passed;
    /* Layout changes ever that close no gate: they may lie inside another one's. */
    uint64_t gateless;
    /* Raised when writes that were copying into the file were detached: they are made again. Under
     * the mutex. */
    uint64_t redo;
    /* With SHM_WAITS: pins outside these pages need not wake. */
    uint64_t wait_first, wait_last;

    /* Tree of holds by range. Under the mutex. They are the same, unless one is wrong. */
    uint32_t hold_root, hold_root_again;
    /* Stack of holds that were released and are still in the tree. */
    uint32_t released;
    /* 1: rebuild the tree from the table. */
    uint32_t holds_stale;
    /* List of detached holds. Under the mutex. */
    uint32_t detached;

    int64_t atime_ns, mtime_ns, ctime_ns;
    /* Size or times are newer than LMDB's. */
    uint32_t dirty;
    /* SHM_ORPHAN_*: nlink is 0. */
    uint32_t orphan;
    /* It owns nodes that its root does not lead to. */
    uint32_t stray_nodes;
    /* A transaction under way will give the inode this version, and this size. Version 0: none
     * is. */
    uint64_t pending_version;
    uint64_t pending_size;

    /* 1: lane marks may be missing, so looks read all lanes. Under the mutex. */
    uint32_t marks_unsure;
    /* A byte each, see shm_mark(). Not 0: a lane with this mark may have pins that were made
     * without the bias, and so many looks found none. Set by pins, cleared under the mutex. */
    SHM_LINE uint64_t marks[SHM_MARKS / 8];
    /* Keeps the size of an entry a power of two, which an unpin multiplies with. */
    uint64_t spare[24];

    /* The words from here on outlive the entry's use for one file. A thread that comes late to a
     * vnode that has gone finds a mutex, and under it another state. */
    uint64_t mutex_made;
    struct shm_let_go let_go;
    /* Uses for a file that have ended. */
    uint32_t lives;
    /* The layout mutex; robust. */
    struct shm_mutex mutex;
} SHM_LINE;
_Static_assert(sizeof(struct shm_vnode) == 1024, "an entry's size is a power of two");

static inline uint8_t *shm_mark(const struct shm_vnode *vnode, unsigned mark)
{
    return (uint8_t *)vnode->marks + mark;
}
/* An entry's number, which is its place: `index` may be wrong. */
static inline uint32_t shm_vnode_number(const struct shm *shm, const struct shm_vnode *vnode)
{
    return (uint32_t)(vnode - shm->vnodes);
}
/* An entry by its number in the segment, which may be wrong: then it is the first one. */
static inline struct shm_vnode *shm_vnode_at(const struct shm *shm, uint64_t number)
{
    return &shm->vnodes[number < shm->limits.vnodes ? number : 0];
}
/* The vnode that a key names: of a slot or hold that is taken, so neither 0 nor SHM_KEY_CLAIMED. Of
 * a wrong key it is the first one. */
static inline struct shm_vnode *shm_vnode_of_key(const struct shm *shm, uint64_t key)
{
    return shm_vnode_at(shm, (key & SHM_KEY_VNODE_MASK) - 1);
}
/* The same for the straight line, in one step less: of a wrong key it is something else in the
 * segment, only to be read. */
static inline const struct shm_vnode *shm_vnode_near_key(const struct shm_vnode *vnodes,
                                                         uint64_t key_mask, uint64_t key)
{
    return &vnodes[(int64_t)(key & key_mask) - 1];
}

/* The vnode of the inode, opened once more by this process; made (SHM_VNODE_NEW) if there is none.
 * -ENFILE: max_files are in use. Call dax_shrink(), and try again. */
int shm_vnode_get(struct shm *shm, uint64_t ino, struct shm_vnode **out);
/* *out: the vnode if there is one, else null; not opened: only to look at while nothing is waited
 * for. -EBUSY and the like: shm_lock(). */
int shm_vnode_find(struct shm *shm, uint64_t ino, struct shm_vnode **out);
/* Opened once less; true: no process has it open any more. */
bool shm_vnode_put(struct shm *shm, struct shm_vnode *vnode);
bool shm_vnode_is_open(const struct shm *shm, const struct shm_vnode *vnode);
/* ... by that process. */
bool shm_vnode_is_open_by(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process);
/* Frees the entry of a vnode that nobody has open, without holds and without nodes (or has them
 * freed first: see dax_shrink_vnode()). Called with the vnode's mutex and table_mutex held. */
void shm_vnode_free(struct shm *shm, struct shm_vnode *vnode);

#endif
