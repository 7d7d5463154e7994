/* SPDX-License-Identifier: MIT */
/*
 * Private to the check of blocks (check_blocks.c). check_segments.c has the segments that all
 * claims cut the blocks into, and check_lengths.c the lengths of extents. check_owners.c has the
 * table of owners, and the marks that follow from it.
 */
#ifndef HF_META_CHECK_BLOCKS_H
#define HF_META_CHECK_BLOCKS_H

#include "meta/check.h"

/* Blocks up to where the next segment begins: each claim has all of them or none. */
struct segment {
    uint64_t block;
    uint32_t extents, marks, loose, records; /* that name it; marks: extents that say "shared"; */
    uint32_t doubted;                        /* claims that cannot stay as they are */
    uint32_t listed_extents, listed_records; /* what the table of owners says; else 0 */
    bool sound;                              /* all agrees: every claim has its blocks */
    bool kept_mark;                          /* an extent that is kept has the mark */
    uint32_t kept_extents, kept_loose, kept_records;
    size_t first; /* of a segment that is not sound: the claim that was kept first */
    /* Sums over all segments before this one. unsound: segments that are not sound. crowded: blocks
     * with too many names as it is; full: with one extent more. missed: blocks of which the table
     * lists more extents than there are. */
    uint64_t unsound, crowded, full, missed;
};

struct segments {
    struct segment *list;
    size_t count; /* the last one is empty */
};

static inline uint64_t check_end(uint64_t from, uint64_t count)
{
    return count > UINT64_MAX - from ? UINT64_MAX : from + count;
}

/* Makes the segments from the claims and the table as they are now; frees those that *out had. */
int check_segments(struct checker *check, struct segments *out);
/* The last one that does not begin after `block`, or the first. */
size_t check_segment_at(const struct segments *segments, uint64_t block);
/* Every segment of these blocks is sound. */
bool check_all_sound(const struct segments *segments, uint64_t block, uint64_t count);
/* With this count the claim has no block of another, but where the table lists it too. */
bool check_count_fits(const struct segments *segments, const struct check_claim *claim,
                      uint64_t count);
/* Another has each of its blocks too, and the table does not list both. */
bool check_is_disputed(const struct segments *segments, const struct check_claim *claim);
/* The table lists an extent of each of these blocks that is not there. */
bool check_is_missed(const struct segments *segments, uint64_t block, uint64_t end);
static inline bool check_is_file(const struct check_inode *inode)
{
    return inode && S_ISREG(inode->mode);
}
/* Mends the lengths of extents, and looks at the segments again (check_lengths.c). */
int check_lengths(struct checker *check, struct segments *segments);
/* The claim is an extent of an inode that is not a file, or at a page that cannot be. */
bool check_homeless(struct checker *check, const struct check_claim *claim);

/* Called once it is known which blocks each claim keeps. */
static inline bool check_is_shared(const struct segment *segment)
{
    return segment->kept_extents + (uint64_t)segment->kept_records > 1;
}
/* The bit of the super record; without it, and without shared blocks, there are no marks. */
void check_feature(struct checker *check, const struct segments *segments);
/* The table of owners. */
int check_owners(struct checker *check, const struct segments *segments);

#endif
