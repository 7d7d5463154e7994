/* SPDX-License-Identifier: MIT */
/* POSIX ACLs: setting one, chmod, and inheriting them. All inside the caller's transaction. */
#ifndef HF_FS_ACL_H
#define HF_FS_ACL_H

#include "fs/txn.h"

/* The attribute is an ACL. */
bool fs_acl_is(const char *name);
/* Checks a value that is to be set: -EINVAL, -EOPNOTSUPP. Needs no transaction. */
int fs_acl_check(const void *value, size_t len);

/* Sets the ACL of this name, and the mode with it; an empty one is removed. 0 also when there was
 * none to remove. -EACCES: a default ACL on anything but a directory; -EOPNOTSUPP: a symbolic
 * link. */
int fs_acl_set(struct fs_txn *txn, uint64_t ino, const char *name, const void *value, size_t len);

/* The inode gets this mode: so does its access ACL. */
int fs_acl_chmod(struct fs_txn *txn, uint64_t ino, uint32_t mode);

/* Gives a new inode, which is not put yet, the ACLs that it inherits from `dir`, and takes from
 * inode->mode what they do not grant. Where the directory has no default ACL, the umask of the
 * client is applied instead. */
int fs_acl_inherit(struct fs_txn *txn, uint64_t dir, uint64_t ino, struct meta_inode *inode);

#endif
