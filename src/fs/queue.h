/* SPDX-License-Identifier: MIT */
/* The threads of this process that wait for space_mutex with changes that may become part of
 * another's transaction: of join.c and space.c only. */
#ifndef HF_FS_QUEUE_H
#define HF_FS_QUEUE_H

#include "fs/txn.h"

void fs_queue_enter(struct fs_joint *joint, struct fs_txn *txn);
/* False: fs_queue_take() has taken it. */
bool fs_queue_leave(struct fs_joint *joint, struct fs_txn *txn);
/* Takes those that wait as guests of the host, until *count is `most`, and calls them away from the
 * mutex. The first of them; null: none. */
struct fs_txn *fs_queue_take(struct fs_joint *joint, struct fs_txn *host, unsigned most,
                             unsigned *count);
/* space_mutex was unlocked: the first of them looks whether it is free. */
void fs_queue_unlocked(struct fs_joint *joint);

static inline bool fs_queue_waits(const struct fs_joint *joint)
{
    return hf_load_acquire(&joint->count) != 0;
}

#endif
