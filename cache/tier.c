/* SPDX-License-Identifier: MIT */
/*
 * Which objects are on the disk. An entry has the hash of a key and a word: the position, and
 * whether it is still being written. The word is stored last and cleared first, and no two objects
 * have the same. So a process killed in between leaves no object, and a reader without the lock who
 * finds the same word again has read one entry.
 *
 * An entry that is ready is the value of its key: each put and each removal clears it, under the
 * lock. So an object that is evicted for the second time is there already.
 */
#include "tier.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define ENTRY_BYTES (UINT64_C(16) << 10) /* of the disk for each entry */
#define TIER_BYTES_MIN (UINT64_C(1) << 20)
#define TIER_BYTES_MAX (UINT64_C(1) << 45)

int tier_plan(const struct hfc_options *options, struct header *header)
{
    if (!options->tier && options->tier_bytes)
        return cache_fail(-EINVAL, "tier_bytes is given, and tier is null");
    if (!options->tier)
        return 0;
    if (options->tier_bytes < TIER_BYTES_MIN || options->tier_bytes > TIER_BYTES_MAX)
        return cache_fail(-EINVAL, "a second tier of %" PRIu64 " bytes: from 1 MiB to 32 TiB",
                          options->tier_bytes);
    if (options->tier[0] != '/' || strlen(options->tier) >= TIER_PATH_MAX)
        return cache_fail(-EINVAL, "the second tier's path begins with / and has at most %u bytes",
                          TIER_PATH_MAX - 1);
    header->incompat |= CACHE_INCOMPAT_TIER;
    header->tier_sets = (uint32_t)(options->tier_bytes / ENTRY_BYTES / TIER_SET);
    return 0;
}

uint64_t tier_index_pages(const struct header *header)
{
    uint64_t entries = (uint64_t)header->tier_sets * TIER_SET;

    return entries ? 1 + cache_pages(entries * sizeof(struct tier_entry)) : 0;
}

void tier_fill_page(const struct hfc_options *options, void *page)
{
    struct tier *tier = page;

    tier->magic = TIER_MAGIC;
    tier->blocks = tier->head = options->tier_bytes / CACHE_PAGE - 1;
    memcpy(tier->path, options->tier, strlen(options->tier) + 1);
}

int tier_check_index(const struct hfc *cache)
{
    const struct tier *tier = cache_tier(cache);

    if (tier && (tier->magic != TIER_MAGIC || !tier->blocks ||
                 tier->blocks > TIER_BYTES_MAX / CACHE_PAGE || tier->head < tier->blocks ||
                 tier->head >> 61 || !memchr(tier->path, 0, sizeof tier->path)))
        return cache_fail(-EUCLEAN, "what the cache's index says of the second tier makes no "
                                    "sense");
    return 0;
}

/* ---- entries ---- */

struct tier_entry *tier_entry_at(const struct hfc *cache, uint64_t entry)
{
    return region_at(&cache->index,
                     cache->tier_at + CACHE_PAGE + entry * sizeof(struct tier_entry));
}

uint64_t tier_first_of_set(const struct hfc *cache, uint64_t hash)
{
    return ((hash & UINT32_MAX) * cache->tier_sets >> 32) * TIER_SET;
}

bool tier_lasts(const struct hfc *cache, uint64_t word)
{
    const struct tier *tier = cache_tier(cache);
    /* TIER.HEAD/p: what was read of the disk comes before the head. Pairs with TIER.HEAD/m in
     * take_blocks(). Without it: bytes of a later object count as those of this one, and only the
     * checksum is left to tell. */
    uint64_t head = load_acquire(&tier->head);

    return TIER_POS(word) < head && head - TIER_POS(word) <= tier->blocks;
}

bool tier_find(const struct hfc *cache, uint64_t hash, struct tier_found *out)
{
    uint64_t first;

    if (!cache->tier_at)
        return false;
    first = tier_first_of_set(cache, hash);
    for (uint64_t i = 0; i < TIER_SET; i++) {
        struct tier_entry *entry = tier_entry_at(cache, first + i);
        /* TIER.PUB/p: the entry is as it was stored before the word. Pairs with TIER.PUB/m in
         * tier_insert(). */
        uint64_t word = load_acquire(&entry->word);

        if (!word || load_relaxed(&entry->hash) != hash) /* relaxed, and below: the second look */
            continue;
        *out = (struct tier_found){entry, word, load_relaxed(&entry->len)};
        /* TIER.PUB/p: the same word again, so hash and length are of one entry. */
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (load_relaxed(&entry->word) == word && tier_lasts(cache, word))
            return true;
    }
    return false;
}

bool tier_has(const struct hfc *cache, uint64_t hash)
{
    struct tier_found found;

    return cache->tier_io && tier_find(cache, hash, &found) && TIER_STATE(found.word) == TIER_READY;
}

bool tier_forget(struct hfc *cache, uint64_t hash)
{
    struct tier_found found;

    if (!tier_find(cache, hash, &found))
        return false;
    /* TIER.READY/p: cleared, so a write that ends later does not make it ready. Pairs with
     * TIER.READY/m in finish(). */
    store_release(&found.entry->word, UINT64_C(0));
    return true;
}

/* Blocks in one run. The position moves before anybody writes there. */
static uint64_t take_blocks(struct tier *tier, uint64_t blocks)
{
    uint64_t pos = tier->head;

    if (pos % tier->blocks + blocks > tier->blocks)
        pos += tier->blocks - pos % tier->blocks; /* the end of the file is too short */
    /* TIER.HEAD/m: before the write, which a system call begins later. Pairs with TIER.HEAD/p in
     * tier_lasts(). */
    store_release(&tier->head, pos + blocks);
    return pos;
}

/* The key's own, else one without an object, else the one that was written first. */
static struct tier_entry *entry_to_use(struct hfc *cache, uint64_t hash)
{
    uint64_t first = tier_first_of_set(cache, hash);
    struct tier_entry *oldest = NULL;
    uint64_t least = UINT64_MAX;

    for (uint64_t i = 0; i < TIER_SET; i++) {
        struct tier_entry *entry = tier_entry_at(cache, first + i);
        uint64_t word = load_relaxed(&entry->word); /* relaxed: a write that ends changes it */

        if (word && entry->hash == hash)
            return entry;
        if (word < least) {
            least = word;
            oldest = entry;
        }
    }
    return oldest;
}

bool tier_insert(struct hfc *cache, uint64_t hash, uint64_t len, struct tier_found *out)
{
    struct tier *tier = cache_tier(cache);
    struct tier_entry *entry;
    uint64_t pos;

    if (tier_blocks(len) > tier->blocks)
        return false;
    entry = entry_to_use(cache, hash);
    pos = take_blocks(tier, tier_blocks(len));
    store_release(&entry->word, UINT64_C(0));
    /* TIER.PUB/m: the word is cleared before hash and length change, and stored after. Pairs with
     * TIER.PUB/p in tier_find(). Without it: a key leads to the place of another. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    store_relaxed(&entry->hash, hash); /* relaxed: the word is stored later */
    store_relaxed(&entry->len, len);
    store_relaxed(&entry->claim, UINT64_C(0));
    store_release(&entry->word, TIER_WORD(pos, TIER_WRITING));
    *out = (struct tier_found){entry, TIER_WORD(pos, TIER_WRITING), len};
    return true;
}

bool tier_settle(const struct tier_found *found, uint64_t to)
{
    uint64_t word = found->word;

    if (CACHE_BROKEN(CACHE_LAB_TIER_STORE)) {
        store_release(&found->entry->word, to);
        return true;
    }
    return __atomic_compare_exchange_n(&found->entry->word, &word, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

void tier_failed(struct tier *tier, int error, bool reading)
{
    tier_count(reading ? &tier->read_errors : &tier->write_errors, 1);
    store_relaxed(&tier->last_error, (uint64_t)reading << 63 | (uint64_t)error << 32 |
                                         cache_now()); /* relaxed: a measure */
}

/* ---- an object that came back ---- */

bool tier_still(struct hfc *cache, const struct hfc_key *key, const struct tier_found *found)
{
    struct found in_memory;

    if (CACHE_BROKEN(CACHE_LAB_TIER_NO_LOOK))
        return true;
    return load_acquire(&found->entry->word) == found->word && tier_lasts(cache, found->word) &&
           !table_find(cache, key, key_hash(cache, key), &in_memory);
}

/* It was published, which took the entry out. The copy on the disk is still right. */
void tier_promoted(struct hfc *cache, const struct hfc_key *key, const struct tier_found *found,
                   uint32_t born)
{
    struct tier *tier = cache_tier(cache);
    struct found in_memory;

    CACHE_AT(CACHE_LAB_TIER_PUBLISHED);
    store_release(&found->entry->word, found->word);
    if (table_find(cache, key, key_hash(cache, key), &in_memory))
        store_relaxed(&in_memory.cell->born, born); /* relaxed: no order is needed for an age */
    cache_run(cache)->puts--;
    tier_count(&tier->promoted, 1);
    tier_count(&tier->promoted_bytes, found->len);
}

/* ---- counts ---- */

void tier_fill_stats(const struct tier *tier, struct hfc_tier_stats *out)
{
    uint64_t used = load_relaxed(&tier->head) - tier->blocks; /* relaxed, and below: measures */
    uint64_t error = load_relaxed(&tier->last_error);

    *out = (struct hfc_tier_stats){
        .size = sizeof *out,
        .capacity_bytes = tier->blocks * CACHE_PAGE,
        .used_bytes = (used < tier->blocks ? used : tier->blocks) * CACHE_PAGE,
        .demoted = load_relaxed(&tier->demoted),
        .demoted_bytes = load_relaxed(&tier->demoted_bytes),
        .kept = load_relaxed(&tier->kept),
        .skipped = load_relaxed(&tier->skipped),
        .promoted = load_relaxed(&tier->promoted),
        .promoted_bytes = load_relaxed(&tier->promoted_bytes),
        .misses = load_relaxed(&tier->misses),
        .damaged = load_relaxed(&tier->damaged),
        .write_errors = load_relaxed(&tier->write_errors),
        .read_errors = load_relaxed(&tier->read_errors),
        .last_error = (int)(error >> 32 & INT32_MAX),
        .last_error_reading = (uint32_t)(error >> 63),
        .last_error_time = (uint32_t)error,
    };
}

int hfc_tier_stats(struct hfc *cache, struct hfc_tier_stats *out)
{
    const struct tier *tier;
    int rc = cache_check(cache);

    if (rc == 0 && (!out || out->size != sizeof *out))
        rc = cache_fail(-EINVAL, "out is null, or its size is not sizeof(struct hfc_tier_stats)");
    if (rc)
        return rc;
    tier = cache_tier(cache);
    if (!tier)
        return cache_fail(-ENOENT, "the cache was made without a second tier");
    tier_fill_stats(tier, out);
    out->path = tier->path;
    out->fault = cache->tier_io ? NULL : cache->tier_fault;
    return 0;
}
