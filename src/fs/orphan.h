/* SPDX-License-Identifier: MIT */
/* Files without names: deleted with their last close, or by a process that finds their openers
 * dead. */
#ifndef HF_FS_ORPHAN_H
#define HF_FS_ORPHAN_H

#include "fs/fs.h"

/* Deletes the file, unless it is open somewhere: then its last close does it. Called with no
 * lock held. */
void fs_orphan_delete(struct fs *fs, uint64_t ino);
/* After the name went in a transaction: the last close of the file deletes it; at once if nobody
 * has it open. Called with no lock held. */
void fs_orphan_made(struct fs *fs, uint64_t ino);
/* Deletes those that nobody has open. */
void fs_orphans_sweep(struct fs *fs);

#endif
