/* SPDX-License-Identifier: MIT */
/*
 * One layout change of one file. It has dax's gate and drain and one write transaction, rarely
 * more. Both together decide what becomes of the blocks that leave the file.
 *
 *     rc = fs_layout_open(&l, fs, vnode, first, last, why, policy); nothing is held when it fails
 *     if (rc)
 *         return rc;
 *     ... look, reserve, copy: the layout mutex is held ...
 *     rc = fs_layout_begin(&l);
 *     if (rc == 0)
 *         rc = fs_layout_remove(&l, page, count);
 *     if (rc == 0)
 *         rc = fs_layout_commit(&l, size);
 *     return fs_layout_close(&l, rc);                               whatever happened
 */
#ifndef HF_FS_LAYOUT_H
#define HF_FS_LAYOUT_H

#include "fs/vnode.h"

struct fs_layout {
    struct fs *fs;
    struct shm_vnode *vnode;
    struct dax_change change;
    struct fs_txn txn;
    struct meta_inode inode;
    bool in_txn, committed;
    bool keep_times; /* the content stays the same */
    bool steps;      /* it leaves an intent, whose steps follow */
};

int fs_layout_open(struct fs_layout *l, struct fs *fs, struct shm_vnode *vnode, uint64_t first,
                   uint64_t last, enum hf_change_kind why, const struct hf_policy *policy);
/* The same for pages that get other blocks with the same content: dax_change_now(). */
int fs_layout_now(struct fs_layout *l, struct fs *fs, struct shm_vnode *vnode, uint64_t first,
                  uint64_t last);
/* The same for the pages that one huge entry can map: dax_collapse_begin(). */
int fs_layout_collapse(struct fs_layout *l, struct fs *fs, struct shm_vnode *vnode, uint64_t first);
int fs_layout_begin(struct fs_layout *l);
/* The same, as fs_begin_joint() has it. */
int fs_layout_begin_joint(struct fs_layout *l);
/* Takes the blocks of [page, page+count) out of the file: freed, or detached where a pin holds
 * them. */
int fs_layout_remove(struct fs_layout *l, uint64_t page, uint64_t count);
/* The same, with no limit to the number of extents: it may leave an intent. Nothing else may change
 * extents of these pages in the transaction after it. */
int fs_layout_take_out(struct fs_layout *l, uint64_t page, uint64_t count);
/* In a transaction. 1: the change of [page, page+count) and what follows it has more extents than
 * one transaction should, and it has been left to steps. 0: do it here. */
int fs_layout_intend(struct fs_layout *l, enum meta_intent_kind kind, uint64_t page,
                     uint64_t count);
/* In a transaction. 1: the file has more than META_STEP_EXTENTS; that many lie before *end. */
int fs_layout_first_step(struct fs_layout *l, uint64_t *end);
/* In a transaction. Pages from `page` on that lie on shared blocks get the next blocks of the
 * reservation: up to `count`. *done: so many. *more: so many pages after them, of one extent, lie
 * on shared blocks too. */
int fs_layout_swap(struct fs_layout *l, uint64_t page, uint64_t count,
                   struct fs_reservation *blocks, uint64_t *done, uint64_t *more);
/* Gives [page, page+count), holes now, the next blocks of the reservation, which the commit
 * settles. */
int fs_layout_place(struct fs_layout *l, uint64_t page, uint64_t count,
                    struct fs_reservation *reservation);
int fs_layout_commit(struct fs_layout *l, uint64_t size);
/* All of these at once: the change takes pages out of the file and is recorded, perhaps together
 * with changes of other files. FS_ALONE: nothing was done. */
int fs_layout_cut(struct fs_layout *l, uint64_t page, uint64_t count, uint64_t size);
/* Commits without an inode: it was deleted in the transaction. */
int fs_layout_commit_gone(struct fs_layout *l);
/* Ends the transaction if it is still open, and the change. Returns rc. */
int fs_layout_close(struct fs_layout *l, int rc);

/* Copies the run's blocks into the next ones of the reservation, and persists them in a durable
 * pool. */
int fs_copy_run(struct fs *fs, const struct meta_extent *run, struct fs_reservation *copies);

/* With a detaching policy, pages of [first, last] that stay in the file must get other blocks where
 * a pin holds them. A pinned block never serves another page, nor bytes that the file has zeroed.
 * fs_layout_copy_held() reserves and copies them, before the transaction; fs_layout_swap_held()
 * puts the copies into the file, in it. */
int fs_layout_copy_held(struct fs_layout *l, uint64_t first, uint64_t last,
                        struct fs_reservation *copies);
int fs_layout_swap_held(struct fs_layout *l, uint64_t first, uint64_t last,
                        struct fs_reservation *copies);

#endif
