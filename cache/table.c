/* SPDX-License-Identifier: MIT */
/*
 * The lines of words. A key's word is in one of four lines from that of its hash on. A word names
 * one cell, and storing it is all that publishes an object. Before that store the object is not in
 * the cache, and after it all of it is. One store of zero takes an object away, and one store of
 * another word replaces it.
 *
 * A word stays in its place as long as its key is in the cache: another object of the key gets the
 * same place. So a reader that looks at all four lines finds every key that is there all the time.
 * It may load a word, and the cell is another object's when it compares the key. Then it loads the
 * word again, since that may lead to the key's next object now.
 */
#include "private.h"

/* The places where a key's word may be, one after the other. */
struct window {
    const struct hfc *cache;
    uint64_t *line;
    uint32_t next_line, left;
};

/* With 65,536 lines and more, the product has more than 64 bits. */
static struct window window_of(const struct hfc *cache, uint64_t hash)
{
    return (struct window){
        .cache = cache,
        .next_line = (uint32_t)(((unsigned __int128)(hash & 0xffffffffffff) * cache->lines) >> 48),
        .left = CACHE_WINDOW * CACHE_LINE_WORDS,
    };
}

/* Null: that was the last one. */
static inline uint64_t *next_place(struct window *window)
{
    uint32_t word = -window->left % CACHE_LINE_WORDS;

    if (!window->left)
        return NULL;
    if (!word) {
        window->line = cache_line(window->cache, window->next_line);
        window->next_line =
            window->next_line + 1 < window->cache->lines ? window->next_line + 1 : 0;
    }
    window->left--;
    return &window->line[word];
}

void table_prefetch(const struct hfc *cache, uint64_t hash)
{
    struct window window = window_of(cache, hash);

    __builtin_prefetch(next_place(&window));
}

/* The word is of an object with the key. */
static bool leads_to(const struct hfc *cache, uint64_t word, const struct hfc_key *key,
                     struct found *out)
{
    uint32_t index = WORD_CELL(word);

    if (index >= cache->cells)
        return false;
    out->cell = cache_cell(cache, index);
    /* CELL.STAMP/p: the key is of this stamp's use of the cell, or of a later one. Pairs with
     * CELL.STAMP/m in cell_publish(). */
    out->stamp = load_acquire(&out->cell->stamp);
    out->word = word;
    return key_is(cache, out->cell, key);
}

/* The same of a place, which may change meanwhile. */
static bool place_leads_to(const struct hfc *cache, uint64_t *place, uint64_t hash,
                           const struct hfc_key *key, struct found *out)
{
    /* CELL.PUB/p: the cell and its stamp are as they were stored before the word. Pairs with
     * CELL.PUB/m in cell_publish(). */
    uint64_t word = load_acquire(place), again;

    while (word && word >> 48 == hash >> 48) {
        if (leads_to(cache, word, key, out)) {
            out->place = place;
            return true;
        }
        again = load_acquire(place); /* CELL.PUB/p */
        if (again == word)
            break;
        word = again;
    }
    return false;
}

bool table_find(const struct hfc *cache, const struct hfc_key *key, uint64_t hash,
                struct found *out)
{
    struct window window = window_of(cache, hash);
    uint64_t *place;

    while ((place = next_place(&window)))
        if (place_leads_to(cache, place, hash, key, out))
            return true;
    return false;
}

uint64_t *table_place(const struct hfc *cache, const struct hfc_key *key, uint64_t hash,
                      struct found *old)
{
    struct window window = window_of(cache, hash);
    uint64_t *place;

    if (table_find(cache, key, hash, old))
        return old->place;
    old->place = NULL;
    while ((place = next_place(&window)) && load_relaxed(place)) /* relaxed: under the lock */
        ;
    return place;
}

uint64_t *table_word_of(const struct hfc *cache, uint32_t index)
{
    const struct cell *cell = cache_cell(cache, index);
    uint8_t bytes[HFC_KEY_MAX];
    struct hfc_key key = {.bytes = bytes, .space = cell->space};
    struct window window;
    uint64_t *place;

    if (!key_copy(cache, cell, bytes, &key.len))
        return NULL;
    window = window_of(cache, key_hash(cache, &key));
    while ((place = next_place(&window)) && !(*place && WORD_CELL(*place) == index))
        ;
    return place;
}

uint32_t table_victim(const struct hfc *cache, uint64_t hash)
{
    struct window window = window_of(cache, hash);
    uint32_t victim = CACHE_NONE;
    uint64_t oldest = UINT64_MAX, *place;

    while ((place = next_place(&window))) {
        uint32_t index = WORD_CELL(*place);

        if (*place && index < cache->cells && cache_cell(cache, index)->stamp < oldest) {
            oldest = cache_cell(cache, index)->stamp;
            victim = index;
        }
    }
    return victim;
}
