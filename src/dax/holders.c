/* SPDX-License-Identifier: MIT */
/*
 * Keeps the pages that a layout change has found to be held, in order. Blocks that leave the file
 * are then divided into held and free parts in n log n steps for n holders, not in n * n.
 *
 * `holders` is an array sorted by first page, and serves as a search tree: the middle of each part
 * is its root. A root has the largest last page of its part, so that the holders over a range are
 * found in O(log n + hits). `spans` cuts the pages wherever a holder begins or ends.
 */
#include "dax/private.h"

#include "base/error.h"
#include "base/lab.h"

#include <errno.h>
#include <stdlib.h>

static int by_first(const void *left, const void *right)
{
    const struct dax_holder *a = left, *b = right;

    HF_LAB_AT(HF_LAB_COMPARES);
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Drops holders that a scan of a wrong tree has found twice. The list is in order. */
static unsigned drop_twins(struct dax_holder *holders, unsigned count)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < count; i++)
        if (!kept || holders[i].at != holders[kept - 1].at ||
            holders[i].key != holders[kept - 1].key)
            holders[kept++] = holders[i];
    return kept;
}

static int by_last(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    HF_LAB_AT(HF_LAB_COMPARES);
    return a < b ? -1 : a > b;
}

/* Of [low, high), which is not empty. */
static uint64_t make_tree(struct dax_holder *holders, unsigned low, unsigned high)
{
    unsigned middle = low + (high - low) / 2;
    uint64_t most = holders[middle].last, last;

    if (low < middle && (last = make_tree(holders, low, middle)) > most)
        most = last;
    if (middle + 1 < high && (last = make_tree(holders, middle + 1, high)) > most)
        most = last;
    holders[middle].max_last = most;
    return most;
}

/* Equal spans that follow one another get the same end. */
static void join_spans(struct dax_span *spans, unsigned count)
{
    for (unsigned i = count; i-- > 0;) {
        spans[i].run_last = i + 1 < count ? spans[i + 1].first - 1 : UINT64_MAX;
        if (i + 1 < count && spans[i + 1].held == spans[i].held)
            spans[i].run_last = spans[i + 1].run_last;
    }
}

/* `lasts`: the last pages of all holders, sorted. */
static void make_spans(struct dax_change *change, const uint64_t *lasts)
{
    const struct dax_holder *holders = change->holders;
    unsigned n = change->holder_count, begun = 0, ended = 0;
    uint64_t page = 0;

    change->span_count = 0;
    for (;;) {
        while (begun < n && holders[begun].first <= page)
            begun++;
        while (ended < n && lasts[ended] < page)
            ended++;
        change->spans[change->span_count++] =
            (struct dax_span){.first = page, .held = begun > ended};
        if (ended == n || (begun == n && lasts[ended] == UINT64_MAX))
            break;
        page = begun < n && holders[begun].first <= lasts[ended] ? holders[begun].first
                                                                 : lasts[ended] + 1;
    }
    join_spans(change->spans, change->span_count);
}

int holders_add(struct dax_change *change, const struct dax_holder *holder)
{
    if (change->holder_count == change->holder_room) {
        unsigned room = change->holder_room ? change->holder_room * 2 : 16;
        struct dax_holder *more = realloc(change->holders, room * sizeof *more);

        if (!more)
            return hf_fail(ENOMEM, "no memory for a list of %u holders", room);
        change->holders = more;
        change->holder_room = room;
    }
    change->holders[change->holder_count++] = *holder;
    return 0;
}

#define NO_PLACE(page) (UINT64_MAX - (page)) /* of a holder that only a count tells of */

int holders_add_counted(struct dax_change *change, uint64_t page)
{
    struct dax_holder *last =
        change->holder_count ? &change->holders[change->holder_count - 1] : NULL;

    if (last && last->at == NO_PLACE(last->first) && last->last + 1 == page) {
        last->last = page;
        return 0;
    }
    return holders_add(change, &(struct dax_holder){NO_PLACE(page), 0, page, page, 0});
}

int holders_order(struct dax_change *change)
{
    unsigned n = change->holder_count;
    struct dax_span *spans = realloc(change->spans, (2 * (size_t)n + 1) * sizeof *spans);
    uint64_t *lasts = calloc((size_t)n + 1, sizeof *lasts);

    change->spans = spans ? spans : change->spans;
    if (!spans || !lasts) {
        free(lasts);
        return hf_fail(ENOMEM, "no memory for a list of %u holders", n);
    }
    if (n) {
        qsort(change->holders, n, sizeof *change->holders, by_first);
        change->holder_count = n = drop_twins(change->holders, n);
        make_tree(change->holders, 0, n);
    }
    for (unsigned i = 0; i < n; i++)
        lasts[i] = change->holders[i].last;
    qsort(lasts, n, sizeof *lasts, by_last);
    make_spans(change, lasts);
    free(lasts);
    return 0;
}

void holders_drop(struct dax_change *change)
{
    if (!change->holders && !change->spans)
        return;
    free(change->holders);
    free(change->spans);
    change->holders = NULL;
    change->spans = NULL;
}

static unsigned find_span(const struct dax_change *change, uint64_t page)
{
    unsigned low = 0, high = change->span_count;

    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;

        HF_LAB_AT(HF_LAB_COMPARES);
        if (change->spans[middle].first <= page)
            low = middle;
        else
            high = middle;
    }
    return low;
}

bool dax_change_held_run(const struct dax_change *change, uint64_t first, uint64_t last,
                         struct dax_run *run)
{
    unsigned i;

    if (!change->holder_count || first > last)
        return false;
    i = find_span(change, first);
    if (!change->spans[i].held) {
        if (++i == change->span_count || change->spans[i].first > last)
            return false;
        first = change->spans[i].first;
    }
    run->first = first;
    run->last = change->spans[i].run_last < last ? change->spans[i].run_last : last;
    return true;
}

bool dax_change_holds(const struct dax_change *change, uint64_t first, uint64_t last)
{
    struct dax_run run;

    return dax_change_held_run(change, first, last, &run);
}

uint64_t holders_alike(const struct dax_change *change, uint64_t page, uint64_t count, bool *held)
{
    const struct dax_span *span;
    uint64_t pages;

    *held = false;
    if (!change->holder_count)
        return count;
    span = &change->spans[find_span(change, page)];
    *held = span->held;
    if (span + 1 == change->spans + change->span_count)
        return count;
    pages = span[1].first - page;
    return pages < count ? pages : count;
}

struct over {
    const struct dax_change *change;
    uint64_t first, last;
    int (*each)(void *arg, const struct dax_holder *holder);
    void *arg;
};

static int find_over(const struct over *over, unsigned low, unsigned high)
{
    unsigned middle = low + (high - low) / 2;
    const struct dax_holder *holder = &over->change->holders[middle];
    int rc;

    HF_LAB_AT(HF_LAB_COMPARES);
    if (low == high || holder->max_last < over->first)
        return 0;
    rc = find_over(over, low, middle);
    if (rc || holder->first > over->last)
        return rc;
    if (holder->last >= over->first)
        rc = over->each(over->arg, holder);
    return rc ? rc : find_over(over, middle + 1, high);
}

int holders_over(const struct dax_change *change, uint64_t first, uint64_t last,
                 int (*each)(void *arg, const struct dax_holder *holder), void *arg)
{
    struct over over = {change, first, last, each, arg};

    return find_over(&over, 0, change->holder_count);
}
