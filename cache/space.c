/* SPDX-License-Identifier: MIT */
/*
 * Which pages of the data file are in use. The file has four times as many pages as the cache may
 * fill, so that objects of all sizes find a run. A page is in use from space_take() to
 * space_give(); the caller has asked hf_held() before it gives. Pages that are free keep their
 * memory, and the next object gets it without a transaction. They lose it when the cache would fill
 * more than it may, and when it is emptied. Those at the end of the file lose it first.
 *
 * An object can be read in one piece when its pages are neighbours in memory too. So memory is
 * taken for whole groups of 512 pages. Most objects then take a part of a group, and a run that has
 * memory is preferred. A full cache has no such run for each object. Then one gets pages without
 * memory, which others lose for it: this makes pieces.
 *
 * Two maps have a bit for each page: in use, and filled. spans.c sums them up, so that a run and a
 * page to empty are found in a few steps. All is run state, and follows from the index and from the
 * file itself.
 */
#include "private.h"

#include <errno.h>
#include <sys/statvfs.h>

/* What space_take() gives memory to at once. More would keep the lock for long. */
#define SPACE_NOW (4 * (uint64_t)CACHE_GROUP)
#define ROOM_AHEAD 2u /* the pool has so many times what is taken in advance */

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

/* Pages from `page` on that are not in the map; `most` at most. */
static uint64_t pages_before_bit(const struct hfc *cache, uint64_t at, uint64_t page, uint64_t most)
{
    uint64_t pages = 0;

    while (pages < most) {
        uint64_t next = page + pages, bits = *cache_map_word(cache, at, next) >> next % 64;

        if (bits) {
            pages += (uint64_t)__builtin_ctzll(bits);
            break;
        }
        pages += 64 - next % 64;
    }
    return pages < most ? pages : most;
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

uint64_t space_trim(struct hfc *cache, unsigned steps)
{
    uint64_t page, pages, sum = 0;

    for (; steps && spans_last_idle(cache, &page, &pages); steps--, sum += pages)
        if (!take_memory(cache, page, pages))
            break;
    return sum;
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

/* Free pages without memory, from `page` on to the end of its group. As many as the cache may fill.
 * 0, if the pool has no room for `now` pages and for others' files beside them. */
static uint64_t pages_ahead(struct hfc *cache, uint64_t page, uint64_t now)
{
    const struct run *run = cache_run(cache);
    uint64_t most = (page + CACHE_GROUP - 1) / CACHE_GROUP * CACHE_GROUP - page, ahead;
    struct statvfs st;

    if (most > run->limit_pages - run->filled_pages)
        most = run->limit_pages - run->filled_pages;
    ahead = pages_before_bit(cache, cache->filled_at, page, most);
    if (!ahead || hf_statvfs(cache->pool, &st) || st.f_bavail < now + ROOM_AHEAD * ahead)
        return 0;
    return ahead;
}

static int give_memory(struct hfc *cache, uint64_t page, uint64_t pages)
{
    return hf_fallocate(cache->data, HF_FALLOC_KEEP_SIZE, page * CACHE_PAGE, pages * CACHE_PAGE,
                        NULL);
}

/* The range counts as filled. Gives memory to its first pages, and to what follows in its group. It
 * is one step, so that the pool can lay all of it in one piece. */
static int fill_range(struct hfc *cache, uint64_t page, uint64_t pages)
{
    uint64_t now = pages < SPACE_NOW ? pages : SPACE_NOW, end = page + pages;
    uint64_t ahead = now == pages ? pages_ahead(cache, end, now) : 0;
    int rc = give_memory(cache, page, now + ahead);

    if (rc == 0 && ahead) {
        change_filled(cache, end, ahead, true);
        spans_changed(cache, end, ahead);
    } else if (rc == -ENOSPC && ahead) { /* others were faster */
        take_memory(cache, end, ahead);
        rc = give_memory(cache, page, now);
    }
    return rc;
}

/* ---- ranges ---- */

int space_take(struct hfc *cache, uint64_t pages, uint64_t *page)
{
    struct run *run = cache_run(cache);
    uint64_t empty;
    int rc = 0;

    *page = spans_find(cache, pages);
    if (*page == UINT64_MAX)
        return -ENOENT;
    change_busy(cache, *page, pages, true); /* so that shed() leaves it alone */
    spans_changed(cache, *page, pages);
    empty = pages - count_bits(cache, cache->filled_at, *page, pages);
    if (run->filled_pages + empty > run->limit_pages)
        shed(cache, run->limit_pages > empty ? run->limit_pages - empty : 0);
    if (run->filled_pages + empty > run->limit_pages) {
        space_give(cache, *page, pages);
        return -ENOENT;
    }
    change_filled(cache, *page, pages, true);
    if (empty)
        rc = fill_range(cache, *page, pages);
    if (rc == -ENOSPC)
        space_failed(cache, *page, pages);
    else if (rc)
        space_give(cache, *page, pages);
    return rc == -ENOSPC ? -EAGAIN : rc ? cache_fail_pool(rc) : 0;
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
