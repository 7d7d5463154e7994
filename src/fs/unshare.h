/* SPDX-License-Identifier: MIT */
/* Gives pages blocks of their own, where theirs may have other owners; see unshare.c. */
#ifndef HF_FS_UNSHARE_H
#define HF_FS_UNSHARE_H

#include "fs/vnode.h"

/* The pages of [page, page+count) that have blocks get blocks of their own, with the same content.
 * Called with no lock held and nothing reserved. -ENOSPC, -ENOLCK, -EINTR, -EAGAIN. */
int fs_unshare(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count);
/* The same under the layout mutex, with nothing reserved. */
int fs_unshare_locked(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count);
/* Writes `count` whole pages from `page` on that lie on shared blocks: as many from the first on as
 * it finds blocks for. *done: so many are written; 0: things have changed meanwhile, look again.
 * *more: so many pages after them lay on shared blocks then. Called with no lock held. Errors as
 * above, -ENOSPC before anything was tried to make room. */
int fs_write_shared(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count,
                    const char *buf, uint64_t *done, uint64_t *more);

/* For a copy between ranges that each begin with a page. Shares as much from the start as it can
 * without a wait, and returns how many bytes. 0: none, and *held bytes at the start are held (0:
 * not known). Called with no lock held. */
ssize_t fs_clone_now(struct hf_file *from, uint64_t from_off, struct hf_file *to, uint64_t to_off,
                     uint64_t len, uint64_t *held);

/* 0, -EROFS, or -EOPNOTSUPP: not with this engine. */
int fs_may_share(const struct fs *fs);

#endif
