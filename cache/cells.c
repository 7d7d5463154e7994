/* SPDX-License-Identifier: MIT */
/*
 * Cells that are free, and lists of cells. All under the lock; the lists are run state, and made
 * again by the next holder when this one dies.
 */
#include "private.h"

uint64_t cell_next_stamp(struct hfc *cache)
{
    uint64_t stamp = cache_header(cache)->next_stamp;

    store_relaxed(&cache_header(cache)->next_stamp, stamp + 1); /* relaxed: under the lock */
    return stamp;
}

uint32_t cell_take(struct hfc *cache)
{
    struct run *run = cache_run(cache);
    uint32_t index = run->free_cell;
    struct cell *cell;

    if (index == CACHE_NONE)
        return CACHE_NONE;
    run->free_cell = cache_link(cache, index)->next;
    run->free_cells--;
    /* CELL.REUSE/m: the word that led here was cleared before the cell is changed. Pairs with
     * CELL.REUSE/p in still_there() and word_entry(). Without it: a reader finds its word and stamp
     * as they were, and has the place of the cell's next use. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    cell = cache_cell(cache, index);
    store_relaxed(&cell->more, 0u); /* relaxed: no word leads here */
    return index;
}

void cell_publish(struct hfc *cache, uint32_t index, uint64_t stamp, uint64_t *place, uint64_t tag)
{
    /* CELL.STAMP/m: the cell is whole before its stamp. Pairs with CELL.STAMP/p in leads_to() and
     * word_entry(). Without it: a reader has the new stamp and the key of the use before, and finds
     * the stamp the same in the end. */
    store_release(&cache_cell(cache, index)->stamp, stamp);
    /* CELL.PUB/m: cell and stamp before a word leads there. Pairs with CELL.PUB/p in
     * place_leads_to() and word_entry(). Without it: the stamp of the use before, which is the same
     * in the end. */
    store_release(place, tag | (stamp & 0xffff) << 32 | (index + UINT64_C(1)));
}

/* Last, so that a cell of a kind has a range that is its own: mend.c believes it, also when its
 * process dies in between. */
void cell_is(struct hfc *cache, uint32_t index, uint32_t state)
{
    store_release(&cache_cell(cache, index)->state, state);
}

void cell_give(struct hfc *cache, uint32_t index)
{
    struct run *run = cache_run(cache);

    store_relaxed(&cache_cell(cache, index)->state, CELL_FREE); /* relaxed: no word leads here */
    cache_link(cache, index)->next = run->free_cell;
    run->free_cell = index;
    run->free_cells++;
}

void list_push(struct hfc *cache, struct list *list, uint32_t index)
{
    struct link *link = cache_link(cache, index);

    link->prev = list->last;
    link->next = CACHE_NONE;
    if (list->last == CACHE_NONE)
        list->first = index;
    else
        cache_link(cache, list->last)->next = index;
    list->last = index;
}

void list_drop(struct hfc *cache, struct list *list, uint32_t index)
{
    struct link *link = cache_link(cache, index);

    if (link->prev == CACHE_NONE)
        list->first = link->next;
    else
        cache_link(cache, link->prev)->next = link->next;
    if (link->next == CACHE_NONE)
        list->last = link->prev;
    else
        cache_link(cache, link->next)->prev = link->prev;
}

void list_swap(struct hfc *cache, struct list *list, uint32_t old, uint32_t new)
{
    struct link *link = cache_link(cache, new);

    *link = *cache_link(cache, old);
    if (link->prev == CACHE_NONE)
        list->first = new;
    else
        cache_link(cache, link->prev)->next = new;
    if (link->next == CACHE_NONE)
        list->last = new;
    else
        cache_link(cache, link->next)->prev = new;
}
