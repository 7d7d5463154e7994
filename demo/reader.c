/* SPDX-License-Identifier: MIT */
/*
 * A reader: opens a file, pins random ranges of it, looks at them in place, lets go. It goes where
 * a writer is about to be, half of the time. Some pins are held for 50 to 500 us and looked at
 * again just before their unpin, as a device would use them. Some are pins to write, through which
 * the reader writes the originals, slowly. That is harmless as long as the block is the file's.
 * When it is not, it does the damage of a stray DMA.
 */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define PINS_AN_OPENING 16
#define RANGE_PAGES 64u /* the longest */
#define HOLD_SHARE 32   /* one pin of so many is held */
#define WRITE_SHARE 128 /* one is to write */
#define HOLD_MIN_NS 50000
#define HOLD_MAX_NS 500000

struct reader {
    struct demo_half *half;
    struct demo_counts *counts;
    struct hf_pool *pool;
    uint64_t chance;
};

/* A pinned range: what it is of, where it lies, and what was seen of each page. */
struct visit {
    const struct demo_file *original;
    uint64_t first, pages, bytes;
    struct iovec iov[RANGE_PAGES];
    int pieces;
    unsigned char seen[RANGE_PAGES]; /* enum demo_verdict */
};

static void choose_place(struct reader *reader, uint64_t *file, uint64_t *page)
{
    const struct demo_tree *tree = reader->half->tree;
    uint64_t hot = lab_peek(&reader->half->hot[lab_below(&reader->chance, DEMO_WRITERS)]);

    if (lab_random(&reader->chance) & 1 && hot) {
        *file = hot >> DEMO_HOT_PAGE_BITS;
        *page = hot & ((UINT64_C(1) << DEMO_HOT_PAGE_BITS) - 1);
    } else {
        *file = tree->filled[lab_below(&reader->chance, tree->filled_count)];
        *page = lab_below(&reader->chance, demo_pages(&tree->files[*file]));
    }
}

/* A range that begins at the page, or shortly before. Mostly short. */
static void choose_range(struct reader *reader, struct visit *visit, uint64_t page)
{
    uint64_t most = lab_below(&reader->chance, 16) ? 4 : RANGE_PAGES, end;
    uint64_t all = demo_pages(visit->original);

    visit->pages = 1 + lab_below(&reader->chance, most);
    visit->first =
        page - lab_below(&reader->chance, (page < visit->pages ? page : visit->pages - 1) + 1);
    if (visit->first + visit->pages > all)
        visit->pages = all - visit->first;
    end = (visit->first + visit->pages) * LAB_PAGE;
    visit->bytes =
        (end < visit->original->bytes ? end : visit->original->bytes) - visit->first * LAB_PAGE;
}

/* Calls `each` for every page of the range, where it lies. */
static void each_page(struct reader *reader, struct visit *visit,
                      void (*each)(struct reader *reader, struct visit *visit, uint64_t i,
                                   char *memory, uint64_t bytes))
{
    uint64_t i = 0;

    for (int piece = 0; piece < visit->pieces; piece++) {
        char *memory = visit->iov[piece].iov_base;
        char *end = memory + visit->iov[piece].iov_len;

        for (; memory < end; memory += LAB_PAGE, i++)
            each(reader, visit, i, memory, demo_page_bytes(visit->original, visit->first + i));
    }
}

/* Remembers the worst that was seen of the page; whole once and not later is as bad as foreign. */
static void judge_page(struct reader *reader, struct visit *visit, uint64_t i, char *memory,
                       uint64_t bytes)
{
    const struct demo_tree *tree = reader->half->tree;
    uint64_t page = visit->original->first_page + visit->first + i;

    visit->seen[i] = (unsigned char)demo_judge(tree, page, memory, bytes);
}

static void judge_again(struct reader *reader, struct visit *visit, uint64_t i, char *memory,
                        uint64_t bytes)
{
    unsigned char before = visit->seen[i];

    if (before == DEMO_FOREIGN)
        return;
    judge_page(reader, visit, i, memory, bytes);
    if (before == DEMO_WHOLE && visit->seen[i] != DEMO_WHOLE)
        visit->seen[i] = DEMO_FOREIGN;
}

static bool saw_foreign(const struct visit *visit)
{
    return memchr(visit->seen, DEMO_FOREIGN, visit->pages) != NULL;
}

/* Half of the time asleep, as behind a device; else busy, as in a loop over the data. */
static void pass_time(struct reader *reader, uint64_t ns)
{
    uint64_t until = lab_now_ns() + ns;

    if (lab_random(&reader->chance) & 1)
        usleep((useconds_t)(ns / 1000));
    while (lab_now_ns() < until)
        ;
}

static uint64_t hold_time(struct reader *reader)
{
    return HOLD_MIN_NS + lab_below(&reader->chance, HOLD_MAX_NS - HOLD_MIN_NS);
}

static void restore_page(struct reader *reader, struct visit *visit, uint64_t i, char *memory,
                         uint64_t bytes)
{
    uint64_t page = visit->original->first_page + visit->first + i;

    memcpy(memory, demo_original(reader->half->tree, page), bytes);
    visit->seen[i] = DEMO_WHOLE;
    pass_time(reader, hold_time(reader) / visit->pages);
}

/* Every page once; later, those that were whole must still be. */
static void read_through(struct reader *reader, struct visit *visit)
{
    struct demo_counts *counts = reader->counts;

    each_page(reader, visit, judge_page);
    lab_count(&counts->bytes, visit->bytes);
    if (saw_foreign(visit)) {
        lab_count(&counts->foreign, 1);
    } else if (lab_below(&reader->chance, HOLD_SHARE) == 0) {
        lab_count(&counts->held, 1);
        pass_time(reader, hold_time(reader));
        each_page(reader, visit, judge_again);
        lab_count(&counts->bytes, visit->bytes);
        lab_count(&counts->changed, saw_foreign(visit));
    }
}

/* Bytes that were written must still be there when the last page is done. */
static void write_through(struct reader *reader, struct visit *visit)
{
    lab_count(&reader->counts->writing, 1);
    each_page(reader, visit, restore_page);
    each_page(reader, visit, judge_again);
    lab_count(&reader->counts->bytes, visit->bytes);
    lab_count(&reader->counts->changed, saw_foreign(visit));
}

/* False: the range has been cut off. */
static bool pin_and_use(struct reader *reader, struct hf_file *file, struct visit *visit,
                        uint64_t page)
{
    bool writes = lab_below(&reader->chance, WRITE_SHARE) == 0;
    struct hf_pin pin;
    int rc;

    choose_range(reader, visit, page);
    rc = hf_pin(file, visit->first * LAB_PAGE, visit->bytes, writes ? HF_PIN_WRITE : HF_PIN_READ,
                visit->iov, (int)RANGE_PAGES, &pin);
    if (rc == -EFAULT) {
        lab_count(&reader->counts->past_end, 1);
        return false;
    }
    if (rc == -ENOSPC) {
        lab_count(&reader->counts->no_space, 1);
    } else {
        visit->pieces = (int)demo_must(rc, "pinning a range of", visit->original->path);
        (writes ? write_through : read_through)(reader, visit);
        demo_must(hf_unpin(&pin), "unpinning a range of", visit->original->path);
        lab_count(&reader->counts->pins, 1);
    }
    return true;
}

static void visit_file(struct reader *reader)
{
    struct visit visit;
    struct hf_file *file;
    uint64_t number, page;
    int rc;

    choose_place(reader, &number, &page);
    visit.original = &reader->half->tree->files[number];
    rc = hf_open(reader->pool, visit.original->path, O_RDWR, 0, &file);
    if (rc == -ENOENT)
        return; /* it is being made again */
    demo_must(rc, "opening", visit.original->path);
    for (int i = 0; i < PINS_AN_OPENING && !lab_peek(&reader->half->stop); i++)
        if (!pin_and_use(reader, file, &visit, page))
            break;
    demo_must(hf_close(file), "closing", visit.original->path);
}

int demo_reader(void *worker)
{
    struct demo_worker *self = worker;
    struct demo_half *half = self->half;
    struct reader reader = {.half = half,
                            .counts = &half->counts[self->number],
                            .chance = half->seed * 64 + self->number};

    demo_must(hf_pool_open(half->pool_path, 0, &reader.pool), "opening the pool", half->pool_path);
    lab_raise(&half->ready);
    while (!lab_peek(&half->stop))
        visit_file(&reader);
    demo_must(hf_pool_close(reader.pool), "closing the pool", half->pool_path);
    return 0;
}
