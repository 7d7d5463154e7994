/* SPDX-License-Identifier: MIT */
/* Bytes past end of file that are written under the layout mutex. */
#ifndef HF_FS_APPEND_H
#define HF_FS_APPEND_H

#include "fs/fs.h"

#define FS_COPIED_BYTES 16384u /* of a caller's memory, taken in at once on the stack */

/* Writes some of the bytes at `off`, not before end of file, and grows the file over them. Returns
 * how many; -ENOSPC: no block was free, and none was looked for hard. `buf` is memory of the
 * library. Under the layout mutex. */
ssize_t fs_append_at(struct fs *fs, struct shm_vnode *vnode, const char *buf, uint64_t len,
                     uint64_t off);

#endif
