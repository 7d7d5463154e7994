/* SPDX-License-Identifier: MIT */
/*
 * Owns how inodes are made, lose a name and go, and the check that a name and its inode agree.
 * Every function runs inside the caller's transaction, which changes the names too: so at every
 * commit the links of an inode are its names.
 */
#include "fs/name.h"

#include "base/error.h"
#include "base/futex.h"
#include "dax/client.h"
#include "fs/acl.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

int fs_inode_number(struct meta_super *super, uint64_t *ino)
{
    if (super->next_ino >= META_INO_END)
        return hf_fail(ENOSPC, "the numbers of inodes are used up: run holdfast fsck");
    *ino = super->next_ino++;
    super->inodes++;
    return 0;
}

int fs_inode_new(struct fs_txn *txn, uint64_t dir, mode_t mode, uint64_t *ino,
                 struct meta_inode *inode)
{
    const struct hf_client *client = dax_client.size ? &dax_client : NULL;
    int64_t now = hf_wall_ns();
    struct meta_inode parent;
    struct meta_super super;
    int rc = meta_super_get(txn->meta, &super);

    rc = rc ? rc : meta_inode_get(txn->meta, dir, &parent);
    rc = rc ? rc : fs_inode_number(&super, ino);
    if (rc)
        return rc;
    if (S_ISDIR(mode))
        mode |= parent.mode & S_ISGID;
    *inode = (struct meta_inode){.mode = mode,
                                 .uid = client ? client->uid : geteuid(),
                                 .gid = parent.mode & S_ISGID ? parent.gid
                                        : client              ? client->gid
                                                              : getegid(),
                                 .nlink = 1,
                                 .atime_ns = now,
                                 .mtime_ns = now,
                                 .ctime_ns = now,
                                 .btime_ns = now,
                                 .version = 1};
    rc = meta_super_put(txn->meta, &super);
    return rc ? rc : fs_acl_inherit(txn, dir, *ino, inode);
}

int fs_inode_drop(struct fs_txn *txn, uint64_t ino)
{
    struct meta_super super;
    int rc = meta_super_get(txn->meta, &super);

    if (rc)
        return rc;
    super.inodes -= super.inodes ? 1 : 0;
    rc = meta_super_put(txn->meta, &super);
    return rc ? rc : meta_inode_del(txn->meta, ino);
}

int fs_dir_changed(struct fs_txn *txn, uint64_t dir, int links)
{
    struct meta_inode inode;
    int rc = meta_inode_get(txn->meta, dir, &inode);

    if (rc)
        return rc;
    inode.mtime_ns = inode.ctime_ns = hf_wall_ns();
    inode.nlink = (uint32_t)((int64_t)inode.nlink + links);
    return meta_inode_put(txn->meta, dir, &inode);
}

int fs_inode_unlinked(struct fs_txn *txn, uint64_t ino, bool *orphan)
{
    struct meta_inode inode;
    int rc = meta_inode_get(txn->meta, ino, &inode);

    *orphan = false;
    if (rc)
        return rc;
    inode.nlink -= inode.nlink ? 1 : 0;
    inode.ctime_ns = hf_wall_ns();
    if (inode.nlink == 0 && !S_ISREG(inode.mode))
        return fs_inode_drop(txn, ino);
    rc = meta_inode_put(txn->meta, ino, &inode);
    if (rc || inode.nlink)
        return rc;
    *orphan = true;
    return meta_orphan_put(txn->meta, ino);
}

/* In a sound pool this finds nothing: a name and its inode are changed in one transaction. */
int fs_check_entry(const struct fs_place *place, const struct meta_inode *inode)
{
    if (place->last == LAST_NAME && inode->nlink == 0)
        return hf_fail(EUCLEAN,
                       "%.200s names inode %" PRIu64 ", which has no names: run holdfast fsck",
                       place->name, place->ino);
    if ((inode->mode & S_IFMT) != place->type)
        return hf_fail(EUCLEAN,
                       "%.200s names inode %" PRIu64
                       " as of type %o, and it is of type %o: run holdfast "
                       "fsck",
                       place->name, place->ino, place->type, inode->mode & S_IFMT);
    return 0;
}

int fs_check_place(struct meta_txn *txn, const struct fs_place *place, struct meta_inode *inode)
{
    int rc = meta_inode_get(txn, place->ino, inode);

    if (rc == -ENOENT)
        return hf_fail(EUCLEAN,
                       "%.200s names inode %" PRIu64 ", which is not there: run holdfast fsck",
                       place->name, place->ino);
    return rc ? rc : fs_check_entry(place, inode);
}
