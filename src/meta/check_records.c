/* SPDX-License-Identifier: MIT */
/*
 * Owns the check of every record on its own, of each inode's records with one another, and of who
 * has which block. Calls record.c, extent.c and check.c.
 *
 * One pass in key order. The attributes of an inode come first among its records, so its type is
 * known when the others are met; when they are missing, what kind of records there are tells the
 * type, and repair makes them anew. A block belongs to the first extent in key order that has it;
 * from later ones it is taken, which leaves a hole there.
 */
#include "meta/check.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

static unsigned long long ull(uint64_t value)
{
    return value;
}

static uint32_t type_of(const struct checker *check)
{
    return check->group.inode.mode & S_IFMT;
}

/* Of an inode without attributes, by what else it has; the root is a directory whatever it has. */
static void guess_type(struct checker *check, uint32_t type)
{
    if (type_of(check) == 0)
        check->group.inode.mode = check->group.inode.ino == META_ROOT_INO ? S_IFDIR : type;
}

/* --- moving on --- */

int check_seek(struct checker *check, const struct meta_key *key, bool behind, MDB_val *found,
               MDB_val *value)
{
    int rc = meta_seek_from(check->txn, key, found, value);

    if (rc == 0 && behind && found->mv_size == key->len &&
        memcmp(found->mv_data, key->bytes, key->len) == 0)
        rc = meta_step(check->txn, MDB_NEXT, found, value);
    return rc;
}

static int erase(struct checker *check, const struct meta_key *key)
{
    check->moved = true;
    return meta_erase_key(check->txn, key);
}

static int unknown_record(struct checker *check, const struct meta_key *key)
{
    if (!check_problem(check, true,
                       "a record of an unknown kind (%02x, %zu bytes of key); repair "
                       "removes it",
                       key->bytes[0], key->len))
        return 0;
    return erase(check, key);
}

/* For records whose decoder has just failed. */
static int senseless_record(struct checker *check, const struct meta_key *key)
{
    if (!check_problem(check, true, "%s; repair removes the record", hf_error_sentence()))
        return 0;
    return erase(check, key);
}

/* --- blocks --- */

static bool block_used(const struct checker *check, uint64_t block)
{
    return check->used[block / 8] & 1u << block % 8;
}

static void use_blocks(struct checker *check, uint64_t block, uint64_t count)
{
    for (uint64_t i = block; i < block + count; i++)
        check->used[i / 8] |= (unsigned char)(1u << i % 8);
    check->request->blocks_used += count;
    if (block + count > check->last_block)
        check->last_block = block + count;
}

static int keep(struct checker *check, const struct meta_extent *run)
{
    if (check->kept_count == check->kept_room) {
        size_t room = check->kept_room ? 2 * check->kept_room : 64;
        struct meta_extent *kept = realloc(check->kept, room * sizeof *kept);
        if (!kept)
            return hf_fail(ENOMEM, "out of memory for %zu damaged extents", room);
        check->kept = kept;
        check->kept_room = room;
    }
    check->kept[check->kept_count++] = *run;
    return 0;
}

/* The longest run from `at` on that is all sound or all not; `sound` says which. */
static uint64_t run_from(const struct checker *check, const struct meta_extent *extent, uint64_t at,
                         bool *sound)
{
    uint64_t i;

    for (i = at; i < extent->count; i++) {
        uint64_t block = extent->block + i;
        bool good = extent->page + i >= check->group.next_page && block < check->pool_blocks &&
                    !block_used(check, block);
        if (i == at)
            *sound = good;
        else if (good != *sound)
            break;
    }
    return i - at;
}

/* Reports what the extent may not have. The sound rest is kept, and counted as in use. */
static int take_blocks(struct checker *check, const struct meta_extent *extent, bool *whole)
{
    uint64_t ino = check->group.inode.ino, at = 0;
    size_t kept = check->kept_count;
    bool sound = true, repair = false;
    int rc = 0;

    *whole = true;
    while (rc == 0 && at < extent->count) {
        uint64_t count = run_from(check, extent, at, &sound);
        struct meta_extent run = {extent->page + at, extent->block + at, count};
        if (sound) {
            use_blocks(check, run.block, count);
            check->group.inode.found_blocks += count;
            rc = keep(check, &run);
        } else {
            *whole = false;
            repair =
                check_problem(check, true,
                              "inode %llu: pages %llu to %llu are on blocks from %llu on, which "
                              "are taken or not in the pool; repair takes them from this file, "
                              "which loses what they held",
                              ull(ino), ull(run.page), ull(run.page + count - 1), ull(run.block));
        }
        at += count;
    }
    if (*whole || !repair)
        check->kept_count = kept;
    return rc;
}

/* --- records of one inode --- */

static int visit_extent(struct checker *check, const struct meta_key *key, const MDB_val *found,
                        const MDB_val *value)
{
    struct check_group *group = &check->group;
    struct meta_extent extent;
    bool whole;
    int rc;

    check->request->extents++;
    guess_type(check, S_IFREG);
    if (type_of(check) != S_IFREG) {
        if (!check_problem(check, true,
                           "inode %llu has blocks and is not a regular file; repair "
                           "removes them",
                           ull(group->inode.ino)))
            return 0;
        return erase(check, key);
    }
    if (meta_extent_decode(UINT64_MAX, found, value, &extent))
        return senseless_record(check, key);
    rc = take_blocks(check, &extent, &whole);
    if (extent.page + extent.count > group->next_page)
        group->next_page = extent.page + extent.count;
    if (rc || whole || !check->request->repair)
        return rc;
    return erase(check, key);
}

static int visit_attributes(struct checker *check, const struct meta_key *key, const MDB_val *value)
{
    struct check_inode *inode = &check->group.inode;
    struct meta_inode recorded;

    if (key->len != META_KEY_PREFIX)
        return unknown_record(check, key);
    if (meta_inode_decode(inode->ino, value, &recorded))
        return senseless_record(check, key);
    if (inode->ino == META_ROOT_INO && !S_ISDIR(recorded.mode)) {
        if (check_problem(check, true, "the root is not a directory; repair makes it one"))
            return erase(check, key);
        return 0;
    }
    check->group.attributes = true;
    inode->mode = recorded.mode;
    inode->nlink = recorded.nlink;
    inode->size = recorded.size;
    inode->blocks = recorded.blocks;
    inode->parent = recorded.parent;
    return 0;
}

bool check_legal_name(const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/');
}

static int visit_dirent(struct checker *check, const struct meta_key *key, const MDB_val *found,
                        const MDB_val *value)
{
    struct check_group *group = &check->group;
    struct meta_dirent entry;

    check->request->dirents++;
    guess_type(check, S_IFDIR);
    if (type_of(check) != S_IFDIR) {
        if (!check_problem(check, true,
                           "inode %llu has an entry and is not a directory; repair "
                           "removes it",
                           ull(group->inode.ino)))
            return 0;
        return erase(check, key);
    }
    if (meta_dirent_decode(found, value, &entry))
        return senseless_record(check, key);
    if (check_legal_name(entry.name) ||
        !check_problem(check, true, "directory %llu has an entry \"%s\"; repair removes it",
                       ull(group->inode.ino), entry.name))
        return 0;
    return erase(check, key);
}

/* "namespace.name", without a NUL. */
static bool legal_attribute(const struct meta_key *key)
{
    const unsigned char *name = key->bytes + META_KEY_PREFIX;
    size_t len = key->len - META_KEY_PREFIX;
    const unsigned char *dot = memchr(name, '.', len);

    return len <= META_NAME_MAX && dot && dot != name && dot != name + len - 1 &&
           !memchr(name, 0, len);
}

static bool is_name(const struct meta_key *key, const char *name)
{
    return key->len == META_KEY_PREFIX + strlen(name) &&
           memcmp(key->bytes + META_KEY_PREFIX, name, strlen(name)) == 0;
}

static int visit_acl(struct checker *check, const struct meta_key *key, const MDB_val *value)
{
    if (meta_acl_check(value->mv_data, value->mv_size) == 0)
        return 0;
    if (!check_problem(check, true, "inode %llu: %s; repair removes it, and the mode stays",
                       ull(check->group.inode.ino), hf_error_sentence()))
        return 0;
    return erase(check, key);
}

static int visit_xattr(struct checker *check, const struct meta_key *key, const MDB_val *value)
{
    bool acl = is_name(key, META_ACL_ACCESS) || is_name(key, META_ACL_DEFAULT);

    if (legal_attribute(key) && value->mv_size <= META_XATTR_MAX)
        return acl ? visit_acl(check, key, value) : 0;
    if (!check_problem(check, true,
                       "inode %llu has an attribute of %zu bytes with an impossible name "
                       "or length; repair removes it",
                       ull(check->group.inode.ino), value->mv_size))
        return 0;
    return erase(check, key);
}

static int visit_target(struct checker *check, const struct meta_key *key, const MDB_val *value)
{
    struct check_group *group = &check->group;

    if (key->len != META_KEY_PREFIX)
        return unknown_record(check, key);
    guess_type(check, S_IFLNK);
    if (type_of(check) == S_IFLNK && value->mv_size != 0 && value->mv_size <= META_SYMLINK_MAX &&
        !memchr(value->mv_data, 0, value->mv_size)) {
        group->inode.target_len = (uint32_t)value->mv_size;
        return 0;
    }
    if (!check_problem(check, true,
                       "inode %llu has a link target of %zu bytes that is senseless, or is "
                       "no symbolic link; repair removes the target",
                       ull(group->inode.ino), value->mv_size))
        return 0;
    return erase(check, key);
}

static int visit_part(struct checker *check, const struct meta_key *key, const MDB_val *found,
                      const MDB_val *value)
{
    switch (key->bytes[META_KEY_PREFIX - 1]) {
    case META_ATTRIBUTES:
        return visit_attributes(check, key, value);
    case META_EXTENT:
        return key->len == META_KEY_PREFIX + 8 ? visit_extent(check, key, found, value)
                                               : unknown_record(check, key);
    case META_DIRENT:
        return visit_dirent(check, key, found, value);
    case META_XATTR:
        return visit_xattr(check, key, value);
    case META_TARGET:
        return visit_target(check, key, value);
    default:
        return unknown_record(check, key);
    }
}

/* --- the end of an inode's records --- */

static int put_kept(struct checker *check)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < check->kept_count; i++)
        rc = meta_extent_insert(check->txn, check->group.inode.ino, &check->kept[i]);
    if (check->kept_count != 0)
        check->moved = true;
    check->kept_count = 0;
    return rc;
}

/* Gives attributes to records that have none. */
static int make_attributes(struct checker *check)
{
    struct check_inode *inode = &check->group.inode;
    struct meta_inode made = {0};
    struct timespec now;

    inode->mode |= S_ISDIR(inode->mode) ? 0700 : S_ISLNK(inode->mode) ? 0777 : 0600;
    inode->size =
        S_ISREG(inode->mode) ? check->group.next_page * META_BLOCK_BYTES : inode->target_len;
    inode->blocks = inode->found_blocks;
    inode->nlink = S_ISDIR(inode->mode) ? 2 : 1;
    inode->parent = inode->ino == META_ROOT_INO ? META_ROOT_INO : 0;
    if (!check_problem(check, true, "inode %llu has no attributes; repair makes new ones",
                       ull(inode->ino)))
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    made.mode = inode->mode;
    made.nlink = inode->nlink;
    made.size = inode->size;
    made.blocks = inode->blocks;
    made.parent = inode->parent;
    made.atime_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    made.mtime_ns = made.ctime_ns = made.btime_ns = made.atime_ns;
    check->moved = true;
    return meta_inode_put(check->txn, inode->ino, &made);
}

/* Attributes of nothing: there is no telling what they belonged to. */
static int drop_group(struct checker *check)
{
    if (!check_problem(check, true, "records of inode %llu belong to nothing; repair removes them",
                       ull(check->group.inode.ino)))
        return 0;
    check->moved = true;
    return meta_inode_del(check->txn, check->group.inode.ino);
}

static int finish_group(struct checker *check)
{
    struct check_group *group = &check->group;
    struct check_inode *added;
    int rc = 0;

    if (!group->open)
        return 0;
    group->open = false;
    if (group->inode.ino == META_ROOT_INO)
        guess_type(check, S_IFDIR);
    if (type_of(check) == 0)
        return drop_group(check);
    rc = put_kept(check);
    if (rc == 0 && !group->attributes)
        rc = make_attributes(check);
    if (type_of(check) == S_IFLNK && group->inode.target_len == 0)
        group->inode.flags |= INODE_NO_TARGET;
    return rc ? rc : check_add(check, &group->inode, &added);
}

/* --- what belongs to no inode --- */

static int visit_detached(struct checker *check, const struct meta_key *key, const MDB_val *found,
                          const MDB_val *value)
{
    struct meta_detached run;
    uint64_t clear = 0;

    if (meta_detached_decode(check->pool_blocks, found, value, &run))
        return senseless_record(check, key);
    while (clear < run.count && !block_used(check, run.block + clear))
        clear++;
    if (clear == run.count) {
        use_blocks(check, run.block, run.count);
        return 0;
    }
    if (!check_problem(check, true,
                       "the detached run of %llu blocks at %llu is in use by a file or "
                       "another run; repair removes its record",
                       ull(run.count), ull(run.block)))
        return 0;
    return erase(check, key);
}

static int visit_orphan(struct checker *check, const struct meta_key *key, const MDB_val *value)
{
    struct check_inode *inode = check_find(check, meta_get_be64(key->bytes + 1));

    if (value->mv_size == 0 && inode) {
        inode->flags |= INODE_ORPHAN;
        return 0;
    }
    if (!check_problem(check, true,
                       "the orphan record of inode %llu is senseless, or the inode is not "
                       "there; repair removes the record",
                       ull(meta_get_be64(key->bytes + 1))))
        return 0;
    return erase(check, key);
}

static int visit(struct checker *check, const struct meta_key *key, const MDB_val *found,
                 const MDB_val *value)
{
    switch (key->bytes[0]) {
    case META_SUPER:
        return key->len == 1 ? 0 : unknown_record(check, key);
    case META_INODE:
        return check->group.open ? visit_part(check, key, found, value)
                                 : unknown_record(check, key);
    case META_DETACHED:
        return key->len == 9 ? visit_detached(check, key, found, value)
                             : unknown_record(check, key);
    case META_ORPHAN:
        return key->len == 9 ? visit_orphan(check, key, value) : unknown_record(check, key);
    default:
        return unknown_record(check, key);
    }
}

/* --- the pass --- */

/* The inode whose record this is; 0: of none. */
static uint64_t ino_of(const struct meta_key *key)
{
    uint64_t ino;

    if (key->bytes[0] != META_INODE || key->len < META_KEY_PREFIX)
        return 0;
    ino = meta_get_be64(key->bytes + 1);
    return ino < META_INO_END - 1 ? ino : 0;
}

/* Ends one inode and begins the next where the keys do. */
static int turn(struct checker *check, const struct meta_key *key)
{
    struct check_group *group = &check->group;
    uint64_t ino = ino_of(key);
    int rc;

    if (group->open ? group->inode.ino == ino : ino == 0)
        return 0;
    rc = finish_group(check);
    *group = (struct check_group){.open = ino != 0, .inode = {.ino = ino}};
    return rc;
}

static int add_missing_root(struct checker *check)
{
    if (check_find(check, META_ROOT_INO))
        return 0;
    check->group = (struct check_group){.open = true, .inode = {.ino = META_ROOT_INO}};
    int rc = finish_group(check);
    if (rc)
        return rc;
    /* It was added at the end; it belongs to the front. */
    struct check_inode root = check->inodes[check->inode_count - 1];
    memmove(check->inodes + 1, check->inodes, (check->inode_count - 1) * sizeof root);
    check->inodes[0] = root;
    return 0;
}

static int pass(struct checker *check)
{
    struct meta_key key = {1, {0}};
    MDB_val found, value;
    int rc = check_seek(check, &key, false, &found, &value);

    while (rc == 0) {
        key.len = found.mv_size;
        memcpy(key.bytes, found.mv_data, found.mv_size);
        check->moved = false;
        rc = turn(check, &key);
        if (rc == 0 && check->moved)
            rc = check_seek(check, &key, false, &found, &value);
        check->moved = false;
        if (rc == 0)
            rc = visit(check, &key, &found, &value);
        check_count_record(check);
        if (rc)
            return rc;
        rc = check->moved ? check_seek(check, &key, true, &found, &value)
                          : meta_step(check->txn, MDB_NEXT, &found, &value);
    }
    return rc == -ENOENT ? 0 : rc;
}

int check_records(struct checker *check)
{
    int rc = pass(check);

    if (rc == 0)
        rc = finish_group(check);
    return rc ? rc : add_missing_root(check);
}
