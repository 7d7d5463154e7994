/* SPDX-License-Identifier: MIT */
/* Paths, and the inodes that transactions on names make and drop. */
#ifndef HF_FS_NAME_H
#define HF_FS_NAME_H

#include "fs/txn.h"

enum fs_last { LAST_NAME, LAST_ROOT, LAST_DOT, LAST_DOTDOT, LAST_ITSELF };

/* Where a path leads. */
struct fs_place {
    uint64_t dir;      /* directory that has, or would have, the last name */
    uint64_t ino;      /* 0: there is nothing of that name */
    uint32_t type;     /* S_IFMT bits of ino */
    enum fs_last last; /* the last component of the path */
    bool slash;        /* it ends in a slash: only a directory will do */
    char name[HF_NAME_MAX + 1];
};

/* Follows the path through what the transaction sees. With `follow`, a symbolic link at its end is
 * followed too, except where the path is empty. A missing last component is not an error:
 * place->ino is 0. -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG for the others. */
int fs_walk(struct meta_txn *txn, struct fs_at at, bool follow, struct fs_place *place);
/* The same, but what the path names must exist. */
int fs_walk_to(struct meta_txn *txn, struct fs_at at, bool follow, struct fs_place *place);
/* fs_walk_to() in a snapshot of its own, with the inode (size and times as a file in use has
 * them). */
int fs_lookup(struct fs *fs, struct fs_at at, bool follow, struct fs_place *place,
              struct meta_inode *inode);
/* Before a transaction that does not ask: -ESTALE if the path is empty and the inode, without
 * names, only waits to be deleted. */
int fs_check_itself(struct fs *fs, struct fs_at at);

/* -EUCLEAN: in one snapshot, the name and the inode that it leads to contradict each other. A
 * caller that looked again until they agree would do so for ever. */
int fs_check_entry(const struct fs_place *place, const struct meta_inode *inode);
/* The same; the inode goes to *inode. */
int fs_check_place(struct meta_txn *txn, const struct fs_place *place, struct meta_inode *inode);

/* A new inode for a name in `dir`, owned by the client that this thread acts for. Fills in
 * number, mode and times, and gives it the ACLs that it inherits. The caller puts it. */
int fs_inode_new(struct fs_txn *txn, uint64_t dir, mode_t mode, uint64_t *ino,
                 struct meta_inode *inode);
/* One inode more: its number. The caller puts the super record. -ENOSPC. */
int fs_inode_number(struct meta_super *super, uint64_t *ino);
/* Removes an inode with all its records. */
int fs_inode_drop(struct fs_txn *txn, uint64_t ino);

/* Something was added to the directory, or taken out: its times, and links when that was a
 * directory. */
int fs_dir_changed(struct fs_txn *txn, uint64_t dir, int links);
/* Takes one name away. *orphan: it was the last name of a regular file, which is deleted when it is
 * closed. Any other inode without names is gone at once. */
int fs_inode_unlinked(struct fs_txn *txn, uint64_t ino, bool *orphan);

/* Gives the name `to`, as hf_rename(), to a file that was made without one and is open somewhere.
 * -ENOENT: it has lost its last name, has one, or is to have none. -ESTALE: it is gone. */
int fs_name_first(struct fs *fs, uint64_t ino, struct fs_at to, uint32_t flags);

/* The same as a part of another transaction on the file, under its layout mutex. */
struct fs_first_name {
    struct fs_at to;
    uint32_t flags;  /* HF_RENAME_NOREPLACE */
    uint64_t orphan; /* inode that lost its last name to it: fs_orphan_made(); 0: none */
};
int fs_name_in(struct fs_txn *txn, const struct shm_vnode *vnode, struct fs_first_name *name);
/* After the commit, under the same mutex. */
void fs_named(struct shm_vnode *vnode);

int fs_not_there(struct fs_at at);
int fs_stale(uint64_t ino);
/* For sentences. */
static inline const char *fs_said(struct fs_at at)
{
    return *at.path ? at.path : "the inode";
}

#endif
