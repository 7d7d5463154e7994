/* SPDX-License-Identifier: MIT */
/* The end of file: locking from it on, and moving it up over a hole. */
#ifndef HF_FS_END_H
#define HF_FS_END_H

#include "fs/vnode.h"

/* Takes the layout mutex for growing the file from its end on: no other change is under way there.
 * *passed: 1 if it was let through a closed gate. */
int fs_end_lock(struct fs *fs, struct shm_vnode *vnode, uint64_t off, int *passed);

/* Zeros what the last page holds between end of file and `size`, so that the file can grow to
 * it. Under the layout mutex. -EMLINK: its block may have other owners; fs_unshare_locked(), with
 * nothing reserved. */
int fs_zero_tail(struct fs *fs, const struct shm_vnode *vnode, uint64_t size);
/* The same, and that too. */
int fs_zero_own_tail(struct fs *fs, struct shm_vnode *vnode, uint64_t size);

/* Grows the file to `size`; what is new is a hole, or blocks of zeros that were allocated ahead.
 * Under the layout mutex. */
int fs_grow_file(struct fs *fs, struct shm_vnode *vnode, uint64_t size);
/* The same, of a call that is on the medium when it returns. In a durable pool the size is recorded
 * before it can be seen, since making the record may wait, and fail. */
int fs_grow_recorded(struct fs *fs, struct shm_vnode *vnode, uint64_t size);
/* After either, with no lock held: those that watch hear of it. An error: fs_uncapable(). */
int fs_grown(struct fs *fs, struct shm_vnode *vnode, uint64_t old, uint64_t size);

#endif
