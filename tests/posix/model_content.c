/* SPDX-License-Identifier: MIT */
/*
 * Content of model files: a sorted array of the pages that have a block. Every operation is the
 * obvious one; a page's bytes past the end of file stay zero.
 */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where page `index` is or would be. */
static size_t place_of(const struct model_content *content, uint64_t index)
{
    size_t low = 0, high = content->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (content->pages[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool content_has(const struct model_content *content, uint64_t page)
{
    size_t place = place_of(content, page);

    return place < content->count && content->pages[place].index == page;
}

uint64_t content_pages_between(const struct model_content *content, uint64_t first, uint64_t end)
{
    return place_of(content, end) - place_of(content, first);
}

static unsigned char *page_with_block(struct model_content *content, uint64_t index)
{
    size_t place = place_of(content, index);

    if (place < content->count && content->pages[place].index == index)
        return content->pages[place].bytes;
    if (content->count == content->room) {
        content->room = content->room ? content->room * 2 : 16;
        content->pages = realloc(content->pages, content->room * sizeof(*content->pages));
    }
    memmove(&content->pages[place + 1], &content->pages[place],
            (content->count - place) * sizeof(*content->pages));
    content->count++;
    content->pages[place] = (struct model_page){.index = index, .bytes = calloc(1, TEST_PAGE)};
    return content->pages[place].bytes;
}

/* Pages [first, end) lose their blocks. */
static void drop(struct model_content *content, uint64_t first, uint64_t end)
{
    size_t from = place_of(content, first), to = place_of(content, end);

    if (from == to)
        return;
    for (size_t i = from; i < to; i++)
        free(content->pages[i].bytes);
    memmove(&content->pages[from], &content->pages[to],
            (content->count - to) * sizeof(*content->pages));
    content->count -= to - from;
}

void content_free(struct model_content *content)
{
    drop(content, 0, UINT64_MAX);
    free(content->pages);
    *content = (struct model_content){0};
}

void content_read(const struct model_content *content, uint64_t off, size_t len, void *buf)
{
    unsigned char *out = buf;

    while (len > 0) {
        uint64_t index = off / TEST_PAGE, in_page = off % TEST_PAGE;
        size_t piece = TEST_PAGE - in_page < len ? (size_t)(TEST_PAGE - in_page) : len;
        size_t place = place_of(content, index);

        if (place < content->count && content->pages[place].index == index)
            memcpy(out, content->pages[place].bytes + in_page, piece);
        else
            memset(out, 0, piece);
        out += piece;
        off += piece;
        len -= piece;
    }
}

void content_write(struct model_content *content, uint64_t off, size_t len, const void *buf)
{
    const unsigned char *in = buf;

    if (len > 0 && off + len > content->size)
        content->size = off + len;
    while (len > 0) {
        uint64_t in_page = off % TEST_PAGE;
        size_t piece = TEST_PAGE - in_page < len ? (size_t)(TEST_PAGE - in_page) : len;

        memcpy(page_with_block(content, off / TEST_PAGE) + in_page, in, piece);
        in += piece;
        off += piece;
        len -= piece;
    }
}

static uint64_t page_up(uint64_t off)
{
    return (off + TEST_PAGE - 1) / TEST_PAGE;
}

void content_allocate(struct model_content *content, uint64_t off, uint64_t len)
{
    for (uint64_t page = off / TEST_PAGE; page < page_up(off + len); page++)
        page_with_block(content, page);
}

/* Zeroes the bytes of [off, end) that lie on pages with a block. */
static void blank(struct model_content *content, uint64_t off, uint64_t end)
{
    for (size_t i = place_of(content, off / TEST_PAGE); i < content->count; i++) {
        uint64_t start = content->pages[i].index * TEST_PAGE;
        uint64_t from = off > start ? off - start : 0;
        uint64_t to = end - start < TEST_PAGE ? end - start : TEST_PAGE;

        if (start >= end)
            return;
        memset(content->pages[i].bytes + from, 0, to - from);
    }
}

void content_truncate(struct model_content *content, uint64_t size)
{
    if (size <= content->size) {
        drop(content, page_up(size), UINT64_MAX);
        blank(content, size, page_up(size) * TEST_PAGE);
    }
    content->size = size;
}

void content_punch(struct model_content *content, uint64_t off, uint64_t len)
{
    uint64_t first = page_up(off), end = (off + len) / TEST_PAGE;

    if (first < end)
        drop(content, first, end);
    blank(content, off, off + len);
}

void content_zero(struct model_content *content, uint64_t off, uint64_t len)
{
    blank(content, off, off + len);
    content_allocate(content, off, len);
}

static void shift(struct model_content *content, uint64_t from_page, uint64_t pages, bool up)
{
    for (size_t i = place_of(content, from_page); i < content->count; i++) {
        if (up)
            content->pages[i].index += pages;
        else
            content->pages[i].index -= pages;
    }
}

void content_collapse(struct model_content *content, uint64_t off, uint64_t len)
{
    drop(content, off / TEST_PAGE, (off + len) / TEST_PAGE);
    shift(content, (off + len) / TEST_PAGE, len / TEST_PAGE, false);
    content->size -= len;
}

void content_insert(struct model_content *content, uint64_t off, uint64_t len)
{
    shift(content, off / TEST_PAGE, len / TEST_PAGE, true);
    content->size += len;
}

int content_seek(const struct model_content *content, uint64_t off, bool data, uint64_t *out)
{
    uint64_t page = off / TEST_PAGE;
    size_t place;

    if (off >= content->size)
        return -ENXIO;
    place = place_of(content, page);
    if (data) {
        if (place == content->count)
            return -ENXIO;
        page = content->pages[place].index;
    } else {
        while (place < content->count && content->pages[place].index == page)
            place++, page++;
    }
    if (page * TEST_PAGE >= content->size) {
        if (data)
            return -ENXIO;
        *out = content->size;
    } else {
        *out = page * TEST_PAGE > off ? page * TEST_PAGE : off;
    }
    return 0;
}
