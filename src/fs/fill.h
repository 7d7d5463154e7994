/* SPDX-License-Identifier: MIT */
/* Giving holes blocks: reserve and fill with no lock held, then one transaction. */
#ifndef HF_FS_FILL_H
#define HF_FS_FILL_H

#include "fs/vnode.h"

#define FILL_CHUNK_PAGES 1024u /* 4 MiB: what one write takes at once */

/* What new blocks hold: bytes [off, off+len) of the file from buf, zeros elsewhere; null: only
 * zeros. */
struct fs_content {
    const char *buf;
    uint64_t off, len;
};

enum fs_fill_kind {
    FILL_FOR_PIN, /* zeros, inside the file; the times stay */
    FILL_WRITE,   /* content, wholly inside the file */
    FILL_EXTEND,  /* content, wholly past end of file, which moves up over it */
    FILL_ALLOCATE /* zeros, also past end of file */
};

/* Fills the blocks of a reservation that are to become pages from `page` on, and persists them in a
 * durable pool. */
int fs_fill_blocks(struct fs *fs, struct fs_reservation *reservation, uint64_t page,
                   const struct fs_content *content);

/* Fills up to `count` pages from `page` on. *filled: so many were holes and have blocks now; 0:
 * things have changed meanwhile, look again. Called with no lock held. */
int fs_fill_hole(struct fs *fs, struct shm_vnode *vnode, uint64_t page, uint64_t count,
                 enum fs_fill_kind kind, const struct fs_content *content, uint64_t *filled);

/* In a transaction: gives [page, page+count) the next blocks of the reservation. */
int fs_give_blocks(struct fs_txn *txn, uint64_t ino, struct meta_inode *inode, uint64_t page,
                   uint64_t count, struct fs_reservation *reservation);

#endif
