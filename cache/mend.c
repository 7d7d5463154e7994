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

struct mend {
    struct hfc *cache;
    uint8_t *reached; /* for each cell */
    uint64_t *order;  /* objects: stamp, cell */
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
    mend->order[2 * mend->count] = cell->stamp;
    mend->order[2 * mend->count++ + 1] = index;
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

static void reach_words(struct mend *mend)
{
    struct hfc *cache = mend->cache;

    for (uint32_t line = 0; line < cache->lines; line++) {
        uint64_t *words = cache_line(cache, line);

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

static int by_stamp(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
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
    qsort(mend->order, mend->count, 2 * sizeof *mend->order, by_stamp);
    for (uint64_t i = 0; i < mend->count; i++)
        queue_object(cache, (uint32_t)mend->order[2 * i + 1]);
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
    mend.order = malloc(16 * (uint64_t)cache->cells);
    rc = mend.reached && mend.order
             ? mend_all(&mend)
             : cache_fail(-ENOMEM, "no memory to mend the index, of %u entries", cache->cells);
    free(mend.clash);
    free(mend.reached);
    free(mend.order);
    return rc;
}
