/* SPDX-License-Identifier: MIT */
/*
 * Small objects, many in a page. A page is filled from its start and never written twice: a record
 * is an object's bytes behind 16 that name its cell. A reader holds the whole page. When no record
 * of a page lives, the page leaves like an object, and is free with its last reader.
 *
 * Of a page that is mostly dead, the living are copied to the page that is open then. The copy has
 * a cell of its own. One store leads the key's word from the old cell to the new one. A reader that
 * has pinned the old page keeps it, and its bytes.
 */
#include "private.h"

#include <errno.h>
#include <string.h>

/* ---- a record ---- */

/* Appends a record to the open page, which has room. 0, or -errno of hf_pin(). */
static int append(struct hfc *cache, uint32_t index, uint64_t stamp, const void *bytes,
                  uint32_t len)
{
    struct cell *cell = cache_cell(cache, index);
    uint32_t number = cache_run(cache)->open_page;
    struct cell *page = cache_cell(cache, number);
    struct record record = {.stamp = stamp, .cell = index, .len = len};
    struct iovec iov;
    struct hf_pin pin;
    int rc = hf_pin(cache->data, page->off, CACHE_PAGE, HF_PIN_WRITE, &iov, 1, &pin);
    char *at;

    if (rc < 0)
        return rc;
    at = (char *)iov.iov_base + page_used(page);
    memcpy(at, &record, sizeof record);
    memcpy(at + sizeof record, bytes, len);
    hf_unpin(&pin);
    store_relaxed(&cell->off, page->off + page_used(page) + sizeof record); /* no word leads here */
    store_relaxed(&cell->len, (uint64_t)number << 32 | len);
    page_set(page, page_used(page) + record_bytes(len), page_live(page) + record_bytes(len));
    return 0;
}

/* ---- copying the living together ---- */

/* The copy takes the old cell's place in the table, in its queue, and its key. */
static bool copy_record(struct hfc *cache, uint32_t old_index, const char *bytes)
{
    struct run *run = cache_run(cache);
    struct cell *old = cache_cell(cache, old_index), *new;
    uint64_t *place = table_word_of(cache, old_index);
    uint32_t index = place ? cell_take(cache) : CACHE_NONE;
    uint32_t page = (uint32_t)(old->len >> 32), len = (uint32_t)old->len;
    struct list *queue;
    uint64_t stamp;

    if (index == CACHE_NONE)
        return false;
    new = cache_cell(cache, index);
    stamp = cell_next_stamp(cache);
    if (append(cache, index, stamp, bytes, len)) {
        cell_give(cache, index);
        return false;
    }
    /* relaxed: no word leads to the new cell yet */
    store_relaxed(&new->born, old->born);
    store_relaxed(&new->key_len, old->key_len);
    store_relaxed(&new->space, old->space);
    store_relaxed(&new->uses, load_relaxed(&old->uses));
    for (unsigned i = 0; i < KEY_HERE / 8; i++)
        store_relaxed(&new->key[i], old->key[i]);
    store_relaxed(&new->more, old->more);
    cell_is(cache, index, old->state);
    cell_publish(cache, index, stamp, place, WORD_TAG(*place));
    queue = &run->queues[new->space % HFC_SPACES][new->state &CELL_MAIN ? 1 : 0];
    list_swap(cache, queue, old_index, index);
    cell_give(cache, old_index);
    packed_dead(cache, page, record_bytes(len));
    run->compacted++;
    return true;
}

/* The record is of an object that is in the cache, and has not been moved. */
static bool record_lives(const struct hfc *cache, const struct record *record, uint32_t page)
{
    const struct cell *cell = record->cell < cache->cells ? cache_cell(cache, record->cell) : NULL;

    return cell && cell->stamp == record->stamp && cell->state & CELL_QUEUED &&
           cell->state & CELL_PACKED && cell->len >> 32 == page &&
           (uint32_t)cell->len == record->len;
}

/* From a copy: while this thread holds the page, it does not come back. */
static void empty_page(struct hfc *cache, uint32_t index)
{
    const struct cell *page = cache_cell(cache, index);
    uint32_t used = page_used(page), at = 0;
    char copy[HF_BLOCK_BYTES];
    struct iovec iov;
    struct hf_pin pin;

    if (hf_pin(cache->data, page->off, CACHE_PAGE, HF_PIN_READ, &iov, 1, &pin) < 0)
        return;
    memcpy(copy, iov.iov_base, sizeof copy);
    hf_unpin(&pin);
    while (at + sizeof(struct record) <= used) {
        struct record record;

        memcpy(&record, copy + at, sizeof record);
        if (record.len >= CACHE_PACKED_MAX || record_bytes(record.len) > used - at)
            break;
        if (record_lives(cache, &record, index) &&
            !copy_record(cache, record.cell, copy + at + sizeof record))
            break;
        at += record_bytes(record.len);
    }
}

/* Into a new page, in which `spare` bytes stay free. */
static void compact(struct hfc *cache, uint32_t spare)
{
    struct run *run = cache_run(cache);

    for (unsigned pages = 0; pages < 8 && run->sparse.first != CACHE_NONE; pages++) {
        uint32_t index = run->sparse.first, before = page_live(cache_cell(cache, index));

        if (page_used(cache_cell(cache, run->open_page)) + before + spare > HF_BLOCK_BYTES)
            return;
        empty_page(cache, index);
        if (run->sparse.first == index)
            return; /* what keeps it is not of our making: damage, or no cell */
    }
}

/* ---- putting ---- */

static int open_page(struct hfc *cache, uint32_t spare)
{
    struct run *run = cache_run(cache);
    uint32_t old, index;
    struct iovec iov;
    struct hf_pin pin;
    uint64_t page;
    int rc = take_range(cache, 1, &page);

    if (rc)
        return rc;
    rc = take_cells(cache, 1);
    if (rc) {
        space_give(cache, page, 1);
        return rc;
    }
    index = cell_take(cache);
    store_relaxed(&cache_cell(cache, index)->off, page * CACHE_PAGE); /* no word leads here */
    page_set(cache_cell(cache, index), 0, 0);
    cell_is(cache, index, CELL_PAGE);
    rc = hf_pin(cache->data, page * CACHE_PAGE, CACHE_PAGE, HF_PIN_WRITE, &iov, 1, &pin);
    if (rc < 0) {
        cell_give(cache, index);
        if (rc == -ENOSPC)
            space_failed(cache, page, 1);
        else
            space_give(cache, page, 1);
        return rc == -ENOSPC ? -EAGAIN : cache_fail_pool(rc);
    }
    hf_unpin(&pin);
    run->packed_pages++;
    old = run->open_page;
    run->open_page = index;
    if (old != CACHE_NONE)
        packed_dead(cache, old, 0);
    compact(cache, spare);
    return 0;
}

int packed_put(struct hfc *cache, const struct hfc_key *key, const void *bytes, size_t len)
{
    struct run *run = cache_run(cache);
    uint32_t index, record = record_bytes(len);
    uint64_t stamp;
    int rc = make_room(cache, key->space, 1, record);

    if (rc == 0 && (run->open_page == CACHE_NONE ||
                    page_used(cache_cell(cache, run->open_page)) + record > HF_BLOCK_BYTES))
        rc = open_page(cache, record);
    rc = rc ? rc : take_cells(cache, 1 + key_cells(key->len));
    if (rc)
        return rc;
    index = cell_take(cache);
    stamp = cell_next_stamp(cache);
    rc = append(cache, index, stamp, bytes, (uint32_t)len);
    if (rc < 0) {
        cell_give(cache, index);
        return cache_fail_pool(rc);
    }
    cell_is(cache, index, CELL_OBJECT | CELL_PACKED);
    rc = publish(cache, key, index, stamp);
    if (rc) {
        cell_give(cache, index);
        packed_dead(cache, run->open_page, record);
        return rc;
    }
    run->put_bytes += len;
    return 0;
}
