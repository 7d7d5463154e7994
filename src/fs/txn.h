/* SPDX-License-Identifier: MIT */
/*
 * A write transaction: space_mutex, one LMDB transaction, and the blocks it frees. They go back
 * into the bitmap after the commit and before the mutex, so no other process sees one without the
 * other.
 */
#ifndef HF_FS_TXN_H
#define HF_FS_TXN_H

#include "fs/space.h"

#define TXN_FEW_RUNS 16u

/* Runs of blocks, the first few of them without an allocation. */
struct fs_runs {
    unsigned count, room;
    struct meta_extent *more; /* null: in few[] */
    struct meta_extent few[TXN_FEW_RUNS];
};

struct fs_txn {
    struct fs *fs;
    struct meta_txn *meta;
    struct fs_reservation *reservation; /* settled by the commit; null: none */
    struct fs_runs freed;
    /* Of a transaction that may be shared (join.c). */
    bool joint;
    struct shm_call_away away;
    struct fs_txn *next;      /* in the queue; then the one that has its turn after this one */
    struct fs_txn *host;      /* it is a part of that one's; null: it has its own */
    struct fs_txn *committed; /* of a host: guests; of a guest: the next of them */
    int outcome;
    uint64_t grown_blocks;  /* the pool's new size; 0: as it is */
    uint64_t shrunk_blocks; /* the same, where it is smaller */
    /* Numbers that the commit adds to those in the run segment; they may be negative. */
    int64_t detached, shared, saved;
};

/* -EROFS in a pool opened read-only. On success fs_commit() or fs_abort() must follow. */
int fs_begin(struct fs *fs, struct fs_txn *txn);
/* The same for a transaction that frees something: meta_txn_frees(). */
int fs_begin_freeing(struct fs *fs, struct fs_txn *txn);

/* Of a task (task.c). An empty transaction, whose meta is still to be set. What its commit does,
 * before space_mutex is unlocked. Its end, whatever came of it. */
void fs_txn_prepare(struct fs *fs, struct fs_txn *txn);
void fs_txn_settle(struct fs_txn *txn);
void fs_txn_forget(struct fs_txn *txn);

/* The same for a change of one file under its layout mutex. It may share the transaction with
 * changes of other threads: then all commit, or none. What it does must follow three rules.
 *   - It takes no lock that a thread may hold in fs_commit(), so no layout mutex.
 *   - If it aborts, only what it has seen of the file's own records may matter. The rest may not
 *     come to be.
 *   - It uses nothing that space_mutex guards, but through the transaction. */
int fs_begin_joint(struct fs *fs, struct fs_txn *txn);

/* The run leaves its file, and is free unless others name it too. If it is held: fs_hold(). */
int fs_txn_free(struct fs_txn *txn, const struct meta_extent *run);
/* So many more extents and shared records name the run, or less. Blocks without a name are free. */
int fs_txn_change_owners(struct fs_txn *txn, uint64_t block, uint64_t count, int extents,
                         int records);
/* Blocks are to be shared in this transaction: from now on the pool says that it may have shared
 * blocks. */
int fs_txn_may_share(struct fs_txn *txn);
/* One more extent names the run. */
int fs_txn_share(struct fs_txn *txn, const struct meta_extent *run);
/* The detached record goes: the same as fs_txn_free(). */
int fs_txn_drop(struct fs_txn *txn, const struct meta_detached *record);

/* The content of the file changes in it: its capabilities go (xattr.c). */
int fs_txn_uncapable(struct fs_txn *txn, uint64_t ino);

/* Ends it also when it fails: nothing happened then. */
int fs_commit(struct fs_txn *txn);
void fs_abort(struct fs_txn *txn);
/* Commits if `rc`, the result of the transaction's steps, is 0; aborts otherwise. Returns the first
 * error, or 0. */
int fs_txn_end(struct fs_txn *txn, int rc);

#endif
