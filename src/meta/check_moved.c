/* SPDX-License-Identifier: MIT */
/*
 * Owns the question which records lie under another inode's number than their own. Calls record.c
 * and check.c.
 *
 * A damaged number in a key leaves two inodes that contradict what else is recorded of them:
 *
 *   an extent: one file has fewer blocks than its number says, by just the extent's count. The
 *   inode that the extent is under has just that many too many, or is nothing but extents. The
 *   pages are free in the file.
 *
 *   attributes: one inode with a name has none, and its names, blocks, target or directories say
 *   what they were. Another inode has just these attributes, and nothing else: no name, and not
 *   what its attributes count. An empty file or a directory without directories counts nothing, so
 *   it may as well have lost its own name, and stays.
 *
 * A record goes back only where exactly one fits exactly one. Extended attributes stay where they
 * are, since no other record says which inode had them.
 *
 * O(n log n): both sides are sorted by what they say.
 */
#include "meta/check.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* The values that two inodes must have in common to be halves of one. */
struct half {
    uint64_t count, links;
    uint64_t ino;
    uint32_t type;
    uint32_t found;  /* how many extents would fill what it lacks */
    uint64_t page;   /* of the last such extent, */
    uint64_t inside; /* and the inode that it is under */
};

struct halves {
    struct half *list;
    size_t count;
};

static int by_look(const void *x, const void *y)
{
    const struct half *p = x, *q = y;

    if (p->count != q->count)
        return p->count < q->count ? -1 : 1;
    if (p->type != q->type)
        return p->type < q->type ? -1 : 1;
    return p->links < q->links ? -1 : p->links > q->links;
}

/* The inodes of the table that `take` makes a half of, sorted. */
static int gather_halves(const struct checker *check,
                         bool (*take)(const struct check_inode *, struct half *),
                         struct halves *out)
{
    struct half half;

    *out = (struct halves){malloc((check->inode_count + 1) * sizeof *out->list), 0};
    if (!out->list)
        return hf_fail(ENOMEM, "out of memory for %zu inodes", check->inode_count);
    for (size_t i = 0; i < check->inode_count; i++) {
        half = (struct half){.ino = check->inodes[i].ino};
        if (take(&check->inodes[i], &half))
            out->list[out->count++] = half;
    }
    if (out->count)
        qsort(out->list, out->count, sizeof *out->list, by_look);
    return 0;
}

/* The only one that looks like this, or null. */
static struct half *only(const struct halves *in, const struct half *like)
{
    size_t low = 0, high = in->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (by_look(&in->list[middle], like) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == in->count || by_look(&in->list[low], like) != 0 ||
        (low + 1 < in->count && by_look(&in->list[low + 1], like) == 0))
        return NULL;
    return &in->list[low];
}

static int move_to(struct checker *check, const struct meta_key *from, const struct meta_key *to)
{
    unsigned char copy[sizeof(struct meta_disk_inode)];
    MDB_val value;
    int rc = meta_seek(check->txn, from, &value);

    HF_BUG_ON(rc == 0 && value.mv_size > sizeof copy); /* odd ones are not looked at */
    if (rc)
        return rc;
    memcpy(copy, value.mv_data, value.mv_size);
    rc = meta_erase_key(check->txn, from);
    check->again = true;
    return rc ? rc : meta_store(check->txn, to, copy, value.mv_size);
}

/* --- attributes --- */

/* The count of an inode: blocks of a file, bytes of a link's target, directories in a directory.
 * False: it counts nothing. */
static bool look_of(struct half *half, uint32_t type, uint64_t links, uint64_t count)
{
    half->type = type;
    half->links = S_ISDIR(type) ? 0 : links;
    half->count = count;
    return count != 0;
}

/* Attributes, and nothing that they are of. */
static bool take_attributes(const struct check_inode *inode, struct half *half)
{
    uint32_t type = inode->mode & S_IFMT;
    uint64_t count = S_ISREG(type)   ? inode->blocks
                     : S_ISLNK(type) ? inode->size
                     : S_ISDIR(type) ? inode->nlink - UINT64_C(2)
                                     : 0;

    return look_of(half, type, inode->nlink, count) && inode->ino != META_ROOT_INO &&
           inode->named_count == 0 && inode->nlink != 0 &&
           (inode->flags & (INODE_ATTRIBUTES | INODE_ODD | INODE_EXTENTS | INODE_ENTRIES |
                            INODE_TARGET)) == INODE_ATTRIBUTES;
}

static bool take_named(const struct check_inode *inode, struct half *half)
{
    uint32_t type = inode->named_type;
    uint64_t count = S_ISREG(type)   ? inode->claimed_blocks
                     : S_ISLNK(type) ? inode->target_len
                     : S_ISDIR(type) ? inode->named_subdirs
                                     : 0;

    return look_of(half, type, inode->named_count, count) && inode->ino != META_ROOT_INO &&
           !(inode->flags & INODE_ATTRIBUTES);
}

static int reunite(struct checker *check, uint64_t from, uint64_t to)
{
    struct meta_key old, new;

    if (!check_problem(check, true,
                       "inode %" PRIu64 " has no attributes, and inode %" PRIu64
                       " has nothing but such as are "
                       "missed there; repair puts them back",
                       to, from))
        return 0;
    meta_key_part(&old, from, META_ATTRIBUTES);
    meta_key_part(&new, to, META_ATTRIBUTES);
    return move_to(check, &old, &new);
}

static int attributes(struct checker *check)
{
    struct halves without = {NULL, 0}, with = {NULL, 0};
    int rc = gather_halves(check, take_named, &without);

    if (rc == 0 && without.count)
        rc = gather_halves(check, take_attributes, &with);
    for (size_t i = 0; rc == 0 && i < with.count; i++) {
        const struct half *named = only(&without, &with.list[i]);

        if (named && only(&with, &with.list[i]))
            rc = reunite(check, with.list[i].ino, named->ino);
    }
    free(without.list);
    free(with.list);
    return rc;
}

/* --- extents --- */

/* Its number of blocks says something of its extents: the attributes are not another's. */
static bool counted(const struct check_inode *inode)
{
    uint32_t type = inode->mode & S_IFMT;

    return inode->flags & INODE_ATTRIBUTES && type == S_IFREG && inode->ino != META_ROOT_INO &&
           (inode->named_type == 0 || inode->named_type == type);
}

static bool take_lacking(const struct check_inode *inode, struct half *half)
{
    half->count = inode->blocks - inode->claimed_blocks;
    return counted(inode) && inode->blocks > inode->claimed_blocks &&
           inode->blocks <= META_FILE_PAGES;
}

/* No extent of the file has one of these pages. */
static bool pages_are_free(const struct checker *check, const struct check_inode *inode,
                           const struct check_claim *claim)
{
    const struct check_claim *claims = &check->claims[inode->first_claim];
    uint64_t low = 0, high = inode->claim_count;

    if (claim->page >= META_FILE_PAGES || claim->count > META_FILE_PAGES - claim->page)
        return false;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (claims[middle].page < claim->page)
            low = middle + 1;
        else
            high = middle;
    }
    return (low == inode->claim_count || claims[low].page >= claim->page + claim->count) &&
           (low == 0 || claim->page >= claims[low - 1].page + claims[low - 1].count);
}

/* The file that lacks this extent, if one does. */
static struct half *file_of(struct checker *check, const struct halves *lacking,
                            const struct check_claim *claim)
{
    struct half *file = only(lacking, &(struct half){.count = claim->count});

    if (claim->flags & CLAIM_ODD || claim->count == 0 || !file || file->ino == claim->ino ||
        !pages_are_free(check, check_find(check, file->ino), claim))
        return NULL;
    return file;
}

/* The surplus of an inode is one extent of another file. An inode that is nothing but extents may
 * have several of others; extents that this run has put there have no other place. */
static void note_foreign(struct checker *check, const struct check_inode *inode,
                         const struct halves *lacking)
{
    const struct check_claim *claims = &check->claims[inode->first_claim];
    bool own = inode->flags & INODE_ATTRIBUTES;

    if (own ? inode->claimed_blocks <= inode->blocks
            : inode->named_count != 0 || inode->ino >= check->placeless)
        return;
    for (uint64_t i = 0; i < inode->claim_count; i++) {
        struct half *file;

        if (own && claims[i].count != inode->claimed_blocks - inode->blocks)
            continue;
        file = file_of(check, lacking, &claims[i]);
        if (!file)
            continue;
        file->found++;
        file->page = claims[i].page;
        file->inside = inode->ino;
    }
}

static int bring_back(struct checker *check, const struct half *file)
{
    struct meta_key old, new;

    if (!check_problem(check, true,
                       "inode %" PRIu64 ": the extent at page %" PRIu64 " has the %" PRIu64
                       " blocks that inode %" PRIu64 " "
                       "lacks; repair puts it back there",
                       file->inside, file->page, file->count, file->ino))
        return 0;
    meta_key_extent(&old, file->inside, file->page);
    meta_key_extent(&new, file->ino, file->page);
    return move_to(check, &old, &new);
}

static int extents(struct checker *check)
{
    struct halves lacking;
    int rc = gather_halves(check, take_lacking, &lacking);

    for (size_t i = 0; rc == 0 && lacking.count && i < check->inode_count; i++)
        note_foreign(check, &check->inodes[i], &lacking);
    for (size_t i = 0; rc == 0 && i < lacking.count; i++)
        if (lacking.list[i].found == 1)
            rc = bring_back(check, &lacking.list[i]);
    free(lacking.list);
    return rc;
}

int check_moved(struct checker *check)
{
    int rc = attributes(check);

    return rc || check->again ? rc : extents(check);
}
