/* SPDX-License-Identifier: MIT */
/*
 * Owns the segments of blocks: all blocks, cut wherever an extent, a detached run or a run of the
 * table of owners begins or ends. So within a segment the same claims are made of every block, and
 * whatever is decided is decided once. Calls check.c only.
 *
 * A segment is sound when nothing about it needs a decision. It has one claim at most, or the table
 * lists as many extents and records as there are, and each extent has its mark.
 *
 * O(n log n) for n claims, whatever counts they have.
 */
#include "meta/check_blocks.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>

bool check_homeless(struct checker *check, const struct check_claim *claim)
{
    const struct check_inode *inode = check_find(check, claim->ino);

    return claim->ino != 0 && (!inode || !S_ISREG(inode->mode) || claim->page >= META_FILE_PAGES);
}

/* Where its blocks end at the latest: the file ends there. */
static uint64_t last_end(const struct check_claim *claim)
{
    uint64_t page = claim->page < META_FILE_PAGES ? claim->page : 0;

    return claim->ino ? check_end(claim->block, META_FILE_PAGES - page) : UINT64_MAX;
}

/* One without a count still says where it begins. */
static uint64_t names_until(const struct check_claim *claim)
{
    return check_end(claim->block, claim->count ? claim->count : 1);
}

/* It cannot stay as it is, whatever others say. */
static bool is_doubted(struct checker *check, const struct check_claim *claim)
{
    uint64_t end = check_end(claim->block, claim->count);

    return claim->count == 0 || end > check->pool_blocks || end > last_end(claim) ||
           check_homeless(check, claim);
}

/* A run that reaches into the next is the longer one by damage. */
static uint64_t run_end(const struct checker *check, size_t i)
{
    uint64_t end = check_end(check->owners[i].block, check->owners[i].count);

    return i + 1 < check->owners_count && end > check->owners[i + 1].block
               ? check->owners[i + 1].block
               : end;
}

static int by_number(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

    return a < b ? -1 : a > b;
}

static size_t collect_edges(const struct checker *check, uint64_t *edges)
{
    size_t count = 0, unique = 0;

    edges[count++] = 0;
    edges[count++] = check->pool_blocks;
    edges[count++] = check_first_never_used(check);
    edges[count++] = UINT64_MAX;
    for (size_t i = 0; i < check->claim_count; i++) {
        edges[count++] = check->claims[i].block;
        edges[count++] = names_until(&check->claims[i]);
        edges[count++] = last_end(&check->claims[i]);
    }
    for (size_t i = 0; i < check->owners_count; i++) {
        edges[count++] = check->owners[i].block;
        edges[count++] = run_end(check, i);
    }
    qsort(edges, count, sizeof *edges, by_number);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || edges[i] != edges[i - 1])
            edges[unique++] = edges[i];
    return unique;
}

size_t check_segment_at(const struct segments *segments, uint64_t block)
{
    size_t low = 0, high = segments->count;

    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;

        if (segments->list[middle].block <= block)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Numbers are entered where they begin and taken back where they end (modulo 2^32). */
static void enter_claim(struct segment *segment, const struct check_claim *claim, bool doubted,
                        uint32_t by)
{
    bool shared = claim->flags & CLAIM_SHARED;

    segment->extents += claim->ino ? by : 0;
    segment->marks += claim->ino && shared ? by : 0;
    segment->loose += claim->ino == 0 && !shared ? by : 0;
    segment->records += claim->ino == 0 && shared ? by : 0;
    segment->doubted += doubted ? by : 0;
}

static void enter_run(struct segment *segment, const struct meta_owners *run, uint32_t by)
{
    segment->listed_extents += by * run->extents;
    segment->listed_records += by * run->records;
}

static void enter_all(struct checker *check, struct segments *out)
{
    for (size_t i = 0; i < check->claim_count; i++) {
        const struct check_claim *claim = &check->claims[i];
        uint64_t end = names_until(claim);
        bool doubted = is_doubted(check, claim);

        enter_claim(&out->list[check_segment_at(out, claim->block)], claim, doubted, 1);
        enter_claim(&out->list[check_segment_at(out, end)], claim, doubted, UINT32_MAX);
    }
    for (size_t i = 0; i < check->owners_count; i++) {
        const struct meta_owners *run = &check->owners[i];

        enter_run(&out->list[check_segment_at(out, run->block)], run, 1);
        enter_run(&out->list[check_segment_at(out, run_end(check, i))], run, UINT32_MAX);
    }
}

static void add_up(struct segment *segment, const struct segment *before)
{
    segment->extents += before->extents;
    segment->marks += before->marks;
    segment->loose += before->loose;
    segment->records += before->records;
    segment->doubted += before->doubted;
    segment->listed_extents += before->listed_extents;
    segment->listed_records += before->listed_records;
}

static bool is_sound(const struct segment *segment)
{
    if (segment->doubted)
        return false;
    if (segment->records == 0 && segment->extents + segment->loose <= 1)
        return true;
    return segment->loose == 0 && segment->marks == segment->extents &&
           segment->extents == segment->listed_extents &&
           segment->records == segment->listed_records;
}

static void judge_segment(struct segment *segment)
{
    segment->sound = is_sound(segment);
    if (!segment->sound)
        return;
    segment->kept_extents = segment->extents;
    segment->kept_loose = segment->loose;
    segment->kept_records = segment->records;
    segment->kept_mark = segment->marks;
}

static bool is_crowded(const struct segment *segment)
{
    uint32_t names = segment->extents + segment->loose;

    return names + segment->records > 1 && segment->listed_extents < names;
}

static bool is_full(const struct segment *segment)
{
    uint32_t names = segment->extents + segment->loose;

    return names + segment->records > 0 && segment->listed_extents <= names;
}

static bool is_missed(const struct segment *segment)
{
    return segment->listed_extents > segment->extents + segment->loose;
}

static void tally(struct segment *next, const struct segment *segment)
{
    uint64_t blocks = next->block - segment->block;

    next->unsound = segment->unsound + !segment->sound;
    next->crowded = segment->crowded + (is_crowded(segment) ? blocks : 0);
    next->full = segment->full + (is_full(segment) ? blocks : 0);
    next->missed = segment->missed + (is_missed(segment) ? blocks : 0);
}

int check_segments(struct checker *check, struct segments *out)
{
    uint64_t *edges =
        malloc((3 * check->claim_count + 2 * check->owners_count + 4) * sizeof *edges);

    free(out->list);
    out->list = NULL;
    if (edges) {
        out->count = collect_edges(check, edges);
        out->list = calloc(out->count, sizeof *out->list);
    }
    for (size_t i = 0; out->list && i < out->count; i++)
        out->list[i].block = edges[i];
    free(edges);
    if (!out->list)
        return hf_fail(ENOMEM, "out of memory for %zu runs of blocks", check->claim_count);
    enter_all(check, out);
    for (size_t i = 0; i < out->count; i++) {
        if (i != 0)
            add_up(&out->list[i], &out->list[i - 1]);
        judge_segment(&out->list[i]);
        if (i != 0)
            tally(&out->list[i], &out->list[i - 1]);
    }
    return 0;
}

/* --- questions --- */

bool check_all_sound(const struct segments *segments, uint64_t block, uint64_t count)
{
    const struct segment *from = &segments->list[check_segment_at(segments, block)];
    const struct segment *to = &segments->list[check_segment_at(segments, check_end(block, count))];

    return from->unsound == to->unsound;
}

/* The tallies of all blocks before this one. */
static struct segment before(const struct segments *segments, uint64_t block)
{
    const struct segment *at = &segments->list[check_segment_at(segments, block)];
    struct segment all = *at, next = {.block = block};

    if (at->block == block)
        return all;
    tally(&next, at);
    return next;
}

bool check_count_fits(const struct segments *segments, const struct check_claim *claim,
                      uint64_t count)
{
    uint64_t end = check_end(claim->block, count), own = names_until(claim);
    uint64_t middle = own < end ? own : end;

    return before(segments, middle).crowded == before(segments, claim->block).crowded &&
           before(segments, end).full == before(segments, middle).full;
}

bool check_is_disputed(const struct segments *segments, const struct check_claim *claim)
{
    uint64_t end = check_end(claim->block, claim->count);

    return claim->count != 0 &&
           before(segments, end).crowded - before(segments, claim->block).crowded == claim->count;
}

bool check_is_missed(const struct segments *segments, uint64_t block, uint64_t end)
{
    return end > block &&
           before(segments, end).missed - before(segments, block).missed == end - block;
}
