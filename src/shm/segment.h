/* SPDX-License-Identifier: MIT */
/*
 * The head of the run segment, this process's view of the whole, and attaching to it (attach.c,
 * segment.c, run_file.c). What the tables hold is in the other headers.
 */
#ifndef HF_SHM_SEGMENT_H
#define HF_SHM_SEGMENT_H

#include "base/atomic.h"
#include "shm/lock.h"
#include "shm/recent.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SHM_NODE_ENTRIES 512u
/* Blocks a space group: one huge entry. */
#define SHM_GROUP_BLOCKS 512u
/* Of a group, a bit of group_backed. */
#define SHM_BACKED_BLOCKS 64u

#define SHM_WAIT_BUCKETS 40
struct shm_stats {
    uint64_t pins_slow, faults, gate_waits, changes, barriers, drains_waited, detaches, reaped,
        recalls, wait_ns_total, wait_ns_max, wait_log2_ns[SHM_WAIT_BUCKETS];
    /* Layout changes that gave up, by reason. */
    uint64_t timed_out, busy, cancelled, own_pins, deadlocks;
};

/* Words by which the processes tell each other of the records (src/meta). */
struct shm_records {
    /* The transaction that is being committed, or that failed in its commit. */
    uint64_t under_way;
    /* LMDB found its file senseless: nobody may use it any more. */
    uint32_t refused;
    /* The last page of the file when a writer last looked for old snapshots. The oldest snapshot,
     * and the last page when it was first seen. Under space_mutex. */
    uint64_t looked_pages;
    uint64_t held_txn, held_pages;
    /* The records of this transaction, and of all after it, have no intent (meta/intent.c); 0: not
     * known. Under space_mutex, but anybody may read it. */
    uint64_t no_intents_from;
};

struct shm_limits {
    uint32_t processes, lanes, vnodes, holds;
    /* Blocks that have a count of pins: as many as the pool can have, or none. */
    uint64_t counts;
    /* Page-table nodes. */
    uint64_t nodes;
    /* Blocks the pool can grow to. */
    uint64_t limit_blocks;
};

/* A lease is changing hands. Under table_mutex: when its owner dies, the next one completes
 * this. */
struct shm_handing {
    /* Index + 1; 0: none is. */
    uint32_t hold;
    /* That it has as long as it is offered. */
    uint32_t state;
    /* The giver's, and what its counts are afterwards. */
    uint32_t lane;
    uint32_t given, given_served;
};

struct shm_run {
    uint64_t magic;
    /* Of this layout. */
    uint32_t version;
    uint32_t ready;
    uint8_t uuid[16], boot[16];
    /* Of all processes (namespaces.c); 0: not known. */
    uint64_t pid_namespace, time_namespace;
    /* POOL/lock. */
    uint64_t lock_dev, lock_ino;
    /* POOL/recent; 0: the pool is used without one. */
    uint64_t recent_dev, recent_ino;
    struct shm_limits limits;
    /* Of the segment. */
    uint64_t bytes;
    /* Offsets of the tables. */
    uint64_t at_processes, at_lanes, at_vnodes, at_hash, at_open, at_watches, at_watchers, at_holds,
        at_owners, at_nodes, at_groups, at_backed, at_bits, at_counts;
    uint32_t hash_mask;
    /* Attached. */
    uint32_t processes;
    /* Lanes below this index have been in use. */
    uint32_t lanes_used;
    /* Some process has no membarrier: no file is ever biased. */
    uint32_t fences_only;
    /* Grows. */
    uint64_t pool_blocks;
    struct shm_mutex table_mutex, space_mutex, barrier_mutex;
    /* Numbers of heavy barriers; under barrier_mutex. */
    uint64_t barriers_begun, barriers_done;
    /* Of a thread that waits for read sections; see sync/sections.h. */
    struct shm_mutex grace_mutex;
    /* srcu: of the sections that begin now. */
    uint32_t grace_index;
    /* percpu-rwsem: readers have to wait for this process, index + 1. */
    uint32_t grace_writer;
    uint32_t node_hint, hold_hint, vnode_hint;
    /* Entries below this index have been in use. */
    uint32_t nodes_high, vnodes_high, holds_high;
    /* Entries below this index have memory (reserve.c). */
    uint32_t lanes_reserved, vnodes_reserved, holds_reserved, nodes_reserved;
    /* A detached run may have lost its last holder. */
    uint32_t reclaim;
    /* There may be puts that nobody will commit (src/fs/put.c). */
    uint32_t puts_left;
    /* Some file may have capabilities, which go when its content changes. */
    uint32_t capable;
    uint64_t nodes_used, holds_used, vnodes_used;
    /* Where the generations of holds begin, so that a token of an earlier segment names no hold of
     * this one. */
    uint64_t hold_generations;
    uint64_t quarantine_ns;
    /* Of the first one that ends; 0: there is none. */
    uint64_t quarantine_ends_ns;
    /* Leases in quarantine whose owners live, or did when they gave them up; rather too high. */
    uint32_t given_up;
    /* All processes had died, some with devices that may still write. Until ghost_ends_ns all
     * blocks that leave a file are detached. Their holder is ghost_key, which is 1 until then. */
    uint64_t ghost_key, ghost_ends_ns;
    /* Detached records of before may have nobody to free them. */
    uint32_t ghost_gone;
    /* Space, under space_mutex (src/fs/bitmap.c). */
    uint64_t free_blocks, fresh_block, fresh_saved, first_free_group;
    /* A process shrinks the pool, index + 1 in the upper half: groups from the lower half on are
     * not given out. 0: none does. Set under space_mutex; it goes with its process. */
    uint64_t shrink_to;
    /* Raised before memory past the pool's end is cut off, and before a smaller size is recorded.
     * So a process that grows the pool sees what came between its two steps. Under space_mutex. */
    uint64_t tail_changes;
    /* A group whose blocks are given out last, since it is being emptied, + 1; 0: there is none.
     * Under space_mutex. A process that is killed leaves it, which does no harm (fs/gather.c). */
    uint64_t gathered;
    /* Blocks that detached records alone name; that more than one extent names; and how many more
     * there would be if each extent had its own. */
    uint64_t detached_blocks, shared_blocks, saved_blocks;
    /* The super record says that memory of the pool was given back. */
    uint32_t trimmed;
    /* Free memory above this is given back by itself; 0: none is. Never changes. */
    uint64_t trim_above_blocks;
    /* Blocks came free, or got memory, since a thread last looked whether that is above. */
    uint32_t trim_look;
    /* How often all of a group became free, under space_mutex. A trim that found too little to give
     * back has stored what that number was before it, and one more (src/fs/trim.c). */
    uint64_t groups_freed, trim_tried;
    /* The bitmap has to be made again: its last owner died, or failed at that. */
    uint32_t space_stale;
    /* 1: the pool is durable. A process that attaches opens LMDB as this says, and then has it from
     * the super record. Never changes. */
    uint32_t durable;
    /* Under space_mutex, but anybody may refuse them. */
    struct shm_records records;
    /* Around LMDB's own mutex of its readers' table, for which LMDB waits without a bound. */
    struct shm_mutex readers_mutex;
    /* Under table_mutex. */
    struct shm_handing handing;
    struct shm_stats stats;
    char engine[24];
    /* Where the pool was when this was made. */
    char pool_dir[4096];
};

#define SHM_ID_OF_PARENT UINT64_MAX

/* This process's view of a segment. */
struct shm {
    /* Never used twice in a process; SHM_ID_OF_PARENT in a forked child. */
    uint64_t id;
    uint32_t fork_count;
    /* Process index. */
    uint32_t self;
    /* A thread looks a while for a mutex before it sleeps: nobody holds one in a sync. */
    bool spins;
    struct shm_run *run;
    /* The limits as they were checked: those in the segment may have become wrong since. */
    struct shm_limits limits;
    uint64_t bytes;
    uint32_t hash_mask;
    /* Cut a key's number of a vnode, and a word that leads to a node, to what there is room for. */
    uint32_t key_mask;
    uint64_t node_mask;
    uint64_t (*nodes)[SHM_NODE_ENTRIES]; /* beside its mask, for the walk */
    struct shm_vnode *vnodes;
    struct shm_lane *lanes;
    struct shm_process *processes;
    struct shm_hold *holds;
    /* A bit a process, vnode by vnode; see shm_vnode_is_open(). */
    uint64_t *open;
    /* Likewise: the processes that want reports. */
    uint64_t *watches;
    /* Likewise: those that want to be told before a change too. */
    uint64_t *asks;
    /* Of the processes. */
    struct shm_watcher *watchers;
    uint32_t open_words;
    uint32_t *hash;
    /* Of nodes: vnode index + 1; 0: free. */
    uint32_t *owners;
    /* Free blocks a space group. */
    uint16_t *group_free;
    /* A bit for each SHM_BACKED_BLOCKS of a group: these have memory. Under space_mutex. */
    uint8_t *group_backed;
    /* 1: taken. */
    uint64_t *block_bits;
    /* Of pins, a block; null: pins are slots. See sync/counts.h. */
    uint32_t *counts;
    /* Handles of this process, a vnode; those of them that watch; and those that want to be told
     * before. One mapping, since few of the pages are ever touched. */
    uint32_t *local_opens;
    uint32_t *local_watches;
    uint32_t *local_asks;
    int lock_fd;
    /* Of the file that lock_fd is, as long as nobody closes it under us. */
    dev_t lock_dev;
    ino_t lock_ino;
    /* The segment's file. */
    int run_fd;
    /* The locks that this process holds as long as it lives (life.c): its byte of POOL/lock, and
     * the segment's file, shared. While it leaves as the last one, also POOL/lock alone. */
    void *life;
    void *run_life;
    void *leaving;
    struct shm_recent_map recent;
    /* This process's taking and ending of lanes. */
    pthread_mutex_t lane_mutex;
    /* The counts of this process's handles, and its bits in open, watches and asks. */
    pthread_mutex_t handles_mutex;
    /* What looks have seen in lanes (sync/look.c); null: nothing yet. */
    void *seen;
    /* Of this process's segments. */
    struct shm *next;
    /* "" when nobody else can attach. */
    char run_path[4104];
};

/* Another process may have made the mark wrong. It never leads past the end of its table. */
static inline uint32_t shm_below(const uint32_t *mark, uint64_t limit)
{
    uint32_t high = hf_load_acquire(mark);

    return high < limit ? high : (uint32_t)limit;
}
static inline uint32_t shm_lanes_used(const struct shm *shm)
{
    return shm_below(&shm->run->lanes_used, shm->limits.lanes);
}
static inline uint32_t shm_vnodes_high(const struct shm *shm)
{
    return shm_below(&shm->run->vnodes_high, shm->limits.vnodes);
}
static inline uint32_t shm_holds_high(const struct shm *shm)
{
    return shm_below(&shm->run->holds_high, shm->limits.holds);
}
static inline uint32_t shm_nodes_high(const struct shm *shm)
{
    return shm_below(&shm->run->nodes_high, shm->limits.nodes);
}
/* How many blocks the pool has; its tables of free space reach no further. */
static inline uint64_t shm_pool_blocks(const struct shm *shm)
{
    uint64_t blocks = hf_load_acquire(&shm->run->pool_blocks);

    return blocks < shm->limits.limit_blocks ? blocks : shm->limits.limit_blocks;
}

/* Blocks that may be given out: all, or those that a shrink leaves. */
static inline uint64_t shm_blocks_to_give(const struct shm *shm)
{
    uint64_t blocks = shm_pool_blocks(shm), word = hf_load_acquire(&shm->run->shrink_to);
    uint64_t bound = (word & UINT32_MAX) * SHM_GROUP_BLOCKS;

    return word && bound < blocks ? bound : blocks;
}

/* An index that lies in the segment, read once; SHM_NONE where it leads to no entry of `limit`. */
static inline uint32_t shm_index(const uint32_t *word, uint64_t limit)
{
    uint32_t index = hf_load_acquire(word);

    return index < limit ? index : SHM_NONE;
}
/* A word by its place in the segment, which may be wrong; null: there is none. */
static inline uint64_t *shm_word_at(const struct shm *shm, uint64_t at)
{
    return at % sizeof(uint64_t) == 0 && at < shm->bytes ? (uint64_t *)((char *)shm->run + at)
                                                         : NULL;
}
static inline uint64_t shm_place(const struct shm *shm, const void *word)
{
    return (uint64_t)((const char *)word - (const char *)shm->run);
}

/* ---- attach (attach.c) ---- */

struct shm_attach {
    int lock_fd;
    /* Byte 0 of POOL/lock (life.c): exclusively, when we are the first, else shared. */
    void *life;
    /* We are alone and hold the pool exclusively until shm_attach_done(). */
    bool first;
    bool anonymous;
    /* The first pages of the segment that we are about to join; null: we are the first. */
    struct shm_run *head;
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
/* Its first attacher died: begin again. Not an errno, since system calls on the way fail with each
 * of these for reasons of their own, which may last. */
#define SHM_AGAIN 1
/* Others, before they open the metadata: there is such a segment, and its processes are in the
 * namespaces of this one. at->head is mapped then. SHM_AGAIN. -EBUSY: else. */
int shm_may_join(struct shm_attach *at);
/* Others: maps the segment that is in use. SHM_AGAIN. -EBUSY: others use one that cannot be reached
 * from here. */
int shm_map(struct shm_attach *at, const uint8_t uuid[16], struct shm **out);
/* Takes a process entry and lets others in. needs_barrier: not without sys_membarrier. -EBUSY: none
 * is free. On failure the shm is unmapped. */
int shm_attach_done(struct shm_attach *at, struct shm *shm, bool needs_barrier);
/* Instead of that: unmaps what shm_build() or shm_map() gave. */
void shm_attach_undo(struct shm *shm);

/* True when no other process is attached; the segment is then ours until shm_detach(). Others that
 * come wait. */
bool shm_detach_last(struct shm *shm);
/* Leaves; removes the segment when shm_detach_last() said true. */
void shm_detach(struct shm *shm, bool last);
/* In a forked child: closes what would keep the parent looking alive. */
void shm_in_child(void);

/* ---- memory (reserve.c) ---- */

/* Before the first touch: -ENOSPC, where the file system is full. Of the tables of free space of a
 * pool that has so many blocks. */
int shm_reserve_space(const struct shm *shm, uint64_t blocks);

/* ---- page-table nodes (arena.c) ---- */

/* A page-table node, zeroed, owned by the vnode; SHM_NONE: all are in use. */
uint32_t shm_node_alloc(struct shm *shm, uint32_t vnode);
void shm_node_free(struct shm *shm, uint32_t node);

#endif
