/* SPDX-License-Identifier: MIT */
/*
 * Compactions beside everything else, and killed while they run. Each file has one writer, which
 * knows what every page holds: it writes, stores in place, punches and cuts, and reads pages back.
 * Pinners look that what they have pinned is a page of their file as long as they have it. Two
 * compactors go over all files, one that waits for holders and one that does not; one of them is
 * killed again and again. In the end nothing is lost, and each block is free or in a file.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FILES 2u
#define RUN_PAGES ((unsigned)(HF_HUGE_BYTES / TEST_PAGE))
#define PAGES (2 * RUN_PAGES + 40)
#define WORDS (TEST_PAGE / sizeof(uint64_t))
#define WRITES 20000u
#define KILLS 40u
#define SPAN_MAX 40u

struct race {
    uint32_t versions[FILES][PAGES]; /* 0: a hole, or past end of file */
    uint32_t stop, round, writers_done;
    uint64_t collapsed, pins;
};
static struct race *race;

struct racer {
    unsigned number;
    uint64_t seed;
};

static struct hf_file *open_race_file(struct hf_pool *pool, unsigned number)
{
    char name[16];

    snprintf(name, sizeof(name), "/f%u", number);
    return test_file(pool, name);
}

static uint64_t word_of(unsigned file, uint64_t page, uint32_t version)
{
    return version ? (file * (uint64_t)PAGES + page + 1) << 32 | version : 0;
}

/* ---- a writer ---- */

struct writer {
    struct hf_file *file;
    unsigned number;
    uint32_t *versions;
    uint64_t size_pages;
    struct test_rng rng;
};

static void fill_words(struct writer *w, uint64_t page, uint32_t version, uint64_t words[WORDS])
{
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = word_of(w->number, page, version);
}

static void write_one(struct writer *w, uint64_t page)
{
    uint64_t words[WORDS];

    fill_words(w, page, w->versions[page] + 1, words);
    EXPECT_EQ(hf_write(w->file, words, sizeof(words), page * TEST_PAGE), sizeof(words));
    w->versions[page]++;
    w->size_pages = w->size_pages > page ? w->size_pages : page + 1;
}

static void store_in_place(struct writer *w, uint64_t page)
{
    struct iovec iov;
    struct hf_pin pin;

    if (page >= w->size_pages)
        return;
    pin = test_pin(w->file, page * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov, 1);
    fill_words(w, page, w->versions[page] + 1, iov.iov_base);
    EXPECT_EQ(hf_unpin(&pin), 0);
    w->versions[page]++;
}

static void punch_some(struct writer *w, uint64_t page)
{
    uint64_t count = 1 + test_below(&w->rng, 4);

    count = count < PAGES - page ? count : PAGES - page;
    EXPECT_EQ(hf_fallocate(w->file, HF_FALLOC_PUNCH_HOLE, page * TEST_PAGE, count * TEST_PAGE,
                           &test_wait),
              0);
    memset(&w->versions[page], 0, count * sizeof(w->versions[0]));
}

static void cut_off(struct writer *w, uint64_t page)
{
    EXPECT_EQ(hf_truncate(w->file, page * TEST_PAGE, &test_wait), 0);
    memset(&w->versions[page], 0, (PAGES - page) * sizeof(w->versions[0]));
    w->size_pages = page;
}

/* Nobody else writes there. */
static void read_back(struct writer *w, uint64_t page)
{
    uint64_t words[WORDS], want = word_of(w->number, page, w->versions[page]);

    if (page >= w->size_pages)
        return;
    EXPECT_EQ(hf_read(w->file, words, sizeof(words), page * TEST_PAGE), sizeof(words));
    for (unsigned i = 0; i < WORDS; i++)
        if (words[i] != want)
            FAIL("file %u page %" PRIu64 " word %u: %#" PRIx64 ", and %#" PRIx64 " was written",
                 w->number, page, i, words[i], want);
}

static void read_all_back(struct writer *w)
{
    for (uint64_t page = 0; page < PAGES; page++)
        read_back(w, page);
}

/* Writes what is missing, so that there are whole runs again. */
static void complete(struct writer *w)
{
    for (uint64_t i = 0; i < PAGES; i++) {
        uint64_t page = (i * 7919 + 13) % PAGES;

        if (!w->versions[page] || page >= w->size_pages)
            write_one(w, page);
    }
}

static void write_race_file(void *arg)
{
    const struct racer *racer = arg;
    struct hf_pool *pool = test_pool_open("pool");
    struct writer w = {.file = open_race_file(pool, racer->number),
                       .number = racer->number,
                       .versions = race->versions[racer->number],
                       .rng = {racer->seed}};

    complete(&w);
    for (unsigned i = 0; i < WRITES; i++) {
        uint64_t page = test_below(&w.rng, PAGES), kind = test_below(&w.rng, 1000);

        if (kind < 500)
            write_one(&w, page);
        else if (kind < 900)
            store_in_place(&w, page);
        else if (kind < 980)
            read_back(&w, page);
        else if (kind < 995)
            punch_some(&w, page);
        else
            cut_off(&w, PAGES - test_below(&w.rng, PAGES / 3));
        if (i % 300 == 299)
            complete(&w);
    }
    read_all_back(&w);
    test_count(&race->writers_done);
    EXPECT_EQ(hf_close(w.file), 0);
    test_pool_close(pool);
}

/* ---- a pinner ---- */

static void look_at_pinned(const struct iovec *iov, int pieces, unsigned file, uint64_t page)
{
    for (int i = 0; i < pieces; i++)
        for (size_t off = 0; off < iov[i].iov_len; off += TEST_PAGE, page++) {
            const volatile uint64_t *words =
                (const volatile uint64_t *)((const char *)iov[i].iov_base + off);

            for (unsigned at = 0; at < WORDS; at += 61)
                if (words[at] && words[at] >> 32 != word_of(file, page, 1) >> 32)
                    FAIL("file %u page %" PRIu64 ": it has a word of another page, %#" PRIx64, file,
                         page, words[at]);
        }
}

static void pin_race_files(void *arg)
{
    const struct racer *racer = arg;
    struct hf_pool *pool = test_pool_open("pool");
    struct test_rng rng = {racer->seed};
    struct hf_file *files[FILES];
    struct iovec iov[SPAN_MAX];

    for (unsigned i = 0; i < FILES; i++)
        files[i] = open_race_file(pool, i);
    while (!test_peek(&race->stop)) {
        unsigned file = (unsigned)test_below(&rng, FILES);
        uint64_t page = test_below(&rng, PAGES), span = 1 + test_below(&rng, SPAN_MAX);
        struct hf_pin pin;
        int pieces;

        span = span < PAGES - page ? span : PAGES - page;
        pieces = hf_pin(files[file], page * TEST_PAGE, span * TEST_PAGE,
                        HF_PIN_READ | HF_PIN_NOFILL, iov, SPAN_MAX, &pin);
        if (pieces < 0) {
            EXPECT(pieces == -EFAULT || pieces == -ENODATA);
            continue;
        }
        look_at_pinned(iov, pieces, file, page);
        look_at_pinned(iov, pieces, file, page);
        EXPECT_EQ(hf_unpin(&pin), 0);
        test_count64(&race->pins, 1);
    }
    for (unsigned i = 0; i < FILES; i++)
        EXPECT_EQ(hf_close(files[i]), 0);
    test_pool_close(pool);
}

/* ---- a compactor ---- */

static void compact_race_files(void *arg)
{
    const struct racer *racer = arg;
    struct hf_pool *pool = test_pool_open("pool");
    const struct hf_policy soon = test_deadline_ms(5);
    struct hf_file *files[FILES];

    for (unsigned i = 0; i < FILES; i++)
        files[i] = open_race_file(pool, i);
    for (unsigned i = 0; !test_peek(&race->stop); i++) {
        struct hf_compact_result result = {.size = sizeof(result)};

        EXPECT_EQ(hf_compact(files[i % FILES], 0, 0, 0, racer->number ? &soon : NULL, &result), 0);
        test_count64(&race->collapsed, result.huge_bytes - result.was_huge);
        test_count(&race->round);
    }
    for (unsigned i = 0; i < FILES; i++)
        EXPECT_EQ(hf_close(files[i]), 0);
    test_pool_close(pool);
}

/* Until it has gone round once more at least, and then at any moment. */
static void kill_again_and_again(struct racer *racer, struct test_rng *rng)
{
    for (unsigned i = 0; i < KILLS; i++) {
        uint32_t round = test_peek(&race->round);
        pid_t pid = test_fork(compact_race_files, racer);

        test_await(&race->round, round + 1 + (uint32_t)test_below(rng, 4));
        test_kill(pid);
    }
}

static int sum_up(struct hf_pool *pool, struct hf_file *file, unsigned number)
{
    struct writer w = {.file = file,
                       .number = number,
                       .versions = race->versions[number],
                       .size_pages = test_size(file) / TEST_PAGE};
    struct hf_compact_result result = {.size = sizeof(result)};

    (void)pool;
    read_all_back(&w);
    complete(&w);
    EXPECT_EQ(hf_compact(file, 0, 0, 0, &test_wait, &result), 0);
    EXPECT_EQ(result.huge_bytes, result.run_bytes);
    EXPECT_EQ(result.run_bytes, 2 * (uint64_t)HF_HUGE_BYTES);
    read_all_back(&w);
    return 0;
}

static void compact_race(void)
{
    uint64_t seed = test_seed(), free_bytes;
    struct test_rng rng = {seed};
    struct racer racers[6];
    pid_t pids[6];
    struct hf_pool *pool;

    race = test_shared(sizeof(*race));
    pool = test_pool_new("pool", TEST_MIB(24));
    free_bytes = test_free_bytes(pool);
    for (unsigned i = 0; i < 6; i++)
        racers[i] = (struct racer){i % 2, test_mix(seed, i)};
    for (unsigned i = 0; i < 2; i++) {
        pids[i] = test_fork(write_race_file, &racers[i]);
        pids[2 + i] = test_fork(pin_race_files, &racers[2 + i]);
    }
    pids[4] = test_fork(compact_race_files, &racers[4]);
    kill_again_and_again(&racers[5], &rng);
    for (unsigned i = 0; i < 2; i++)
        test_join(pids[i]);
    test_raise(&race->stop, 1);
    for (unsigned i = 2; i < 5; i++)
        test_join(pids[i]);
    printf("%" PRIu64 " runs collapsed, %" PRIu64 " pins\n",
           test_peek64(&race->collapsed) / HF_HUGE_BYTES, test_peek64(&race->pins));
    EXPECT(test_peek64(&race->collapsed) > 0);
    for (unsigned i = 0; i < FILES; i++) {
        struct hf_file *file = open_race_file(pool, i);

        sum_up(pool, file, i);
        EXPECT_EQ(hf_truncate(file, 0, &test_wait), 0);
        EXPECT_EQ(hf_close(file), 0);
    }
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(compact_race)
