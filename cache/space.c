/* SPDX-License-Identifier: MIT */
/*
 * Which pages of the data file are in use. The file has four times as many pages as the cache may
 * fill, so that objects of all sizes find a run. A page is in use from space_take() to
 * space_give(); the caller has asked hf_held() before it gives. Pages that are free keep their
 * memory, and the next object gets it without a transaction: the lowest run that is long enough is
 * taken. Only when the cache would fill more than it may, free pages lose their memory.
 *
 * Both maps are run state, and follow from the index and from the file itself.
 */
#include "private.h"

#include <errno.h>
#include <string.h>

#define GROUP_WORDS (CACHE_GROUP / 64)

static uint64_t *map_word(const struct hfc *cache, uint64_t at, uint64_t page)
{
    return region_at(&cache->state, at + page / 64 * 8);
}

/* Bits of pages [page, page+pages) in their first word. */
static uint64_t first_bits(uint64_t page, uint64_t pages)
{
    uint64_t bits = 64 - page % 64 < pages ? 64 - page % 64 : pages;

    return (bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1) << page % 64;
}

/* Sets or clears, and returns how many bits that has changed. */
static uint64_t change_bits(struct hfc *cache, uint64_t at, uint64_t page, uint64_t pages, bool set)
{
    uint64_t changed = 0;

    while (pages) {
        uint64_t *word = map_word(cache, at, page), bits = first_bits(page, pages);
        uint64_t done = (uint64_t)__builtin_popcountll(bits);

        changed += (uint64_t)__builtin_popcountll(bits & (set ? ~*word : *word));
        *word = set ? *word | bits : *word & ~bits;
        page += done;
        pages -= done;
    }
    return changed;
}

static uint64_t count_bits(const struct hfc *cache, uint64_t at, uint64_t page, uint64_t pages)
{
    uint64_t count = 0;

    while (pages) {
        uint64_t bits = first_bits(page, pages), done = (uint64_t)__builtin_popcountll(bits);

        count += (uint64_t)__builtin_popcountll(*map_word(cache, at, page) & bits);
        page += done;
        pages -= done;
    }
    return count;
}

/* ---- a run that is free ---- */

/* The first of so many free pages in the group; UINT64_MAX: it has no such run. */
static uint64_t run_in_group(const struct hfc *cache, uint32_t group, uint64_t pages)
{
    const uint64_t *words = map_word(cache, cache->busy_at, (uint64_t)group * CACHE_GROUP);
    uint64_t run = 0;

    for (uint32_t page = 0; page < CACHE_GROUP; page++) {
        if (page % 64 == 0 && words[page / 64] == UINT64_MAX) {
            run = 0;
            page += 63;
        } else if (words[page / 64] >> page % 64 & 1) {
            run = 0;
        } else if (++run == pages) {
            return (uint64_t)group * CACHE_GROUP + page + 1 - pages;
        }
    }
    return UINT64_MAX;
}

/* A longer one begins where a group does. */
static uint64_t run_of_groups(const struct hfc *cache, uint32_t group, uint64_t pages)
{
    uint64_t page = (uint64_t)group * CACHE_GROUP;

    if (page + pages > cache->range_pages || count_bits(cache, cache->busy_at, page, pages))
        return UINT64_MAX;
    return page;
}

static uint64_t find_run(struct hfc *cache, uint64_t pages)
{
    struct run *run = cache_run(cache);
    unsigned size = pages >= CACHE_GROUP ? 9 : 63u - (unsigned)__builtin_clzll(pages);
    bool exact = pages == UINT64_C(1) << size;

    for (uint32_t group = run->low_group[size]; group < cache->groups; group++) {
        uint64_t page = pages <= CACHE_GROUP ? run_in_group(cache, group, pages)
                                             : run_of_groups(cache, group, pages);

        if (page != UINT64_MAX) {
            if (exact)
                run->low_group[size] = group;
            return page;
        }
    }
    if (exact)
        run->low_group[size] = cache->groups;
    return UINT64_MAX;
}

/* ---- memory ---- */

static void take_memory(struct hfc *cache, uint64_t page, uint64_t pages)
{
    const struct hf_policy detach = {.kind = HF_POLICY_DETACH};

    if (hf_fallocate(cache->data, HF_FALLOC_PUNCH_HOLE, page * CACHE_PAGE, pages * CACHE_PAGE,
                     &detach) == 0)
        cache_run(cache)->filled_pages -= change_bits(cache, cache->filled_at, page, pages, false);
}

/* Takes memory from free pages outside [page, page+pages) until no more than `limit` are filled. */
static void shed(struct hfc *cache, uint64_t limit, uint64_t page, uint64_t pages)
{
    struct run *run = cache_run(cache);

    for (uint64_t at = cache->range_pages; at && run->filled_pages > limit; at -= 64) {
        uint64_t base = at - 64, idle = *map_word(cache, cache->filled_at, base) &
                                        ~*map_word(cache, cache->busy_at, base);

        while (idle && run->filled_pages > limit) {
            unsigned bit = (unsigned)__builtin_ctzll(idle);
            uint64_t rest = ~(idle >> bit), length = rest ? (uint64_t)__builtin_ctzll(rest) : 64;
            uint64_t first = base + bit;

            if (length > 64 - bit)
                length = 64 - bit;
            idle &= ~first_bits(first, length);
            if (length > run->filled_pages - limit)
                length = run->filled_pages - limit;
            if (first + length <= page || first >= page + pages)
                take_memory(cache, first, length);
        }
    }
}

uint64_t space_take(struct hfc *cache, uint64_t pages)
{
    struct run *run = cache_run(cache);
    uint64_t page = find_run(cache, pages), empty;

    if (page == UINT64_MAX)
        return page;
    empty = pages - count_bits(cache, cache->filled_at, page, pages);
    if (run->filled_pages + empty > run->limit_pages)
        shed(cache, run->limit_pages > empty ? run->limit_pages - empty : 0, page, pages);
    if (run->filled_pages + empty > run->limit_pages)
        return UINT64_MAX;
    run->busy_pages += change_bits(cache, cache->busy_at, page, pages, true);
    run->filled_pages += change_bits(cache, cache->filled_at, page, pages, true);
    return page;
}

void space_give(struct hfc *cache, uint64_t page, uint64_t pages)
{
    struct run *run = cache_run(cache);
    uint32_t group = (uint32_t)(page / CACHE_GROUP);

    run->busy_pages -= change_bits(cache, cache->busy_at, page, pages, false);
    for (unsigned size = 0; size < 16; size++)
        if (group < run->low_group[size])
            run->low_group[size] = group;
}

void space_failed(struct hfc *cache, uint64_t page, uint64_t pages)
{
    struct run *run = cache_run(cache);

    take_memory(cache, page, pages);
    space_give(cache, page, pages);
    run->limit_pages = run->filled_pages;
}

bool space_mark(struct hfc *cache, uint64_t page, uint64_t pages)
{
    struct run *run = cache_run(cache);

    if (!pages || page >= cache->range_pages || pages > cache->range_pages - page ||
        count_bits(cache, cache->busy_at, page, pages))
        return false;
    run->busy_pages += change_bits(cache, cache->busy_at, page, pages, true);
    /* A hole counts as filled: its object may have been zeros, which a merge took out. */
    run->filled_pages += change_bits(cache, cache->filled_at, page, pages, true);
    return true;
}

int space_mend(struct hfc *cache)
{
    struct run *run = cache_run(cache);
    uint64_t from = 0, to;
    int rc;

    change_bits(cache, cache->busy_at, 0, cache->range_pages, false);
    change_bits(cache, cache->filled_at, 0, cache->range_pages, false);
    run->busy_pages = run->filled_pages = 0;
    memset(run->low_group, 0, sizeof run->low_group);
    run->limit_pages = cache->capacity_pages;
    while ((rc = hf_seek(cache->data, from, HF_SEEK_DATA, &from)) == 0) {
        rc = hf_seek(cache->data, from, HF_SEEK_HOLE, &to);
        if (rc)
            break;
        to = to / CACHE_PAGE < cache->range_pages ? to : cache->range_pages * CACHE_PAGE;
        if (to <= from)
            break;
        run->filled_pages += change_bits(cache, cache->filled_at, from / CACHE_PAGE,
                                         to / CACHE_PAGE - from / CACHE_PAGE, true);
        from = to;
    }
    return rc == 0 || rc == -ENXIO ? 0 : cache_fail_pool(rc);
}
