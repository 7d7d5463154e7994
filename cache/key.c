/* SPDX-License-Identifier: MIT */
/*
 * Keys: their hash, and where they are. The first 24 bytes are in the object's cell, the rest in
 * cells of their own. All is kept in words that are loaded and stored whole, with zeros after the
 * key's end. A reader without the lock may find a chain that is being changed. Each number of it is
 * cut to its table, and the walk is as long as the key. What comes of it counts only if the cell
 * has the same stamp afterwards.
 */
#include "private.h"

#include <errno.h>
#include <string.h>

int key_check(const struct hfc_key *key)
{
    if (!key || !key->bytes)
        return cache_fail(-EINVAL, "the key is null");
    if (!key->len || key->len > HFC_KEY_MAX)
        return cache_fail(-EINVAL, "a key has 1 to %u bytes, not %u", HFC_KEY_MAX, key->len);
    if (key->space >= HFC_SPACES)
        return cache_fail(-EINVAL, "namespace %u: they are below %u", key->space, HFC_SPACES);
    return 0;
}

/* Bytes [at, at+8) of the key, zeros after its end. */
static uint64_t key_word(const struct hfc_key *key, uint32_t at)
{
    uint64_t word = 0;

    if (at + 8 <= key->len)
        memcpy(&word, (const char *)key->bytes + at, 8);
    else if (at < key->len)
        memcpy(&word, (const char *)key->bytes + at, key->len - at);
    return word;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Two words a step, multiplied to 128 bits and folded. The seed is the cache's own, so that nobody
 * can choose keys that share a line without knowing it. */
uint64_t key_hash(const struct hfc *cache, const struct hfc_key *key)
{
    uint64_t hash = cache->seed ^ ((uint64_t)key->space << 32 | key->len);

    for (uint32_t at = 0; at < key->len; at += 16)
        hash = fold(hash ^ key_word(key, at) ^ UINT64_C(0x9e3779b97f4a7c15),
                    key_word(key, at + 8) ^ cache->seed ^ UINT64_C(0xd6e8feb86659fd93));
    return fold(hash ^ UINT64_C(0xa0761d6478bd642f), cache->seed | 1);
}

uint32_t key_cells(uint32_t len)
{
    return len <= KEY_HERE ? 0 : (len - KEY_HERE + KEY_MORE - 1) / KEY_MORE;
}

/* Whether the words hold the key's bytes from `at` on. */
static bool same_words(const uint64_t *words, uint32_t count, const struct hfc_key *key,
                       uint32_t at)
{
    uint64_t differ = 0;

    for (uint32_t i = 0; i < count && at + 8 * i < key->len; i++)
        differ |= load_relaxed(&words[i]) ^ key_word(key, at + 8 * i); /* relaxed: the stamp */
    return !differ;
}

static const struct cell *next_cell(const struct hfc *cache, const struct cell *cell)
{
    uint32_t more = load_relaxed(&cell->more); /* relaxed: the stamp */

    return more && more <= cache->cells ? cache_cell(cache, more - 1) : NULL;
}

bool key_is(const struct hfc *cache, const struct cell *cell, const struct hfc_key *key)
{
    uint32_t at = KEY_HERE;

    /* relaxed: the stamp */
    if (load_relaxed(&cell->key_len) != key->len || load_relaxed(&cell->space) != key->space ||
        !same_words(cell->key, KEY_HERE / 8, key, 0))
        return false;
    for (; at < key->len; at += KEY_MORE) {
        cell = next_cell(cache, cell);
        if (!cell || !same_words(cell->more_key, KEY_MORE / 8, key, at))
            return false;
    }
    return true;
}

static void copy_words(const uint64_t *words, uint8_t *to, uint32_t len)
{
    for (uint32_t at = 0; at < len; at += 8) {
        uint64_t word = load_relaxed(&words[at / 8]); /* relaxed: the stamp */

        memcpy(to + at, &word, len - at < 8 ? len - at : 8);
    }
}

bool key_copy(const struct hfc *cache, const struct cell *cell, uint8_t out[HFC_KEY_MAX],
              uint32_t *len)
{
    uint32_t left = load_relaxed(&cell->key_len), at, part; /* relaxed: the stamp */

    *len = left;
    if (!left || left > HFC_KEY_MAX)
        return false;
    part = left < KEY_HERE ? left : KEY_HERE;
    copy_words(cell->key, out, part);
    for (at = part, left -= part; left; at += part, left -= part) {
        cell = next_cell(cache, cell);
        if (!cell)
            return false;
        part = left < KEY_MORE ? left : KEY_MORE;
        copy_words(cell->more_key, out + at, part);
    }
    return true;
}

void key_store(struct hfc *cache, struct cell *cell, const struct hfc_key *key)
{
    store_relaxed(&cell->key_len, (uint16_t)key->len); /* relaxed: the word is stored later */
    store_relaxed(&cell->space, (uint8_t)key->space);
    for (uint32_t i = 0; i < KEY_HERE / 8; i++)
        store_relaxed(&cell->key[i], key_word(key, 8 * i));
    for (uint32_t at = KEY_HERE; at < key->len; at += KEY_MORE) {
        uint32_t more = cell_take(cache);

        store_relaxed(&cell->more, more + 1);
        cell = cache_cell(cache, more);
        for (uint32_t i = 0; i < KEY_MORE / 8; i++)
            store_relaxed(&cell->more_key[i], key_word(key, at + 8 * i));
        cell_is(cache, more, CELL_KEY);
    }
}

void key_free(struct hfc *cache, struct cell *cell)
{
    uint32_t more = cell->more, left = key_cells(cell->key_len);

    while (left-- && more && more <= cache->cells) {
        uint32_t next = cache_cell(cache, more - 1)->more;

        if (CELL_KIND(cache_cell(cache, more - 1)->state) != CELL_KEY)
            break;
        cell_give(cache, more - 1);
        more = next;
    }
    store_relaxed(&cell->more, 0u); /* relaxed: no word leads here */
}
