/* SPDX-License-Identifier: MIT */
/*
 * How the memory of an object comes back when it has left: E2 and E3 of evict.c. Under the lock.
 *
 * hf_held() takes the mutex of the data file, and fails after a moment while a process that has it
 * is stopped. Then it is not called again before the lock is taken once more, and all that leaves
 * until then counts as held. Else a put would wait that long for each object that it evicts, and
 * evict them all.
 */
#include "private.h"

#include <stdio.h>

/* The cell's range, of an object or of a page. */
static void cell_range(const struct cell *cell, uint64_t *page, uint64_t *pages)
{
    *page = cell->off / CACHE_PAGE;
    *pages = CELL_KIND(cell->state) == CELL_PAGE ? 1 : cache_pages(cell->len);
}

int holders_unknown(const struct hfc *cache)
{
    return cache->unknown ? cache_fail(cache->unknown, "%s", cache->unknown_why) : 0;
}

/* Not known is held. */
static bool anybody_holds(struct hfc *cache, uint64_t page, uint64_t pages)
{
    int rc;

    if (cache->unknown)
        return true;
    rc = hf_held(cache->data, page * CACHE_PAGE, pages * CACHE_PAGE);
    if (rc < 0) {
        cache->unknown = rc;
        snprintf(cache->unknown_why, sizeof cache->unknown_why, "%s", hf_strerror_detail());
    }
    return rc != 0;
}

static bool range_is_held(struct hfc *cache, const struct cell *cell, uint64_t page, uint64_t pages)
{
    return !CACHE_BROKEN(CACHE_LAB_NO_HELD) && anybody_holds(cache, page, pages) &&
           !(cell->state & CELL_LISTED && CACHE_LEASE_ENDED(cell));
}

/* E2, E3 */
static bool try_free(struct hfc *cache, uint32_t index)
{
    struct cell *cell = cache_cell(cache, index);
    uint64_t page, pages;

    cell_range(cell, &page, &pages);
    if (range_is_held(cache, cell, page, pages))
        return false;
    space_give(cache, page, pages);
    cell_give(cache, index);
    return true;
}

void leave_range(struct hfc *cache, uint32_t index)
{
    struct run *run = cache_run(cache);
    struct cell *cell = cache_cell(cache, index);
    uint64_t page, pages;

    if (try_free(cache, index))
        return;
    cell_range(cell, &page, &pages);
    CACHE_LEASE_BEGINS(cell);
    store_relaxed(&cell->state, cell->state | CELL_LISTED); /* relaxed: no word leads here */
    list_push(cache, &run->leaving, index);
    run->leaving_pages += pages;
}

unsigned settle_leaving(struct hfc *cache, unsigned most)
{
    struct run *run = cache_run(cache);
    uint32_t last = run->leaving.last, index = CACHE_NONE;
    unsigned freed = 0;

    while (most-- && !cache->unknown && index != last &&
           (index = run->leaving.first) != CACHE_NONE) {
        struct cell *cell = cache_cell(cache, index);
        uint64_t page, pages;

        cell_range(cell, &page, &pages);
        list_drop(cache, &run->leaving, index);
        if (try_free(cache, index)) {
            run->leaving_pages -= pages;
            freed++;
        } else {
            list_push(cache, &run->leaving, index);
        }
    }
    return freed;
}
