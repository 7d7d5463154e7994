/* SPDX-License-Identifier: MIT */
/*
 * Owns the check of every record on its own. Those that are judged with others in sight are left to
 * check_super.c, check_inodes.c and check_blocks.c. Calls record.c, name.c and check.c.
 *
 * A record under a key that cannot be has lost its place. If one other byte in its key makes it a
 * record that is missed, it goes back there. Else it goes to a new inode, if it may hold data
 * (extents, attributes, entries). All records of one impossible number go to the same new inode.
 * The next round judges them like any others, and they end up in lost+found. The rest is removed.
 */
#include "meta/check.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

struct place {
    struct checker *check;
    const struct check_inode *inode; /* that the records met belong to; null: to none */
    uint64_t ino;
};

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

static int erase_record(struct checker *check, const struct meta_key *key)
{
    check->moved = true;
    return meta_erase_key(check->txn, key);
}

static int move_record(struct checker *check, const struct meta_key *from,
                       const struct meta_key *to, const MDB_val *value)
{
    char *copy = malloc(value->mv_size + 1);
    int rc;

    if (!copy)
        return hf_fail(ENOMEM, "out of memory for a record of %zu bytes", value->mv_size);
    memcpy(copy, value->mv_data, value->mv_size);
    rc = erase_record(check, from);
    rc = rc ? rc : meta_store(check->txn, to, copy, value->mv_size);
    free(copy);
    check->again = true;
    return rc;
}

/* --- records without a place --- */

/* A value that this kind of record can have, under a key of this length. */
static bool could_be(enum meta_part part, size_t key_len, const MDB_val *value)
{
    size_t rest = key_len - META_KEY_PREFIX;

    switch (part) {
    case META_ATTRIBUTES:
        return rest == 0 && value->mv_size == sizeof(struct meta_disk_inode);
    case META_EXTENT:
        return rest == 8 && value->mv_size == sizeof(struct meta_disk_extent);
    case META_DIRENT:
        return rest != 0 && rest <= META_NAME_MAX &&
               value->mv_size == sizeof(struct meta_disk_dirent);
    case META_XATTR:
        return rest != 0 && rest <= META_NAME_MAX && value->mv_size <= META_XATTR_MAX;
    case META_TARGET:
        return rest == 0 && value->mv_size != 0 && value->mv_size <= META_SYMLINK_MAX;
    default:
        return false;
    }
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

/* The kind that a record of an impossible kind would be under this inode; 0: none. */
static unsigned part_for(const struct check_inode *inode, const struct meta_key *key,
                         const MDB_val *value)
{
    const void *name = key->bytes + META_KEY_PREFIX;
    size_t len = key->len - META_KEY_PREFIX;

    if (could_be(META_ATTRIBUTES, key->len, value) && !(inode->flags & INODE_ATTRIBUTES))
        return META_ATTRIBUTES;
    if (S_ISREG(inode->mode) && could_be(META_EXTENT, key->len, value))
        return META_EXTENT;
    if (S_ISLNK(inode->mode) && could_be(META_TARGET, key->len, value) &&
        !(inode->flags & INODE_TARGET))
        return META_TARGET;
    if (S_ISDIR(inode->mode) && could_be(META_DIRENT, key->len, value) && !memchr(name, '/', len) &&
        !memchr(name, 0, len))
        return META_DIRENT;
    return could_be(META_XATTR, key->len, value) && legal_attribute(key) ? META_XATTR : 0;
}

/* True: *to is the key that it may have had. */
static bool find_place(struct checker *check, const struct meta_key *key, const MDB_val *value,
                       struct meta_key *to)
{
    const struct check_inode *inode;
    unsigned part;
    MDB_val there;

    if (key->len < META_KEY_PREFIX)
        return false;
    *to = *key;
    to->bytes[0] = META_INODE;
    inode = check_find(check, meta_get_be64(key->bytes + 1));
    part = key->bytes[META_KEY_PREFIX - 1];
    if (inode && (key->bytes[0] == META_INODE || !could_be(part, key->len, value)))
        part = part_for(inode, key, value);
    if (!inode &&
        (key->bytes[0] == META_INODE || !could_be(part, key->len, value) ||
         meta_get_be64(key->bytes + 1) >= META_INO_END || meta_get_be64(key->bytes + 1) == 0))
        return false;
    to->bytes[META_KEY_PREFIX - 1] = (unsigned char)part;
    check->moved = true; /* the cursor looks there */
    return part != 0 && memcmp(to->bytes, key->bytes, key->len) != 0 &&
           meta_seek(check->txn, to, &there) == -ENOENT;
}

/* Gives the record a place under a new inode. False: it is not worth that. */
static bool make_place(struct checker *check, const struct meta_key *key, const MDB_val *value,
                       struct meta_key *to)
{
    unsigned part = key->len < META_KEY_PREFIX ? 0 : key->bytes[META_KEY_PREFIX - 1];
    uint64_t ino;

    if (part == META_EXTENT && value->mv_size == sizeof(struct meta_disk_extent)) {
        meta_key_extent(to, 0, 0); /* the page has been lost, or is not to be trusted */
        if (key->len == to->len)
            memcpy(to->bytes, key->bytes, key->len);
    } else if (part != 0 && could_be(part, key->len, value)) {
        *to = *key;
    } else {
        return false;
    }
    if (key->bytes[0] != META_INODE)
        return false;
    ino = meta_get_be64(key->bytes + 1);
    if (check->request->repair &&
        (check->moved_to == 0 || check->moved_from != ino || to->len != key->len)) {
        check->moved_from = to->len == key->len ? ino : 0; /* without a page: one a new inode */
        check->moved_to = check_new_ino(check);
        if (to->len != key->len)
            check_placeless(check, check->moved_to);
    }
    meta_put_be64(to->bytes + 1, check->moved_to);
    return true;
}

static int unknown_record(struct checker *check, const struct meta_key *key, const MDB_val *value)
{
    struct meta_key to;

    if (find_place(check, key, value, &to)) {
        if (!check_problem(check, true,
                           "a record of inode %" PRIu64
                           " has an impossible key (%02x, %zu bytes); repair "
                           "puts it back",
                           meta_get_be64(to.bytes + 1), key->bytes[0], key->len))
            return 0;
        return move_record(check, key, &to, value);
    }
    if (make_place(check, key, value, &to)) {
        if (!check_problem(check, true,
                           "a record has an impossible key (%02x, %zu bytes, inode %" PRIu64
                           "); repair "
                           "gives it to a new inode",
                           key->bytes[0], key->len, meta_get_be64(key->bytes + 1)))
            return 0;
        return move_record(check, key, &to, value);
    }
    if (!check_problem(check, true,
                       "a record of an unknown kind (%02x, %zu bytes of key); repair removes it",
                       key->bytes[0], key->len))
        return 0;
    check->again = true; /* its inode may have been nothing else */
    return erase_record(check, key);
}

/* For a record that could not be decoded. */
static int senseless_record(struct checker *check, const struct meta_key *key)
{
    if (!check_problem(check, true, "%s; repair removes the record", hf_error_sentence()))
        return 0;
    return erase_record(check, key);
}

/* --- records of one inode --- */

bool check_legal_name(const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/');
}

/* An entry that still says which inode; its type is that one's (check_names.c). */
static int shorten_entry(struct place *place, const struct meta_key *key, const MDB_val *value)
{
    struct meta_disk_dirent disk = {0};

    memcpy(&disk.ino, value->mv_data, sizeof disk.ino);
    if (!check_problem(place->check, true,
                       "directory %" PRIu64
                       ": an entry has %zu bytes, not %zu; repair keeps the inode's "
                       "number",
                       place->ino, value->mv_size, sizeof disk))
        return 0;
    place->check->moved = true;
    return meta_store(place->check->txn, key, &disk, sizeof disk);
}

/* One that is not what its key says may be the extent that its file's number of blocks misses.
 * True: it was dealt with. */
static bool missed_extent(struct place *place, const struct meta_key *key, const MDB_val *value,
                          int *rc)
{
    const struct check_inode *inode = place->inode;
    struct meta_disk_extent disk;
    struct meta_key to = *key;
    MDB_val there;

    if (!S_ISREG(inode->mode) || !could_be(META_EXTENT, key->len, value))
        return false;
    memcpy(&disk, value->mv_data, sizeof disk);
    disk.count &= ~META_COUNT_SHARED;
    to.bytes[META_KEY_PREFIX - 1] = META_EXTENT;
    place->check->moved = true;
    if (inode->blocks <= inode->claimed_blocks ||
        disk.count != inode->blocks - inode->claimed_blocks ||
        meta_seek(place->check->txn, &to, &there) != -ENOENT)
        return false;
    if (check_problem(place->check, true,
                      "inode %" PRIu64
                      ": an extent has the key of something else; repair puts it back",
                      place->ino))
        *rc = move_record(place->check, key, &to, value);
    return true;
}

static int visit_dirent(struct place *place, const struct meta_key *key, const MDB_val *found,
                        const MDB_val *value)
{
    struct checker *check = place->check;
    struct meta_dirent entry;
    int rc = 0;

    if (!S_ISDIR(place->inode->mode)) {
        if (missed_extent(place, key, value, &rc))
            return rc;
        if (!check_problem(check, true,
                           "inode %" PRIu64 " has an entry and is not a directory; repair "
                           "removes it",
                           place->ino))
            return 0;
        return erase_record(check, key);
    }
    if (meta_dirent_decode(found, value, &entry)) {
        const unsigned char *name = key->bytes + META_KEY_PREFIX;
        size_t len = key->len - META_KEY_PREFIX;

        if (value->mv_size != sizeof(struct meta_disk_dirent) && value->mv_size >= 8 &&
            len <= META_NAME_MAX && !memchr(name, 0, len))
            return shorten_entry(place, key, value);
        return senseless_record(check, key);
    }
    if (check_legal_name(entry.name) ||
        !check_problem(check, true, "directory %" PRIu64 " has an entry \"%s\"; repair removes it",
                       place->ino, entry.name))
        return 0;
    return erase_record(check, key);
}

static bool is_name(const struct meta_key *key, const char *name)
{
    return key->len == META_KEY_PREFIX + strlen(name) &&
           memcmp(key->bytes + META_KEY_PREFIX, name, strlen(name)) == 0;
}

static int visit_acl(struct place *place, const struct meta_key *key, const MDB_val *value)
{
    if (meta_acl_check(value->mv_data, value->mv_size) == 0)
        return 0;
    if (!check_problem(place->check, true,
                       "inode %" PRIu64 ": %s; repair removes it, and the mode stays", place->ino,
                       hf_error_sentence()))
        return 0;
    return erase_record(place->check, key);
}

static int visit_xattr(struct place *place, const struct meta_key *key, const MDB_val *value)
{
    bool acl = is_name(key, META_ACL_ACCESS) || is_name(key, META_ACL_DEFAULT);
    int rc = 0;

    if (legal_attribute(key) && value->mv_size <= META_XATTR_MAX)
        return acl ? visit_acl(place, key, value) : 0;
    if (missed_extent(place, key, value, &rc))
        return rc;
    if (!check_problem(place->check, true,
                       "inode %" PRIu64 " has an attribute of %zu bytes with an impossible name "
                       "or length; repair removes it",
                       place->ino, value->mv_size))
        return 0;
    return erase_record(place->check, key);
}

static int visit_target(struct place *place, const struct meta_key *key, const MDB_val *value)
{
    if (S_ISLNK(place->inode->mode) && place->inode->flags & INODE_TARGET)
        return 0;
    if (!check_problem(place->check, true,
                       "inode %" PRIu64 " has a link target of %zu bytes that is senseless, or is "
                       "no symbolic link; repair removes the target",
                       place->ino, value->mv_size))
        return 0;
    return erase_record(place->check, key);
}

static int visit_part(struct place *place, const struct meta_key *key, const MDB_val *found,
                      const MDB_val *value)
{
    size_t rest = key->len - META_KEY_PREFIX;

    switch (key->bytes[META_KEY_PREFIX - 1]) {
    case META_ATTRIBUTES:
        return rest == 0 ? 0 : unknown_record(place->check, key, value);
    case META_EXTENT:
        return rest == 8 ? 0 : unknown_record(place->check, key, value);
    case META_DIRENT:
        return rest != 0 ? visit_dirent(place, key, found, value)
                         : unknown_record(place->check, key, value);
    case META_XATTR:
        return visit_xattr(place, key, value);
    case META_TARGET:
        return rest == 0 ? visit_target(place, key, value)
                         : unknown_record(place->check, key, value);
    default:
        return unknown_record(place->check, key, value);
    }
}

/* --- what belongs to no inode --- */

/* Which file the blocks belong to is the business of check_blocks.c. */
static int visit_detached(struct checker *check, const struct meta_key *key, const MDB_val *found,
                          const MDB_val *value)
{
    struct meta_detached run;

    if (meta_detached_decode(UINT64_MAX, found, value, &run) == 0)
        return 0;
    /* A longer key may be one of an inode's. */
    return key->len == 9 ? senseless_record(check, key) : unknown_record(check, key, value);
}

/* Whether that is so: as above. */
static int visit_owners(struct checker *check, const struct meta_key *key, const MDB_val *found,
                        const MDB_val *value)
{
    struct meta_owners run;

    return meta_owners_decode(UINT64_MAX, found, value, &run) ? senseless_record(check, key) : 0;
}

static int visit_orphan(struct checker *check, const struct meta_key *key, const MDB_val *value)
{
    struct check_inode *inode = check_find(check, meta_get_be64(key->bytes + 1));

    if (value->mv_size == 0 && inode) {
        inode->flags |= INODE_ORPHAN;
        return 0;
    }
    if (!check_problem(check, true,
                       "the orphan record of inode %" PRIu64 " is senseless, or the inode is not "
                       "there; repair removes the record",
                       meta_get_be64(key->bytes + 1)))
        return 0;
    return erase_record(check, key);
}

/* An intent says where pages lie. What lies otherwise than it can is more likely to be right. */
static int visit_intent(struct checker *check, const struct meta_key *key, const MDB_val *found,
                        const MDB_val *value)
{
    uint64_t ino = meta_get_be64(key->bytes + 1);
    const struct check_inode *inode = check_find(check, ino);
    struct meta_intent intent;
    bool fits = false;
    int rc = 0;

    if (inode && S_ISREG(inode->mode) && meta_intent_decode(found, value, &intent) == 0) {
        check->moved = true;
        rc = meta_intent_fits(check->txn, &intent, &fits);
    }
    if (rc && rc != -EUCLEAN) /* else extents are damaged, and this is for the next round */
        return rc;
    check->intents += fits || rc;
    if (fits || rc ||
        !check_problem(check, true,
                       "the intent of inode %" PRIu64
                       " is senseless, or does not go with the inode and "
                       "its extents; repair removes the record",
                       ino))
        return 0;
    return meta_erase_key(check->txn, key);
}

static int visit(struct place *place, const struct meta_key *key, const MDB_val *found,
                 const MDB_val *value)
{
    struct checker *check = place->check;

    switch (key->bytes[0]) {
    case META_SUPER:
        return key->len == 1 ? 0 : unknown_record(check, key, value);
    case META_INODE:
        return place->inode ? visit_part(place, key, found, value)
                            : unknown_record(check, key, value);
    case META_DETACHED:
        return key->len == 9 || key->len == META_KEY_SHARED
                   ? visit_detached(check, key, found, value)
                   : unknown_record(check, key, value);
    case META_OWNERS:
        return key->len == 9 ? visit_owners(check, key, found, value)
                             : unknown_record(check, key, value);
    case META_ORPHAN:
        return key->len == 9 ? visit_orphan(check, key, value) : unknown_record(check, key, value);
    case META_INTENT:
        return key->len == 9 ? visit_intent(check, key, found, value)
                             : unknown_record(check, key, value);
    default:
        return unknown_record(check, key, value);
    }
}

/* The bit that keeps older versions away is there as long as an intent is. */
static void check_intent_bit(struct checker *check)
{
    if (!(check->super.incompat & META_INCOMPAT_INTENTS) == !check->intents)
        return;
    if (check_problem(check, true,
                      "the super record says that there are%s intents, and there are%s; repair "
                      "sets its feature bit right",
                      check->intents ? " no" : "", check->intents ? "" : " none"))
        check->super_changed = true;
    check->super.incompat ^= META_INCOMPAT_INTENTS;
}

/* --- the pass --- */

/* True: the record belongs to an inode that this round has made, and is for the next. */
static bool turn(struct place *place, const struct meta_key *key)
{
    uint64_t ino = 0;

    if (key->bytes[0] == META_INODE && key->len >= META_KEY_PREFIX)
        ino = meta_get_be64(key->bytes + 1);
    if (ino != place->ino) {
        place->ino = ino;
        place->inode = ino && ino < META_INO_END ? check_find(place->check, ino) : NULL;
    }
    return ino && ino < META_INO_END && !place->inode && place->check->again;
}

int check_records(struct checker *check)
{
    struct meta_key key = {1, {0}};
    struct place place = {.check = check};
    MDB_val found, value;
    int rc = check_seek(check, &key, false, &found, &value);

    while (rc == 0) {
        key.len = found.mv_size;
        memcpy(key.bytes, found.mv_data, found.mv_size);
        check->moved = false;
        if (!turn(&place, &key))
            rc = visit(&place, &key, &found, &value);
        check_count_record(check);
        if (rc)
            return rc;
        rc = check->moved ? check_seek(check, &key, true, &found, &value)
                          : meta_step(check->txn, MDB_NEXT, &found, &value);
    }
    if (rc != -ENOENT)
        return rc;
    check_intent_bit(check);
    return 0;
}
