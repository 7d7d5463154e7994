/* SPDX-License-Identifier: MIT */
/*
 * Work that needs space_mutex: a change of one file in a transaction, or a reservation of blocks.
 * Any thread of the process that has the mutex can do it. In pools in memory only.
 */
#ifndef HF_FS_TASK_H
#define HF_FS_TASK_H

#include "fs/txn.h"

/* The task was not done, and nothing has changed: its thread is to do the work alone. */
#define FS_ALONE 1

struct fs_task {
    /* Does the work, under space_mutex, in whichever thread. 0: it is done. FS_ALONE: it cannot be
     * done so, and nothing has changed. An error: a part of it may be done, which the transaction
     * has to undo; of a reservation, nothing has changed. It takes no lock, and leaves alone what
     * belongs to the calling thread. */
    int (*work)(struct fs_task *task);
    /* Of a change: an empty transaction, in txn->meta when it works. Null: it reserves blocks,
     * outside of any. */
    struct fs_txn *txn;
    /* The layout mutex, which its thread has; null: none. */
    const struct shm_mutex *mutex;
    /* Of task.c: futex, and what came of it. */
    uint32_t word;
    int result;
    struct fs_task *next;
};

/* Has it done, by this thread or by one that has space_mutex already. 0: it is done, and committed.
 * FS_ALONE. */
int fs_task(struct fs *fs, struct fs_task *task);

#endif
