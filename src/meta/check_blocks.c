/* SPDX-License-Identifier: MIT */
/*
 * Owns the question which file has which block. Calls extent.c, record.c, check_segments.c,
 * check_lengths.c, check_owners.c and check.c.
 *
 * The runs that records name cut the blocks into segments (check_segments.c). Only claims to a
 * segment that is not sound are looked at more closely. An inode vouches for its extents when they
 * add up to its recorded number of blocks, and it has attributes and is a regular file.
 *
 * First, the lengths of extents (check_lengths.c).
 *
 * Then, blocks with several claims. They go to the claim that is better vouched for. An inode that
 * agrees with its extents comes first, then an inode that does not, then what is not a file. A
 * detached run comes last, since no file's data is in it. Between two files of the same standing
 * nothing tells which is right. So the first keeps the blocks and the other gets a copy in free
 * ones, and the right one has lost nothing. Copies go below fresh_block only, since free blocks
 * from there on must stay zero even if the repair is never committed. Where those are not enough,
 * fresh_block is raised first (check.c). Where no block is free, a detached run whose count is
 * wrong gives some of its last blocks, or else there is a hole.
 *
 * Two extents may have the same blocks if three things say so: the table of owners, which lists one
 * more, and the marks of both. Two of the three are enough where the numbers of blocks of both
 * inodes vouch for them: then the third is what is damaged. A detached record of shared blocks
 * stays only if the table says that of all its blocks: nobody can hold them any more. The claims
 * that stay are counted, and the table and the marks are made to agree with that.
 *
 * Blocks with one claim may be under something that is not a file, or at a page that another extent
 * of the file has. They go to a file of their own, which ends up in lost+found.
 *
 * O(n log n) for n extents that are sound, and no loop goes block by block.
 */
#include "meta/check_blocks.h"

#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum rank { RANK_DETACHED, RANK_RECORD, RANK_STRAY, RANK_DOUBTFUL, RANK_VOUCHED };

struct piece {
    struct meta_extent run;
    size_t claim;
};

struct blocks {
    struct checker *check;
    struct segments segments;
    size_t count;
    size_t *order; /* of the claims that are looked at closer, by evidence */
    size_t open_count;
    struct piece *pieces; /* of claims that are not whole: to be put back when these are gone */
    size_t piece_count, piece_room;
    struct piece *copies; /* to be made when it is known which blocks stay free */
    size_t copy_count, copy_room;
    size_t free_at, free_end; /* in `pieces`, by block: where free blocks are looked for */
    uint64_t free_from;
    uint64_t stray_of, stray_ino, stray_page; /* the file that takes blocks without a place */
};

/* --- which owner is believed --- */

static enum rank rank_of(const struct checker *check, const struct check_claim *claim)
{
    const struct check_inode *inode = check_find((struct checker *)check, claim->ino);

    if (claim->ino == 0)
        return claim->flags & CLAIM_SHARED ? RANK_RECORD : RANK_DETACHED;
    if (check_homeless((struct checker *)check, claim) || !(inode->flags & INODE_ATTRIBUTES))
        return RANK_STRAY;
    return inode->blocks == inode->claimed_blocks && !(inode->flags & INODE_CUT) ? RANK_VOUCHED
                                                                                 : RANK_DOUBTFUL;
}

static int by_evidence(const void *x, const void *y, void *arg)
{
    const struct checker *check = arg;
    size_t i = *(const size_t *)x, j = *(const size_t *)y;
    enum rank a = rank_of(check, &check->claims[i]), b = rank_of(check, &check->claims[j]);

    if (a != b)
        return a > b ? -1 : 1;
    if ((check->claims[i].flags ^ check->claims[j].flags) & CLAIM_SHARED)
        return check->claims[i].flags & CLAIM_SHARED ? -1 : 1; /* it may have company */
    return i < j ? -1 : i > j;
}

/* Nothing tells which of two files has the blocks. */
static bool equal_right(const struct checker *check, const struct check_claim *x,
                        const struct check_claim *y)
{
    enum rank rank = rank_of(check, x);

    return rank == rank_of(check, y) && rank >= RANK_DOUBTFUL;
}

/* --- what becomes of a run --- */

static int append_piece(struct piece **list, size_t *count, size_t *room, const struct piece *piece)
{
    struct piece *grown = check_grow(*list, *count, room, sizeof *grown, "damaged runs of blocks");

    if (!grown)
        return -ENOMEM;
    *list = grown;
    grown[(*count)++] = *piece;
    return 0;
}

static int keep(struct blocks *b, size_t claim, uint64_t page, uint64_t block, uint64_t count)
{
    return append_piece(&b->pieces, &b->piece_count, &b->piece_room,
                        &(struct piece){{page, block, count, false}, claim});
}

static int make_copy(struct blocks *b, size_t index, const struct meta_extent *run, uint64_t with)
{
    struct checker *check = b->check;

    check_problem(
        check, true,
        "inode %" PRIu64 ": pages %" PRIu64 " to %" PRIu64 " are on blocks from %" PRIu64
        " on, which inode %" PRIu64 " has "
        "as well, and nothing tells which is right; repair gives this file a copy of them",
        check->claims[index].ino, run->page, run->page + run->count - 1, run->block, with);
    return append_piece(&b->copies, &b->copy_count, &b->copy_room, &(struct piece){*run, index});
}

static void lose(struct checker *check, const struct check_claim *claim,
                 const struct meta_extent *run)
{
    if (claim->ino == 0)
        check_problem(check, true,
                      "the detached run of %" PRIu64 " blocks at %" PRIu64
                      " is in use by a file or another run, "
                      "or not in the pool; repair takes those blocks out of it",
                      claim->count, claim->block);
    else
        check_problem(check, true,
                      "inode %" PRIu64 ": pages %" PRIu64 " to %" PRIu64
                      " are on blocks from %" PRIu64 " on, which are taken "
                      "or not in the pool; repair takes them from this file, which loses what they "
                      "held",
                      claim->ino, run->page, check_end(run->page, run->count) - 1, run->block);
}

enum verdict { KEEP, COPY, LOSE };

/* With which certainty is at the top of this file. */
static bool may_join(const struct blocks *b, const struct segment *segment,
                     const struct check_claim *claim)
{
    const struct check_claim *first = &b->check->claims[segment->first];
    bool listed = segment->listed_extents > segment->kept_extents;
    bool marked = claim->flags & CLAIM_SHARED;
    bool vouched = equal_right(b->check, first, claim) && rank_of(b->check, claim) == RANK_VOUCHED;

    return listed + marked + segment->kept_mark >= (vouched ? 2 : 3);
}

static enum verdict judge_claim_in(const struct blocks *b, const struct segment *segment,
                                   const struct check_claim *claim)
{
    if (segment->sound || segment->kept_extents + segment->kept_loose + segment->kept_records == 0)
        return KEEP;
    if (claim->ino == 0)
        return LOSE;
    if (may_join(b, segment, claim))
        return KEEP;
    return equal_right(b->check, &b->check->claims[segment->first], claim) ? COPY : LOSE;
}

static void note_kept(struct segment *segment, const struct check_claim *claim, size_t index)
{
    if (segment->sound)
        return; /* all its claims are counted already */
    if (segment->kept_extents + segment->kept_loose == 0)
        segment->first = index;
    segment->kept_extents += claim->ino != 0;
    segment->kept_loose += claim->ino == 0;
    segment->kept_mark |= claim->flags & CLAIM_SHARED ? true : false;
}

static int settle_part(struct blocks *b, size_t index, const struct meta_extent *part,
                       enum verdict verdict, size_t with)
{
    struct checker *check = b->check;

    if (verdict == KEEP)
        return keep(b, index, part->page, part->block, part->count);
    check->claims[index].flags |= CLAIM_ODD;
    if (verdict == COPY)
        return make_copy(b, index, part, check->claims[with].ino);
    lose(check, &check->claims[index], part);
    return 0;
}

/* Gives the claim the blocks that are still free or may be shared, and decides on the rest.
 * Neighbouring segments of the same fate are decided at once. */
static int give_blocks(struct blocks *b, size_t index, const struct meta_extent *run)
{
    const struct check_claim *claim = &b->check->claims[index];
    struct segment *segment = &b->segments.list[check_segment_at(&b->segments, run->block)];
    uint64_t at = run->block, end = run->block + run->count;
    int rc = 0;

    while (rc == 0 && at < end) {
        struct meta_extent part = {run->page + (at - run->block), at, 0, false};
        enum verdict verdict = judge_claim_in(b, segment, claim);
        size_t with = segment->first;

        do {
            if (verdict == KEEP)
                note_kept(segment, claim, index);
            at = (++segment)->block;
        } while (at < end && judge_claim_in(b, segment, claim) == verdict &&
                 (verdict != COPY || segment->first == with));
        part.count = at - part.block;
        rc = settle_part(b, index, &part, verdict, with);
    }
    return rc;
}

/* The table says so of each of its blocks. */
static bool record_is_listed(const struct segment *from, uint64_t end)
{
    for (; from->block < end; from++)
        if (!from->sound && from->listed_records <= from->kept_records)
            return false;
    return true;
}

/* A detached record of shared blocks stays as it is, or goes: no pin is left. */
static void judge_record(struct blocks *b, struct check_claim *claim)
{
    struct segment *segment = &b->segments.list[check_segment_at(&b->segments, claim->block)];
    uint64_t end = check_end(claim->block, claim->count);
    bool stays = end <= b->check->pool_blocks && record_is_listed(segment, end);

    for (; segment->block < end; segment++) {
        if (stays && !segment->sound)
            segment->kept_records++;
        if (!stays && segment->sound)
            segment->kept_records--;
    }
    claim->flags |= stays ? CLAIM_WHOLE : CLAIM_ODD;
    if (!stays)
        check_problem(b->check, true,
                      "the detached run of %" PRIu64 " blocks at %" PRIu64
                      " is not in the table of owners; "
                      "repair removes it",
                      claim->count, claim->block);
}

/* How many of its blocks, from the first on, it would keep. */
static uint64_t undisputed(const struct blocks *b, const struct check_claim *claim)
{
    const struct segment *segment = &b->segments.list[check_segment_at(&b->segments, claim->block)];
    uint64_t end = b->check->pool_blocks;

    while (segment->block < end && judge_claim_in(b, segment, claim) == KEEP)
        segment++;
    return (segment->block < end ? segment->block : end) - claim->block;
}

/* The part of a claim that lies in the file and in the pool. A claim that does not fit has a wrong
 * count. It ends where others' blocks begin, or blocks that were never given out. Otherwise it
 * would take all free blocks, which are needed for copies. */
static struct meta_extent clip(const struct blocks *b, struct check_claim *claim)
{
    struct checker *check = b->check;
    struct meta_extent run = {claim->page, claim->block, claim->count, false};
    uint64_t room = claim->block < check->pool_blocks ? check->pool_blocks - claim->block : 0;
    uint64_t fresh = check_first_never_used(check), own;

    if (claim->ino != 0 && run.page >= META_FILE_PAGES)
        run.page = 0; /* it has lost its place: see settle() */
    if (claim->ino != 0 && room > META_FILE_PAGES - run.page)
        room = META_FILE_PAGES - run.page;
    if (run.count <= room && run.count != 0)
        return run;
    claim->flags |= CLAIM_ODD;
    if (run.count == 0) {
        check_problem(check, true,
                      "inode %" PRIu64 ": the extent at page %" PRIu64 " has no blocks; repair "
                      "removes it",
                      claim->ino, claim->page);
        return run;
    }
    own = room ? undisputed(b, claim) : 0;
    room = own && own < room ? own : room;
    if (fresh > run.block && fresh - run.block < room)
        room = fresh - run.block;
    run.count = run.count < room ? run.count : room;
    lose(check, claim,
         &(struct meta_extent){run.page + run.count, run.block + run.count,
                               claim->count - run.count, false});
    return run;
}

/* Others have all of its blocks, and nothing says that they may be shared. */
static bool contested(const struct blocks *b, const struct check_claim *claim)
{
    const struct segment *segment = &b->segments.list[check_segment_at(&b->segments, claim->block)];
    uint64_t end = check_end(claim->block, claim->count);

    for (; segment->block < end; segment++)
        if (segment->extents + segment->loose + segment->records == 1 ||
            (segment->kept_extents && may_join(b, segment, claim)))
            return false;
    return true;
}

/* A claim without a home that is contradicted as well is not an extent. Its blocks were never given
 * out, are not there, or are another's. */
static bool bogus(const struct blocks *b, const struct check_claim *claim)
{
    uint64_t fresh = check_first_never_used(b->check);

    return check_homeless(b->check, claim) &&
           (claim->count == 0 || claim->block >= fresh || claim->count > fresh - claim->block ||
            contested(b, claim));
}

static int judge_claim(struct blocks *b, size_t index)
{
    struct check_claim *claim = &b->check->claims[index];
    struct meta_extent run;

    if (claim->ino == 0 && claim->flags & CLAIM_SHARED) {
        judge_record(b, claim);
        return 0;
    }
    if (bogus(b, claim)) {
        check_problem(b->check, true,
                      "inode %" PRIu64 ": a record of %" PRIu64 " blocks from %" PRIu64
                      " on is not one of a file's "
                      "extents; repair removes it",
                      claim->ino, claim->count, claim->block);
        claim->flags |= CLAIM_ODD;
        return 0;
    }
    run = clip(b, claim);
    return run.count ? give_blocks(b, index, &run) : 0;
}

static int judge_claims(struct blocks *b)
{
    struct checker *check = b->check;
    int rc = 0;

    for (size_t i = 0; i < b->count; i++) {
        struct check_claim *claim = &check->claims[i];

        if (claim->flags & CLAIM_ODD || claim->count == 0 || check_homeless(check, claim) ||
            claim->block >= check->pool_blocks || /* then its segments may have no blocks */
            !check_all_sound(&b->segments, claim->block, claim->count))
            b->order[b->open_count++] = i;
        else
            claim->flags |= CLAIM_WHOLE;
    }
    if (b->open_count)
        qsort_r(b->order, b->open_count, sizeof *b->order, by_evidence, check);
    for (size_t i = 0; rc == 0 && i < b->open_count; i++)
        rc = judge_claim(b, b->order[i]);
    return rc;
}

/* Every block in use once. */
static void count_blocks(struct blocks *b)
{
    const struct segment *segment = b->segments.list;

    for (size_t i = 0; i + 1 < b->segments.count; i++, segment++) {
        if (segment->kept_extents + segment->kept_loose + segment->kept_records == 0)
            continue;
        b->check->request->blocks_used += segment[1].block - segment->block;
        b->check->last_block = segment[1].block;
    }
}

/* Each extent of a block with several owners says so. */
static void set_marks(struct blocks *b)
{
    for (size_t i = 0; i < b->piece_count; i++) {
        const struct meta_extent *run = &b->pieces[i].run;
        struct check_claim *claim = &b->check->claims[b->pieces[i].claim];
        const struct segment *segment =
            &b->segments.list[check_segment_at(&b->segments, run->block)];

        while (segment->block < run->block + run->count && !check_is_shared(segment))
            segment++;
        if (claim->ino == 0 || claim->flags & CLAIM_SHARED ||
            segment->block >= run->block + run->count)
            continue;
        check_problem(b->check, true,
                      "inode %" PRIu64 ": the extent at page %" PRIu64
                      " has blocks that others have too, and is "
                      "not marked so; repair marks it",
                      claim->ino, claim->page);
        claim->flags |= CLAIM_SHARED | CLAIM_ODD;
    }
}

/* --- copies --- */

static int by_first_block(const void *x, const void *y)
{
    const struct piece *p = x, *q = y;

    return p->run.block < q->run.block ? -1 : p->run.block > q->run.block;
}

/* Free blocks of one run, at most *count. False: none are left. */
static bool find_free(struct blocks *b, uint64_t *block, uint64_t *count)
{
    const struct checker *check = b->check;
    uint64_t last = check->super.fresh_block < check->pool_blocks ? check->super.fresh_block
                                                                  : check->pool_blocks;

    for (; b->free_at <= b->free_end; b->free_at++) {
        const struct meta_extent *next = &b->pieces[b->free_at].run;
        uint64_t to = b->free_at < b->free_end && next->block < last ? next->block : last;

        if (b->free_from < to) {
            *block = b->free_from;
            *count = to - *block < *count ? to - *block : *count;
            b->free_from += *count;
            return true;
        }
        if (b->free_at < b->free_end && next->block + next->count > b->free_from)
            b->free_from = next->block + next->count;
    }
    return false;
}

/* From the end of a detached run that was cut, for its count cannot be right. It has taken what
 * nobody else has, and no file's data is in it. */
static bool take_from_cut_run(struct blocks *b, uint64_t *block, uint64_t *count)
{
    for (size_t i = 0; i < b->free_end; i++) {
        const struct check_claim *claim = &b->check->claims[b->pieces[i].claim];
        struct meta_extent *run = &b->pieces[i].run;

        if (claim->ino != 0 || claim->count <= b->check->pool_blocks || run->count == 1)
            continue;
        *count = *count < run->count - 1 ? *count : run->count - 1;
        run->count -= *count;
        *block = run->block + run->count;
        return true;
    }
    return false;
}

static int copy_piece(struct blocks *b, const struct piece *wanted)
{
    const struct meta_check *request = b->check->request;
    const struct meta_extent *run = &wanted->run;
    uint64_t copied = 0, block, count;
    int rc = 0;

    while (rc == 0 && request->copy && copied < run->count) {
        count = run->count - copied;
        if (find_free(b, &block, &count))
            b->check->request->blocks_used += count;
        else if (!take_from_cut_run(b, &block, &count))
            break;
        rc = request->copy(request->copy_arg, run->block + copied, block, count);
        rc = rc ? rc : keep(b, wanted->claim, run->page + copied, block, count);
        copied += count;
    }
    if (rc || copied == run->count)
        return rc;
    if (!b->check->fresh_raised && b->check->super.fresh_block < b->check->pool_blocks) {
        b->check->wants_fresh = true;
        return -EAGAIN;
    }
    check_problem(b->check, true,
                  "inode %" PRIu64 ": there is no room for a copy of pages %" PRIu64 " to %" PRIu64
                  "; repair leaves "
                  "a hole there",
                  b->check->claims[wanted->claim].ino, run->page + copied,
                  run->page + run->count - 1);
    return 0;
}

static int copy_contested(struct blocks *b)
{
    int rc = 0;

    if (!b->check->request->repair || b->copy_count == 0)
        return 0;
    for (size_t i = 0; rc == 0 && i < b->count; i++) {
        struct check_claim *claim = &b->check->claims[i];

        if (claim->flags & CLAIM_WHOLE) /* so that all that is taken is in one list */
            rc = keep(b, i, claim->page, claim->block, claim->count);
        claim->flags &= ~(uint32_t)CLAIM_WHOLE;
    }
    qsort(b->pieces, b->piece_count, sizeof *b->pieces, by_first_block);
    b->free_end = b->piece_count;
    for (size_t i = 0; rc == 0 && i < b->copy_count; i++)
        rc = copy_piece(b, &b->copies[i]);
    return rc;
}

/* --- the claims that are kept, in order of files --- */

static int by_claim(const void *x, const void *y)
{
    const struct piece *p = x, *q = y;

    if (p->claim != q->claim)
        return p->claim < q->claim ? -1 : 1;
    return p->run.page < q->run.page ? -1 : p->run.page > q->run.page;
}

static int put_stray(struct blocks *b, const struct check_claim *claim,
                     const struct meta_extent *run, const char *why)
{
    struct meta_extent moved = *run;

    moved.shared = claim->flags & CLAIM_SHARED;
    b->check->claims[claim - b->check->claims].flags |= CLAIM_ODD;
    if (!check_problem(b->check, true,
                       "inode %" PRIu64 ": blocks %" PRIu64 " to %" PRIu64
                       " %s; repair puts them into a file in "
                       "lost+found",
                       claim->ino, run->block, run->block + run->count - 1, why))
        return 0;
    if (b->stray_of != claim->ino || run->count > META_FILE_PAGES - b->stray_page) {
        b->stray_of = claim->ino;
        b->stray_ino = check_new_ino(b->check);
        check_placeless(b->check, b->stray_ino);
        b->stray_page = 0;
    }
    moved.page = run->page < b->stray_page ? b->stray_page : run->page;
    if (moved.count > META_FILE_PAGES - moved.page)
        moved.page = b->stray_page;
    b->stray_page = moved.page + moved.count;
    b->check->again = true;
    return meta_extent_insert(b->check->txn, b->stray_ino, &moved);
}

/* Erases the records that do not stand as they are. */
static int erase_odd(struct blocks *b)
{
    struct checker *check = b->check;
    struct meta_key key;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < b->count; i++) {
        const struct check_claim *claim = &check->claims[i];

        if (!(claim->flags & CLAIM_ODD))
            continue;
        if (claim->ino)
            meta_key_extent(&key, claim->ino, claim->page);
        else if (claim->flags & CLAIM_SHARED)
            meta_key_shared(&key, claim->block, claim->from, claim->page);
        else
            meta_key_number(&key, META_DETACHED, claim->block);
        rc = meta_erase_key(check->txn, &key);
    }
    return rc;
}

static int put_piece(struct checker *check, const struct check_claim *claim,
                     const struct meta_extent *run)
{
    struct meta_detached detached = {run->block, run->count, 0, run->page, false};
    struct meta_extent extent = *run;

    extent.shared = claim->flags & CLAIM_SHARED;
    return claim->ino ? meta_extent_insert(check->txn, claim->ino, &extent)
                      : meta_detached_put(check->txn, &detached);
}

/* A place in its file for every piece, or none: then it is a stray. Whole records that are good
 * stay untouched. */
static int give_place(struct blocks *b, struct piece *piece, uint64_t *next_page)
{
    struct checker *check = b->check;
    struct check_claim *claim = &check->claims[piece->claim];
    struct check_inode *inode = check_find(check, claim->ino);
    struct meta_extent *run = &piece->run, stray;
    int rc = 0;

    if (claim->ino == 0)
        return 0;
    stray = *run;
    if (!check_is_file(inode) || claim->page >= META_FILE_PAGES) {
        rc = put_stray(b, claim, &stray,
                       check_is_file(inode) ? "are at a page that no file can have"
                                            : "are under what is not a regular file");
        run->count = 0;
    } else if (run->page < *next_page) {
        stray.count = *next_page - run->page < run->count ? *next_page - run->page : run->count;
        rc = put_stray(b, claim, &stray, "are at pages that other blocks of the file have");
        run->page += stray.count;
        run->block += stray.count;
        run->count -= stray.count;
    }
    if (run->count == 0)
        return rc;
    *next_page = run->page + run->count;
    inode->found_blocks += run->count;
    inode->end_page = *next_page;
    return rc;
}

/* A whole one that cannot stay where it is becomes pieces. */
static int place_whole(struct blocks *b, size_t index, uint64_t *next_page)
{
    const struct check_claim *claim = &b->check->claims[index];
    struct piece piece = {{claim->page, claim->block, claim->count, false}, index};
    int rc = give_place(b, &piece, next_page);

    if (rc || !(claim->flags & CLAIM_ODD) || piece.run.count == 0)
        return rc;
    return keep(b, index, piece.run.page, piece.run.block, piece.run.count);
}

static int settle(struct blocks *b)
{
    struct checker *check = b->check;
    uint64_t ino = 0, next_page = 0;
    size_t pieces = b->piece_count, at = 0;
    int rc = 0;

    if (pieces)
        qsort(b->pieces, pieces, sizeof *b->pieces, by_claim);
    for (size_t i = 0; rc == 0 && i < b->count; i++) {
        const struct check_claim *claim = &check->claims[i];

        if (claim->ino != ino)
            next_page = 0;
        ino = claim->ino;
        if (claim->flags & CLAIM_WHOLE)
            rc = place_whole(b, i, &next_page);
        for (; rc == 0 && at < pieces && b->pieces[at].claim == i; at++)
            rc = give_place(b, &b->pieces[at], &next_page);
    }
    if (rc || !check->request->repair)
        return rc;
    rc = erase_odd(b);
    for (size_t i = 0; rc == 0 && i < b->piece_count; i++) {
        const struct check_claim *claim = &check->claims[b->pieces[i].claim];

        if (claim->flags & CLAIM_ODD && b->pieces[i].run.count != 0)
            rc = put_piece(check, claim, &b->pieces[i].run);
    }
    return rc;
}

/* A record of a wrong length is written again, and said to be. */
static void report_odd(struct checker *check)
{
    for (size_t i = 0; i < check->claim_count; i++)
        if (check->claims[i].flags & CLAIM_ODD)
            check_problem(check, true,
                          "inode %" PRIu64 ": the extent at page %" PRIu64
                          " has a wrong length; repair goes by "
                          "what is there",
                          check->claims[i].ino, check->claims[i].page);
}

int check_blocks(struct checker *check)
{
    struct blocks b = {.check = check, .count = check->claim_count};
    int rc = 0;

    b.order = malloc((b.count + 1) * sizeof *b.order);
    if (!b.order)
        rc = hf_fail(ENOMEM, "out of memory for %zu runs of blocks", b.count);
    if (rc == 0) {
        report_odd(check);
        rc = check_segments(check, &b.segments);
    }
    rc = rc ? rc : check_lengths(b.check, &b.segments);
    rc = rc ? rc : judge_claims(&b);
    if (rc == 0) {
        count_blocks(&b);
        set_marks(&b);
        check_feature(check, &b.segments);
    }
    rc = rc ? rc : copy_contested(&b);
    rc = rc ? rc : settle(&b);
    rc = rc ? rc : check_owners(check, &b.segments);
    free(b.order);
    free(b.segments.list);
    free(b.pieces);
    free(b.copies);
    return rc;
}
