/* SPDX-License-Identifier: MIT */
/*
 * Makes the run state from the index: for the first process, and when a process died with the lock.
 * The words are the truth. A word counts if its cell is an object whose key and range make sense;
 * another one is cleared. An object's cell without a word was evicted, replaced or not committed:
 * its range waits until nobody holds it, as after every eviction. Cells that nothing leads to are
 * free. Readers go on meanwhile, since no word that counts is changed.
 *
 * Only damage gives two objects one page. Nothing tells whose bytes lie there, so both leave, as in
 * check.c. Then all is looked at once more.
 */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PREFETCH 16u /* words or objects ahead: about what memory answers at once */
#define DIGIT_BITS 11u
#define DIGITS (1u << DIGIT_BITS)

struct reached { /* an object */
    uint64_t stamp, cell;
};

struct mend {
    struct hfc *cache;
    uint8_t *reached; /* for each cell */
    struct reached *order, *spare;
    uint64_t count, stamp;
    uint64_t *clash; /* a bit for each page of ranges that had to share one; null: there is none */
    bool no_memory;
};

static void empty_lists(struct run *run)
{
    const struct list empty = {CACHE_NONE, CACHE_NONE};

    for (unsigned i = 0; i < HFC_SPACES; i++)
        run->queues[i][0] = run->queues[i][1] = empty;
    run->leaving = run->sparse = empty;
    run->free_cell = run->open_page = CACHE_NONE;
    run->free_cells = 0;
    memset(run->space_bytes, 0, sizeof run->space_bytes);
    run->small_bytes = run->main_bytes = run->leaving_pages = 0;
    run->objects = run->packed_pages = 0;
}

/* The key's further cells, each of this key alone. */
static bool reach_key(struct mend *mend, const struct cell *cell)
{
    uint32_t cells = key_cells(cell->key_len), more = cell->more;

    if (!cell->key_len || cell->key_len > HFC_KEY_MAX || cell->space >= HFC_SPACES)
        return false;
    for (; cells; cells--) {
        if (!more || more > mend->cache->cells || mend->reached[more - 1] ||
            cache_cell(mend->cache, more - 1)->state != CELL_KEY)
            return false;
        mend->reached[more - 1] = 1;
        more = cache_cell(mend->cache, more - 1)->more;
    }
    return true;
}

/* It lies in a page of packed objects, which gets so much more life. */
static bool reach_page(struct mend *mend, const struct cell *cell)
{
    uint64_t index = cell->len >> 32, len = (uint32_t)cell->len, used;
    struct cell *page;

    if (index >= mend->cache->cells || !len || len >= CACHE_PACKED_MAX)
        return false;
    page = cache_cell(mend->cache, (uint32_t)index);
    used = (uint32_t)page->len;
    if (CELL_KIND(page->state) != CELL_PAGE || cell->off < page->off + sizeof(struct record) ||
        cell->off + len > page->off + HF_BLOCK_BYTES)
        return false;
    /* The record was appended, and the page's cell was not changed any more. */
    if (used < cell->off + len - page->off)
        used = (cell->off - page->off + (len + 15) / 16 * 16);
    store_relaxed(&page->len,
                  ((page->len >> 32) + record_bytes(len)) << 32 | used); /* relaxed: the lock */
    return true;
}

static void note_clash(struct mend *mend, uint64_t page, uint64_t pages)
{
    uint64_t range = mend->cache->range_pages;

    if (!pages || page >= range || pages > range - page)
        return;
    if (!mend->clash)
        mend->clash = calloc(range / 64 + 1, sizeof *mend->clash);
    mend->no_memory = !mend->clash;
    for (uint64_t i = page; i < page + pages && mend->clash; i++)
        mend->clash[i / 64] |= UINT64_C(1) << i % 64;
}

static bool reach_pages(struct mend *mend, const struct cell *cell)
{
    uint64_t page = cell->off / CACHE_PAGE, pages = cache_pages(cell->len);

    if (cell->off % CACHE_PAGE)
        return false;
    if (space_mark(mend->cache, page, pages))
        return true;
    note_clash(mend, page, pages);
    return false;
}

static bool reach_object(struct mend *mend, uint32_t index)
{
    struct cell *cell = index < mend->cache->cells ? cache_cell(mend->cache, index) : NULL;

    if (!cell || mend->reached[index] || CELL_KIND(cell->state) != CELL_OBJECT ||
        !table_word_of(mend->cache, index) || !reach_key(mend, cell))
        return false;
    if (!(cell->state & CELL_PACKED ? reach_page(mend, cell) : reach_pages(mend, cell)))
        return false;
    mend->reached[index] = 1;
    mend->order[mend->count++] = (struct reached){cell->stamp, index};
    return true;
}

/* Pages have the life that their objects say. A page that is damaged has none. */
static void reset_pages(struct mend *mend)
{
    struct hfc *cache = mend->cache;

    for (uint32_t i = 0; i < cache->cells; i++) {
        struct cell *cell = cache_cell(cache, i);

        if (cell->stamp >= mend->stamp)
            mend->stamp = cell->stamp + 1;
        store_relaxed(&cell->state, cell->state & ~(CELL_QUEUED | CELL_LISTED)); /* the lock */
        if (CELL_KIND(cell->state) != CELL_PAGE)
            continue;
        if (cell->off % CACHE_PAGE || !space_mark(cache, cell->off / CACHE_PAGE, 1))
            store_relaxed(&cell->state, CELL_FREE);
        else
            store_relaxed(&cell->len, (uint64_t)((uint32_t)cell->len % (HF_BLOCK_BYTES + 1)));
    }
}

static void drop_word(struct hfc *cache, uint64_t *word)
{
    store_release(word, UINT64_C(0));
    cache_run(cache)->dropped++;
}

/* Words lead to cells anywhere. One after the other, each would be waited for. GCC leaves calls out
 * of functions that do nothing but prefetch, unless they are always_inline. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE void prefetch_cell(const struct hfc *cache, uint32_t index)
{
    if (index < cache->cells)
        __builtin_prefetch(cache_cell(cache, index));
}

ALWAYS_INLINE void prefetch_line(const struct hfc *cache, uint32_t line)
{
    const uint64_t *words = line < cache->lines ? cache_line(cache, line) : NULL;

    for (uint32_t i = 0; words && i < CACHE_LINE_WORDS; i++)
        prefetch_cell(cache, WORD_CELL(words[i]));
}

static void reach_words(struct mend *mend)
{
    struct hfc *cache = mend->cache;

    for (uint32_t line = 0; line < cache->lines; line++) {
        uint64_t *words = cache_line(cache, line);

        prefetch_line(cache, line + PREFETCH / CACHE_LINE_WORDS);
        for (uint32_t i = 0; i < CACHE_LINE_WORDS; i++)
            if (words[i] && !reach_object(mend, WORD_CELL(words[i])))
                drop_word(cache, &words[i]);
    }
}

static bool clashes(const struct mend *mend, const struct cell *cell)
{
    uint64_t page = cell->off / CACHE_PAGE, end = page + cache_pages(cell->len);

    if (cell->state & CELL_PACKED) /* its record tells */
        return false;
    for (; page < end; page++)
        if (mend->clash[page / 64] >> page % 64 & 1)
            return true;
    return false;
}

/* True: words were cleared of objects whose pages another one claimed, which has lost its word. */
static bool drop_clashing(struct mend *mend)
{
    struct hfc *cache = mend->cache;
    bool any = false;

    if (!mend->clash)
        return false;
    for (uint64_t i = 0; i < (uint64_t)cache->lines * CACHE_LINE_WORDS; i++) {
        uint64_t *word = cache_line(cache, (uint32_t)(i / CACHE_LINE_WORDS)) + i % CACHE_LINE_WORDS;

        if (*word && clashes(mend, cache_cell(cache, WORD_CELL(*word)))) {
            drop_word(cache, word);
            any = true;
        }
    }
    free(mend->clash);
    mend->clash = NULL;
    return any;
}

/* By one digit, from `order` to `spare`, which then change places. */
static void sort_by_digit(struct mend *mend, unsigned shift)
{
    struct reached *sorted = mend->spare;
    uint64_t places[DIGITS] = {0}, place = 0;

    for (uint64_t i = 0; i < mend->count; i++)
        places[mend->order[i].stamp >> shift & (DIGITS - 1)]++;
    for (unsigned digit = 0; digit < DIGITS; digit++) {
        uint64_t here = places[digit];

        places[digit] = place;
        place += here;
    }
    for (uint64_t i = 0; i < mend->count; i++)
        sorted[places[mend->order[i].stamp >> shift & (DIGITS - 1)]++] = mend->order[i];
    mend->spare = mend->order;
    mend->order = sorted;
}

/* From the lowest digit on. Of a million stamps that count up, there are two. */
static void sort_by_stamp(struct mend *mend)
{
    uint64_t bits = 0;

    for (uint64_t i = 0; i < mend->count; i++)
        bits |= mend->order[i].stamp;
    for (unsigned shift = 0; shift < 64 && bits >> shift; shift += DIGIT_BITS)
        sort_by_digit(mend, shift);
}

static void queue_reached(struct mend *mend)
{
    for (uint64_t i = 0; i < mend->count; i++) {
        if (i + PREFETCH < mend->count)
            prefetch_cell(mend->cache, (uint32_t)mend->order[i + PREFETCH].cell);
        queue_object(mend->cache, (uint32_t)mend->order[i].cell);
    }
}

/* A cell that no word leads to: it leaves, or is free already. */
static void settle_cell(struct mend *mend, uint32_t index)
{
    struct hfc *cache = mend->cache;
    struct cell *cell = cache_cell(cache, index);
    uint32_t kind = CELL_KIND(cell->state);

    if (kind == CELL_PAGE) {
        cache_run(cache)->packed_pages++;
        packed_dead(cache, index, 0);
    } else if (kind == CELL_OBJECT && !(cell->state & CELL_PACKED) && cell->off % CACHE_PAGE == 0 &&
               space_mark(cache, cell->off / CACHE_PAGE, cache_pages(cell->len))) {
        leave_range(cache, index);
    } else {
        cell_give(cache, index);
    }
}

static int reach_all(struct mend *mend)
{
    struct hfc *cache = mend->cache;
    int rc = space_mend(cache);

    if (rc)
        return rc;
    empty_lists(cache_run(cache));
    memset(mend->reached, 0, cache->cells);
    mend->count = 0;
    reset_pages(mend);
    reach_words(mend);
    return mend->no_memory ? cache_fail(-ENOMEM, "no memory for a map of damaged pages") : 0;
}

static int mend_all(struct mend *mend)
{
    struct hfc *cache = mend->cache;
    int rc;

    do {
        rc = reach_all(mend);
        if (rc)
            return rc;
    } while (drop_clashing(mend));
    if (mend->stamp > cache_header(cache)->next_stamp)
        store_relaxed(&cache_header(cache)->next_stamp, mend->stamp); /* relaxed: the lock */
    sort_by_stamp(mend);
    queue_reached(mend);
    for (uint32_t i = cache->cells; i-- > 0;)
        if (!mend->reached[i])
            settle_cell(mend, i);
    spans_make(cache);
    if (cache_run(cache)->made)
        cache_run(cache)->mendings++;
    cache_run(cache)->made = 1;
    return 0;
}

int cache_mend(struct hfc *cache)
{
    struct mend mend = {.cache = cache, .stamp = 1};
    int rc;

    mend.reached = calloc(cache->cells, 1);
    mend.order = malloc(cache->cells * sizeof *mend.order);
    mend.spare = malloc(cache->cells * sizeof *mend.spare);
    rc = mend.reached && mend.order && mend.spare
             ? mend_all(&mend)
             : cache_fail(-ENOMEM, "no memory to mend the index, of %u entries", cache->cells);
    free(mend.clash);
    free(mend.reached);
    free(mend.order);
    free(mend.spare);
    return rc;
}
