/* SPDX-License-Identifier: MIT */
/* Files without names: deleted with their last close, or by a process that finds their openers
 * dead. */
#ifndef HF_FS_ORPHAN_H
#define HF_FS_ORPHAN_H

#include "fs/fs.h"

/* Deletes the file, unless it is open somewhere: then its last close does it. Called with no
 * lock held. */
void fs_orphan_delete(struct fs *fs, uint64_t ino);
/* Called after the name went in a transaction, with no lock held. The last close of the file
 * deletes it; if nobody has it open, it is deleted at once. */
void fs_orphan_made(struct fs *fs, uint64_t ino);
/* Deletes the files without names that nobody has open. */
void fs_orphans_sweep(struct fs *fs);

#endif
