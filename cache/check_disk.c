/* SPDX-License-Identifier: MIT */
/* Whether an object on the disk of the second tier is whole, as its label and its sums say. */
#include "tier.h"

#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static bool read_part(int fd, void *buffer, uint64_t bytes, uint64_t off)
{
    return pread(fd, buffer, bytes, (off_t)off) == (ssize_t)bytes;
}

static bool label_fits(const struct hfc *cache, const struct tier_entry *entry,
                       const struct tier_block *block)
{
    const struct hfc_key key = {
        .bytes = block->key, .len = block->key_len, .space = (uint8_t)block->space};

    return block->magic == TIER_BLOCK_MAGIC && block->id == cache->seed &&
           block->pos == TIER_POS(entry->word) && block->len == entry->len &&
           block->self == tier_check_block(block) && key.len && key.len <= HFC_KEY_MAX &&
           key_hash(cache, &key) == entry->hash;
}

/* The object's pages, which follow its label. */
static bool sum_pages(int fd, uint64_t off, uint64_t len, void *buffer, uint64_t *sum)
{
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    while (len) {
        uint64_t part = len < TIER_PART ? len : TIER_PART;

        if (!read_part(fd, buffer, cache_pages(part) * CACHE_PAGE, off))
            return false;
        XXH3_64bits_update(&state, buffer, part);
        off += part;
        len -= part;
    }
    *sum = XXH3_64bits_digest(&state);
    return true;
}

const char *tier_wrong_object(const struct hfc *cache, int fd, const struct tier_entry *entry,
                              void *buffer)
{
    uint64_t off = tier_offset(cache_tier(cache), TIER_POS(entry->word)), wanted, sum;
    const struct tier_block *block = buffer;

    if (!read_part(fd, buffer, CACHE_PAGE, off))
        return "its label cannot be read";
    if (!label_fits(cache, entry, block))
        return "its label on the disk is another's";
    wanted = block->check;
    if (entry->len <= TIER_HERE)
        sum = XXH3_64bits(block->bytes, entry->len);
    else if (!sum_pages(fd, off + CACHE_PAGE, entry->len, buffer, &sum))
        return "its bytes cannot be read";
    return sum == wanted ? NULL : "its bytes on the disk have another sum";
}
