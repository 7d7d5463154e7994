/* SPDX-License-Identifier: MIT */
/* Taking objects out by key or by the policy, quotas, looking at all of them, and counts. */
#include "private.h"

#include <errno.h>

int hfc_remove(struct hfc *cache, const struct hfc_key *key)
{
    struct found found;
    bool on_disk;
    int rc = cache_check(cache);

    rc = rc ? rc : key_check(key);
    rc = rc ? rc : cache_lock(cache);
    if (rc)
        return rc;
    on_disk = tier_forget(cache, key_hash(cache, key));
    if (table_find(cache, key, key_hash(cache, key), &found))
        object_leave(cache, WORD_CELL(found.word), found.place);
    else if (!on_disk)
        rc = -ENOENT;
    if (!rc)
        cache_run(cache)->removals++;
    cache_unlock(cache);
    return rc;
}

#define EVICT_MOST 64u /* before others get the lock */
#define TRIM_STEPS 16u /* as well; each is of a group of pages at most */
#define STATS_LOOKS 256u

static uint64_t bytes_of_all(struct hfc *cache)
{
    const struct run *run = cache_run(cache);

    return run->small_bytes + run->main_bytes;
}

/* False: no object is left. */
static bool evict_some(struct hfc *cache, uint64_t bytes, uint64_t *gone)
{
    bool more = true;

    for (unsigned i = 0; i < EVICT_MOST && more && *gone < bytes; i++) {
        if (cache->tier_io && !tier_room(cache))
            break;
        uint64_t before = bytes_of_all(cache);

        more = evict_one(cache, CACHE_NONE);
        *gone += before - bytes_of_all(cache);
    }
    packed_close(cache);
    return more;
}

/* Gives the memory that no object has back to the pool, as much as it is at the first step. */
static int give_to_pool(struct hfc *cache)
{
    uint64_t given = 0, step, all = UINT64_MAX;
    int rc;

    do {
        rc = cache_lock(cache);
        if (rc)
            return rc;
        settle_leaving(cache, UINT32_MAX); /* what a second tier or dead readers held is free */
        if (all == UINT64_MAX)
            all = cache_run(cache)->filled_pages;
        step = space_trim(cache, TRIM_STEPS);
        given += step;
        cache_unlock(cache);
    } while (step && given < all);
    return 0;
}

int hfc_evict(struct hfc *cache, uint64_t bytes, uint64_t *out)
{
    const bool all_of_it = bytes == UINT64_MAX;
    uint64_t gone = 0, all = UINT64_MAX; /* what others put meanwhile is not asked for */
    bool more = true;
    int rc = cache_check(cache);

    while (rc == 0 && more && gone < bytes) {
        rc = cache_lock(cache);
        if (rc)
            break;
        if (all == UINT64_MAX) {
            all = bytes_of_all(cache);
            bytes = bytes < all ? bytes : all;
        }
        more = evict_some(cache, bytes, &gone);
        cache_unlock(cache);
        tier_wait(cache, false);
    }
    if (rc == 0)
        tier_wait(cache, true);
    if (rc == 0 && all_of_it) {
        rc = give_to_pool(cache);
    } else if (rc == 0 && cache->tier_io && cache_lock(cache) == 0) { /* what it held is free now */
        settle_leaving(cache, UINT32_MAX);
        cache_unlock(cache);
    }
    if (out)
        *out = gone;
    return rc;
}

int hfc_quota(struct hfc *cache, uint32_t space, uint64_t bytes)
{
    int rc = cache_check(cache);

    if (rc == 0 && space >= HFC_SPACES)
        rc = cache_fail(-EINVAL, "namespace %u: they are below %u", space, HFC_SPACES);
    rc = rc ? rc : cache_lock(cache);
    if (rc)
        return rc;
    store_relaxed(&cache_header(cache)->quota_bytes[space], bytes); /* relaxed: the lock */
    cache_unlock(cache);
    return 0;
}

/* The object of a word. 1; 0: it went or was replaced meanwhile; -1: the word makes no sense. */
static int word_entry(const struct hfc *cache, const uint64_t *place, struct hfc_entry *out)
{
    uint64_t word = load_acquire(place), stamp; /* CELL.PUB/p, as in place_leads_to() */
    const struct cell *cell;
    bool good;

    if (!word || WORD_CELL(word) >= cache->cells)
        return word ? -1 : 0;
    cell = cache_cell(cache, WORD_CELL(word));
    stamp = load_acquire(&cell->stamp); /* CELL.STAMP/p, as in leads_to() */
    good = key_copy(cache, cell, out->key, &out->key_len);
    out->space = load_relaxed(&cell->space); /* relaxed, and below: the stamp */
    out->bytes = cell_len(load_relaxed(&cell->state), load_relaxed(&cell->len));
    /* CELL.REUSE/p, as in still_there(). */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (load_acquire(place) != word || load_relaxed(&cell->stamp) != stamp)
        return 0;
    return good ? 1 : -1;
}

int hfc_next(struct hfc *cache, uint64_t *cursor, struct hfc_entry *out)
{
    int rc = cache_check(cache);

    if (rc == 0 && (!cursor || !out))
        rc = cache_fail(-EINVAL, "cursor or out is null");
    if (rc)
        return rc;
    while (*cursor < (uint64_t)cache->lines * CACHE_LINE_WORDS) {
        uint64_t at = *cursor, *line = cache_line(cache, (uint32_t)(at / CACHE_LINE_WORDS));
        uint64_t *place = &line[at % CACHE_LINE_WORDS];

        /* Again, if the object was replaced or moved while it was copied. */
        while (load_relaxed(place) && (rc = word_entry(cache, place, out)) == 0) /* it acquires */
            ;
        ++*cursor;
        if (rc > 0)
            return 1;
        rc = 0;
    }
    return 0;
}

/* Of the object that leaves next. */
static uint64_t next_age(struct hfc *cache)
{
    uint32_t index = evict_next(cache), now = cache_now();

    return index == CACHE_NONE || cache_cell(cache, index)->born > now
               ? 0
               : now - cache_cell(cache, index)->born;
}

int hfc_stats(struct hfc *cache, struct hfc_stats *out)
{
    const struct run *run;
    struct hfc_stats stats;
    int rc = cache_check(cache);

    if (rc == 0 && (!out || out->size != sizeof *out))
        rc = cache_fail(-EINVAL, "out is null, or its size is not sizeof(struct hfc_stats)");
    rc = rc ? rc : cache_lock(cache);
    if (rc)
        return rc;
    settle_leaving(cache, STATS_LOOKS); /* a holder may have let go, or died */
    run = cache_run(cache);
    stats = (struct hfc_stats){
        .size = sizeof stats,
        .capacity_bytes = cache->capacity_pages * CACHE_PAGE,
        .used_bytes = run->busy_pages * CACHE_PAGE,
        .held_bytes = run->leaving_pages * CACHE_PAGE,
        .objects = run->objects,
        .objects_max = cache->cells,
        .packed_pages = run->packed_pages,
        .puts = run->puts,
        .put_bytes = run->put_bytes,
        .evictions = run->evictions,
        .removals = run->removals,
        .ghost_hits = run->ghost_hits,
        .compacted = run->compacted,
        .mended = run->mendings,
        .dropped = run->dropped,
        .evicted_age_seconds = run->evicted_age,
        .next_age_seconds = next_age(cache),
    };
    cache_unlock(cache);
    for (uint32_t i = 0; i < CACHE_SHARDS; i++) {
        const struct shard *shard = cache_shard(cache, i);

        stats.hits += load_relaxed(&shard->hits); /* relaxed: a measure */
        stats.misses += load_relaxed(&shard->misses);
        stats.expired += load_relaxed(&shard->expired);
    }
    *out = stats;
    return 0;
}
