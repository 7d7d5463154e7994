/* SPDX-License-Identifier: MIT */
/*
 * Which pages of the data file are in use. The file has four times as many pages as the cache may
 * fill, so that objects of all sizes find a run. A page is in use from space_take() to
 * space_give(); the caller has asked hf_held() before it gives. Pages that are free keep their
 * memory, and the next object gets it without a transaction: the lowest run that is long enough is
 * taken. Only when the cache would fill more than it may, free pages lose their memory, those at
 * the end of the file first.
 *
 * Two maps have a bit for each page: in use, and filled. spans.c sums them up, so that a run and a
 * page to empty are found in a few steps. All is run state, and follows from the index and from the
 * file itself.
 */
#include "private.h"

#include <errno.h>

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
        uint64_t *word = cache_map_word(cache, at, page), bits = first_bits(page, pages);
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

        count += (uint64_t)__builtin_popcountll(*cache_map_word(cache, at, page) & bits);
        page += done;
        pages -= done;
    }
    return count;
}

static void change_busy(struct hfc *cache, uint64_t page, uint64_t pages, bool set)
{
    uint64_t changed = change_bits(cache, cache->busy_at, page, pages, set);

    cache_run(cache)->busy_pages += set ? changed : -changed;
}

static void change_filled(struct hfc *cache, uint64_t page, uint64_t pages, bool set)
{
    uint64_t changed = change_bits(cache, cache->filled_at, page, pages, set);

    cache_run(cache)->filled_pages += set ? changed : -changed;
}

/* ---- memory ---- */

static bool take_memory(struct hfc *cache, uint64_t page, uint64_t pages)
{
    const struct hf_policy detach = {.kind = HF_POLICY_DETACH};

    if (hf_fallocate(cache->data, HF_FALLOC_PUNCH_HOLE, page * CACHE_PAGE, pages * CACHE_PAGE,
                     &detach))
        return false;
    change_filled(cache, page, pages, false);
    spans_changed(cache, page, pages);
    return true;
}

/* Takes memory from free pages until no more than `limit` are filled. */
static void shed(struct hfc *cache, uint64_t limit)
{
    struct run *run = cache_run(cache);
    uint64_t page, pages;

    while (run->filled_pages > limit && spans_last_idle(cache, &page, &pages)) {
        uint64_t most = run->filled_pages - limit;

        if (pages > most) { /* of its end */
            page += pages - most;
            pages = most;
        }
        if (!take_memory(cache, page, pages))
            return;
    }
}

/* ---- ranges ---- */

uint64_t space_take(struct hfc *cache, uint64_t pages)
{
    struct run *run = cache_run(cache);
    uint64_t page = spans_find(cache, pages), empty;

    if (page == UINT64_MAX)
        return page;
    change_busy(cache, page, pages, true); /* so that shed() leaves it alone */
    spans_changed(cache, page, pages);
    empty = pages - count_bits(cache, cache->filled_at, page, pages);
    if (run->filled_pages + empty > run->limit_pages)
        shed(cache, run->limit_pages > empty ? run->limit_pages - empty : 0);
    if (run->filled_pages + empty > run->limit_pages) {
        space_give(cache, page, pages);
        return UINT64_MAX;
    }
    change_filled(cache, page, pages, true);
    return page;
}

void space_give(struct hfc *cache, uint64_t page, uint64_t pages)
{
    change_busy(cache, page, pages, false);
    spans_changed(cache, page, pages);
}

void space_failed(struct hfc *cache, uint64_t page, uint64_t pages)
{
    take_memory(cache, page, pages);
    space_give(cache, page, pages);
    cache_run(cache)->limit_pages = cache_run(cache)->filled_pages;
}

bool space_mark(struct hfc *cache, uint64_t page, uint64_t pages)
{
    if (!pages || page >= cache->range_pages || pages > cache->range_pages - page ||
        count_bits(cache, cache->busy_at, page, pages))
        return false;
    change_busy(cache, page, pages, true);
    /* A hole counts as filled: its object may have been zeros, which a merge took out. */
    change_filled(cache, page, pages, true);
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
    run->spans_known = 0;
    run->limit_pages = cache->capacity_pages;
    while ((rc = hf_seek(cache->data, from, HF_SEEK_DATA, &from)) == 0) {
        rc = hf_seek(cache->data, from, HF_SEEK_HOLE, &to);
        if (rc)
            break;
        to = to / CACHE_PAGE < cache->range_pages ? to : cache->range_pages * CACHE_PAGE;
        if (to <= from)
            break;
        change_filled(cache, from / CACHE_PAGE, to / CACHE_PAGE - from / CACHE_PAGE, true);
        from = to;
    }
    return rc == 0 || rc == -ENXIO ? 0 : cache_fail_pool(rc);
}
