/* SPDX-License-Identifier: MIT */
/* Own blocks for pages whose blocks may have other owners; see unshare.c. */
#ifndef HF_FS_UNSHARE_H
#define HF_FS_UNSHARE_H

#include "fs/vnode.h"

/* The pages of [page, page+count) that have blocks get blocks of their own, with the same content.
 * Called with no lock held and nothing reserved. -ENOSPC, -ENOLCK, -EINTR, -EAGAIN. */
int fs_unshare(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count);
/* The same under the layout mutex, with nothing reserved. */
int fs_unshare_locked(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count);

/* 0, -EROFS, or -EOPNOTSUPP: the engine does not know who holds. */
int fs_may_share(const struct fs *fs);

#endif
