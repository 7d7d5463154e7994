/* SPDX-License-Identifier: MIT */
/*
 * Which object leaves, and how its memory comes back. All under the lock.
 *
 *   E1  the word is cleared: no reader that begins now finds the object
 *   E2  hf_held(): a reader that has pinned the range before is found. One that pins it later reads
 *       the word after its pin (G4 in get.c), finds it changed, and touches nothing
 *   E3  nobody holds the range: it is free. Else its cell waits in the list `leaving`, and E2 is
 *       done again when memory is needed
 *
 * A put that is under way is in `leaving` too. Its process holds the range by a pin for writing, so
 * nobody frees it. If that process dies, the pin goes, and the range is free like any other. If a
 * device was to fill it, that is after the pool's quarantine.
 */
#include "private.h"

#include <errno.h>
#include <inttypes.h>

/* ---- what an object takes ---- */

void object_bytes(const struct cell *cell, uint64_t *bytes, uint64_t *pages)
{
    uint64_t len = cell_len(cell->state, cell->len);

    if (cell->state & CELL_PACKED) {
        *pages = 0;
        *bytes = record_bytes(len);
    } else {
        *pages = cache_pages(len);
        *bytes = *pages * CACHE_PAGE;
    }
}

static struct list *queue_of(struct hfc *cache, const struct cell *cell)
{
    return &cache_run(cache)->queues[cell->space % HFC_SPACES][cell->state & CELL_MAIN ? 1 : 0];
}

static void count_object(struct hfc *cache, const struct cell *cell, bool comes)
{
    struct run *run = cache_run(cache);
    uint64_t bytes, pages, sign = comes ? 1 : UINT64_MAX;
    uint64_t *queue = cell->state & CELL_MAIN ? &run->main_bytes : &run->small_bytes;

    object_bytes(cell, &bytes, &pages);
    run->space_bytes[cell->space % HFC_SPACES] += sign * bytes;
    *queue += sign * bytes;
    run->objects += sign;
}

void queue_object(struct hfc *cache, uint32_t index)
{
    struct cell *cell = cache_cell(cache, index);

    list_push(cache, queue_of(cache, cell), index);
    store_relaxed(&cell->state, cell->state | CELL_QUEUED); /* relaxed: readers do not read it */
    count_object(cache, cell, true);
}

static void unqueue_object(struct hfc *cache, uint32_t index)
{
    struct cell *cell = cache_cell(cache, index);

    list_drop(cache, queue_of(cache, cell), index);
    store_relaxed(&cell->state, cell->state & ~CELL_QUEUED); /* relaxed: as above */
    count_object(cache, cell, false);
}

/* ---- leaving ---- */

void object_leave(struct hfc *cache, uint32_t index, uint64_t *place)
{
    struct cell *cell = cache_cell(cache, index);

    if (place && !CACHE_BROKEN(CACHE_LAB_LATE_CLEAR))
        store_release(place, UINT64_C(0)); /* E1: before hf_held(), which fences */
    if (cell->state & CELL_QUEUED)
        unqueue_object(cache, index);
    key_free(cache, cell);
    if (cell->state & CELL_PACKED) {
        uint32_t page = (uint32_t)(cell->len >> 32);
        uint32_t bytes = record_bytes(cell_len(cell->state, cell->len));

        cell_give(cache, index);
        packed_dead(cache, page, bytes);
    } else {
        leave_range(cache, index);
    }
    CACHE_AT(CACHE_LAB_LEAVES);
    if (place && CACHE_BROKEN(CACHE_LAB_LATE_CLEAR))
        store_release(place, UINT64_C(0));
}

/* ---- the policy ---- */

static void evict(struct hfc *cache, uint32_t index)
{
    uint32_t born = cache_cell(cache, index)->born, now = cache_now();

    cache_run(cache)->evicted_age = now > born ? now - born : 0;
    if (cache->policy == HFC_S3FIFO)
        ghost_leave(cache, cache_cell(cache, index));
    cache_run(cache)->evictions++;
    tier_demote(cache, index);
    object_leave(cache, index, table_word_of(cache, index));
}

/* Another turn in the queue `main`, or in the one where it is. */
static void queue_again(struct hfc *cache, uint32_t index, uint8_t uses, bool main)
{
    struct cell *cell = cache_cell(cache, index);

    unqueue_object(cache, index);
    store_relaxed(&cell->uses, uses); /* relaxed: a use that comes in between may be lost */
    if (main)
        store_relaxed(&cell->state, cell->state | CELL_MAIN); /* relaxed: readers do not read it */
    queue_object(cache, index);
}

/* The first of a queue leaves, or gets another turn. True: it has left. */
static bool take_turn(struct hfc *cache, uint32_t index, bool main)
{
    uint8_t uses = load_relaxed(&cache_cell(cache, index)->uses); /* relaxed: a hint */

    if (cache->policy == HFC_FIFO || !uses || (cache->policy == HFC_S3FIFO && !main && uses < 2)) {
        evict(cache, index);
        return true;
    }
    if (cache->policy == HFC_LRU)
        queue_again(cache, index, 0, false);
    else
        queue_again(cache, index, main ? (uint8_t)(uses - 1) : 0, true);
    return false;
}

/* The queue of this kind whose first object was put before those of the others. */
static struct list *oldest_queue(struct hfc *cache, uint32_t space, unsigned kind)
{
    struct run *run = cache_run(cache);
    struct list *oldest = NULL;
    uint64_t stamp = UINT64_MAX;

    for (uint32_t i = space == CACHE_NONE ? 0 : space; i < HFC_SPACES; i++) {
        struct list *queue = &run->queues[i][kind];

        if (queue->first != CACHE_NONE && cache_cell(cache, queue->first)->stamp < stamp) {
            stamp = cache_cell(cache, queue->first)->stamp;
            oldest = queue;
        }
        if (space != CACHE_NONE)
            break;
    }
    return oldest;
}

static struct list *queue_to_take(struct hfc *cache, uint32_t space, bool *main)
{
    struct run *run = cache_run(cache);
    struct list *small = oldest_queue(cache, space, 0), *rest = oldest_queue(cache, space, 1);

    *main = rest && (!small || run->small_bytes < ghosts_small_bytes(run));
    return *main ? rest : small;
}

uint32_t evict_next(struct hfc *cache)
{
    bool main;
    const struct list *queue = queue_to_take(cache, CACHE_NONE, &main);

    return queue ? queue->first : CACHE_NONE;
}

bool evict_one(struct hfc *cache, uint32_t space)
{
    uint64_t turns = (cache_run(cache)->objects + 1) * (CACHE_USES_MAX + 2);
    bool main;

    while (turns--) {
        struct list *queue = queue_to_take(cache, space, &main);

        if (!queue)
            return false;
        if (take_turn(cache, queue->first, main))
            return true;
    }
    return false;
}

/* ---- room ---- */

#define SETTLE_AHEAD 16u

static uint64_t quota_of(struct hfc *cache, uint32_t space)
{
    return cache_header(cache)->quota_bytes[space];
}

/* With a second tier, some memory is kept free of living objects, for those on their way there. */
static void evict_ahead(struct hfc *cache, uint64_t pages)
{
    struct run *run = cache_run(cache);
    uint64_t wanted = pages + cache->capacity_pages / TIER_AHEAD_PART;

    if (!cache->tier_io || run->busy_pages - run->leaving_pages + wanted <= cache->high_pages)
        return;
    settle_leaving(cache, SETTLE_AHEAD);
    while (run->busy_pages - run->leaving_pages + wanted > cache->high_pages && tier_room(cache) &&
           evict_one(cache, CACHE_NONE))
        ;
}

int make_room(struct hfc *cache, uint32_t space, uint64_t pages, uint64_t bytes)
{
    struct run *run = cache_run(cache);
    uint64_t quota = quota_of(cache, space);

    if (pages > cache->high_pages || (quota && bytes > quota))
        return cache_fail(
            -EFBIG, "an object of %" PRIu64 " bytes: the cache or its namespace takes %" PRIu64,
            bytes,
            quota && quota < cache->high_pages * CACHE_PAGE ? quota
                                                            : cache->high_pages * CACHE_PAGE);
    while (quota && run->space_bytes[space] + bytes > quota && evict_one(cache, space))
        ;
    evict_ahead(cache, pages);
    if (run->busy_pages + pages > cache->high_pages) {
        settle_leaving(cache, SETTLE_MOST);
        while (run->busy_pages + pages > cache->low_pages && !cache->unknown &&
               evict_one(cache, CACHE_NONE))
            ;
    }
    return 0;
}

static int all_is_held(struct hfc *cache)
{
    struct run *run = cache_run(cache);

    return cache_fail(-ENOSPC,
                      "no room: %" PRIu64 " KiB of %" PRIu64
                      " are held by readers or being put, and no object "
                      "is left to evict",
                      run->leaving_pages * CACHE_PAGE / 1024, run->limit_pages * CACHE_PAGE / 1024);
}

/* The pool was full, and the limit is too low since. Perhaps the pool is not any more. */
static bool raise_limit(struct hfc *cache, uint64_t pages)
{
    struct run *run = cache_run(cache);
    uint64_t wanted = run->busy_pages + pages;

    if (wanted <= run->limit_pages || wanted > cache->capacity_pages)
        return false;
    run->limit_pages = wanted;
    return true;
}

int take_range(struct hfc *cache, uint64_t pages, uint64_t *page)
{
    struct run *run = cache_run(cache);
    unsigned freed;
    int rc;

    for (;;) {
        if (run->busy_pages + pages <= run->limit_pages) {
            rc = space_take(cache, pages, page);
            if (rc != -ENOENT)
                return rc;
        }
        /* Each of those that wait costs a look, so not all of them before each eviction. */
        freed = settle_leaving(cache, SETTLE_MOST);
        if (cache->unknown)
            return holders_unknown(cache);
        if (!freed && !evict_one(cache, CACHE_NONE) && !packed_close(cache) &&
            !settle_leaving(cache, UINT32_MAX) && !raise_limit(cache, pages))
            return all_is_held(cache);
    }
}

int take_cells(struct hfc *cache, uint32_t count)
{
    struct run *run = cache_run(cache);

    while (run->free_cells < count) {
        if (cache->unknown)
            return holders_unknown(cache);
        if (!evict_one(cache, CACHE_NONE) && !settle_leaving(cache, UINT32_MAX))
            return cache_fail(-ENOSPC, "all %u entries of the index are held or being put",
                              cache->cells);
    }
    return 0;
}
