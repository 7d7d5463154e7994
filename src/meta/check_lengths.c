/* SPDX-License-Identifier: MIT */
/*
 * Owns the question how long an extent is. Calls check_segments.c and check.c.
 *
 * An inode's number of blocks may disagree with its extents. Then one extent of another length
 * would put it right: c = count + (recorded - added up). That is believed when its pages and blocks
 * are nobody else's, and a second thing says the same. Either the extent cannot be as it is. Or the
 * new one ends exactly where the next extent begins or the file ends. Or the table of owners misses
 * an extent of just the blocks that it gets. When one extent fits, it gets that count, and nothing
 * is lost. When none or several fit, the number of blocks is set to what there is. It is also set
 * where the number would be right without an extent whose blocks another has: that extent is the
 * damage. A shorter extent takes nothing away, so it may keep blocks that others claim too; its
 * inode then does not vouch. Otherwise an extent of a wild length would take all free blocks, and
 * leave no room for copies. Where no single count explains it, such an extent ends with its file.
 */
#include "meta/check_blocks.h"

#include <inttypes.h>

#define MEND_PASSES 8u

static uint64_t pages_before_next(const struct check_inode *inode, const struct check_claim *claims,
                                  uint64_t i)
{
    uint64_t next = i + 1 < inode->claim_count ? claims[i + 1].page : META_FILE_PAGES;

    return next > claims[i].page ? next - claims[i].page : 0;
}

/* It cannot be as it is, whatever other inodes have. */
static bool impossible(const struct checker *check, const struct check_inode *inode,
                       const struct check_claim *claims, uint64_t i)
{
    const struct check_claim *claim = &claims[i];

    return claim->count == 0 || claim->page >= META_FILE_PAGES ||
           claim->count > pages_before_next(inode, claims, i) ||
           claim->block >= check->pool_blocks || claim->count > check->pool_blocks - claim->block;
}

/* With this count the extent ends where the next begins, or the last one where the file does. */
static bool ends_well(const struct check_inode *inode, const struct check_claim *claims, uint64_t i,
                      uint64_t count)
{
    uint64_t file_end = (inode->size + META_BLOCK_BYTES - 1) / META_BLOCK_BYTES;

    return i + 1 < inode->claim_count ? count == pages_before_next(inode, claims, i)
                                      : claims[i].page + count == file_end;
}

/* The count with which the inode's number of blocks is right; 0: it would not fit. */
static uint64_t fitting_count(const struct checker *check, const struct segments *segments,
                              const struct check_inode *inode, uint64_t i)
{
    const struct check_claim *claims = &check->claims[inode->first_claim], *claim = &claims[i];
    uint64_t others = inode->claimed_blocks - claim->count, count;
    bool evident;

    if (inode->blocks <= others)
        return 0;
    count = inode->blocks - others;
    if (count > pages_before_next(inode, claims, i) || claim->page >= META_FILE_PAGES ||
        claim->block >= check->pool_blocks || count > check->pool_blocks - claim->block ||
        (i != 0 && check_end(claims[i - 1].page, claims[i - 1].count) > claim->page))
        return 0;
    evident =
        impossible(check, inode, claims, i) || ends_well(inode, claims, i, count) ||
        check_is_missed(segments, check_end(claim->block, claim->count), claim->block + count);
    if (!check_count_fits(segments, claim, count))
        return evident && count < claim->count ? count : 0;
    return evident || !check_count_fits(segments, claim, claim->count) ? count : 0;
}

/* Without an extent whose blocks another has, the inode's number of blocks is right. */
static bool has_one_too_many(const struct checker *check, const struct segments *segments,
                             const struct check_inode *inode)
{
    const struct check_claim *claims = &check->claims[inode->first_claim];

    for (uint64_t i = 0; i < inode->claim_count; i++)
        if (inode->claimed_blocks - claims[i].count == inode->blocks &&
            check_is_disputed(segments, &claims[i]))
            return true;
    return false;
}

/* True: an extent has got another count. */
static bool mend_count(struct checker *check, const struct segments *segments,
                       struct check_inode *inode)
{
    uint64_t fits = 0, which = 0, count = 0;
    struct check_claim *claim;

    if (has_one_too_many(check, segments, inode))
        return false;
    for (uint64_t i = 0; i < inode->claim_count && fits < 2; i++) {
        uint64_t fitting = fitting_count(check, segments, inode, i);

        if (fitting) {
            fits++;
            which = i;
            count = fitting;
        }
    }
    if (fits != 1)
        return false;
    claim = &check->claims[inode->first_claim + which];
    check_problem(check, true,
                  "inode %" PRIu64 ": the extent at page %" PRIu64 " has %" PRIu64
                  " blocks, and the inode's number of "
                  "blocks says %" PRIu64 "; repair makes it so",
                  inode->ino, claim->page, claim->count, count);
    if (!check_count_fits(segments, claim, count))
        inode->flags |= INODE_CUT;
    inode->claimed_blocks = inode->blocks;
    claim->count = count;
    claim->flags |= CLAIM_ODD;
    return true;
}

/* Cuts extents that no single count explains, but that are too long by all that is known. The inode
 * has not so many blocks, the file ends before, and the extent cannot be or is in the way of
 * others. */
static void cut_at_end(struct checker *check, const struct segments *segments,
                       struct check_inode *inode)
{
    struct check_claim *claims = &check->claims[inode->first_claim];
    uint64_t file_end = (inode->size + META_BLOCK_BYTES - 1) / META_BLOCK_BYTES;

    for (uint64_t i = 0; i < inode->claim_count; i++) {
        struct check_claim *claim = &claims[i];

        if (claim->count <= inode->blocks || claim->page >= file_end ||
            claim->count <= file_end - claim->page ||
            (!impossible(check, inode, claims, i) &&
             check_count_fits(segments, claim, claim->count)))
            continue;
        check_problem(check, true,
                      "inode %" PRIu64 ": the extent at page %" PRIu64 " has %" PRIu64
                      " blocks, more than the inode, "
                      "and the file ends before; repair cuts it there",
                      inode->ino, claim->page, claim->count);
        inode->claimed_blocks -= claim->count - (file_end - claim->page);
        inode->flags |= INODE_CUT;
        claim->count = file_end - claim->page;
        claim->flags |= CLAIM_ODD;
    }
}

/* The number of blocks and the extents disagree. */
static bool miscounted(const struct check_inode *inode)
{
    return check_is_file(inode) && inode->flags & INODE_ATTRIBUTES &&
           inode->blocks != inode->claimed_blocks && inode->claimed_blocks != UINT64_MAX;
}

/* Each mended count may make room for another. */
int check_lengths(struct checker *check, struct segments *segments)
{
    bool mended = true;
    int rc = 0;

    for (unsigned n = 0; rc == 0 && n < MEND_PASSES && mended; n++) {
        mended = false;
        for (size_t i = 0; i < check->inode_count; i++) {
            struct check_inode *inode = &check->inodes[i];

            if (miscounted(inode))
                mended |= mend_count(check, segments, inode);
        }
        if (mended)
            rc = check_segments(check, segments);
    }
    for (size_t i = 0; i < check->inode_count; i++)
        if (miscounted(&check->inodes[i]))
            cut_at_end(check, segments, &check->inodes[i]);
    return rc ? rc : check_segments(check, segments);
}
