/* SPDX-License-Identifier: MIT */
/*
 * Files that share blocks, against a model. There are clones and merges between files and within
 * one, and all else that changes a file, with pins that are held meanwhile. Each page carries a
 * number that is written nowhere else. A pin may show what its page held when it was pinned, or
 * what was written to that page of that file since. It never shows another file's bytes. Every
 * block is accounted for.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FILES 4
#define PAGES 40u
#define PINS 6
#define POOL_BYTES TEST_MIB(8)
#define BALLAST (POOL_BYTES / TEST_PAGE - 150) /* pages: so that the pool is full now and then */
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

struct file {
    struct hf_file *file;
    uint64_t ino;
    uint64_t pages;       /* its size, in pages; sizes are whole pages but for `odd` */
    uint64_t page[PAGES]; /* the number that it carries; 0: zeros */
};

/* What a page has carried since. */
struct note {
    unsigned file;
    uint64_t page, number;
};

struct held {
    bool live, lease;
    struct hf_pin pin;
    struct hf_lease of;
    struct iovec iov[PAGES];
    unsigned file;
    uint64_t first, count;
    uint64_t then[PAGES]; /* what the pages carried when they were pinned */
    size_t since;         /* notes from here on */
    uint32_t flags;
};

static const struct test_engine *engine;
static struct hf_pool *pool;
static struct file files[FILES];
static struct held helds[PINS];
static struct note *notes;
static size_t note_count, note_room;
static uint64_t numbers, merged, emptied, left_alone;
static struct test_rng rng;

/* ---- the model ---- */

static void carry(unsigned file, uint64_t page, uint64_t number)
{
    files[file].page[page] = number;
    if (note_count == note_room) {
        note_room = note_room ? note_room * 2 : 1024;
        notes = realloc(notes, note_room * sizeof(*notes));
        EXPECT(notes);
    }
    notes[note_count++] = (struct note){file, page, number};
}

static void fill(char *page, uint64_t number)
{
    for (uint64_t at = 0; at < TEST_PAGE; at += sizeof(number))
        memcpy(page + at, &number, sizeof(number));
}

static bool carries(const char *page, uint64_t number)
{
    uint64_t word;

    for (uint64_t at = 0; at < TEST_PAGE; at += sizeof(word)) {
        memcpy(&word, page + at, sizeof(word));
        if (word != number)
            return false;
    }
    return true;
}

static uint64_t below(uint64_t bound)
{
    return test_below(&rng, bound);
}

/* ---- pins ---- */

static bool may_show(const struct held *held, uint64_t at, uint64_t number)
{
    if (held->then[at] == number)
        return true;
    for (size_t i = held->since; i < note_count; i++)
        if (notes[i].file == held->file && notes[i].page == held->first + at &&
            notes[i].number == number)
            return true;
    return false;
}

static void check_held(const struct held *held)
{
    uint64_t at = 0, number;

    for (size_t i = 0; at < held->count; i++)
        for (uint64_t off = 0; off < held->iov[i].iov_len; off += TEST_PAGE, at++) {
            const char *page = (const char *)held->iov[i].iov_base + off;

            memcpy(&number, page, sizeof(number));
            if (!carries(page, number) || !may_show(held, at, number))
                FAIL("a pin of file %u, page %" PRIu64 ", flags %u shows %" PRIu64, held->file,
                     (held->first + at), held->flags, number);
        }
}

static void let_go(struct held *held)
{
    if (!held->live)
        return;
    check_held(held);
    if (held->lease)
        EXPECT_EQ(hf_lease_release(&held->of), 0);
    else
        EXPECT_EQ(hf_unpin(&held->pin), 0);
    held->live = false;
}

static void hold(void)
{
    struct held *held = &helds[below(PINS)];
    struct file *file;
    int pieces;

    let_go(held);
    held->file = (unsigned)below(FILES);
    file = &files[held->file];
    if (!file->pages)
        return;
    held->first = below(file->pages);
    held->count = 1 + below(file->pages - held->first);
    held->lease = test_chance(&rng, 25);
    held->flags = test_chance(&rng, 30)   ? HF_PIN_WRITE
                  : test_chance(&rng, 30) ? HF_PIN_COHERENT
                                          : 0;
    held->since = note_count;
    memcpy(held->then, &file->page[held->first], held->count * sizeof(*held->then));
    if (held->lease) {
        struct hf_lease_options options = {.size = sizeof(options),
                                           .flags = held->flags & HF_PIN_WRITE};

        pieces = hf_lease(file->file, held->first * TEST_PAGE, held->count * TEST_PAGE, &options,
                          held->iov, PAGES, &held->of);
    } else {
        pieces = hf_pin(file->file, held->first * TEST_PAGE, held->count * TEST_PAGE, held->flags,
                        held->iov, PAGES, &held->pin);
    }
    if (pieces == -ENOSPC)
        return;
    EXPECT_OK(pieces);
    held->live = true;
    check_held(held);
}

/* Through the pin: what is its file's alone. */
static void store(void)
{
    struct held *held = &helds[below(PINS)];
    uint64_t at = 0;

    if (!held->live || !(held->flags & HF_PIN_WRITE))
        return;
    check_held(held);
    for (size_t i = 0; at < held->count; i++)
        for (uint64_t off = 0; off < held->iov[i].iov_len; off += TEST_PAGE, at++) {
            /* a page that has left the file by now is seen by nobody else */
            fill((char *)held->iov[i].iov_base + off, ++numbers);
            carry(held->file, held->first + at, numbers);
        }
}

/* ---- files ---- */

static bool refused(int rc)
{
    return rc == -EBUSY || rc == -EDEADLK || rc == -ENOSPC;
}

/* In one call or in two, of which the first ends inside a page. */
static ssize_t write_bytes(struct hf_file *file, const char *bytes, uint64_t len, uint64_t off)
{
    uint64_t cut = test_chance(&rng, 30) ? 1 + below(len - 1) : 0;
    ssize_t done = cut ? hf_write(file, bytes, cut, off) : 0, rest;

    if (done < 0 || (uint64_t)done < cut)
        return done;
    rest = hf_write(file, bytes + cut, len - cut, off + cut);
    return rest < 0 && !cut ? rest : done + (rest < 0 ? 0 : rest);
}

static void write_pages(unsigned n)
{
    static char bytes[PAGES * HF_BLOCK_BYTES];
    struct file *file = &files[n];
    uint64_t first = below(PAGES), count = 1 + below(PAGES - first), written[PAGES];
    ssize_t done;

    count = count > 6 ? 6 : count;
    for (uint64_t i = 0; i < count; i++) {
        /* now and then what another page has, so that there is something to be merged */
        const struct file *other = &files[below(FILES)];

        written[i] =
            test_chance(&rng, 30) && other->pages ? other->page[below(other->pages)] : ++numbers;
        fill(bytes + i * TEST_PAGE, written[i]);
    }
    done = write_bytes(file->file, bytes, count * TEST_PAGE, first * TEST_PAGE);
    if (done == -ENOSPC)
        return;
    EXPECT_OK(done);
    EXPECT_EQ(done % (ssize_t)TEST_PAGE, 0);
    for (uint64_t i = 0; i < (uint64_t)done / TEST_PAGE; i++)
        carry(n, first + i, written[i]);
    if (file->pages < first + (uint64_t)done / TEST_PAGE)
        file->pages = first + (uint64_t)done / TEST_PAGE;
}

static void cut(unsigned n)
{
    uint64_t pages = below(PAGES);
    int rc = hf_truncate(files[n].file, pages * TEST_PAGE, &test_nowait);

    if (refused(rc))
        return;
    EXPECT_EQ(rc, 0);
    for (uint64_t i = pages; i < files[n].pages; i++)
        carry(n, i, 0);
    files[n].pages = pages;
}

static void punch(unsigned n)
{
    uint64_t first = below(PAGES), count = 1 + below(PAGES - first);
    uint32_t mode =
        test_chance(&rng, 50) ? HF_FALLOC_PUNCH_HOLE : HF_FALLOC_ZERO_RANGE | HF_FALLOC_KEEP_SIZE;
    int rc = hf_fallocate(files[n].file, mode, first * TEST_PAGE, count * TEST_PAGE, &test_nowait);

    if (refused(rc))
        return;
    EXPECT_EQ(rc, 0);
    for (uint64_t i = first; i < first + count && i < files[n].pages; i++)
        carry(n, i, 0);
}

static void move(unsigned n)
{
    uint64_t first, count;
    int rc;

    if (!files[n].pages)
        return;
    first = below(files[n].pages);
    count = 1 + below(files[n].pages - first);
    rc = hf_move(files[n].file, first * TEST_PAGE, count * TEST_PAGE, &test_nowait);
    if (!refused(rc))
        EXPECT_EQ(rc, 0);
}

static bool overlap(unsigned from, uint64_t first, unsigned to, uint64_t at, uint64_t count)
{
    return from == to && first < at + count && at < first + count;
}

static void clone_pages(unsigned from, unsigned to)
{
    uint64_t first, at = below(PAGES), count, copy[PAGES];
    int rc;

    if (!files[from].pages)
        return;
    first = below(files[from].pages);
    count = 1 + below(files[from].pages - first);
    count = count > PAGES - at ? PAGES - at : count;
    rc = hf_clone_range(files[from].file, first * TEST_PAGE, files[to].file, at * TEST_PAGE,
                        count * TEST_PAGE, &test_nowait);
    if (overlap(from, first, to, at, count)) {
        EXPECT_EQ(rc, -EINVAL);
        return;
    }
    if (refused(rc))
        return;
    EXPECT_EQ(rc, 0);
    memcpy(copy, &files[from].page[first], count * sizeof(*copy));
    for (uint64_t i = 0; i < count; i++)
        carry(to, at + i, copy[i]);
    if (files[to].pages < at + count)
        files[to].pages = at + count;
}

static void merge_zeros(unsigned n)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    uint64_t first, count;
    bool same = true;

    if (!files[n].pages)
        return;
    first = below(files[n].pages);
    count = 1 + below(files[n].pages - first);
    EXPECT_EQ(hf_dedup_range(NULL, 0, files[n].file, first * TEST_PAGE, count * TEST_PAGE, &result),
              0);
    for (uint64_t i = first; i < first + count; i++)
        same &= files[n].page[i] == 0;
    EXPECT_EQ(result.same, same);
    emptied += result.shared_bytes;
}

static void merge(unsigned a, unsigned b)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    uint64_t first, at, count;
    bool same = true;
    int rc;

    if (!files[a].pages || !files[b].pages)
        return;
    first = below(files[a].pages);
    at = test_chance(&rng, 60) && first < files[b].pages ? first : below(files[b].pages);
    count = 1 + below(files[a].pages - first);
    count = count > files[b].pages - at ? files[b].pages - at : count;
    rc = hf_dedup_range(files[a].file, first * TEST_PAGE, files[b].file, at * TEST_PAGE,
                        count * TEST_PAGE, &result);
    EXPECT_EQ(rc, overlap(a, first, b, at, count) ? -EINVAL : 0);
    if (rc)
        return;
    for (uint64_t i = 0; i < count; i++)
        same &= files[a].page[first + i] == files[b].page[at + i];
    EXPECT_EQ(result.same, same);
    merged += result.shared_bytes;
    left_alone += result.held_bytes;
}

static void expect_file(const struct file *file)
{
    static char bytes[PAGES * HF_BLOCK_BYTES];

    EXPECT_EQ(test_size(file->file), file->pages * TEST_PAGE);
    EXPECT_EQ(hf_read(file->file, bytes, sizeof(bytes), 0), file->pages * TEST_PAGE);
    for (uint64_t i = 0; i < file->pages; i++)
        if (!carries(bytes + i * TEST_PAGE, file->page[i]))
            FAIL("inode %" PRIu64 ", page %" PRIu64 " does not carry %" PRIu64, file->ino, i,
                 file->page[i]);
}

/* ---- accounts ---- */

struct accounts {
    uint32_t extents[POOL_BYTES / HF_BLOCK_BYTES], records[POOL_BYTES / HF_BLOCK_BYTES];
};

static int add_extent(void *arg, const struct hf_extent_info *info)
{
    struct accounts *accounts = arg;

    for (uint64_t i = 0; i < info->len / TEST_PAGE; i++)
        (info->detached ? accounts->records : accounts->extents)[info->block + i]++;
    return 0;
}

static void check_accounts(void)
{
    static struct accounts accounts;
    struct hf_pool_info info = {.size = sizeof(info)};
    uint64_t used = 0, alone = 0, shared = 0, saved = 0;

    memset(&accounts, 0, sizeof(accounts));
    EXPECT_EQ(hf_pool_info(pool, &info), 0); /* reclaims released blocks */
    EXPECT_EQ(hf_extents(pool, 0, add_extent, &accounts), 0);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    for (size_t i = 0; i < COUNT(accounts.extents); i++) {
        used += accounts.extents[i] != 0;
        alone += !accounts.extents[i] && accounts.records[i];
        shared += accounts.extents[i] > 1;
        saved += accounts.extents[i] ? accounts.extents[i] - 1 : 0;
    }
    EXPECT_EQ(info.free_bytes / TEST_PAGE + used + alone, POOL_BYTES / TEST_PAGE);
    EXPECT_EQ(info.detached_bytes / TEST_PAGE, alone);
    EXPECT_EQ(info.shared_bytes / TEST_PAGE, shared);
    EXPECT_EQ(info.saved_bytes / TEST_PAGE, saved);
}

/* ---- the whole ---- */

static void open_all(void)
{
    pool = test_pool_open("pool");
    for (unsigned i = 0; i < FILES; i++) {
        char name[8];
        struct stat st;

        snprintf(name, sizeof(name), "/%u", i);
        files[i].file = test_file(pool, name);
        EXPECT_EQ(hf_fstat(files[i].file, &st), 0);
        files[i].ino = st.st_ino;
    }
}

static void close_all(void)
{
    for (unsigned i = 0; i < PINS; i++)
        let_go(&helds[i]);
    for (unsigned i = 0; i < FILES; i++)
        EXPECT_EQ(hf_close(files[i].file), 0);
    test_pool_close(pool);
}

static void one_step(void)
{
    unsigned n = (unsigned)below(FILES);

    switch (below(10)) {
    case 0:
    case 1:
        hold();
        break;
    case 2:
        let_go(&helds[below(PINS)]);
        break;
    case 3:
        store();
        break;
    case 4:
    case 5:
        write_pages(n);
        break;
    case 6:
        cut(n);
        break;
    case 7:
        punch(n);
        break;
    case 8:
        if (test_chance(&rng, 30))
            move(n);
        break;
    default:
        clone_pages(n, (unsigned)below(FILES));
        for (int i = 0; i < 3; i++)
            merge(n, (unsigned)below(FILES));
        if (test_chance(&rng, 30))
            merge_zeros(n);
    }
}

static int body(int argc, char **argv)
{
    unsigned steps = test_is_slow() ? 4000 : 40000;

    engine = test_engine(argc > 1 ? argv[1] : "slots");
    rng.state = test_seed();
    pool = test_engine_pool(engine, "pool", POOL_BYTES);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/ballast", 1, BALLAST)), 0);
    test_pool_close(pool);
    open_all();
    for (unsigned i = 0; i < steps; i++) {
        one_step();
        if (i % 8 == 0)
            for (unsigned n = 0; n < FILES; n++)
                expect_file(&files[n]);
        if (i % 64 == 0)
            check_accounts();
        if (i % 2000 == 1999) {
            close_all();
            test_pool_check("pool");
            note_count = 0;
            open_all();
            check_accounts();
        }
    }
    close_all();
    test_pool_check("pool");
    EXPECT(merged && emptied && left_alone);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
