/* SPDX-License-Identifier: MIT */
/*
 * A tree over the maps of pages: how long the runs of free pages are, and where pages are filled
 * that no object has. A leaf is a group of pages, and a node sums up two others. So a run is found
 * in as many steps as the tree has levels, and a change goes up as many. The tree is run state, all
 * under the lock. While a mend marks what is in use, the tree is not known; then it is made at
 * once.
 */
#include "private.h"

#define GROUP_WORDS (CACHE_GROUP / 64)

static struct span *span_at(const struct hfc *cache, uint64_t node)
{
    return region_at(&cache->state, cache->spans_at + node * sizeof(struct span));
}

static uint64_t longer(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- a group ---- */

/* The first run of pages from `page` on that are not in the group's map. False: there is none. */
static bool next_free_run(const uint64_t *busy, uint64_t *page, uint64_t *pages)
{
    uint64_t at = *page, end;

    while (at < CACHE_GROUP && busy[at / 64] >> at % 64 & 1)
        at = ~busy[at / 64] >> at % 64 ? at + (uint64_t)__builtin_ctzll(~busy[at / 64] >> at % 64)
                                       : (at / 64 + 1) * 64;
    end = at;
    while (end < CACHE_GROUP && !(busy[end / 64] >> end % 64 & 1))
        end = busy[end / 64] >> end % 64
                  ? end + (uint64_t)__builtin_ctzll(busy[end / 64] >> end % 64)
                  : (end / 64 + 1) * 64;
    *page = at;
    *pages = end - at;
    return at < CACHE_GROUP;
}

/* Pages of one word that have memory, and are free. */
static uint64_t idle_word(const struct hfc *cache, uint64_t page)
{
    return *cache_map_word(cache, cache->filled_at, page) &
           ~*cache_map_word(cache, cache->busy_at, page);
}

/* A map of the group: pages that are in use, or have no memory. */
static void not_idle(const struct hfc *cache, uint64_t group, uint64_t map[GROUP_WORDS])
{
    for (unsigned i = 0; i < GROUP_WORDS; i++)
        map[i] = ~idle_word(cache, group * CACHE_GROUP + 64ul * i);
}

static struct span group_span(const struct hfc *cache, uint64_t group)
{
    const uint64_t *busy = cache_map_word(cache, cache->busy_at, group * CACHE_GROUP);
    uint64_t map[GROUP_WORDS];
    struct span span = {0};

    for (uint64_t page = 0, pages; next_free_run(busy, &page, &pages); page += pages) {
        if (page == 0)
            span.prefix = pages;
        if (page + pages == CACHE_GROUP)
            span.suffix = pages;
        span.inner = longer(span.inner, pages);
    }
    span.longest = span.inner;
    not_idle(cache, group, map);
    for (uint64_t page = 0, pages; next_free_run(map, &page, &pages); page += pages) {
        span.ready = longer(span.ready, pages);
        span.idle += pages;
    }
    return span;
}

/* ---- the tree ---- */

/* `half`: pages of each of the two. */
static struct span add_spans(const struct span *left, const struct span *right, uint64_t half)
{
    return (struct span){
        .prefix = left->prefix == half ? half + right->prefix : left->prefix,
        .suffix = right->suffix == half ? half + left->suffix : right->suffix,
        .longest = longer(longer(left->longest, right->longest), left->suffix + right->prefix),
        .inner = longer(left->inner, right->inner),
        .idle = left->idle + right->idle,
        .ready = longer(left->ready, right->ready),
    };
}

/* Nodes [first, last] of a level, and what is above them. */
static void join_up(struct hfc *cache, uint64_t first, uint64_t last)
{
    for (uint64_t half = CACHE_GROUP; first > 1; half *= 2) {
        first /= 2;
        last /= 2;
        for (uint64_t node = first; node <= last; node++)
            *span_at(cache, node) =
                add_spans(span_at(cache, 2 * node), span_at(cache, 2 * node + 1), half);
    }
}

void spans_changed(struct hfc *cache, uint64_t page, uint64_t pages)
{
    uint64_t first = page / CACHE_GROUP, last = (page + pages - 1) / CACHE_GROUP;

    if (!cache_run(cache)->spans_known)
        return;
    for (uint64_t group = first; group <= last; group++)
        *span_at(cache, cache->leaves + group) = group_span(cache, group);
    join_up(cache, cache->leaves + first, cache->leaves + last);
}

void spans_make(struct hfc *cache)
{
    for (uint64_t group = cache->groups; group < cache->leaves; group++)
        *span_at(cache, cache->leaves + group) = (struct span){0};
    cache_run(cache)->spans_known = 1;
    spans_changed(cache, 0, cache->range_pages);
    join_up(cache, cache->leaves, 2 * (uint64_t)cache->leaves - 1);
}

/* ---- finding ---- */

static uint64_t find_in_group(const uint64_t *map, uint64_t group, uint64_t wanted)
{
    for (uint64_t page = 0, pages; next_free_run(map, &page, &pages); page += pages)
        if (pages >= wanted)
            return group * CACHE_GROUP + page;
    return UINT64_MAX;
}

/* The lowest run in one group of pages that have memory, and so most likely in one piece. */
static uint64_t find_ready(const struct hfc *cache, uint64_t wanted)
{
    uint64_t map[GROUP_WORDS], node = 1;

    if (span_at(cache, node)->ready < wanted)
        return UINT64_MAX;
    while (node < cache->leaves)
        node = 2 * node + (span_at(cache, 2 * node)->ready < wanted);
    not_idle(cache, node - cache->leaves, map);
    return find_in_group(map, node - cache->leaves, wanted);
}

/* The lowest run that lies in one group, and so perhaps in one huge page. */
static uint64_t find_inner(const struct hfc *cache, uint64_t wanted)
{
    uint64_t node = 1;

    if (span_at(cache, node)->inner < wanted)
        return UINT64_MAX;
    while (node < cache->leaves)
        node = 2 * node + (span_at(cache, 2 * node)->inner < wanted);
    node -= cache->leaves;
    return find_in_group(cache_map_word(cache, cache->busy_at, node * CACHE_GROUP), node, wanted);
}

uint64_t spans_find(const struct hfc *cache, uint64_t wanted)
{
    uint64_t node = 1, half = cache->leaves / 2 * (uint64_t)CACHE_GROUP, from = 0;
    uint64_t page = find_ready(cache, wanted);

    if (page == UINT64_MAX)
        page = find_inner(cache, wanted);
    if (page != UINT64_MAX || span_at(cache, node)->longest < wanted)
        return page;
    for (; node < cache->leaves; half /= 2) {
        const struct span *left = span_at(cache, 2 * node), *right = span_at(cache, 2 * node + 1);

        if (left->longest < wanted && left->suffix + right->prefix >= wanted)
            return from + half - left->suffix;
        node = 2 * node + (left->longest < wanted);
        from += node % 2 ? half : 0;
    }
    return UINT64_MAX; /* a group's run is an inner one */
}

/* The last run of pages in the group's last such word that are filled and free. */
static void last_idle_run(uint64_t idle, uint64_t *page, uint64_t *pages)
{
    uint64_t end = 64 - (uint64_t)__builtin_clzll(idle), taken = ~(idle << (64 - end));

    *pages = taken ? (uint64_t)__builtin_clzll(taken) : 64;
    *page += end - *pages;
}

bool spans_last_idle(const struct hfc *cache, uint64_t *page, uint64_t *pages)
{
    uint64_t node = 1, idle, more;

    if (!span_at(cache, node)->idle)
        return false;
    while (node < cache->leaves)
        node = 2 * node + (span_at(cache, 2 * node + 1)->idle > 0);
    *page = (node - cache->leaves + 1) * CACHE_GROUP;
    do {
        *page -= 64;
        idle = idle_word(cache, *page);
    } while (!idle);
    last_idle_run(idle, page, pages);
    while (*page % CACHE_GROUP && *page % 64 == 0) { /* into the word before */
        idle = idle_word(cache, *page - 1);
        if (!(idle >> 63))
            break;
        more = ~idle ? (uint64_t)__builtin_clzll(~idle) : 64;
        *page -= more;
        *pages += more;
    }
    return true;
}
