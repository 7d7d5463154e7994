/* SPDX-License-Identifier: MIT */
/* Puts that nobody will commit, and what the metadata say of those for a device. */
#ifndef HF_FS_PUT_LEFT_H
#define HF_FS_PUT_LEFT_H

#include "fs/txn.h"

/* In a transaction: the blocks of a put for a device are not free, also where the run segment is
 * lost. And no more; 0 also where there was no such record. */
int fs_put_record(struct fs_txn *txn, const struct fs_reserved_run *run, uint64_t page);
int fs_put_unrecord(struct fs_txn *txn, const struct fs_reserved_run *run, uint64_t page);

/* Frees the blocks of puts that nobody will commit. Called with no lock held. */
void fs_puts_sweep(struct fs *fs);

#endif
