/* SPDX-License-Identifier: MIT */
/*
 * Ghosts: what is left of an object that the policy s3fifo has evicted. An object whose key has a
 * ghost comes back too soon after its eviction, and goes to the main queue at once. Such an
 * eviction also tells that its queue was too small. So bytes of twice the object go from the other
 * queue to that one, between a tenth and nine tenths of both.
 *
 * A ghost is 19 bits of the key's hash, a bit that tells its queue, and 12 bits of that queue's
 * clock, which counts evictions. It lasts for as many of them as the cache may have objects. All
 * of it is a hint: a wrong one costs a hit at most.
 */
#include "private.h"

#define GHOST_SET 16u /* words in a line of the processor's cache */
#define GHOST_TIMES 4096u
#define GHOST_MAIN 4096u
#define GHOST_BITS 13
#define GHOST_NEEDED 2u /* words of the table for each object: one for each queue */

uint64_t ghosts_bytes(const struct hfc *cache)
{
    return (uint64_t)cache->cells * GHOST_NEEDED * sizeof(uint32_t);
}

static uint32_t *ghost_set(struct hfc *cache, uint64_t hash)
{
    uint64_t sets = (uint64_t)cache->cells * GHOST_NEEDED / GHOST_SET;

    return region_at(&cache->state, cache->ghosts_at + hash % sets * GHOST_SET * sizeof(uint32_t));
}

/* Evictions in one tick of a clock. So a ghost ends within half of the clock's turn. */
static uint64_t clock_step(const struct hfc *cache)
{
    return (cache->cells + GHOST_TIMES / 2 - 1) / (GHOST_TIMES / 2);
}

static uint32_t clock_of(struct hfc *cache, bool main)
{
    return (uint32_t)(cache_run(cache)->ghost_clock[main] / clock_step(cache)) % GHOST_TIMES;
}

static uint32_t ghost_age(struct hfc *cache, uint32_t ghost)
{
    return (clock_of(cache, ghost & GHOST_MAIN) - ghost) % GHOST_TIMES;
}

static bool ghost_lives(struct hfc *cache, uint32_t ghost)
{
    return ghost && ghost_age(cache, ghost) * clock_step(cache) < cache->cells;
}

/* A word of 0 stands for an empty place. So a key whose bits are all 0 has no ghost at times. */
static uint32_t ghost_of(uint64_t hash, bool main, uint32_t time)
{
    return (uint32_t)(hash >> 45) << GHOST_BITS | (main ? GHOST_MAIN : 0) | time;
}

/* In the place of one that has ended, else of the oldest. */
static void ghost_put(struct hfc *cache, uint64_t hash, bool main)
{
    uint32_t *set = ghost_set(cache, hash), *place = set;

    cache_run(cache)->ghost_clock[main]++;
    for (uint32_t i = 0; i < GHOST_SET; i++) {
        if (!ghost_lives(cache, set[i]))
            set[i] = 0; /* else it would be a young one again, a turn of the clock later */
        if (*place && (!set[i] || ghost_age(cache, set[i]) > ghost_age(cache, *place)))
            place = &set[i];
    }
    *place = ghost_of(hash, main, clock_of(cache, main));
}

void ghost_leave(struct hfc *cache, const struct cell *cell)
{
    uint8_t bytes[HFC_KEY_MAX];
    struct hfc_key key = {.bytes = bytes, .space = cell->space};

    if (key_copy(cache, cell, bytes, &key.len))
        ghost_put(cache, key_hash(cache, &key), cell->state & CELL_MAIN);
}

/* ---- how large the small queue is to be ---- */

static uint64_t between(uint64_t least, uint64_t value, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

uint64_t ghosts_small_bytes(const struct run *run)
{
    uint64_t all = run->small_bytes + run->main_bytes;

    return between(all / 10, run->small_wanted ? run->small_wanted : all / 2, all - all / 10);
}

/* The queue that the ghost tells of had too few bytes. */
static void note_return(struct run *run, uint64_t bytes, bool main)
{
    uint64_t wanted = ghosts_small_bytes(run);

    bytes *= 2;
    run->small_wanted = !main ? wanted + bytes : wanted > bytes ? wanted - bytes : 1;
    run->small_wanted = ghosts_small_bytes(run);
}

bool ghost_take(struct hfc *cache, uint64_t hash, uint64_t bytes)
{
    uint32_t *set = ghost_set(cache, hash);

    for (uint32_t i = 0; i < GHOST_SET; i++) {
        if (ghost_lives(cache, set[i]) && set[i] >> GHOST_BITS == (uint32_t)(hash >> 45)) {
            note_return(cache_run(cache), bytes, set[i] & GHOST_MAIN);
            set[i] = 0;
            return true;
        }
    }
    return false;
}
