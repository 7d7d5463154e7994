/* SPDX-License-Identifier: MIT */
/*
 * Owns the bytes of a POSIX ACL: acl(5). They are stored as Linux passes them, as the values of two
 * extended attributes. A value is a version of 32 bits, then entries, all little-endian. An entry
 * has a tag and permissions of 16 bits each, and an id of 32 bits, which only named users and
 * groups use.
 *
 * The values of the tags are a bit each, and rise in the order in which the entries must stand.
 * Three entries say the same as the permission bits of the mode: that of the owner, that of the
 * others, and the mask. Where there is no mask, the entry of the group does instead.
 */
#include "base/error.h"
#include "meta/meta.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define VERSION 2u
#define HEADER_BYTES 4u
#define ENTRY_BYTES 8u

enum tag {
    OWNER = 0x01,
    USER = 0x02,
    OWNING_GROUP = 0x04,
    GROUP = 0x08,
    MASK = 0x10,
    OTHERS = 0x20,
};
#define NAMED (USER | GROUP)
#define ALWAYS (OWNER | OWNING_GROUP | OTHERS)

struct entry {
    uint32_t tag, permissions, id;
};

static size_t count_entries(size_t len)
{
    return (len - HEADER_BYTES) / ENTRY_BYTES;
}

static struct entry load_entry(const void *value, size_t index)
{
    const char *at = (const char *)value + HEADER_BYTES + index * ENTRY_BYTES;
    uint16_t tag, permissions;
    uint32_t id;

    memcpy(&tag, at, sizeof tag);
    memcpy(&permissions, at + 2, sizeof permissions);
    memcpy(&id, at + 4, sizeof id);
    return (struct entry){le16toh(tag), le16toh(permissions), le32toh(id)};
}

static void store_permissions(void *value, size_t index, uint32_t permissions)
{
    uint16_t stored = htole16((uint16_t)permissions);

    memcpy((char *)value + HEADER_BYTES + index * ENTRY_BYTES + 2, &stored, sizeof stored);
}

/* ---- checking ---- */

static int check_entry(const struct entry *entry, size_t index, uint32_t seen)
{
    bool named = entry->tag & NAMED;

    if (entry->tag == 0 || entry->tag & (entry->tag - 1) || entry->tag > OTHERS)
        return hf_fail(EINVAL, "entry %zu of the ACL has the unknown tag 0x%x", index, entry->tag);
    if (entry->permissions > 7)
        return hf_fail(EINVAL, "entry %zu of the ACL has the unknown permissions 0x%x", index,
                       entry->permissions);
    if (named && entry->id == UINT32_MAX)
        return hf_fail(EINVAL, "entry %zu of the ACL names nobody", index);
    if (seen >= (named ? 2 * entry->tag : entry->tag))
        return hf_fail(EINVAL, "entry %zu of the ACL is there twice, or behind its place", index);
    return 0;
}

int meta_acl_check(const void *value, size_t len)
{
    uint32_t version, seen = 0;

    if (len < HEADER_BYTES || (len - HEADER_BYTES) % ENTRY_BYTES)
        return hf_fail(EINVAL, "an ACL cannot have %zu bytes", len);
    memcpy(&version, value, sizeof version);
    if (le32toh(version) != VERSION)
        return hf_fail(EOPNOTSUPP, "an ACL of version %u is not known", le32toh(version));
    for (size_t i = 0; i < count_entries(len); i++) {
        struct entry entry = load_entry(value, i);
        int rc = check_entry(&entry, i, seen);

        if (rc)
            return rc;
        seen |= entry.tag;
    }
    if ((seen & ALWAYS) != ALWAYS)
        return hf_fail(EINVAL, "the ACL lacks the entry of the owner, the group or the others");
    if (seen & NAMED && !(seen & MASK))
        return hf_fail(EINVAL, "the ACL has a named entry and no mask");
    return 0;
}

int meta_acl_check_unique(const void *value, size_t len)
{
    for (size_t i = 1; i < count_entries(len); i++) {
        struct entry entry = load_entry(value, i), before;

        for (size_t j = i; entry.tag & NAMED && j > 0; j--) {
            before = load_entry(value, j - 1);
            if (before.tag != entry.tag)
                break;
            if (before.id == entry.id)
                return hf_fail(EINVAL, "the ACL has two entries of %s %u",
                               entry.tag == USER ? "user" : "group", entry.id);
        }
    }
    return 0;
}

bool meta_acl_empty(size_t len)
{
    return len == 0 || len == HEADER_BYTES;
}

/* ---- the mode ---- */

bool meta_acl_get_mode(const void *value, size_t len, uint32_t *mode)
{
    uint32_t owner = 0, group = 0, others = 0;
    bool more = false;

    for (size_t i = 0; i < count_entries(len); i++) {
        struct entry entry = load_entry(value, i);

        if (entry.tag == OWNER)
            owner = entry.permissions;
        else if (entry.tag == OTHERS)
            others = entry.permissions;
        else if (entry.tag == OWNING_GROUP || entry.tag == MASK) /* the mask comes later */
            group = entry.permissions;
        more |= entry.tag & (NAMED | MASK);
    }
    *mode = owner << 6 | group << 3 | others;
    return more;
}

void meta_acl_set_mode(void *value, size_t len, uint32_t mode)
{
    size_t group = 0;

    for (size_t i = 0; i < count_entries(len); i++) {
        uint32_t tag = load_entry(value, i).tag;

        if (tag == OWNER)
            store_permissions(value, i, mode >> 6 & 7);
        else if (tag == OTHERS)
            store_permissions(value, i, mode & 7);
        else if (tag == OWNING_GROUP || tag == MASK)
            group = i;
    }
    store_permissions(value, group, mode >> 3 & 7);
}
