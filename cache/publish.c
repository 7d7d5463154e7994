/* SPDX-License-Identifier: MIT */
/* Makes a cell an object, in one store, and the one that had its key none. Under the lock. */
#include "private.h"

#include <errno.h>

static uint64_t *place_for(struct hfc *cache, const struct hfc_key *key, uint64_t hash,
                           struct found *old)
{
    uint64_t *place = table_place(cache, key, hash, old);
    uint32_t victim;

    if (place)
        return place;
    victim = table_victim(cache, hash);
    if (victim == CACHE_NONE)
        return NULL;
    cache_run(cache)->evictions++;
    tier_demote(cache, victim);
    object_leave(cache, victim, table_word_of(cache, victim));
    return table_place(cache, key, hash, old);
}

int publish(struct hfc *cache, const struct hfc_key *key, uint32_t index, uint64_t stamp)
{
    struct run *run = cache_run(cache);
    struct cell *cell = cache_cell(cache, index);
    uint64_t hash = key_hash(cache, key), bytes, pages, *place;
    struct found old;
    int rc = take_cells(cache, key_cells(key->len));

    if (rc)
        return rc;
    place = place_for(cache, key, hash, &old);
    if (!place)
        return cache_fail(-EUCLEAN, "the index has a word that leads nowhere");
    key_store(cache, cell, key);
    store_relaxed(&cell->uses, (uint8_t)0); /* relaxed, and below: the word is stored later */
    store_relaxed(&cell->born, cache_now());
    object_bytes(cell, &bytes, &pages);
    if (cache->policy == HFC_S3FIFO && ghost_take(cache, hash, bytes)) {
        store_relaxed(&cell->state, cell->state | CELL_MAIN);
        run->ghost_hits++;
    }
    if (!CACHE_BROKEN(CACHE_LAB_TIER_NO_FORGET))
        tier_forget(cache, hash); /* before: what is there now is not the value any more */
    cell_publish(cache, index, stamp, place, WORD_TAG(hash));
    queue_object(cache, index);
    if (old.place)
        object_leave(cache, WORD_CELL(old.word), NULL);
    run->puts++;
    if (run->limit_pages < cache->capacity_pages)
        run->limit_pages++; /* the pool was full; perhaps it is not any more */
    return 0;
}
