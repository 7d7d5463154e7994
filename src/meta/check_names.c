/* SPDX-License-Identifier: MIT */
/*
 * Owns the check of names. Every entry leads to an inode of its type, and the directories are one
 * tree under the root. Every inode has as many names as it says. An inode without a name is an
 * orphan or gets a name in lost+found. Calls record.c, name.c, detached.c and check.c.
 *
 * A directory has one name. When several entries lead to it, the entry in the directory that it
 * calls its parent stays, else the first. The way up from a directory may end at a directory
 * without a name instead of the root, or run in a cycle. Repair gives that directory, or one of the
 * cycle, a name in lost+found. So all directories below are reached again.
 */
#include "meta/check.h"

#include "base/error.h"
#include "base/futex.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static const char lost_target[] = "(target lost)";

/* --- entries --- */

/* The first sound entry of the directory behind `key`, which moves on to it. */
static int next_entry(struct checker *check, uint64_t dir, struct meta_key *key,
                      struct meta_dirent *out)
{
    MDB_val found, value;
    int rc = check_seek(check, key, true, &found, &value);

    while (rc == 0 && meta_key_is_part(&found, dir, META_DIRENT)) {
        key->len = found.mv_size;
        memcpy(key->bytes, found.mv_data, found.mv_size);
        check_count_record(check);
        if (meta_dirent_decode(&found, &value, out) == 0 && check_legal_name(out->name))
            return 0;
        rc = meta_step(check->txn, MDB_NEXT, &found, &value);
    }
    return rc == 0 ? -ENOENT : rc;
}

/* Which directories are where they say they are. */
static int note_claims(struct checker *check, struct check_inode *dir)
{
    struct meta_dirent entry;
    struct meta_key key;
    int rc;

    meta_key_part(&key, dir->ino, META_DIRENT);
    while ((rc = next_entry(check, dir->ino, &key, &entry)) == 0) {
        struct check_inode *inode = check_find(check, entry.ino);
        if (inode && S_ISDIR(inode->mode) && inode->parent == dir->ino)
            inode->flags |= INODE_CLAIMED;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int remove_entry(struct checker *check, const struct check_inode *dir,
                        const struct meta_dirent *entry, const char *why)
{
    if (!check_problem(check, true,
                       "directory %" PRIu64 ": entry \"%s\" leads to inode %" PRIu64
                       ", which %s; repair "
                       "removes the entry",
                       dir->ino, entry->name, entry->ino, why))
        return 0;
    return meta_dirent_del(check->txn, dir->ino, entry->name);
}

static int judge_entry(struct checker *check, struct check_inode *dir,
                       const struct meta_dirent *entry)
{
    struct check_inode *inode = check_find(check, entry->ino);
    bool here;
    int rc = 0;

    if (!inode)
        return remove_entry(check, dir, entry, "is not there");
    if (inode->ino == META_ROOT_INO)
        return remove_entry(check, dir, entry, "is the root");
    if (S_ISDIR(inode->mode)) {
        here =
            inode->named_by == 0 && (!(inode->flags & INODE_CLAIMED) || inode->parent == dir->ino);
        if (!here)
            return remove_entry(check, dir, entry, "is a directory with another name");
        inode->named_by = dir->ino;
        dir->found_subdirs++;
    } else {
        inode->found_links++;
    }
    if (entry->type != (inode->mode & S_IFMT) &&
        check_problem(check, true,
                      "directory %" PRIu64 ": entry \"%s\" has type %o, and inode %" PRIu64
                      " is of "
                      "type %o; repair sets the entry's",
                      dir->ino, entry->name, entry->type, inode->ino, inode->mode & S_IFMT))
        rc = meta_dirent_put(check->txn, dir->ino, entry->name, inode->ino, inode->mode & S_IFMT);
    return rc;
}

static int judge_entries(struct checker *check, struct check_inode *dir)
{
    struct meta_dirent entry;
    struct meta_key key;
    int rc;

    meta_key_part(&key, dir->ino, META_DIRENT);
    while ((rc = next_entry(check, dir->ino, &key, &entry)) == 0) {
        rc = judge_entry(check, dir, &entry);
        if (rc)
            return rc;
    }
    return rc == -ENOENT ? 0 : rc;
}

/* --- lost+found --- */

/* One more directory lies in this one. */
static int raise_subdirs(struct checker *check, uint64_t ino)
{
    struct meta_inode inode;
    int rc = meta_inode_get(check->txn, ino, &inode);

    if (rc)
        return rc;
    check_find(check, ino)->found_subdirs++;
    inode.nlink++;
    inode.version++;
    return meta_inode_put(check->txn, ino, &inode);
}

static int make_lost_found(struct checker *check, const char *name)
{
    struct meta_inode made = {.mode = S_IFDIR | 0700, .nlink = 2, .parent = META_ROOT_INO};
    uint64_t ino = check_new_ino(check);
    struct check_inode *added;
    int rc;

    made.atime_ns = made.mtime_ns = made.ctime_ns = made.btime_ns = hf_wall_ns();
    rc = meta_inode_put(check->txn, ino, &made);
    if (rc == 0)
        rc = meta_dirent_put(check->txn, META_ROOT_INO, name, ino, S_IFDIR);
    if (rc == 0)
        rc = check_add(check, ino, &added);
    if (rc)
        return rc;
    added->mode = made.mode;
    added->nlink = made.nlink;
    added->parent = added->named_by = META_ROOT_INO;
    added->flags = INODE_REACHED | INODE_ATTRIBUTES;
    check->super.inodes++;
    check->lost_found = ino;
    return raise_subdirs(check, META_ROOT_INO);
}

/* The directory lost+found in the root; something else of that name makes it take another. */
static int find_lost_found(struct checker *check)
{
    char name[32] = "lost+found";
    struct meta_dirent entry;
    int rc;

    if (check->lost_found != 0)
        return 0;
    for (unsigned n = 1;; n++) {
        rc = meta_dirent_get(check->txn, META_ROOT_INO, name, &entry);
        if (rc == -ENOENT)
            return make_lost_found(check, name);
        if (rc)
            return rc;
        const struct check_inode *inode = check_find(check, entry.ino);
        if (inode && S_ISDIR(inode->mode) && inode->named_by == META_ROOT_INO) {
            check->lost_found = entry.ino;
            return 0;
        }
        snprintf(name, sizeof name, "lost+found.%u", n);
    }
}

static int put_in_lost_found(struct checker *check, uint64_t ino, uint32_t mode)
{
    struct meta_dirent entry;
    char name[48];
    int rc = 0;

    snprintf(name, sizeof name, "#%" PRIu64, ino);
    for (unsigned n = 1; rc == 0; n++) {
        rc = meta_dirent_get(check->txn, check->lost_found, name, &entry);
        if (rc == 0)
            snprintf(name, sizeof name, "#%" PRIu64 ".%u", ino, n);
    }
    if (rc != -ENOENT)
        return rc;
    return meta_dirent_put(check->txn, check->lost_found, name, ino, mode & S_IFMT);
}

static int set_parent(struct checker *check, uint64_t ino, uint64_t parent)
{
    struct meta_inode inode;
    int rc = meta_inode_get(check->txn, ino, &inode);

    if (rc)
        return rc;
    check_find(check, ino)->named_by = parent;
    inode.parent = parent;
    inode.version++;
    return meta_inode_put(check->txn, ino, &inode);
}

/* The table may move: the caller's pointers into it are stale afterwards. */
static int adopt(struct checker *check, uint64_t ino, const char *why)
{
    struct check_inode *inode = check_find(check, ino);
    bool repair =
        check_problem(check, true,
                      "inode %" PRIu64 " (%s, %" PRIu64 " bytes) %s; repair puts it into "
                      "lost+found",
                      ino, S_ISDIR(inode->mode) ? "a directory" : "a file", inode->size, why);
    int rc = 0;

    inode->flags |= INODE_ADOPTED;
    if (!repair)
        return 0;
    if (inode->flags & INODE_ORPHAN)
        rc = meta_orphan_del(check->txn, ino);
    inode->flags &= ~(uint32_t)INODE_ORPHAN;
    if (rc == 0)
        rc = find_lost_found(check);
    if (rc == 0)
        rc = put_in_lost_found(check, ino, check_find(check, ino)->mode);
    if (rc)
        return rc;
    inode = check_find(check, ino);
    if (!S_ISDIR(inode->mode)) {
        inode->found_links++;
        return 0;
    }
    rc = set_parent(check, ino, check->lost_found);
    return rc ? rc : raise_subdirs(check, check->lost_found);
}

/* --- the tree of directories --- */

/* Takes the entry of `ino` out of the directory that names it. */
static int cut_entry(struct checker *check, struct check_inode *inode)
{
    struct check_inode *dir = check_find(check, inode->named_by);
    struct meta_dirent entry;
    struct meta_key key;
    int rc;

    meta_key_part(&key, dir->ino, META_DIRENT);
    while ((rc = next_entry(check, dir->ino, &key, &entry)) == 0)
        if (entry.ino == inode->ino)
            break;
    if (rc)
        return rc;
    inode->named_by = 0;
    dir->found_subdirs--;
    return check->request->repair ? meta_dirent_del(check->txn, dir->ino, entry.name) : 0;
}

/* All on the path up from here are reached. */
static void mark_way(struct checker *check, uint64_t from)
{
    struct check_inode *inode = check_find(check, from);

    while (inode && inode->flags & INODE_ON_PATH) {
        inode->flags = (inode->flags & ~(uint32_t)INODE_ON_PATH) | INODE_REACHED;
        inode = inode->named_by ? check_find(check, inode->named_by) : NULL;
    }
}

/* Goes up from a directory until the root or one that is reached already. */
static int reach(struct checker *check, uint64_t from)
{
    struct check_inode *inode = check_find(check, from);
    uint64_t top, above = 0;
    int rc = 0;

    while (!(inode->flags & (INODE_REACHED | INODE_ON_PATH)) && inode->named_by != 0) {
        inode->flags |= INODE_ON_PATH;
        inode = check_find(check, inode->named_by);
    }
    top = inode->ino;
    if (inode->flags & INODE_ON_PATH) {
        above = inode->named_by;
        rc = cut_entry(check, inode);
        if (rc == 0)
            rc = adopt(check, top, "is, by way of others, inside itself");
    } else if (!(inode->flags & INODE_REACHED)) {
        inode->flags |= INODE_ON_PATH;
        rc = adopt(check, top, "has no name");
    }
    mark_way(check, from);
    if (above != 0) /* what was above the cut is below it now */
        mark_way(check, above);
    return rc;
}

/* Waits to be deleted. A directory with something in it does not: its last name was taken when it
 * was empty, or not at all. */
static bool unlinked(const struct check_inode *inode)
{
    return inode->flags & INODE_ORPHAN && inode->nlink == 0 &&
           !(S_ISDIR(inode->mode) && inode->flags & INODE_ENTRIES);
}

static int reach_directories(struct checker *check)
{
    struct check_inode *root = check_find(check, META_ROOT_INO);
    int rc = 0;

    root->named_by = META_ROOT_INO;
    root->flags |= INODE_REACHED;
    for (size_t i = 0; rc == 0 && i < check->inode_count; i++) {
        const struct check_inode *inode = &check->inodes[i];
        if (S_ISDIR(inode->mode) && !(inode->named_by == 0 && unlinked(inode)))
            rc = reach(check, inode->ino);
    }
    return rc;
}

/* --- names against what the inode says --- */

static int remove_orphan(struct checker *check, struct check_inode *inode)
{
    if (!check_problem(check, true,
                       "inode %" PRIu64 " has a name and an orphan record; repair removes the "
                       "record",
                       inode->ino))
        return 0;
    inode->flags &= ~(uint32_t)INODE_ORPHAN;
    return meta_orphan_del(check->txn, inode->ino);
}

/* For an inode without a name. When the inode says that it has none, it was open, and the next
 * process to attach deletes it. When it says that it has some, they were lost. Without the record
 * of an orphan only one field says that it may be deleted: not enough where it holds data. */
static int settle_nameless(struct checker *check, uint64_t ino)
{
    const struct check_inode *inode = check_find(check, ino);

    if (inode->nlink != 0 || (!(inode->flags & INODE_ORPHAN) && inode->found_blocks != 0))
        return adopt(check, ino, "has no name");
    if (inode->flags & INODE_ORPHAN ||
        !check_problem(check, true,
                       "inode %" PRIu64 " has no name and no orphan record; repair makes the "
                       "record",
                       ino))
        return 0;
    return meta_orphan_put(check->txn, ino);
}

static int settle_names(struct checker *check)
{
    size_t count = check->inode_count; /* without a lost+found made on the way */
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct check_inode *inode = &check->inodes[i];
        bool named = S_ISDIR(inode->mode) ? inode->named_by != 0 : inode->found_links != 0;
        if (inode->flags & INODE_ADOPTED)
            continue;
        if (!named)
            rc = settle_nameless(check, inode->ino);
        else if (inode->flags & INODE_ORPHAN)
            rc = remove_orphan(check, inode);
    }
    return rc;
}

/* --- the inode's own numbers --- */

/* True when *recorded was set right. */
static bool mend_number(struct checker *check, uint64_t ino, const char *what, uint64_t *recorded,
                        uint64_t found)
{
    if (*recorded == found ||
        !check_problem(check, true, "inode %" PRIu64 ": %s is %" PRIu64 ", and should be %" PRIu64,
                       ino, what, *recorded, found))
        return false;
    *recorded = found;
    return true;
}

static bool mend_numbers(struct checker *check, const struct check_inode *seen,
                         struct meta_inode *inode)
{
    bool dir = S_ISDIR(seen->mode), mended = false;
    uint64_t nlink = inode->nlink;

    if (!(seen->flags & INODE_ADOPTED) || check->request->repair) {
        if (!unlinked(seen) || seen->found_links != 0 || seen->named_by != 0)
            mended |= mend_number(check, seen->ino, "its number of links", &nlink,
                                  dir ? 2 + (uint64_t)seen->found_subdirs : seen->found_links);
        if (!dir || seen->named_by != 0)
            mended |= mend_number(check, seen->ino, "its parent directory", &inode->parent,
                                  dir ? seen->named_by : 0);
    }
    inode->nlink = (uint32_t)nlink;
    mended |=
        mend_number(check, seen->ino, "its number of blocks", &inode->blocks, seen->found_blocks);
    if (S_ISLNK(seen->mode) && seen->target_len != 0)
        mended |= mend_number(check, seen->ino, "the length of its target", &inode->size,
                              seen->target_len);
    return mended;
}

static int mend_target(struct checker *check, const struct check_inode *seen,
                       struct meta_inode *inode)
{
    if (!check_problem(check, true,
                       "symbolic link %" PRIu64 " has no target; repair makes it \"%s\"", seen->ino,
                       lost_target))
        return 0;
    inode->size = sizeof lost_target - 1;
    return meta_symlink_put(check->txn, seen->ino, lost_target, sizeof lost_target - 1);
}

static int compare_inode(struct checker *check, const struct check_inode *seen)
{
    struct meta_inode inode;
    bool mended;
    int rc = meta_inode_get(check->txn, seen->ino, &inode);

    if (rc == -ENOENT || rc == -EUCLEAN) /* reported before, and this run repairs nothing */
        return 0;
    if (rc)
        return rc;
    mended = mend_numbers(check, seen, &inode);
    if (S_ISLNK(seen->mode) && !(seen->flags & INODE_TARGET)) {
        rc = mend_target(check, seen, &inode);
        mended |= check->request->repair;
    }
    if (rc || !mended)
        return rc;
    inode.version++;
    return meta_inode_put(check->txn, seen->ino, &inode);
}

static int each_directory(struct checker *check,
                          int (*step)(struct checker *check, struct check_inode *dir))
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < check->inode_count; i++)
        if (S_ISDIR(check->inodes[i].mode))
            rc = step(check, &check->inodes[i]);
    return rc;
}

int check_names(struct checker *check)
{
    int rc = each_directory(check, note_claims);

    if (rc == 0)
        rc = each_directory(check, judge_entries);
    if (rc == 0)
        rc = reach_directories(check);
    if (rc == 0)
        rc = settle_names(check);
    for (size_t i = 0; rc == 0 && i < check->inode_count; i++)
        rc = compare_inode(check, &check->inodes[i]);
    return rc;
}
