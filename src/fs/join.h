/* SPDX-License-Identifier: MIT */
/* Transactions that threads of one process share: of txn.c only. */
#ifndef HF_FS_JOIN_H
#define HF_FS_JOIN_H

#include "fs/txn.h"

/* 0: the thread has space_mutex, or it is the turn of its change in the transaction of txn->host.
 * Else as fs_space_lock(). */
int fs_join(struct fs *fs, struct fs_txn *txn);
/* Its change was aborted. The next guest has its turn, or the host. */
void fs_join_pass_on(struct fs_txn *txn);
/* The same when it was committed. Returns what became of the host's transaction. */
int fs_join_await(struct fs_txn *txn);

/* Before the host commits: threads that wait make their changes inside its transaction. */
void fs_join_let_in(struct fs_txn *host);
/* After that, with space_mutex unlocked. */
void fs_join_tell(struct fs_txn *host, int outcome);

#endif
