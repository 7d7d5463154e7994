/* SPDX-License-Identifier: MIT */
/*
 * Owns the question which file has which block. Calls extent.c, record.c and check.c.
 *
 * All runs of blocks that records name are sorted by block; those that overlap form clusters, and
 * only those are looked at closer. An inode vouches for its extents when its recorded number of
 * blocks is what they add up to, and it has attributes and is a regular file.
 *
 * First, counts. Where the number of blocks disagrees, one extent of another length would put it
 * right: c = count + (recorded - added up). That is believed when nothing contradicts it (its pages
 * and blocks are nobody else's) and something else says the same: the extent as it is cannot be, or
 * the new one ends exactly where the next begins or the file does. One such extent: it gets that
 * count, and nothing is lost. None or several: the number of blocks is set to what there is.
 * A shorter extent takes nothing from anybody, so others may have blocks that are left to it; its
 * inode then stays one that does not vouch. Else an extent of a wild length would take all free
 * blocks, and there would be no room for copies. Where no single count explains it, such an extent
 * ends with its file.
 *
 * Then, blocks that several claim. They go to the claim that is better vouched for: first one of
 * an inode that agrees with its extents, then one of an inode that does not, then one of no file,
 * then a detached run, in which nobody's data is. Between two files of the same standing nothing
 * tells which is right: the first keeps the blocks, and the other gets a copy in free ones, so that
 * whichever is right has lost nothing. Only below fresh_block, since free blocks from there on must
 * stay zero even if the repair is never committed; where there is no room for a copy, there is a
 * hole.
 *
 * Blocks that nobody else claims, under something that is not a file or at a page that another
 * extent of the file has, go to a file of their own, which ends up in lost+found.
 *
 * O(n log n) for n extents, whatever counts they have: no loop goes block by block.
 */
#include "meta/check.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>

#define MEND_PASSES 8u

enum rank { RANK_DETACHED, RANK_STRAY, RANK_DOUBTFUL, RANK_VOUCHED };

/* A place of the sorted list: its first block; and the claims before it reach up to `end`, without
 * claim `owner` to `next`. Unlike `order` it stays when clusters are put into another order. */
struct reach {
    uint64_t block, end, next;
    size_t owner;
};

struct piece {
    struct meta_extent run;
    size_t claim;
};

/* Blocks that are given away already in this cluster. */
struct taken {
    uint64_t block, end;
    size_t claim;
};

struct blocks {
    struct checker *check;
    size_t *order; /* of claims, by block */
    struct reach *reach;
    size_t count;
    struct taken *taken;
    size_t taken_count, taken_room;
    struct piece *pieces; /* of claims that are not whole: to be put back when these are gone */
    size_t piece_count, piece_room;
    struct piece *copies; /* to be made when it is known which blocks stay free */
    size_t copy_count, copy_room;
    size_t free_at, free_end; /* in `pieces`, by block: where free blocks are looked for */
    uint64_t free_from;
    uint64_t stray_of, stray_ino, stray_page; /* the file that takes what has no place */
};

static uint64_t end_of(uint64_t from, uint64_t count)
{
    return count > UINT64_MAX - from ? UINT64_MAX : from + count;
}

static struct check_claim *claim_at(struct blocks *b, size_t place)
{
    return &b->check->claims[b->order[place]];
}

/* --- in order of blocks --- */

static int by_block(const void *x, const void *y, void *arg)
{
    const struct check_claim *claims = arg;
    size_t i = *(const size_t *)x, j = *(const size_t *)y;

    if (claims[i].block != claims[j].block)
        return claims[i].block < claims[j].block ? -1 : 1;
    return i < j ? -1 : i > j;
}

static void sort(struct blocks *b)
{
    struct check_claim *claims = b->check->claims;
    struct reach reach = {0, 0, 0, SIZE_MAX};

    for (size_t i = 0; i < b->count; i++)
        b->order[i] = i;
    qsort_r(b->order, b->count, sizeof *b->order, by_block, claims);
    for (size_t i = 0; i < b->count; i++) {
        const struct check_claim *claim = claim_at(b, i);
        uint64_t end = end_of(claim->block, claim->count);

        reach.block = claim->block;
        b->reach[i] = reach;
        if (end > reach.end)
            reach = (struct reach){0, end, reach.end, b->order[i]};
        else if (end > reach.next)
            reach.next = end;
    }
    reach.block = UINT64_MAX;
    b->reach[b->count] = reach;
}

/* Whether another claim than `own` has one of these blocks. */
static bool others_have(const struct blocks *b, uint64_t block, uint64_t count, size_t own)
{
    uint64_t end = end_of(block, count);
    size_t low = 0, high = b->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (b->reach[middle].block < end)
            low = middle + 1;
        else
            high = middle;
    }
    return (b->reach[low].owner == own ? b->reach[low].next : b->reach[low].end) > block;
}

static bool clear_of_others(const struct blocks *b, size_t own)
{
    const struct check_claim *claim = &b->check->claims[own];

    return !others_have(b, claim->block, claim->count, own);
}

/* --- counts --- */

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
static uint64_t fitting_count(const struct blocks *b, const struct check_inode *inode, uint64_t i)
{
    const struct check_claim *claims = &b->check->claims[inode->first_claim], *claim = &claims[i];
    uint64_t others = inode->claimed_blocks - claim->count, count;
    size_t own = (size_t)(inode->first_claim + i);
    bool evident;

    if (inode->blocks <= others)
        return 0;
    count = inode->blocks - others;
    if (count > pages_before_next(inode, claims, i) || claim->page >= META_FILE_PAGES ||
        claim->block >= b->check->pool_blocks || count > b->check->pool_blocks - claim->block ||
        (i != 0 && end_of(claims[i - 1].page, claims[i - 1].count) > claim->page))
        return 0;
    evident = impossible(b->check, inode, claims, i) || ends_well(inode, claims, i, count);
    if (others_have(b, claim->block, count, own))
        return evident && count < claim->count ? count : 0;
    return evident || !clear_of_others(b, own) ? count : 0;
}

/* True: an extent has got another count. */
static bool mend_count(struct blocks *b, struct check_inode *inode)
{
    uint64_t fits = 0, which = 0, count = 0;
    struct check_claim *claim;

    for (uint64_t i = 0; i < inode->claim_count && fits < 2; i++) {
        uint64_t fitting = fitting_count(b, inode, i);

        if (fitting) {
            fits++;
            which = i;
            count = fitting;
        }
    }
    if (fits != 1)
        return false;
    claim = &b->check->claims[inode->first_claim + which];
    check_problem(b->check, true,
                  "inode %llu: the extent at page %llu has %llu blocks, and the inode's number of "
                  "blocks says %llu; repair makes it so",
                  ull(inode->ino), ull(claim->page), ull(claim->count), ull(count));
    if (others_have(b, claim->block, count, (size_t)(inode->first_claim + which)))
        inode->flags |= INODE_CUT;
    inode->claimed_blocks = inode->blocks;
    claim->count = count;
    claim->flags |= CLAIM_ODD;
    return true;
}

static bool is_file(const struct check_inode *inode)
{
    return inode && S_ISREG(inode->mode);
}

/* What no single count explains, but what is too long by all that is known: the inode has not so
 * many blocks, the file ends before, and the extent cannot be or is in others' way. */
static void cut_at_end(struct blocks *b, struct check_inode *inode)
{
    struct check_claim *claims = &b->check->claims[inode->first_claim];
    uint64_t file_end = (inode->size + META_BLOCK_BYTES - 1) / META_BLOCK_BYTES;

    for (uint64_t i = 0; i < inode->claim_count; i++) {
        struct check_claim *claim = &claims[i];

        if (claim->count <= inode->blocks || claim->page >= file_end ||
            claim->count <= file_end - claim->page ||
            (!impossible(b->check, inode, claims, i) &&
             clear_of_others(b, (size_t)(inode->first_claim + i))))
            continue;
        check_problem(b->check, true,
                      "inode %llu: the extent at page %llu has %llu blocks, more than the inode, "
                      "and the file ends before; repair cuts it there",
                      ull(inode->ino), ull(claim->page), ull(claim->count));
        inode->claimed_blocks -= claim->count - (file_end - claim->page);
        inode->flags |= INODE_CUT;
        claim->count = file_end - claim->page;
        claim->flags |= CLAIM_ODD;
    }
}

/* The number of blocks and the extents disagree. */
static bool miscounted(const struct check_inode *inode)
{
    return is_file(inode) && inode->flags & INODE_ATTRIBUTES &&
           inode->blocks != inode->claimed_blocks && inode->claimed_blocks != UINT64_MAX;
}

/* Each mended count may make room for another. */
static void mend_counts(struct blocks *b)
{
    bool mended = true;

    for (unsigned n = 0; n < MEND_PASSES && mended; n++) {
        mended = false;
        for (size_t i = 0; i < b->check->inode_count; i++) {
            struct check_inode *inode = &b->check->inodes[i];

            if (miscounted(inode))
                mended |= mend_count(b, inode);
        }
        if (mended)
            sort(b);
    }
    for (size_t i = 0; i < b->check->inode_count; i++)
        if (miscounted(&b->check->inodes[i]))
            cut_at_end(b, &b->check->inodes[i]);
    sort(b);
}

/* --- which owner is believed --- */

static enum rank rank_of(const struct checker *check, const struct check_claim *claim)
{
    const struct check_inode *inode = check_find((struct checker *)check, claim->ino);

    if (claim->ino == 0)
        return RANK_DETACHED;
    if (!is_file(inode) || !(inode->flags & INODE_ATTRIBUTES))
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
    return i < j ? -1 : i > j;
}

/* Nothing tells which of two files has the blocks. */
static bool equal_right(const struct checker *check, const struct check_claim *x,
                        const struct check_claim *y)
{
    enum rank rank = rank_of(check, x);

    return rank == rank_of(check, y) && rank >= RANK_DOUBTFUL;
}

/* --- lists that grow --- */

static int grow(void **list, size_t count, size_t *room, size_t size)
{
    size_t more = *room ? 2 * *room : 64;
    void *grown;

    if (count < *room)
        return 0;
    grown = realloc(*list, more * size);
    if (!grown)
        return hf_fail(ENOMEM, "out of memory for %zu damaged runs of blocks", more);
    *list = grown;
    *room = more;
    return 0;
}

/* --- what becomes of a run --- */

static int keep(struct blocks *b, size_t claim, uint64_t page, uint64_t block, uint64_t count)
{
    int rc = grow((void **)&b->pieces, b->piece_count, &b->piece_room, sizeof *b->pieces);

    if (rc == 0)
        b->pieces[b->piece_count++] = (struct piece){{page, block, count, false}, claim};
    return rc;
}

static int share(struct blocks *b, size_t index, const struct meta_extent *run, uint64_t with)
{
    struct checker *check = b->check;
    int rc;

    check_problem(
        check, true,
        "inode %llu: pages %llu to %llu are on blocks from %llu on, which inode %llu has "
        "as well, and nothing tells which is right; repair gives this file a copy of them",
        ull(check->claims[index].ino), ull(run->page), ull(run->page + run->count - 1),
        ull(run->block), ull(with));
    rc = grow((void **)&b->copies, b->copy_count, &b->copy_room, sizeof *b->copies);
    if (rc == 0)
        b->copies[b->copy_count++] = (struct piece){*run, index};
    return rc;
}

static void lose(struct checker *check, const struct check_claim *claim,
                 const struct meta_extent *run)
{
    if (claim->ino == 0)
        check_problem(check, true,
                      "the detached run of %llu blocks at %llu is in use by a file or another run, "
                      "or not in the pool; repair takes those blocks out of it",
                      ull(claim->count), ull(claim->block));
    else
        check_problem(check, true,
                      "inode %llu: pages %llu to %llu are on blocks from %llu on, which are taken "
                      "or not in the pool; repair takes them from this file, which loses what they "
                      "held",
                      ull(claim->ino), ull(run->page), ull(end_of(run->page, run->count) - 1),
                      ull(run->block));
}

/* Gives the part of a contested run that nobody has yet to its claim, and decides on the rest. */
static int give_blocks(struct blocks *b, size_t index, const struct meta_extent *run)
{
    struct checker *check = b->check;
    struct check_claim *claim = &check->claims[index];
    uint64_t at = run->block, end = run->block + run->count;
    int rc = 0;

    for (size_t i = 0; rc == 0 && at < end; i++) {
        const struct taken *taken = i < b->taken_count ? &b->taken[i] : NULL;
        uint64_t clear = taken && taken->block < end ? taken->block : end;

        if (taken && taken->end <= at)
            continue;
        if (at < clear)
            rc = keep(b, index, run->page + (at - run->block), at, clear - at);
        if (rc || clear == end)
            return rc;
        at = at > clear ? at : clear;
        struct meta_extent part = {run->page + (at - run->block), at,
                                   (taken->end < end ? taken->end : end) - at, false};
        const struct check_claim *other = &check->claims[taken->claim];
        if (equal_right(check, other, claim))
            rc = share(b, index, &part, other->ino);
        else
            lose(check, claim, &part);
        claim->flags |= CLAIM_ODD;
        at += part.count;
    }
    return rc;
}

/* Enters what the claim has got, from its first piece on, into the cluster's list. */
static int take_pieces(struct blocks *b, size_t first_piece)
{
    for (size_t i = first_piece; i < b->piece_count; i++) {
        const struct meta_extent *run = &b->pieces[i].run;
        size_t at = b->taken_count;
        int rc = grow((void **)&b->taken, b->taken_count, &b->taken_room, sizeof *b->taken);

        if (rc)
            return rc;
        while (at > 0 && b->taken[at - 1].block > run->block)
            at--;
        memmove(&b->taken[at + 1], &b->taken[at], (b->taken_count - at) * sizeof *b->taken);
        b->taken[at] = (struct taken){run->block, run->block + run->count, b->pieces[i].claim};
        b->taken_count++;
    }
    return 0;
}

/* The part of a claim that lies in the file and in the pool. */
static struct meta_extent clip(struct checker *check, struct check_claim *claim)
{
    struct meta_extent run = {claim->page, claim->block, claim->count, false};
    uint64_t room = claim->block < check->pool_blocks ? check->pool_blocks - claim->block : 0;

    if (claim->ino != 0 && run.page >= META_FILE_PAGES)
        run.page = 0; /* it has lost its place: see settle() */
    if (claim->ino != 0 && room > META_FILE_PAGES - run.page)
        room = META_FILE_PAGES - run.page;
    if (run.count <= room && run.count != 0)
        return run;
    claim->flags |= CLAIM_ODD;
    if (run.count == 0) {
        check_problem(check, true,
                      "inode %llu: the extent at page %llu has no blocks; repair "
                      "removes it",
                      ull(claim->ino), ull(claim->page));
        return run;
    }
    run.count = run.count < room ? run.count : room;
    lose(check, claim,
         &(struct meta_extent){run.page + run.count, run.block + run.count,
                               claim->count - run.count, false});
    return run;
}

/* Nothing says that it is an extent of anything: under what is not a file, or at a page that cannot
 * be. */
static bool homeless(const struct checker *check, const struct check_claim *claim)
{
    return claim->ino != 0 && (!is_file(check_find((struct checker *)check, claim->ino)) ||
                               claim->page >= META_FILE_PAGES);
}

/* Where others contradict it as well, it is not one: its blocks were never given to anybody, are
 * not there, or are another's. */
static bool bogus(struct checker *check, const struct check_claim *claim, bool contested)
{
    return homeless(check, claim) &&
           (contested || claim->count == 0 || claim->block >= check->super.fresh_block ||
            claim->count > check->super.fresh_block - claim->block);
}

static int judge_cluster(struct blocks *b, size_t from, size_t to)
{
    struct checker *check = b->check;
    int rc = 0;

    if (to - from > 1)
        qsort_r(&b->order[from], to - from, sizeof *b->order, by_evidence, check);
    b->taken_count = 0;
    for (size_t i = from; rc == 0 && i < to; i++) {
        struct check_claim *claim = claim_at(b, i);
        size_t first_piece = b->piece_count;
        struct meta_extent run;

        if (bogus(check, claim, to - from > 1)) {
            check_problem(check, true,
                          "inode %llu: a record of %llu blocks from %llu on is not one of a file's "
                          "extents; repair removes it",
                          ull(claim->ino), ull(claim->count), ull(claim->block));
            claim->flags |= CLAIM_ODD;
            continue;
        }
        run = clip(check, claim);
        if (to - from == 1 && !(claim->flags & CLAIM_ODD) && run.page == claim->page) {
            claim->flags |= CLAIM_WHOLE;
            continue;
        }
        if (run.count != 0)
            rc = give_blocks(b, b->order[i], &run);
        if (rc == 0 && to - from > 1)
            rc = take_pieces(b, first_piece);
    }
    return rc;
}

/* Judging puts a cluster into another order, so all are found before. */
static int judge(struct blocks *b)
{
    size_t *ends = malloc((b->count + 1) * sizeof *ends), clusters = 0, from = 0;
    int rc = 0;

    if (!ends)
        return hf_fail(ENOMEM, "out of memory for %zu runs of blocks", b->count);
    for (size_t i = 1; i <= b->count; i++)
        if (i == b->count || claim_at(b, i)->block >= b->reach[i].end)
            ends[clusters++] = i;
    for (size_t c = 0; rc == 0 && c < clusters; from = ends[c++])
        rc = judge_cluster(b, from, ends[c]);
    free(ends);
    return rc;
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

static int copy_piece(struct blocks *b, const struct piece *wanted)
{
    const struct meta_check *request = b->check->request;
    const struct meta_extent *run = &wanted->run;
    uint64_t copied = 0, block, count;
    int rc = 0;

    while (rc == 0 && request->copy && copied < run->count) {
        count = run->count - copied;
        if (!find_free(b, &block, &count))
            break;
        rc = request->copy(request->copy_arg, run->block + copied, block, count);
        rc = rc ? rc : keep(b, wanted->claim, run->page + copied, block, count);
        copied += count;
    }
    if (rc == 0 && copied < run->count)
        check_problem(
            b->check, true,
            "inode %llu: there is no room for a copy of pages %llu to %llu; repair leaves "
            "a hole there",
            ull(b->check->claims[wanted->claim].ino), ull(run->page + copied),
            ull(run->page + run->count - 1));
    return rc;
}

static int make_copies(struct blocks *b)
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

/* --- what is kept, in order of files --- */

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

    b->check->claims[claim - b->check->claims].flags |= CLAIM_ODD;
    if (!check_problem(b->check, true,
                       "inode %llu: blocks %llu to %llu %s; repair puts them into a file in "
                       "lost+found",
                       ull(claim->ino), ull(run->block), ull(run->block + run->count - 1), why))
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
        if (claim->ino == 0)
            meta_key_number(&key, META_DETACHED, claim->block);
        else
            meta_key_extent(&key, claim->ino, claim->page);
        rc = meta_erase_key(check->txn, &key);
    }
    return rc;
}

static int put_piece(struct checker *check, const struct check_claim *claim,
                     const struct meta_extent *run)
{
    struct meta_detached detached = {run->block, run->count, 0, run->page, false};

    return claim->ino ? meta_extent_insert(check->txn, claim->ino, run)
                      : meta_detached_put(check->txn, &detached);
}

/* A place in its file for every piece, or none: then it is a stray. Whole records that are good
 * stay untouched. */
static int place(struct blocks *b, struct piece *piece, uint64_t *next_page)
{
    struct checker *check = b->check;
    struct check_claim *claim = &check->claims[piece->claim];
    struct check_inode *inode = check_find(check, claim->ino);
    struct meta_extent *run = &piece->run, stray;
    int rc = 0;

    check->request->blocks_used += run->count;
    if (run->block + run->count > check->last_block)
        check->last_block = run->block + run->count;
    if (claim->ino == 0)
        return 0;
    stray = *run;
    if (!is_file(inode) || claim->page >= META_FILE_PAGES) {
        rc = put_stray(b, claim, &stray,
                       is_file(inode) ? "are at a page that no file can have"
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
    int rc = place(b, &piece, next_page);

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
            rc = place(b, &b->pieces[at], &next_page);
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
                          "inode %llu: the extent at page %llu has a wrong length; repair goes by "
                          "what is there",
                          ull(check->claims[i].ino), ull(check->claims[i].page));
}

int check_blocks(struct checker *check)
{
    struct blocks b = {.check = check, .count = check->claim_count};
    int rc = 0;

    b.order = malloc((b.count + 1) * sizeof *b.order);
    b.reach = malloc((b.count + 1) * sizeof *b.reach);
    if (!b.order || !b.reach)
        rc = hf_fail(ENOMEM, "out of memory for %zu runs of blocks", b.count);
    if (rc == 0) {
        report_odd(check);
        sort(&b);
        mend_counts(&b);
        rc = judge(&b);
    }
    rc = rc ? rc : make_copies(&b);
    rc = rc ? rc : settle(&b);
    free(b.order);
    free(b.reach);
    free(b.taken);
    free(b.pieces);
    free(b.copies);
    return rc;
}
