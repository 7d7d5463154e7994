/* SPDX-License-Identifier: MIT */
/*
 * Owns the question what an inode is, and makes its attributes say so. Calls record.c and check.c.
 *
 * Three places tell the type: the mode, the entries that lead to the inode, and the kinds of its
 * records (extents, entries, a target). If one of them is wrong, the others outvote it. Fields of
 * the attributes are judged one by one, so that a wrong byte in one does not cost the others. Where
 * there are no attributes at all, the other records tell what they must be.
 */
#include "meta/check.h"

#include "base/error.h"
#include "base/futex.h"

#include <errno.h>
#include <inttypes.h>

#define MODE_BITS ((uint32_t)(S_IFMT | 07777))
#define BYTES_MAX (META_FILE_PAGES * META_BLOCK_BYTES)

static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};

#define TYPES (sizeof types / sizeof types[0])

static bool known(uint32_t type)
{
    for (size_t i = 0; i < TYPES; i++)
        if (types[i] == type)
            return true;
    return false;
}

/* --- which type --- */

/* The one kind of record that it has; 0: none, or several. */
static uint32_t type_of_records(const struct check_inode *inode)
{
    switch (inode->flags & (INODE_EXTENTS | INODE_ENTRIES | INODE_TARGET)) {
    case INODE_EXTENTS:
        return S_IFREG;
    case INODE_ENTRIES:
        return S_IFDIR;
    case INODE_TARGET:
        return S_IFLNK;
    default:
        return 0;
    }
}

static unsigned votes_for(const struct check_inode *inode, uint32_t type)
{
    bool recorded = inode->flags & INODE_ATTRIBUTES;
    bool device = type == S_IFCHR || type == S_IFBLK;
    unsigned votes = 0;

    votes += recorded && (inode->mode & S_IFMT) == type ? 2 : 0;
    votes += inode->named_type == type ? 2 : 0;
    votes += type_of_records(inode) == type ? 2 : 0;
    if (!recorded)
        return votes;
    votes += (inode->parent != 0) == (type == S_IFDIR) ? 1 : 0;
    votes += inode->rdev != 0 && device ? 1 : 0;
    votes +=
        type == S_IFREG && inode->blocks != 0 && inode->blocks == inode->claimed_blocks ? 2 : 0;
    return votes;
}

/* An inode without any vote becomes a file, which can hold whatever there is. */
static uint32_t decide(const struct check_inode *inode)
{
    uint32_t recorded = inode->flags & INODE_ATTRIBUTES ? inode->mode & S_IFMT : 0;
    uint32_t best = known(recorded) ? recorded : S_IFREG;

    if (inode->ino == META_ROOT_INO)
        return S_IFDIR;
    for (size_t i = 0; i < TYPES; i++)
        if (votes_for(inode, types[i]) > votes_for(inode, best))
            best = types[i];
    return best;
}

int check_types(struct checker *check)
{
    for (size_t i = 0; i < check->inode_count; i++) {
        struct check_inode *inode = &check->inodes[i];
        uint32_t type = decide(inode), bits = inode->mode & MODE_BITS & ~(uint32_t)S_IFMT;

        if (!(inode->flags & INODE_ATTRIBUTES)) {
            inode->mode = type;
            continue;
        }
        if ((inode->mode & S_IFMT) != type && inode->ino == META_ROOT_INO) {
            if (check_problem(check, true, "the root is not a directory; repair makes it one"))
                inode->flags |= INODE_ODD;
        } else if ((inode->mode & S_IFMT) != type &&
                   check_problem(check, true,
                                 "inode %" PRIu64
                                 ": its mode is %o, and its records and names are of type %o; "
                                 "repair sets the type",
                                 inode->ino, inode->mode, type))
            inode->flags |= INODE_ODD;
        if ((inode->mode & ~MODE_BITS) != 0 &&
            check_problem(check, true, "inode %" PRIu64 ": its mode %o has bits that mean nothing",
                          inode->ino, inode->mode))
            inode->flags |= INODE_ODD;
        inode->mode = type | bits;
    }
    return 0;
}

/* --- its attributes --- */

static uint64_t size_of_records(const struct check_inode *inode)
{
    return S_ISREG(inode->mode)   ? inode->end_page * META_BLOCK_BYTES
           : S_ISLNK(inode->mode) ? inode->target_len
                                  : 0;
}

static int put_inode(struct checker *check, struct check_inode *inode,
                     const struct meta_inode *made)
{
    inode->flags |= INODE_ATTRIBUTES;
    inode->flags &= ~(uint32_t)INODE_ODD;
    inode->mode = made->mode;
    inode->size = made->size;
    inode->blocks = made->blocks;
    inode->nlink = made->nlink;
    inode->parent = made->parent;
    return meta_inode_put(check->txn, inode->ino, made);
}

static int make(struct checker *check, struct check_inode *inode)
{
    struct meta_inode made = {.mode = inode->mode & S_IFMT};

    made.mode |= S_ISDIR(made.mode) ? 0700 : S_ISLNK(made.mode) ? 0777 : 0600;
    made.size = size_of_records(inode);
    made.blocks = inode->found_blocks;
    made.nlink = S_ISDIR(made.mode) ? 2 : inode->named_count ? inode->named_count : 1;
    made.parent = inode->ino == META_ROOT_INO ? META_ROOT_INO : 0;
    made.atime_ns = made.mtime_ns = made.ctime_ns = made.btime_ns = hf_wall_ns();
    inode->mode = made.mode;
    inode->nlink = made.nlink;
    inode->size = made.size;
    inode->blocks = made.blocks;
    inode->parent = made.parent;
    if (!check_problem(check, true, "inode %" PRIu64 " has no attributes; repair makes new ones",
                       inode->ino))
        return 0;
    return put_inode(check, inode, &made);
}

/* The record as it is, with zeros for missing bytes. */
static int read_record(struct checker *check, uint64_t ino, struct meta_disk_inode *disk)
{
    struct meta_key key;
    MDB_val value;
    int rc;

    meta_key_part(&key, ino, META_ATTRIBUTES);
    rc = meta_seek(check->txn, &key, &value);
    if (rc)
        return rc;
    memset(disk, 0, sizeof *disk);
    memcpy(disk, value.mv_data, value.mv_size < sizeof *disk ? value.mv_size : sizeof *disk);
    return 0;
}

static int write_again(struct checker *check, struct check_inode *inode)
{
    struct meta_disk_inode disk;
    int rc = read_record(check, inode->ino, &disk);

    if (rc)
        return rc;
    struct meta_inode made = {.mode = inode->mode,
                              .uid = disk.uid,
                              .gid = disk.gid,
                              .nlink = disk.nlink,
                              .size = inode->size,
                              .blocks = inode->blocks,
                              .rdev = disk.rdev,
                              .parent = disk.parent,
                              .atime_ns = disk.atime_ns,
                              .mtime_ns = disk.mtime_ns,
                              .ctime_ns = disk.ctime_ns,
                              .btime_ns = disk.btime_ns,
                              .version = disk.version + 1};
    return put_inode(check, inode, &made);
}

static int mend_record(struct checker *check, struct check_inode *inode)
{
    bool write = inode->flags & INODE_ODD && check->request->repair;
    struct meta_disk_inode disk;
    struct meta_key key;
    MDB_val value;
    int rc;

    meta_key_part(&key, inode->ino, META_ATTRIBUTES);
    rc = meta_seek(check->txn, &key, &value);
    if (rc)
        return rc;
    if (value.mv_size != sizeof disk &&
        check_problem(check, true,
                      "inode %" PRIu64
                      ": its record has %zu bytes, not %zu; repair keeps those there are",
                      inode->ino, value.mv_size, sizeof disk))
        write = true;
    if (inode->size > BYTES_MAX) {
        write |= check_problem(check, true,
                               "inode %" PRIu64 ": %" PRIu64
                               " bytes are more than a file can have; repair goes "
                               "by its records",
                               inode->ino, inode->size);
        inode->size = size_of_records(inode);
    }
    if (inode->blocks > META_FILE_PAGES) {
        write |= check_problem(check, true,
                               "inode %" PRIu64 ": %" PRIu64
                               " blocks are more than a file can have; repair "
                               "counts them",
                               inode->ino, inode->blocks);
        inode->blocks = inode->found_blocks;
    }
    return write ? write_again(check, inode) : 0;
}

int check_attributes(struct checker *check)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < check->inode_count; i++) {
        struct check_inode *inode = &check->inodes[i];

        rc = inode->flags & INODE_ATTRIBUTES ? mend_record(check, inode) : make(check, inode);
    }
    return rc;
}
