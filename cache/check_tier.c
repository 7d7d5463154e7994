/* SPDX-License-Identifier: MIT */
/*
 * What hfc_check() looks at in the second tier: its page and its entries in the copy of the index,
 * and each object on the disk. The disk is only read. What cannot be shown to be whole loses its
 * entry, and so counts for nothing.
 *
 * A disk that is not there now may be there again later. So that is said, and the entries stay.
 */
#include "tier.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCKS_OF_SET 32u   /* of the disk: tier_plan() gives a set to so many */
#define NOWHERE "/dev/null" /* a path that no directory has */
#define HEAD_MAX (UINT64_C(1) << 60)

struct looking {
    const struct hfc *cache;
    struct tier *tier;
    void (*found)(void *arg, const char *what, bool counts);
    void *arg;
};

static void tell(const struct looking *it, bool counts, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void tell(const struct looking *it, bool counts, const char *format, ...)
{
    char what[640];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    it->found(it->arg, what, counts);
}

static uint64_t entry_count(const struct looking *it)
{
    return (uint64_t)it->cache->tier_sets * TIER_SET;
}

/* ---- the page ---- */

static bool place_is_known(const struct tier *tier, uint64_t sets)
{
    return tier->blocks && (tier->blocks + 1) / BLOCKS_OF_SET == sets && tier->path[0] == '/' &&
           memchr(tier->path, 0, sizeof tier->path);
}

/* Objects can be neither written nor read from now on. The rest of the cache is not changed. */
static void switch_off(const struct looking *it)
{
    struct tier *tier = it->tier;

    for (uint64_t i = 0; i < entry_count(it); i++)
        tier_entry_at(it->cache, i)->word = 0;
    tier->blocks = tier->head = (uint64_t)it->cache->tier_sets * BLOCKS_OF_SET;
    memset(tier->path, 0, sizeof tier->path);
    memcpy(tier->path, NOWHERE, sizeof NOWHERE);
    tell(it, true,
         "where the second tier is makes no sense: it is switched off, until the cache is made "
         "again");
}

/* After all objects, so that no position is given out for the second time. */
static uint64_t head_after_all(const struct looking *it)
{
    uint64_t head = it->tier->blocks;

    for (uint64_t i = 0; i < entry_count(it); i++) {
        const struct tier_entry *entry = tier_entry_at(it->cache, i);
        uint64_t end = TIER_POS(entry->word) + tier_blocks(entry->len);

        if (entry->word && entry->len <= it->tier->blocks * CACHE_PAGE && end > head &&
            end < HEAD_MAX)
            head = end;
    }
    return head;
}

static void check_tier_page(const struct looking *it)
{
    struct tier *tier = it->tier;

    if (tier->magic != TIER_MAGIC) {
        tier->magic = TIER_MAGIC;
        tell(it, true, "the page of the second tier does not begin as one");
    }
    if (!place_is_known(tier, it->cache->tier_sets)) {
        switch_off(it);
    } else if (tier->head < tier->blocks || tier->head >= HEAD_MAX) {
        tier->head = head_after_all(it);
        tell(it, true, "the next position of the second tier makes no sense");
    }
}

/* ---- the entries ---- */

/* Of two entries of one key the later one counts. */
static bool has_later_twin(const struct looking *it, uint64_t number)
{
    const struct tier_entry *entry = tier_entry_at(it->cache, number);
    uint64_t first = number / TIER_SET * TIER_SET;

    for (uint64_t i = first; i < first + TIER_SET; i++) {
        const struct tier_entry *other = tier_entry_at(it->cache, i);

        if (i != number && other->word && other->hash == entry->hash &&
            (other->word > entry->word || (other->word == entry->word && i < number)))
            return true;
    }
    return false;
}

static const char *wrong_entry(const struct looking *it, uint64_t number)
{
    const struct tier_entry *entry = tier_entry_at(it->cache, number);
    uint64_t pos = TIER_POS(entry->word), blocks = tier_blocks(entry->len);

    if (TIER_STATE(entry->word) != TIER_WRITING && TIER_STATE(entry->word) != TIER_READY)
        return "its state makes no sense";
    if (!entry->len || entry->len > it->tier->blocks * CACHE_PAGE)
        return "its length makes no sense";
    if (pos + blocks > it->tier->head || pos % it->tier->blocks + blocks > it->tier->blocks)
        return "its place makes no sense";
    if (tier_first_of_set(it->cache, entry->hash) != number / TIER_SET * TIER_SET)
        return "its key does not lead to it";
    return has_later_twin(it, number) ? "a later one has its key" : NULL;
}

static void lose_entry(const struct looking *it, uint64_t number, const char *why)
{
    tier_entry_at(it->cache, number)->word = 0;
    tell(it, true, "second tier, entry %" PRIu64 ": %s: it counts for nothing", number, why);
}

static void check_entries(const struct looking *it)
{
    for (uint64_t i = 0; i < entry_count(it); i++) {
        const char *why = tier_entry_at(it->cache, i)->word ? wrong_entry(it, i) : NULL;

        if (why)
            lose_entry(it, i, why);
    }
}

/* ---- the disk ---- */

/* One that was still being written, or was overwritten since, is a miss, and no harm. */
static void check_objects(const struct looking *it, int fd, void *buffer)
{
    for (uint64_t i = 0; i < entry_count(it); i++) {
        const struct tier_entry *entry = tier_entry_at(it->cache, i);
        const char *why = NULL;

        if (TIER_STATE(entry->word) == TIER_READY && tier_lasts(it->cache, entry->word))
            why = tier_wrong_object(it->cache, fd, entry, buffer);
        if (why)
            lose_entry(it, i, why);
    }
}

int tier_check(const struct hfc *cache, void (*found)(void *arg, const char *what, bool counts),
               void *arg)
{
    const struct looking it = {
        .cache = cache, .tier = cache_tier(cache), .found = found, .arg = arg};
    void *buffer;
    int fd;

    if (!it.tier)
        return 0;
    check_tier_page(&it);
    check_entries(&it);
    fd = tier_open_to_read(cache);
    if (fd < 0) {
        tell(&it, false, "%s: its objects were not looked at", hfc_detail());
        return 0;
    }
    buffer = aligned_alloc(CACHE_PAGE, TIER_PART);
    if (buffer)
        check_objects(&it, fd, buffer);
    free(buffer);
    close(fd);
    return buffer ? 0 : cache_fail(-ENOMEM, "no memory to look at the second tier");
}
