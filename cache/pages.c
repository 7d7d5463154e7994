/* SPDX-License-Identifier: MIT */
/* Pages of packed objects: how much of each lives, and what happens when that becomes less. Under
 * the lock. */
#include "private.h"

#define SPARSE_BYTES (HF_BLOCK_BYTES / 2) /* pages with less life are copied together */

static void unlist_sparse(struct hfc *cache, uint32_t index)
{
    struct cell *page = cache_cell(cache, index);

    if (!(page->state & CELL_LISTED))
        return;
    list_drop(cache, &cache_run(cache)->sparse, index);
    store_relaxed(&page->state, page->state & ~CELL_LISTED); /* relaxed: as above */
}

void packed_dead(struct hfc *cache, uint32_t index, uint32_t bytes)
{
    struct run *run = cache_run(cache);
    struct cell *page;

    if (index >= cache->cells || CELL_KIND(cache_cell(cache, index)->state) != CELL_PAGE)
        return;
    page = cache_cell(cache, index);
    page_set(page, page_used(page), page_live(page) - bytes);
    if (index == run->open_page)
        return;
    if (!page_live(page)) {
        unlist_sparse(cache, index);
        run->packed_pages--;
        leave_range(cache, index);
    } else if (page_live(page) < SPARSE_BYTES && !(page->state & CELL_LISTED)) {
        store_relaxed(&page->state, page->state | CELL_LISTED); /* relaxed: as above */
        list_push(cache, &run->sparse, index);
    }
}

bool packed_close(struct hfc *cache)
{
    struct run *run = cache_run(cache);
    uint32_t index = run->open_page;

    if (index == CACHE_NONE || page_live(cache_cell(cache, index)))
        return false;
    run->open_page = CACHE_NONE;
    packed_dead(cache, index, 0);
    return true;
}
