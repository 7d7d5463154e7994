/* SPDX-License-Identifier: MIT */
/*
 * The run segment: what the processes of a pool share while it is in use. All of it can be thrown
 * away: page tables are a cache of the extents, pins die with their processes, and file sizes that
 * LMDB does not know yet are in POOL/recent too (recent.c), where the next first attacher finds
 * them.
 *
 * Everything in it is an array of fixed entries; an entry's owner is in the entry's own state word,
 * taken and given back by one atomic store. So a process that is killed leaves no half-linked list:
 * what it owned is found by looking at the entries. What is linked (the hash of vnodes, the tree of
 * holds) is rebuilt from the entries when a robust mutex says that its owner died.
 *
 * Locks, outermost first; none is held while waiting for pins:
 *     vnode.mutex (two at once: lower index first)  >  table_mutex  >  space_mutex  >  grace_mutex
 *     >  barrier_mutex
 */
#ifndef HF_SHM_H
#define HF_SHM_H

#include "base/atomic.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SHM_SLOTS 32u /* a lane */
#define SHM_SIGNAL_SLOTS                                                                           \
    4u                   /* the last of them: for pins of a signal handler inside a library call */
#define SHM_RESERVED 32u /* runs of blocks a thread may have reserved at once */
#define SHM_GATES 4u     /* a file: layout changes under way at once, in disjoint ranges */
#define SHM_LINE __attribute__((aligned(64))) /* a cache line */
#define SHM_NONE UINT32_MAX                   /* no index */
#define SHM_NODE_ENTRIES 512u
#define SHM_GROUP_BLOCKS 512u /* blocks a space group: one huge entry */

#define SHM_KEY_VNODE_BITS 20u
#define SHM_KEY_VNODE_MASK ((UINT64_C(1) << SHM_KEY_VNODE_BITS) - 1)
#define SHM_KEY_CLAIMED SHM_KEY_VNODE_MASK /* a slot that a signal handler is about to fill */
#define SHM_MAX_FILES ((uint32_t)SHM_KEY_VNODE_MASK - 1)

/* A key says whose a slot or a hold is: generation, flags of the pin, vnode index + 1; 0: free. No
 * two pins in one word have the same key, short of 2^36 pins between them. */
#define SHM_KEY_FLAG_BITS 8u
#define SHM_KEY_STEP (UINT64_C(1) << (SHM_KEY_VNODE_BITS + SHM_KEY_FLAG_BITS))
#define SHM_KEY_FLAGS(key) ((uint32_t)((key) >> SHM_KEY_VNODE_BITS) & 0xff)

static inline uint64_t shm_key(uint64_t generation, uint32_t flags, uint32_t vnode)
{
    return generation + ((uint64_t)flags << SHM_KEY_VNODE_BITS) + vnode + 1;
}

/* Somebody else than a CPU touches the memory of a pin with these flags. */
#define SHM_FOR_DEVICE(flags) (((flags)&HF_PIN_GPU) != HF_PIN_CPU)

/* What a pin covers, file pages [first, last], and who asked. */
struct shm_range {
    uint64_t first, last;
    uint64_t who; /* thread id << 32 | HF_PIN_* */
};
/* Pages in a slot, in one word, since the numbers of pages have 32 bits: how many follow the first
 * << 32, and the first. Written before the key. */
#define SHM_PAGES(first, last) ((uint64_t)((last) - (first)) << 32 | (first))
#define SHM_PAGES_FIRST(pages) ((pages)&UINT32_MAX)
#define SHM_PAGES_LAST(pages) (SHM_PAGES_FIRST(pages) + ((pages) >> 32))
#define SHM_WHO(tid, flags) ((uint64_t)(tid) << 32 | (flags))
#define SHM_WHO_TID(who) ((uint32_t)((who) >> 32))
#define SHM_WHO_FLAGS(who) ((uint32_t)(who))

/* A run of blocks that is taken in the bitmap and not yet in LMDB, or the other way round. */
struct shm_run_of_blocks {
    uint64_t block, count; /* count 0: unused */
};

/* What a layout change waits for, for who looks for circles. Filled by its own thread, `number`
 * last. */
struct shm_wait {
    uint32_t number;    /* never used twice in a lane for long; 0: its thread does not wait */
    uint32_t cancelled; /* the wait of that number is to end; any thread of the process */
    uint32_t gate_lane; /* index + 1: at the gate of that lane's layout change; 0: for pins of */
    uint32_t vnode;     /* this file, */
    uint64_t first, last;
    uint64_t since_ns;
    uint32_t ends; /* 1: by a deadline that detaches, so no circle lasts */
    uint32_t used; /* numbers */
    /* For whom: the one that its thread acts for, and the name of that one's process. tid 0: for
     * itself. */
    uint32_t pid, tid;
    uint64_t command[2];
};

/* One thread's slots. Only that thread writes it, except that any thread clears a key to unpin,
 * and the reaper clears all of a dead process. */
struct shm_lane {
    uint32_t owner; /* process index + 1; 0: free */
    uint32_t tid;   /* 0: its thread has ended; another thread of the process may take it over */
    uint32_t
        hint; /* slot to try first; SHM_SLOTS: being taken, so a signal handler takes another */
    uint32_t counted;    /* pins of this thread that are counts; only the thread itself writes it */
    uint64_t generation; /* of the keys of its own slots */
    uint64_t signal_generation; /* of those of a signal handler's */
    uint64_t who;               /* tid << 32 */
    uint32_t
        slow_pins; /* live pins of this thread that are holds, less counts that another let go of */
    uint32_t fenced;      /* unbiased pins since one last looked whether the bias may come back */
    uint32_t wake_due;    /* dax_pin_page() has let a slot go while somebody waited */
    uint32_t calls_back;  /* its thread is in the callback of a recall */
    uint32_t sections[2]; /* how often this thread is in a read section; see sync/sections.h */
    SHM_LINE uint64_t keys[SHM_SLOTS + 8]; /* [SHM_SLOTS] is never free: where a busy hint leads */
    uint64_t pages[SHM_SLOTS];             /* SHM_PAGES() */
    struct shm_run_of_blocks reserved[SHM_RESERVED]; /* under space_mutex */
    struct shm_wait wait;
    uint32_t served; /* of slow_pins, leases with a callback; rather too low than too high */
    /* Of slow_pins, of served: leases that another process has taken. Under table_mutex. */
    uint32_t given, given_served;
    uint32_t residue; /* 1: its reserved runs are those of a dead owner before */
} SHM_LINE;

/* The owner of a lane whose process is dead and which still has reserved runs: fs frees those under
 * space_mutex, then swaps in 0. Where no lane is free, a living thread takes such a one with its
 * runs (residue). */
#define SHM_LANE_RESIDUE UINT32_MAX

/* The range of a layout change under way. New pins wait at it; pages in it get no entries. */
struct shm_gate {
    uint64_t first, last;
    uint32_t lane;    /* of its owner, index + 1; 0: this gate is open */
    uint32_t process; /* of its owner */
    uint32_t
        life; /* the process entry's, so that a dead owner is known after its entry is reused */
    uint32_t waits; /* 1: its owner waits for pins */
};

#define SHM_WAITS 1u    /* a layout change waits for pins: wake it */
#define SHM_DETACHED 2u /* detached blocks may lose their last holder: have them collected */
#define SHM_WATCHED 4u  /* some process wants to be told what changes; see shm_report() */
#define SHM_ASKED 8u    /* and one before it changes, to write back what it has stored itself */

enum shm_vnode_state { SHM_VNODE_FREE = 0, SHM_VNODE_NEW, SHM_VNODE_READY };
/* Without names: perhaps still open, or not any more, and nobody may open it again. */
enum shm_orphan { SHM_ORPHAN_OPEN = 1, SHM_ORPHAN_CLOSED };

/* A file in use. The first line is all that a pin of a present page reads. */
struct shm_vnode {
    uint64_t root;    /* page table, see src/mm/mm.h; 0: empty */
    uint32_t bias;    /* 1: pins need no fence */
    uint32_t waiters; /* what an unpin has to do: SHM_WAITS, SHM_DETACHED, SHM_WATCHED, SHM_ASKED */
    uint64_t size;    /* bytes; what counts, LMDB may lag behind (dirty) */
    uint64_t ino;
    uint32_t state;     /* enum shm_vnode_state */
    uint32_t hash_next; /* under table_mutex */
    uint64_t index;     /* of this entry, in all its lives, so that a pin need not divide */

    SHM_LINE struct shm_gate gates[SHM_GATES]; /* under the mutex */
    uint32_t gate_seq;                         /* futex: raised when a gate opens */
    uint32_t drain_seq;                        /* futex: raised by unpins when waiters is set */
    uint32_t zap_pending;               /* entries were cleared and no barrier was made since */
    uint32_t gate_waiters;              /* somebody sleeps on gate_seq. Under the mutex */
    uint64_t changes;                   /* layout changes ever; under the mutex */
    uint64_t looked_changes, looked_ns; /* what it was and since when: for slots_rebias() */
    uint64_t passed;                    /* times somebody was let through a closed gate, ever */
    uint64_t wait_first, wait_last;     /* with SHM_WAITS: pins outside these pages need not wake */

    uint32_t hold_root;   /* tree of holds by range; under the mutex */
    uint32_t released;    /* stack of holds that were let go and are still in the tree */
    uint32_t holds_stale; /* 1: rebuild the tree from the table */
    uint32_t detached;    /* list of detached holds; under the mutex */

    int64_t atime_ns, mtime_ns, ctime_ns;
    uint32_t dirty;           /* size or times are newer than LMDB's */
    uint32_t orphan;          /* SHM_ORPHAN_*: nlink is 0 */
    uint32_t stray_nodes;     /* it owns nodes that its root does not lead to */
    uint64_t pending_version; /* a transaction under way will give the inode this version, */
    uint64_t pending_size;    /* and this size (0 in pending_version: none) */

    /* What follows outlives the entry's use for one file: who comes late to a vnode that has gone
     * finds a mutex, and under it another state. */
    uint64_t mutex_made;
    pthread_mutex_t mutex; /* the layout mutex; robust */
} SHM_LINE;

enum shm_hold_kind {
    SHM_HOLD_FREE = 0,
    SHM_HOLD_TAKEN, /* being filled */
    SHM_HOLD_PIN,   /* a pin beyond a lane's slots */
    SHM_HOLD_LEASE, /* a lease */
    /* A lease that its owner offers to others; see take_given() in src/dax/lease.c. */
    SHM_HOLD_GIVEN,
    SHM_HOLD_DEAD,     /* any of these, whose process died */
    SHM_HOLD_DETACHED, /* a run of blocks that left its file while `holder` held it */
};
/* A hold's kind and its owner (process index + 1) in one word, so that both change at once. */
#define SHM_HOLD_STATE(kind, owner) ((uint32_t)(owner) << 8 | (uint32_t)(kind))
#define SHM_HOLD_KIND(state) ((state)&0xff)
#define SHM_HOLD_OWNER(state) ((state) >> 8)
static inline bool shm_hold_holds(uint32_t state)
{
    uint32_t kind = SHM_HOLD_KIND(state);

    return kind == SHM_HOLD_PIN || kind == SHM_HOLD_LEASE || kind == SHM_HOLD_GIVEN;
}

/* What a layout change wants of the holder of a lease. */
struct shm_want {
    uint64_t change; /* its id; 0: nobody has wanted anything yet */
    uint64_t first, last, deadline_ns;
    uint32_t why;   /* enum hf_change_kind */
    uint32_t state; /* enum hf_lease_state: what the lease is by it */
};

/* What the holder of a lease is told. Under the layout mutex, but for `state`. A want is written
 * beside the one that counts, then `asked` says that it counts, then `state` is raised: a process
 * that is killed in between leaves a whole want, and who gets the mutex from it does the rest
 * (recall_recover()). */
#define SHM_ASKED_WHICH 1u   /* the want that counts */
#define SHM_ASKED_PENDING 2u /* it has not been told yet */
struct shm_recall {
    uint32_t state;  /* enum hf_lease_state */
    uint32_t served; /* a callback will release it, whatever its thread waits for */
    uint32_t asked;
    struct shm_want wants[2]; /* DETACHED: the first is what `holder` is told, if it is a lease */
};

struct shm_hold {
    uint64_t key; /* as a slot's, while it is live */
    uint64_t generation;
    uint32_t state; /* SHM_HOLD_STATE() */
    struct shm_range range;
    uint64_t since_ns;
    uint64_t off, len;    /* of a lease, bytes */
    uint64_t max_last;    /* of the subtree */
    uint32_t left, right; /* tree */
    uint32_t lane;        /* whose slow_pins counts it */
    uint32_t vnode;
    uint64_t holder,
        holder_key; /* DETACHED: offset of the key word in the segment, and its value */
    uint64_t block; /* DETACHED: where range.first lies */
    uint32_t link;  /* of the released and the detached list */
    struct shm_recall recall;
};

enum shm_process_state { SHM_PROCESS_FREE = 0, SHM_PROCESS_LIVE, SHM_PROCESS_DEAD };

#define SHM_RECALLS 32u

struct shm_process {
    uint32_t state;
    uint32_t pid; /* as the process itself sees it, in the pid namespace */
    uint64_t pid_namespace;
    uint32_t life;       /* raised each time the entry is taken */
    uint32_t recall_seq; /* futex: raised when a lease of it is recalled */
    /* The lane, index + 1, whose thread is in the callback of a recall; 0: none is. */
    uint32_t calls_back;
    uint64_t died_ns;
    uint32_t quarantined; /* of the dead: only what is in quarantine is left of it */
    char command[16];
    /* Holds, index + 1, with a recall to be told; any process fills a 0. Too many: all are to be
     * looked at. */
    uint32_t recalls[SHM_RECALLS];
    uint32_t recalls_more;
} SHM_LINE;

/* What has changed, told to a process that watches: ticket << 32 | first page, last page, vnode.
 * Each word says whose it is, since nobody waits for a writer that is late, or dead. */
#define SHM_REPORTS 1024u
struct shm_report {
    uint64_t words[3];
};

/* The reports for a process, and how far it is with them. */
struct shm_watcher {
    uint64_t reported;   /* tickets given; more than SHM_REPORTS above `taken`: some are lost */
    uint32_t report_seq; /* futex of the watcher: raised when a report has been written */
    uint32_t came_back;  /* futex of who waits for it: raised when it asks for the next report */
    uint32_t
        late; /* came_back + 1 when somebody gave up waiting: nobody waits till it comes back */
    SHM_LINE uint64_t taken; /* only the process itself writes this, */
    uint64_t dealt_with;     /* and this, `taken` when it last came back, */
    uint64_t looked_ns;      /* and this: when it looked who has died */
    struct shm_report reports[SHM_REPORTS];
} SHM_LINE;

#define SHM_WAIT_BUCKETS 40
struct shm_stats {
    uint64_t pins_slow, faults, gate_waits, changes, barriers, drains_waited, detaches, timeouts,
        reaped, recalls, deadlocks, wait_ns_total, wait_ns_max, wait_log2_ns[SHM_WAIT_BUCKETS];
};

/* What the processes tell each other of the records (src/meta). */
struct shm_records {
    uint64_t
        under_way; /* the transaction that is being committed, or whose commit has not ended well */
    uint32_t refused; /* LMDB found its file senseless: nobody may use it any more */
};

struct shm_limits {
    uint32_t processes, lanes, vnodes, holds;
    uint64_t counts;       /* blocks that have a count of pins: all that there can be, or none */
    uint64_t nodes;        /* page-table nodes */
    uint64_t limit_blocks; /* blocks the pool can grow to */
};

/* A lease is changing hands: under table_mutex, whose next owner completes it when this one
 * dies. */
struct shm_handing {
    uint32_t hold;                /* index + 1; 0: none is */
    uint32_t state;               /* that it has as long as it is offered */
    uint32_t lane;                /* of the giver */
    uint32_t given, given_served; /* of that lane, afterwards */
};

struct shm_run {
    uint64_t magic;
    uint32_t version; /* of this layout */
    uint32_t ready;
    uint8_t uuid[16], boot[16];
    uint64_t lock_dev, lock_ino;     /* POOL/lock */
    uint64_t recent_dev, recent_ino; /* POOL/recent; 0: the pool is used without one */
    struct shm_limits limits;
    uint64_t bytes; /* of the segment */
    uint64_t at_processes, at_lanes, at_vnodes, at_hash, at_open, at_watches, at_watchers, at_holds,
        at_owners, at_nodes, at_groups, at_bits, at_counts; /* offsets of the tables */
    uint32_t hash_mask;
    uint32_t processes;   /* attached */
    uint32_t lanes_used;  /* lanes below this index have been in use */
    uint32_t fences_only; /* some process has no membarrier: no file is ever biased */
    uint64_t pool_blocks; /* grows */
    pthread_mutex_t table_mutex, space_mutex, barrier_mutex;
    uint64_t barriers_begun, barriers_done; /* numbers of heavy barriers; under barrier_mutex */
    pthread_mutex_t grace_mutex; /* of who waits for read sections; see sync/sections.h */
    uint32_t grace_index;        /* srcu: of the sections that begin now */
    uint32_t grace_writer; /* percpu-rwsem: readers have to wait for this process, index + 1 */
    uint32_t node_hint, hold_hint, vnode_hint;
    uint32_t nodes_high, vnodes_high, holds_high; /* entries below this index have been in use */
    uint32_t collect;                             /* a detached run may have lost its last holder */
    uint32_t capable; /* some file may have capabilities, which go when its content changes */
    uint64_t nodes_used, holds_used, vnodes_used;
    uint64_t change_ids; /* of layout changes */
    /* Where those of holds begin: a token of an earlier segment names none of this. */
    uint64_t hold_generations;
    uint64_t quarantine_ns;
    uint64_t quarantine_ends_ns; /* of the first one that ends; 0: there is none */
    /* All processes had died, some with devices that may still write: until ghost_ends_ns whatever
     * leaves a file is detached, with ghost_key, which is 1 until then, as its holder. */
    uint64_t ghost_key, ghost_ends_ns;
    uint32_t ghost_gone; /* detached records of before may have nobody to free them */
    /* space, under space_mutex (src/fs/space.c) */
    uint64_t free_blocks, detached_blocks, fresh_block, fresh_saved, first_free_group;
    uint32_t
        space_stale; /* the bitmap is to be made anew: its last owner died, or failed at that */
    struct shm_records records; /* under space_mutex, but that anybody may refuse them */
    struct shm_handing handing; /* under table_mutex */
    struct shm_stats stats;
    char engine[24];
    char pool_dir[4096]; /* where the pool was when this was made */
};

/* ---- POOL/recent: sizes and times that LMDB does not know yet (recent.c) ---- */

struct shm_recent_header {
    uint64_t magic;
    uint32_t entry_bytes, count;
    uint8_t uuid[16];
    uint8_t boot[16];   /* of the last first attacher, */
    int64_t started_ns; /* when its machine was started, by the wall clock, */
    int64_t up_ns;      /* and how long before it attached */
    uint32_t in_use;    /* 1: not closed in good order */
    uint32_t high;      /* entries below this index may say something */
};

/* While LMDB's record of `ino` has `version`, the file has this size and these times. */
struct shm_recent {
    uint64_t ino, version, size; /* ino 0: nothing */
    int64_t atime_ns, mtime_ns, ctime_ns;
    uint64_t zero[2];
};

struct shm_recent_map {
    struct shm_recent_header *header; /* null: not mapped */
    struct shm_recent *entries;
    uint64_t bytes;
    uint64_t dev, ino;
    bool in_memory; /* on a tmpfs, so it has not seen another start of the machine */
};

#define SHM_ID_OF_PARENT UINT64_MAX

/* This process's view of a segment. */
struct shm {
    uint64_t id; /* never used twice in a process; SHM_ID_OF_PARENT in a forked child */
    uint32_t fork_count;
    uint32_t self; /* process index */
    struct shm_run *run;
    struct shm_vnode *vnodes;
    struct shm_lane *lanes;
    struct shm_process *processes;
    struct shm_hold *holds;
    uint64_t *open;               /* a bit a process, vnode by vnode; see shm_vnode_open() */
    uint64_t *watches;            /* likewise, who wants reports */
    uint64_t *asks;               /* likewise: those that want to be told before a change too */
    struct shm_watcher *watchers; /* of the processes */
    uint32_t open_words;
    uint32_t *hash;
    uint32_t *owners; /* of nodes: vnode index + 1; 0: free */
    uint64_t (*nodes)[SHM_NODE_ENTRIES];
    uint16_t *group_free;    /* free blocks a space group */
    uint64_t *block_bits;    /* 1: taken */
    uint32_t *counts;        /* of pins, a block; null: pins are slots. See sync/counts.h */
    uint32_t *local_opens;   /* handles of this process, a vnode */
    uint32_t *local_watches; /* those of them that watch, */
    uint32_t *local_asks;    /* and those that want to be told before */
    int lock_fd;
    dev_t lock_dev; /* of the file that lock_fd is, */
    ino_t lock_ino; /* as long as nobody closes it under us */
    int run_fd;     /* the segment's file, locked as long as we use it */
    struct shm_recent_map recent;
    pthread_mutex_t lane_mutex; /* this process's taking and ending of lanes */
    struct shm *next;           /* of this process's segments */
    char run_path[4104];        /* "" when nobody else can attach */
};

/* ---- attach (attach.c) ---- */

struct shm_attach {
    int lock_fd;
    bool first; /* we are alone and hold the pool exclusively until shm_attach_done() */
    bool anonymous;
    char pool_dir[4096];
};

/* Takes the attach lock, for a moment or (first) until the segment stands; waits while another
 * first attacher works. `exclusive`: only as the first (fsck), else -EBUSY. -ENOENT: no
 * POOL/lock. */
int shm_attach_begin(const char *pool_dir, bool exclusive, struct shm_attach *at);
void shm_attach_cancel(struct shm_attach *at);
/* Empties the record of where the segment is, POOL/segment, and has room on the medium for it. For
 * a new pool. */
int shm_run_unnamed(const char *pool_dir, int lock_fd);

/* First attacher: tells the sizes and times that an earlier segment of this boot knew better than
 * LMDB. */
struct shm_adopted {
    uint64_t ino, size;
    int64_t atime_ns, mtime_ns, ctime_ns;
    uint64_t pending_version, pending_size;
};
int shm_adopt(struct shm_attach *at, const uint8_t uuid[16],
              int (*each)(void *arg, const struct shm_adopted *file), void *arg);

/* First attacher: until when devices may still write for processes of an earlier segment of this
 * boot; 0: for none. *known: there is one. */
uint64_t shm_ghosts(struct shm_attach *at, const uint8_t uuid[16], bool *known);

/* First attacher: what under_way says in an earlier segment of this boot; 0: there is none. */
uint64_t shm_under_way(struct shm_attach *at, const uint8_t uuid[16]);

/* First attacher: makes a new segment (with `engine`), mapped but not yet ready for others. */
int shm_build(struct shm_attach *at, const uint8_t uuid[16], mode_t mode, const char *engine,
              const struct shm_limits *limits, struct shm **out);
/* Others: maps the segment that stands. -EAGAIN: its first attacher died; begin again. -EBUSY:
 * others use one that cannot be reached from here. */
int shm_map(struct shm_attach *at, const uint8_t uuid[16], struct shm **out);
/* Takes a process entry and lets others in. needs_barrier: not without sys_membarrier. -EBUSY: none
 * is free. On failure the shm is unmapped. */
int shm_attach_done(struct shm_attach *at, struct shm *shm, bool needs_barrier);
/* Instead of that: unmaps what shm_build() or shm_map() gave. */
void shm_attach_undo(struct shm *shm);

/* -ENOENT: there is none; -EUCLEAN: it is another pool's, or damaged. Others: it cannot be
 * opened. */
int shm_recent_map(const char *dir, const uint8_t uuid[16], uint32_t count,
                   struct shm_recent_map *out);
void shm_recent_unmap(struct shm_recent_map *map);
/* Makes it, or makes it again, alone with the pool. */
int shm_recent_make(const char *dir, const uint8_t uuid[16], uint32_t count, mode_t mode);
/* A copy may have holes. Where they cannot be filled, the file is removed. */
int shm_recent_allocate(const char *dir, uint32_t count);
/* True: the machine has not been started again since the last first attacher; false: it cannot be
 * known. */
bool shm_recent_same_start(const struct shm_recent_map *map);
/* Until each() returns another value than 0, which is returned. */
int shm_recent_each(const struct shm_recent_map *map,
                    int (*each)(void *arg, const struct shm_recent *entry), void *arg);
void shm_recent_clear(const struct shm_recent_map *map);
/* First attacher: takes the map over for the new segment, emptied. */
void shm_recent_begin(struct shm *shm, const struct shm_recent_map *map);
int shm_recent_join(struct shm *shm, const char *dir);
/* Last to detach, when LMDB knows everything. */
void shm_recent_end(struct shm *shm);

/* Under the layout mutex of the vnode, but for touch. A size: before the vnode's own. */
void shm_recent_size(const struct shm *shm, const struct shm_vnode *vnode, uint64_t size);
void shm_recent_touch(const struct shm *shm, const struct shm_vnode *vnode, int64_t now_ns);
/* LMDB has that version of the inode, with this size and the vnode's times. */
void shm_recent_put(const struct shm *shm, const struct shm_vnode *vnode, uint64_t size,
                    uint64_t version);
void shm_recent_drop(const struct shm *shm, const struct shm_vnode *vnode);

/* True when no other process is attached; the segment is then ours until shm_detach(). Others that
 * come wait. */
bool shm_detach_last(struct shm *shm);
/* Leaves; removes the segment when shm_detach_last() said true. */
void shm_detach(struct shm *shm, bool last);
void shm_in_child(void); /* of a fork: closes what would keep the parent looking alive */

/* ---- locks ---- */

int shm_mutex_init(pthread_mutex_t *mutex);
/* True: its owner died in it; mend what it protects. */
bool shm_lock(pthread_mutex_t *mutex);
/* False: somebody has it. *died: as shm_lock() says. */
bool shm_lock_now(pthread_mutex_t *mutex, bool *died);
/* After shm_lock() said true and the damage is mended. */
void shm_lock_mended(pthread_mutex_t *mutex);
void shm_unlock(pthread_mutex_t *mutex);
/* table_mutex, with the hash rebuilt when its owner died. */
void shm_lock_table(struct shm *shm);
void shm_unlock_table(struct shm *shm);

/* ---- lanes (lane.c) ---- */

struct shm_lane_of_thread {
    const struct shm *shm; /* null: the segment has gone */
    struct shm_lane *lane;
};
#define SHM_LANES_CACHED 4u
#define SHM_HIDDEN __attribute__((visibility("hidden")))
extern SHM_HIDDEN _Thread_local const struct shm_lane_of_thread *shm_my_lanes[SHM_LANES_CACHED];
/* The one used last: one word, so that a signal handler changes all of it or nothing. */
extern SHM_HIDDEN _Thread_local const struct shm_lane_of_thread *shm_last_lane;

struct shm_lane *shm_lane_slow(struct shm *shm);

/* This thread's lane when it is at hand, else null: shm_lane(). Async-signal-safe. */
static inline struct shm_lane *shm_lane_fast(const struct shm *shm)
{
    const struct shm_lane_of_thread *mine = shm_my_lanes[shm->id % SHM_LANES_CACHED];

    return mine && mine->shm == shm ? mine->lane : NULL;
}
/* Makes what shm_lane_fast() has found the last. Async-signal-safe. */
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
/* -ENOLCK, with the sentence for it: max_threads, max_leases are taken. */
int shm_no_lane(const struct shm *shm);
int shm_no_hold(const struct shm *shm);
/* Live pins of this thread, slots and holds. */
unsigned shm_lane_pins(const struct shm_lane *lane);
/* Of them, leases with a callback. */
unsigned shm_lane_served(const struct shm_lane *lane);
/* A lease that is offered becomes this process's, counted in `lane`. Under table_mutex. False: it
 * was not in state `was`. */
bool shm_hand_over(struct shm *shm, struct shm_hold *hold, uint32_t was, struct shm_lane *lane);
/* Completes what a process that died in shm_hand_over() had begun. Under table_mutex. */
void shm_handing_mend(struct shm *shm);
/* Live pins of this process, in all its lanes and holds. */
uint64_t shm_process_pins(const struct shm *shm);

/* ---- death (reap.c) ---- */

bool shm_process_alive(struct shm *shm, uint32_t process);
/* A dead process that a device may still be writing for: its pins and leases for devices keep their
 * blocks off the free list for run->quarantine_ns. */
static inline bool shm_process_quarantined(const struct shm *shm, uint32_t process)
{
    return hf_load_acquire(&shm->processes[process].state) == SHM_PROCESS_DEAD;
}

/* It is stopped by a signal or a tracer; false also where it cannot be known. */
bool shm_process_stopped(const struct shm *shm, uint32_t process);

/* Looks at every process entry; drops what the dead held and wakes who waited for it. Lanes with
 * blocks reserved become SHM_LANE_RESIDUE, for fs. Returns how many processes were found dead.
 * Called with no vnode mutex held. */
unsigned shm_reap(struct shm *shm);

/* ---- vnodes (vnode.c) ---- */

/* The vnode of the inode, opened once more by this process; made (SHM_VNODE_NEW) if there is none.
 * -ENFILE: max_files are in use: dax_shrink(), and try again. */
int shm_vnode_get(struct shm *shm, uint64_t ino, struct shm_vnode **out);
/* The vnode if there is one, not opened: only to look at while nothing is waited for. */
struct shm_vnode *shm_vnode_find(struct shm *shm, uint64_t ino);
/* Opened once less; true: no process has it open any more. */
bool shm_vnode_put(struct shm *shm, struct shm_vnode *vnode);
bool shm_vnode_is_open(const struct shm *shm, const struct shm_vnode *vnode);
/* ... by that process. */
bool shm_vnode_is_open_by(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process);
/* Frees the entry of a vnode that nobody has open, without holds and without nodes (or has them
 * freed first: see dax_forget()). Called with the vnode's mutex and table_mutex held. */
void shm_vnode_free(struct shm *shm, struct shm_vnode *vnode);

/* ---- watching (watch.c) ---- */

/* One handle of this process more, or less, that watches the vnode. Sets SHM_WATCHED to what holds.
 * True: this process did not watch it before. Under the vnode's mutex. */
bool shm_watch(struct shm *shm, struct shm_vnode *vnode, int change);
/* Likewise one that wants to be told before a change too: SHM_ASKED. */
void shm_ask(struct shm *shm, struct shm_vnode *vnode, int change);
/* Clears SHM_WATCHED and SHM_ASKED if those for which they are set have died. Under the vnode's
 * mutex. */
void shm_watch_settle(struct shm *shm, struct shm_vnode *vnode);
bool shm_watches(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process);
/* The first process from `process` on that watches it, or wants to be told before; SHM_NONE. */
uint32_t shm_watcher_from(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process);
uint32_t shm_asker_from(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process);
/* Tells a process that pages [first, last] (UINT64_MAX: to the end and beyond) have changed. */
void shm_report_to(struct shm *shm, uint32_t process, const struct shm_vnode *vnode, uint64_t first,
                   uint64_t last);
/* Tells who watches the vnode, but for process `by`, that pages [first, last] (UINT64_MAX: to the
 * end and beyond) have changed. Async-signal-safe, takes no lock. */
void shm_report(struct shm *shm, const struct shm_vnode *vnode, uint64_t first, uint64_t last,
                uint32_t by);

enum shm_reports { SHM_REPORT_NONE, SHM_REPORT_ONE, SHM_REPORT_LOST, SHM_REPORT_LATE };
/* Takes this process's next report. LATE: its writer is about to write it, or has died. LOST: also
 * when `late` says that such a one need not be waited for any longer. */
enum shm_reports shm_report_take(struct shm *shm, bool late, uint32_t *vnode, uint64_t *first,
                                 uint64_t *last);

/* ---- arenas ---- */

/* A page-table node, zeroed, owned by the vnode; SHM_NONE: all are in use. */
uint32_t shm_node_alloc(struct shm *shm, uint32_t vnode);
void shm_node_free(struct shm *shm, uint32_t node);
uint32_t shm_hold_alloc(struct shm *shm);
/* How many there are, without those that were let go of and only wait for somebody to free them. */
uint32_t shm_holds_in_use(const struct shm *shm);
void shm_hold_free(struct shm *shm, uint32_t hold);

#endif
