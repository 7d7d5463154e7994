/* SPDX-License-Identifier: MIT */
/* Files in use: opening their vnodes, and transactions on one file under its layout mutex. */
#ifndef HF_FS_VNODE_H
#define HF_FS_VNODE_H

#include "fs/task.h"

/* The vnode of a regular file, with size and times loaded. Called with no lock held. -ENOENT: the
 * inode is gone, or has no names left and nobody else has it open; -ENFILE. */
int fs_vnode_open(struct fs *fs, uint64_t ino, struct shm_vnode **out);
/* The same, to delete a file that has no names. */
int fs_vnode_open_orphan(struct fs *fs, uint64_t ino, struct shm_vnode **out);
/* In the transaction that makes the file: opens and locks its vnode. -ENFILE, and the errors of a
 * lock: the transaction has to be aborted. */
int fs_vnode_new(struct fs *fs, uint64_t ino, struct shm_vnode **out);
/* After its end: unlocks the vnode, as that of the new file, or closes it (inode null). */
void fs_vnode_made(struct fs *fs, struct shm_vnode *vnode, const struct meta_inode *inode,
                   enum shm_orphan orphan);
/* After -ENFILE, with no lock held: evicts vnodes that nobody has open. */
void fs_vnode_make_room(struct fs *fs);
/* Records size and times if LMDB has older ones. Deletes the file if it has no names and this
 * was the last process that had it open. Called with no lock held. */
void fs_vnode_close(struct fs *fs, struct shm_vnode *vnode);
/* True when nobody but this one opening of this process has the file open. Under the layout mutex,
 * a process that opens it later finds what was done meanwhile; without it, this is a guess. */
bool fs_vnode_only_mine(const struct fs *fs, const struct shm_vnode *vnode);

/* The record alone. -ENOENT: the inode is gone. */
int fs_read_inode(struct fs *fs, uint64_t ino, struct meta_inode *inode);
/* 1: somebody has the inode, which has no names, open; 0: nobody has. An error: shm_lock(). */
int fs_vnode_in_use(const struct fs *fs, uint64_t ino);

/* Under the layout mutex: updates the record with the newer values of the vnode. */
void fs_vnode_know(const struct shm_vnode *vnode, struct meta_inode *inode);
/* Under the layout mutex: begins a transaction and reads the inode, with the newer values of the
 * vnode. Steps that an earlier change has left are taken before, in transactions of their own. */
int fs_vnode_begin(struct fs *fs, struct shm_vnode *vnode, struct fs_txn *txn,
                   struct meta_inode *inode);
/* The same, as fs_begin_joint() has it. */
int fs_vnode_begin_joint(struct fs *fs, struct shm_vnode *vnode, struct fs_txn *txn,
                         struct meta_inode *inode);

/* Takes the steps that are left of a change of the file, if there are any. Under the layout mutex,
 * with no transaction of the file. */
int fs_steps_finish(struct fs *fs, struct shm_vnode *vnode);
/* dax_check_settled(), and the steps. For a file whose extents are marked in another one's
 * transaction. */
int fs_steps_settle(struct fs *fs, struct shm_vnode *vnode);
/* 1: steps are left of a change of the file. */
int fs_steps_left(struct fs *fs, uint64_t ino);
/* Between two transactions of one change: lets a thread that waits for space_mutex have it. */
void fs_steps_pause(void);

/* A change of one file, in a transaction that it may share with others (task.c). Its thread has the
 * layout mutex. */
struct fs_vnode_task {
    struct fs_task task;
    struct shm_vnode *vnode;
    struct fs_txn *txn;
    struct meta_inode *inode;
    /* The steps between the inode's being read and its being written, as task.work. */
    int (*steps)(struct fs_vnode_task *task);
    bool made, dirty;
};
/* FS_ALONE: it was not done. 0: committed, as by fs_vnode_record(). */
int fs_vnode_task(struct fs *fs, struct fs_vnode_task *task);
/* After that: what fs_vnode_commit() does more. */
void fs_vnode_task_done(const struct fs_vnode_task *task);

/* Writes the inode and commits; then size and times of the vnode are the inode's. Aborts when it
 * fails. */
int fs_vnode_commit(struct shm_vnode *vnode, struct fs_txn *txn, struct meta_inode *inode);
/* The first half of that: the caller ends with dax_change_end(), which sets the size. */
int fs_vnode_record(struct shm_vnode *vnode, struct fs_txn *txn, struct meta_inode *inode);
/* Records size and times. 0 also when there is nothing to record. */
int fs_vnode_sync(struct fs *fs, struct shm_vnode *vnode);

/* Content was written: the times are now. Any thread, no lock. */
void fs_vnode_touch(struct fs *fs, struct shm_vnode *vnode);
/* Sets the size in the vnode; LMDB may have an older one. Under the layout mutex. */
void fs_vnode_set_size(struct fs *fs, struct shm_vnode *vnode, uint64_t size);

/* Content is about to be written without a transaction, or has been: file capabilities go
 * (xattr.c). Called with no lock held. */
static inline int fs_uncapable(struct fs *fs, const struct shm_vnode *vnode)
{
    shm_assert_none_held();
    if (__builtin_expect(!hf_load_acquire(&fs->dax.shm->run->capable), 1))
        return 0;
    return fs_drop_capability(fs, vnode->ino);
}

/* Pages [first, last] have changed. Tells the processes that watch. Called with no lock held,
 * before the call returns to the program. */
static inline void fs_changed(struct fs *fs, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    shm_assert_none_held();
    dax_changed(&fs->dax, vnode, first, last);
}

/* Bytes [off, off+len) are about to be written. Called with no lock held. Processes that may have
 * stored into copies of these pages, or of the one that ends the file, write them back first. */
static inline void fs_will_change(struct fs *fs, struct shm_vnode *vnode, uint64_t off,
                                  uint64_t len)
{
    uint64_t size = hf_load_acquire(&vnode->size), last = DAX_LAST;

    shm_assert_none_held();
    if (len == 0)
        return;
    if (off < HF_FILE_BYTES_MAX && len < HF_FILE_BYTES_MAX - off)
        last = (off + len - 1) / HF_BLOCK_BYTES;
    dax_will_change(&fs->dax, vnode, (size < off ? size : off) / HF_BLOCK_BYTES, last);
}

/* Puts the size and times of a file in use into the record, as a reader should see it. -ENOENT: the
 * inode has gone since the record was read. */
int fs_vnode_overlay(struct fs *fs, uint64_t ino, struct meta_inode *inode);

/* The extent under a page: 1: *out covers it; 0: a hole, *out is the next extent (count 0:
 * none). */
int fs_extent_at(struct fs *fs, uint64_t ino, uint64_t page, struct meta_extent *out);

/* Where new blocks for `page` are best taken: the block after that of page-1; else
 * SPACE_NO_GOAL. */
uint64_t fs_goal(struct fs *fs, uint64_t ino, uint64_t page);
/* Both in one look: returns as fs_extent_at(). */
int fs_extent_or_goal(struct fs *fs, uint64_t ino, uint64_t page, struct meta_extent *out,
                      uint64_t *goal);

#endif
