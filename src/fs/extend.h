/* SPDX-License-Identifier: MIT */
/* Writing and growing past end of file, under the layout mutex. */
#ifndef HF_FS_EXTEND_H
#define HF_FS_EXTEND_H

#include "fs/fill.h"

#define FS_COPIED_BYTES 16384u /* of a caller's memory, taken in at once on the stack */

/* Takes the layout mutex for growing the file from its end on: no other change is under way there.
 * *passed: 1 if it was let through a closed gate. */
int fs_extend_lock(struct fs *fs, struct shm_vnode *vnode, uint64_t off, int *passed);

/* Writes some of the bytes at `off`, not before end of file, and grows the file over them. How
 * many; -ENOSPC: no block was free, and none was looked for hard. `buf` is memory of the
 * library. */
ssize_t fs_extend(struct fs *fs, struct shm_vnode *vnode, const char *buf, uint64_t len,
                  uint64_t off);

/* Zeros what the last page holds between end of file and `size`, so that the file can grow to
 * it. */
int fs_zero_tail(struct fs *fs, const struct shm_vnode *vnode, uint64_t size);

/* Grows the file to `size`; what is new is a hole, or blocks of zeros that were allocated ahead. */
int fs_grow_file(struct fs *fs, struct shm_vnode *vnode, uint64_t size);

#endif
