/* SPDX-License-Identifier: MIT */
/* The pages of a scan and its two tables; see dedup.h. */
#include "dedup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------ pages --- */

struct lister {
    struct dedup_pages *pages;
    size_t room;
};

static void add_stretch(struct dedup_pages *pages, uint64_t ino, uint64_t page)
{
    pages->stretches = cli_grow(pages->stretches, pages->stretch_count, &pages->stretch_room,
                                sizeof(pages->stretches[0]));
    pages->stretches[pages->stretch_count++] = (struct dedup_stretch){ino, page, pages->count};
}

static uint64_t end_of_last(const struct dedup_pages *pages, const struct dedup_stretch *last)
{
    return last->page + (pages->count - last->first);
}

static int add_extent_pages(void *arg, const struct hf_extent_info *info)
{
    struct lister *lister = arg;
    struct dedup_pages *pages = lister->pages;
    uint64_t count = info->len / HF_BLOCK_BYTES, page = info->off / HF_BLOCK_BYTES;
    const struct dedup_stretch *last =
        pages->stretch_count ? &pages->stretches[pages->stretch_count - 1] : NULL;

    if (info->detached)
        return 0;
    if (count >= DEDUP_NONE - pages->count || info->block + count >= DEDUP_SHARED)
        return -EFBIG;
    if (!last || last->ino != info->ino || end_of_last(pages, last) != page)
        add_stretch(pages, info->ino, page);
    while (pages->count + count > lister->room) {
        size_t room = lister->room;

        pages->blocks = cli_grow(pages->blocks, room, &lister->room, sizeof(pages->blocks[0]));
    }
    for (uint64_t i = 0; i < count; i++)
        pages->blocks[pages->count++] =
            (uint32_t)(info->block + i) | (info->shared ? DEDUP_SHARED : 0);
    return 0;
}

static uint32_t end_of(const struct dedup_pages *pages, size_t stretch)
{
    return stretch + 1 < pages->stretch_count ? pages->stretches[stretch + 1].first : pages->count;
}

/* Both are in the order of inodes and offsets. */
static void take_sums(struct dedup_pages *pages, const struct dedup_pages *old)
{
    size_t j = 0;

    for (size_t i = 0; i < pages->stretch_count; i++) {
        const struct dedup_stretch *to = &pages->stretches[i];
        uint64_t to_end = to->page + (end_of(pages, i) - to->first);

        for (size_t k = j; k < old->stretch_count; k++) {
            const struct dedup_stretch *from = &old->stretches[k];
            uint64_t from_end = from->page + (end_of(old, k) - from->first);
            uint64_t first = from->page > to->page ? from->page : to->page;
            uint64_t end = from_end < to_end ? from_end : to_end;

            if (from->ino > to->ino || (from->ino == to->ino && from->page >= to_end))
                break;
            j = k;
            if (from->ino == to->ino && first < end)
                memcpy(&pages->sums[to->first + (first - to->page)],
                       &old->sums[from->first + (first - from->page)],
                       (end - first) * sizeof(pages->sums[0]));
        }
    }
}

int dedup_pages_list(struct hf_pool *pool, const uint64_t *inos, size_t ino_count,
                     const struct dedup_pages *old, struct dedup_pages *out)
{
    struct lister lister = {.pages = out};
    uint32_t *fitting;
    int rc = 0;

    *out = (struct dedup_pages){0};
    for (size_t i = 0; rc == 0 && i < ino_count; i++)
        rc = hf_extents(pool, inos[i], add_extent_pages, &lister);
    if (rc)
        return rc;
    fitting = realloc(out->blocks, (out->count + 1ul) * sizeof(out->blocks[0]));
    out->blocks = fitting ? fitting : out->blocks;
    out->sums = cli_alloc(out->count * sizeof(out->sums[0]));
    if (old)
        take_sums(out, old);
    return 0;
}

void dedup_pages_shrink(struct dedup_pages *pages)
{
    free(pages->blocks);
    free(pages->stable.places);
    free(pages->unstable.places);
    free(pages->seen);
    pages->blocks = pages->stable.places = pages->unstable.places = NULL;
    pages->seen = NULL;
}

void dedup_pages_free(struct dedup_pages *pages)
{
    dedup_pages_shrink(pages);
    free(pages->sums);
    free(pages->stretches);
    *pages = (struct dedup_pages){0};
}

const struct dedup_stretch *dedup_stretch_of(const struct dedup_pages *pages, uint32_t page)
{
    size_t low = 0, high = pages->stretch_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (pages->stretches[middle].first <= page)
            low = middle;
        else
            high = middle;
    }
    return &pages->stretches[low];
}

bool dedup_first_sight(struct dedup_pages *pages, uint32_t page)
{
    uint32_t block = DEDUP_BLOCK(pages->blocks[page]);
    uint64_t bit = UINT64_C(1) << block % 64;
    bool first = !(pages->seen[block / 64] & bit);

    pages->seen[block / 64] |= bit;
    return first;
}

/* ----------------------------------------------------------------------------- tables --- */

static uint64_t place_of_sum(const struct dedup_table *table, uint32_t sum)
{
    return ((uint64_t)(sum * UINT32_C(0x9e3779b1)) * table->room) >> 32;
}

static void make_sum_table(struct dedup_table *table, uint64_t room)
{
    table->room = room + 8;
    table->places = cli_alloc(table->room * sizeof(table->places[0]));
    memset(table->places, 0xff, table->room * sizeof(table->places[0]));
}

uint32_t dedup_find(const struct dedup_pages *pages, const struct dedup_table *table, uint32_t sum)
{
    for (uint64_t i = place_of_sum(table, sum); table->places[i] != DEDUP_NONE;
         i = i + 1 < table->room ? i + 1 : 0)
        if (pages->sums[table->places[i]] == sum)
            return table->places[i];
    return DEDUP_NONE;
}

void dedup_add(const struct dedup_pages *pages, struct dedup_table *table, uint32_t page)
{
    uint64_t i = place_of_sum(table, pages->sums[page]);

    if (table->used >= table->room - table->room / 8)
        return; /* of pages that are shared with files that are not scanned */
    table->used++;
    while (table->places[i] != DEDUP_NONE)
        i = i + 1 < table->room ? i + 1 : 0;
    table->places[i] = page;
}

static bool report_shared_page(struct dedup_pages *pages, uint32_t page)
{
    return pages->sums[page] && pages->blocks[page] & DEDUP_SHARED &&
           dedup_first_sight(pages, page) &&
           dedup_find(pages, &pages->stable, pages->sums[page]) == DEDUP_NONE;
}

/* The table of candidates is empty after a first pass, and is lent to this. */
void dedup_pages_keep_alike(struct dedup_pages *pages, uint32_t kept)
{
    uint64_t *alike = cli_alloc((pages->count / 64 + 1ul) * sizeof(alike[0]));

    for (uint32_t page = 0, like; page < pages->count; page++) {
        if (!pages->sums[page] || pages->sums[page] == kept)
            continue;
        like = dedup_find(pages, &pages->unstable, pages->sums[page]);
        if (like == DEDUP_NONE) {
            dedup_add(pages, &pages->unstable, page);
            continue;
        }
        alike[like / 64] |= UINT64_C(1) << like % 64;
        alike[page / 64] |= UINT64_C(1) << page % 64;
    }
    for (uint32_t page = 0; page < pages->count; page++)
        if (!(alike[page / 64] >> page % 64 & 1) && pages->sums[page] != kept)
            pages->sums[page] = 0;
    free(alike);
}

void dedup_pages_begin(struct dedup_pages *pages)
{
    uint32_t last = 0;
    size_t words;

    for (uint32_t page = 0; page < pages->count; page++)
        last = DEDUP_BLOCK(pages->blocks[page]) > last ? DEDUP_BLOCK(pages->blocks[page]) : last;
    words = last / 64 + 1;
    pages->seen = cli_alloc(words * sizeof(pages->seen[0]));
    /* A page of the stable table has another one's checksum: mostly there are half as many. */
    make_sum_table(&pages->stable, (uint64_t)pages->count * 5 / 8);
    make_sum_table(&pages->unstable, (uint64_t)pages->count * 5 / 4);
    for (uint32_t page = 0; page < pages->count; page++)
        if (report_shared_page(pages, page))
            dedup_add(pages, &pages->stable, page);
    memset(pages->seen, 0, words * sizeof(pages->seen[0]));
}
