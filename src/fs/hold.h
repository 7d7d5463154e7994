/* SPDX-License-Identifier: MIT */
/* Blocks that leave a file under a pin: hold.c. */
#ifndef HF_FS_HOLD_H
#define HF_FS_HOLD_H

#include "fs/txn.h"

/* The run leaves the file `ino`, and a record in LMDB's detached table has it from now on. */
int fs_hold(struct fs_txn *txn, uint64_t ino, const struct meta_extent *run);

#endif
