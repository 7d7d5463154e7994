/* SPDX-License-Identifier: MIT */
/* How the memory of an object comes back when it has left: E2 and E3 of evict.c. Under the lock. */
#include "private.h"

/* The cell's range, of an object or of a page. */
static void cell_range(const struct cell *cell, uint64_t *page, uint64_t *pages)
{
    *page = cell->off / CACHE_PAGE;
    *pages = CELL_KIND(cell->state) == CELL_PAGE ? 1 : cache_pages(cell->len);
}

/* Not known is held. */
static bool range_is_held(const struct hfc *cache, const struct cell *cell, uint64_t page,
                          uint64_t pages)
{
    return !CACHE_BROKEN(CACHE_LAB_NO_HELD) &&
           hf_held(cache->data, page * CACHE_PAGE, pages * CACHE_PAGE) != 0 &&
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

    while (most-- && index != last && (index = run->leaving.first) != CACHE_NONE) {
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
