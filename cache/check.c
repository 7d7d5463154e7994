/* SPDX-License-Identifier: MIT */
/*
 * Checks a cache that no process has open, and mends it. It works on a copy of the index in private
 * memory. It looks at it as mend.c does, and says what is wrong. It also looks at the header, at
 * keys that are there twice, at records in pages of packed objects, and at the data file.
 *
 * The words are the truth, as ever. An object that cannot be shown to be whole leaves the cache: a
 * miss is right at any time, and a wrong object never is. So a repair clears words. It never makes
 * one, since a cell without a word may be of a put that was not committed. The next process that
 * opens the cache makes the rest of the index again from the words and cells (mend.c).
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES (HF_SYMLINK_MAX + 16)
#define PART_BYTES (UINT64_C(1) << 20) /* of the index, read at a time */

struct check {
    struct hf_pool *pool;
    const char *path;
    bool repair;
    void (*report)(void *arg, const char *sentence);
    void *arg;
    struct hfc_check_result result;
    struct hf_file *index, *data; /* data: null when it is missing */
    char *copy;                   /* of the index */
    struct hfc cache;             /* its index is the copy; it has no run state */
    uint64_t data_bytes;
    uint8_t *claimed; /* for each cell: a word or a key has it */
    /* For each page of the data file: in use, and by more than one. */
    uint64_t *busy, *twice;
};

/* ---- what is found ---- */

static void problem(struct check *check, bool mended, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void report_line(struct check *check, const char *what, const char *more)
{
    char sentence[HF_SYMLINK_MAX + 704];

    snprintf(sentence, sizeof sentence, "cache %s: %s%s", check->path, what, more);
    if (check->report)
        check->report(check->arg, sentence);
}

static void problem(struct check *check, bool mended, const char *format, ...)
{
    char what[640];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    check->result.problems++;
    check->result.repaired += mended;
    report_line(check, what, mended ? " (repaired)" : "");
}

static void on_tier(void *arg, const char *what, bool counts)
{
    struct check *check = arg;

    if (counts)
        problem(check, check->repair, "%s", what);
    else
        report_line(check, what, "");
}

static struct header *header_of(struct check *check)
{
    return (struct header *)(void *)check->copy;
}

/* ---- the header ---- */

static bool sizes_fit(const struct header *header, uint64_t bytes)
{
    return header->cells && header->cells <= UINT32_C(1) << 31 && header->cells % 16 == 0 &&
           header->lines >= CACHE_WINDOW && index_bytes(header) == bytes &&
           !(header->incompat & CACHE_INCOMPAT_TIER) == !header->tier_sets;
}

static bool range_fits(const struct header *header)
{
    return header->capacity_pages && header->capacity_pages <= header->range_pages &&
           header->range_pages % CACHE_GROUP == 0 && header->range_pages <= UINT64_C(1) << 32;
}

/* Something else may be called `index` too. */
static bool is_cache(const struct header *header, uint64_t bytes)
{
    return bytes % CACHE_PAGE == 0 &&
           (header->magic == CACHE_MAGIC ||
            (index_is_known(header) && sizes_fit(header, bytes) && range_fits(header)));
}

/* What lies in it can be found without these. */
static void check_header_limits(struct check *check)
{
    struct header *header = header_of(check);

    if (header->magic != CACHE_MAGIC) {
        header->magic = CACHE_MAGIC;
        problem(check, check->repair, "the index does not begin as one");
    }
    if (header->high_pages > header->capacity_pages || !header->low_pages ||
        header->low_pages > header->high_pages) {
        header->high_pages = header->low_pages = header->capacity_pages;
        problem(check, check->repair,
                "the watermarks make no sense: the capacity takes their place");
    }
    if (header->policy > HFC_FIFO) {
        header->policy = HFC_S3FIFO;
        problem(check, check->repair, "the policy is not known: s3fifo takes its place");
    }
}

/* ---- the words ---- */

static bool claim_cell(struct check *check, uint32_t cell)
{
    if (check->claimed[cell])
        return false;
    check->claimed[cell] = 1;
    return true;
}

static bool has_bit(const uint64_t *map, uint64_t page)
{
    return map[page / 64] >> page % 64 & 1;
}

static void claim_pages(struct check *check, uint64_t page, uint64_t pages)
{
    for (uint64_t i = page; i < page + pages; i++) {
        uint64_t *map = has_bit(check->busy, i) ? check->twice : check->busy;

        map[i / 64] |= UINT64_C(1) << i % 64;
    }
}

static const char *wrong_key(struct check *check, const struct cell *cell)
{
    uint32_t more = cell->more, left = key_cells(cell->key_len);

    for (; left; left--) {
        const struct cell *next;

        if (!more || more > check->cache.cells)
            return "its key ends too early";
        next = cache_cell(&check->cache, more - 1);
        if (CELL_KIND(next->state) != CELL_KEY || !claim_cell(check, more - 1))
            return "its key goes on in a cell that is not its own";
        more = next->more;
    }
    return NULL;
}

/* The 16 bytes before a packed object name it. */
static const char *wrong_record(struct check *check, uint32_t index, const struct cell *cell)
{
    const uint64_t number = cell->len >> 32, len = (uint32_t)cell->len;
    const struct cell *page;
    struct record record;

    if (number >= check->cache.cells || !len || len >= CACHE_PACKED_MAX)
        return "its length or its page makes no sense";
    page = cache_cell(&check->cache, (uint32_t)number);
    if (CELL_KIND(page->state) != CELL_PAGE || page->off % CACHE_PAGE ||
        page->off / CACHE_PAGE >= check->cache.range_pages ||
        cell->off < page->off + sizeof record || cell->off + len > page->off + CACHE_PAGE)
        return "its place is not in its page";
    if (hf_read(check->data, &record, sizeof record, cell->off - sizeof record) !=
            (ssize_t)sizeof record ||
        record.stamp != cell->stamp || record.cell != index || record.len != len)
        return "its place in the data has another object";
    return NULL;
}

static const char *wrong_range(struct check *check, uint32_t index, const struct cell *cell)
{
    uint64_t page = cell->off / CACHE_PAGE, pages = cache_pages(cell->len);

    if (cell->off > check->data_bytes || cell_len(cell->state, cell->len) > check->data_bytes ||
        cell->off + cell_len(cell->state, cell->len) > check->data_bytes)
        return "its place is not in the data";
    if (cell->state & CELL_PACKED)
        return wrong_record(check, index, cell);
    if (cell->off % CACHE_PAGE || !pages || page >= check->cache.range_pages ||
        pages > check->cache.range_pages - page)
        return "its place is not in the data";
    claim_pages(check, page, pages);
    return NULL;
}

/* Null: the word leads to an object that is whole, and that its key leads to. */
static const char *wrong_word(struct check *check, uint64_t *place)
{
    const struct hfc *cache = &check->cache;
    uint32_t index = WORD_CELL(*place);
    const struct cell *cell = index < cache->cells ? cache_cell(cache, index) : NULL;
    uint8_t bytes[HFC_KEY_MAX];
    struct hfc_key key = {.bytes = bytes};
    struct found found;
    const char *why;

    if (!cell || CELL_KIND(cell->state) != CELL_OBJECT)
        return "it leads to no object";
    if (check->claimed[index])
        return "it leads to an object of another word";
    key.space = cell->space;
    if (cell->space >= HFC_SPACES || !key_copy(cache, cell, bytes, &key.len))
        return "its object has no key";
    if (!table_find(cache, &key, key_hash(cache, &key), &found))
        return "its object's key does not lead to it";
    if (found.place != place)
        return "its object's key leads to another word";
    claim_cell(check, index);
    why = wrong_key(check, cell);
    return why ? why : wrong_range(check, index, cell);
}

/* The pages of packed objects first: no object may have one of them. */
static void claim_packed(struct check *check)
{
    for (uint32_t i = 0; i < check->cache.cells; i++) {
        struct cell *cell = cache_cell(&check->cache, i);
        uint64_t page = cell->off / CACHE_PAGE;

        if (CELL_KIND(cell->state) != CELL_PAGE)
            continue;
        if (cell->off % CACHE_PAGE || page >= check->cache.range_pages ||
            has_bit(check->busy, page)) {
            cell->state = CELL_FREE;
            problem(check, check->repair, "cell %u: its page is not in the data, or is another's",
                    i);
        } else {
            claim_pages(check, page, 1);
        }
    }
}

/* Nothing tells which of them has its bytes there, so neither is kept. A packed object is told by
 * its record. */
static const char *wrong_neighbour(struct check *check, uint64_t *place)
{
    const struct cell *cell = cache_cell(&check->cache, WORD_CELL(*place));
    uint64_t page = cell->off / CACHE_PAGE, end = page + cache_pages(cell->len);

    while (!(cell->state & CELL_PACKED) && page < end)
        if (has_bit(check->twice, page++))
            return "another object has a part of its place";
    return NULL;
}

static uint64_t *word_at(const struct check *check, uint64_t number)
{
    uint64_t *line = cache_line(&check->cache, (uint32_t)(number / CACHE_LINE_WORDS));

    return &line[number % CACHE_LINE_WORDS];
}

/* How many are left. */
static uint64_t check_words(struct check *check,
                            const char *(*wrong)(struct check *check, uint64_t *place))
{
    uint64_t left = 0;

    for (uint64_t i = 0; i < (uint64_t)check->cache.lines * CACHE_LINE_WORDS; i++) {
        uint64_t *place = word_at(check, i);
        const char *why = *place ? wrong(check, place) : NULL;

        if (why) {
            *place = 0;
            problem(check, check->repair, "word %" PRIu64 ": %s: it counts for nothing", i, why);
        }
        left += *place != 0;
    }
    return left;
}

/* A stamp that two objects have would let a reader take one for the other. */
static void check_stamps(struct check *check)
{
    struct header *header = header_of(check);
    uint64_t last = 0;

    for (uint32_t i = 0; i < check->cache.cells; i++)
        if (CELL_KIND(cache_cell(&check->cache, i)->state) == CELL_OBJECT &&
            cache_cell(&check->cache, i)->stamp > last)
            last = cache_cell(&check->cache, i)->stamp;
    if (header->next_stamp <= last) {
        header->next_stamp = last + 1;
        problem(check, check->repair, "the next stamp is not after that of all objects");
    }
}

/* ---- the data ---- */

static bool has_words(const struct check *check)
{
    for (uint64_t i = 0; i < (uint64_t)check->cache.lines * CACHE_LINE_WORDS; i++)
        if (*word_at(check, i))
            return true;
    return false;
}

/* Without objects nothing is missing: hfc_open() makes the data file, and gives it its size. */
static void check_data(struct check *check)
{
    uint64_t wanted = check->cache.range_pages * CACHE_PAGE;

    if (!has_words(check))
        return;
    if (!check->data)
        problem(check, check->repair, "the file data is missing, and all objects with it");
    else if (check->data_bytes < wanted)
        problem(check, check->repair, "the file data has %" PRIu64 " bytes, not %" PRIu64,
                check->data_bytes, wanted);
}

/* Where objects lie is lost: nothing in the cache can be given to anybody. */
static int give_up_cache(struct check *check)
{
    char path[PATH_BYTES];
    int rc = 0;

    if (check->repair) {
        snprintf(path, sizeof path, "%s/index", check->path);
        rc = hf_unlink(check->pool, path, NULL);
        snprintf(path, sizeof path, "%s/data", check->path);
        if (rc == 0 && check->data)
            rc = hf_unlink(check->pool, path, NULL);
    }
    if (rc)
        return cache_fail_pool(rc);
    problem(check, check->repair,
            "the header makes no sense, so its objects cannot be found: it is %s removed; the next "
            "hfc_open() with options makes it again",
            check->repair ? "now" : "to be");
    return 0;
}

/* ---- all of it ---- */

static int write_back(struct check *check)
{
    int rc;

    if (!check->repair || !check->result.problems)
        return 0;
    if (hf_write(check->index, check->copy, check->cache.index.bytes, 0) !=
        (ssize_t)check->cache.index.bytes)
        return cache_fail_pool(-EIO);
    rc = hf_fsync(check->index);
    return rc ? cache_fail_pool(rc) : 0;
}

static int check_index_copy(struct check *check)
{
    struct hfc *cache = &check->cache;
    const struct header *header = header_of(check);
    int rc;

    if (!index_is_known(header)) {
        problem(check, false,
                "it has format %u and features %x of a newer version: it is left alone",
                header->format, header->incompat);
        return 0;
    }
    if (!sizes_fit(header, cache->index.bytes) || !range_fits(header))
        return give_up_cache(check);
    check_header_limits(check);
    cache->seed = header->seed;
    cache->range_pages = header->range_pages;
    cache->cells = header->cells;
    cache->lines = header->lines;
    cache->lines_at = CACHE_PAGE;
    cache->cells_at = CACHE_PAGE + cache_pages((uint64_t)header->lines * 64) * CACHE_PAGE;
    cache->tier_sets = header->tier_sets;
    cache->tier_at = header->tier_sets ? tier_page_at(header) : 0;
    check->claimed = calloc(cache->cells, 1);
    check->busy = calloc(cache->range_pages / 64 + 1, 8);
    check->twice = calloc(cache->range_pages / 64 + 1, 8);
    if (!check->claimed || !check->busy || !check->twice)
        return cache_fail(-ENOMEM, "no memory to check a cache of %u objects", cache->cells);
    check_data(check);
    claim_packed(check);
    check_words(check, wrong_word);
    check->result.objects = check_words(check, wrong_neighbour);
    check_stamps(check);
    rc = tier_check(cache, on_tier, check);
    return rc ? rc : write_back(check);
}

/* The copy is read in parts, and each page of it is at its place in `pages`. */
static int read_index(struct check *check)
{
    struct region *region = &check->cache.index;
    uint64_t pages = region->bytes / CACHE_PAGE;

    check->copy = aligned_alloc(CACHE_PAGE, region->bytes);
    region->pages = calloc(pages, sizeof *region->pages);
    if (!check->copy || !region->pages)
        return cache_fail(-ENOMEM, "no memory for an index of %" PRIu64 " bytes", region->bytes);
    for (uint64_t i = 0; i < pages; i++)
        region->pages[i] = check->copy + i * CACHE_PAGE;
    for (uint64_t at = 0, part; at < region->bytes; at += part) {
        ssize_t got;

        part = region->bytes - at < PART_BYTES ? region->bytes - at : PART_BYTES;
        got = hf_read(check->index, check->copy + at, part, at);
        if (got != (ssize_t)part)
            return got < 0 ? cache_fail_pool((int)got) : cache_fail(-EIO, "the index is cut off");
    }
    return 0;
}

static int open_cache_files(struct check *check)
{
    const int access = check->repair ? O_RDWR : O_RDONLY;
    char path[PATH_BYTES];
    struct stat st;
    int rc;

    snprintf(path, sizeof path, "%s/index", check->path);
    rc = hf_open(check->pool, path, access, 0, &check->index);
    rc = rc ? rc : hf_fstat(check->index, &st);
    if (rc)
        return cache_fail_pool(rc);
    check->cache.index.bytes = (uint64_t)st.st_size;
    snprintf(path, sizeof path, "%s/data", check->path);
    rc = hf_open(check->pool, path, access, 0, &check->data);
    if (rc == 0) {
        rc = hf_fstat(check->data, &st);
        check->data_bytes = rc ? 0 : (uint64_t)st.st_size;
    } else if (rc == -ENOENT) {
        rc = 0;
    }
    return rc ? cache_fail_pool(rc) : 0;
}

/* -ENOENT: what is called index is not one. */
static int look_at_header(struct check *check)
{
    struct header header = {0};
    ssize_t got;

    if (check->cache.index.bytes < CACHE_PAGE)
        return cache_fail(-ENOENT, "%s is not a cache", check->path);
    got = hf_read(check->index, &header, sizeof header, 0);
    if (got != (ssize_t)sizeof header)
        return got < 0 ? cache_fail_pool((int)got) : cache_fail(-EIO, "the index is cut off");
    return is_cache(&header, check->cache.index.bytes)
               ? 0
               : cache_fail(-ENOENT, "%s is not a cache", check->path);
}

int hfc_check(struct hf_pool *pool, const char *path, uint32_t flags,
              void (*report)(void *arg, const char *sentence), void *arg,
              struct hfc_check_result *out)
{
    struct check check = {.pool = pool,
                          .path = path,
                          .repair = flags & HF_CHECK_REPAIR,
                          .report = report,
                          .arg = arg,
                          .result.size = sizeof check.result};
    int rc;

    if (!pool || !path || !out || out->size != sizeof *out || flags & ~HF_CHECK_REPAIR)
        return cache_fail(-EINVAL, "pool, path or out is null, its size is not sizeof(struct "
                                   "hfc_check_result), or a flag is unknown");
    if (strlen(path) > HF_SYMLINK_MAX - 8)
        return cache_fail(-ENAMETOOLONG, "the path has more than %u bytes", HF_SYMLINK_MAX - 8);
    rc = open_cache_files(&check);
    rc = rc ? rc : look_at_header(&check);
    rc = rc ? rc : read_index(&check);
    rc = rc ? rc : check_index_copy(&check);
    if (check.data)
        hf_close(check.data);
    if (check.index)
        hf_close(check.index);
    free(check.cache.index.pages);
    free(check.copy);
    free(check.claimed);
    free(check.busy);
    free(check.twice);
    if (rc == 0)
        *out = check.result;
    return rc;
}
