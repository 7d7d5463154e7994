/* SPDX-License-Identifier: MIT */
/*
 * Clones and merges while threads of two processes pin and write the pages that are shared. Each
 * file has one writer, which pins a page for writing and fills it with a number of its own. Until
 * it unpins the page, nobody else may change it. A pin for reading may show what the file's writer
 * has written since, and nothing of any other writer's. Ends after a number of steps.
 */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define FILES 4u
#define PAGES 4u
#define WRITER_OF(number) ((number) >> 48)

struct shared {
    uint64_t merged, held, cloned; /* bytes, bytes, ranges */
};

static struct shared *shared;
static const struct test_engine *engine;
static struct hf_pool *pool;
static struct hf_file *files[FILES];
static uint64_t steps;

static uint64_t first_word(const void *page)
{
    return test_peek64(page);
}

static void fill(void *page, uint64_t number)
{
    for (uint64_t i = 0; i < TEST_PAGE / sizeof(number); i++)
        test_put64((uint64_t *)page + i, number);
}

static void expect_filled(const void *page, uint64_t number, unsigned file)
{
    for (uint64_t i = 0; i < TEST_PAGE / sizeof(number); i++) {
        uint64_t word = test_peek64((const uint64_t *)page + i);

        if (word != number)
            FAIL("file %u: %" PRIx64 " of writer %" PRIu64 " in a page that is pinned for writing",
                 file, word, WRITER_OF(word));
    }
}

/* What a page of any file may hold, so that pages of two files are often the same. */
#define COMMON ((uint64_t)7 << 48)

/* Holds still for a moment, so that others meet what is held. */
static void linger(struct test_rng *rng)
{
    if (test_chance(rng, 30))
        sched_yield();
}

static void write_page(struct test_rng *rng, unsigned file, uint64_t page)
{
    uint64_t number = (uint64_t)(file + 1) << 48 | test_below(rng, 3);
    struct iovec iov;
    struct hf_pin pin;
    int rc = hf_pin(files[file], page * TEST_PAGE, TEST_PAGE, HF_PIN_WRITE, &iov, 1, &pin);

    EXPECT_EQ(rc, 1);
    fill(iov.iov_base, COMMON);
    linger(rng);
    fill(iov.iov_base, number);
    linger(rng);
    expect_filled(iov.iov_base, number, file);
    if (test_chance(rng, 80))
        fill(iov.iov_base, COMMON);
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void read_page(struct test_rng *rng, unsigned file, uint64_t page)
{
    uint64_t was, is;
    struct iovec iov;
    struct hf_pin pin;

    EXPECT_EQ(hf_pin(files[file], page * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1, &pin), 1);
    was = first_word(iov.iov_base);
    for (uint64_t i = test_below(rng, 4); i > 0; i--) {
        linger(rng);
        is = first_word(iov.iov_base);
        if (is != was && WRITER_OF(is) != file + 1 && is != COMMON)
            FAIL("file %u: %" PRIx64 " of writer %" PRIu64 " came into a page that is pinned", file,
                 is, WRITER_OF(is));
    }
    EXPECT_EQ(hf_unpin(&pin), 0);
}

static void clone_pages(struct test_rng *rng, unsigned from, unsigned to)
{
    uint64_t page = test_below(rng, PAGES), at = test_below(rng, PAGES), count;
    bool detaches = engine->knows_holders && test_chance(rng, 50);
    const struct hf_policy *policy = detaches ? &test_detach : &test_nowait;
    int rc;

    count = 1 + test_below(rng, PAGES - (page > at ? page : at));
    rc = hf_clone_range(files[from], page * TEST_PAGE, files[to], at * TEST_PAGE, count * TEST_PAGE,
                        policy);
    if (rc == 0)
        test_count64(&shared->cloned, 1);
    else if (rc != -EBUSY && !(from == to && rc == -EINVAL))
        EXPECT_EQ(rc, 0);
}

static void merge(struct test_rng *rng, unsigned a, unsigned b)
{
    struct hf_dedup_result result = {.size = sizeof(result)};
    uint64_t page = test_below(rng, PAGES), at = test_below(rng, PAGES);
    uint64_t count = 1 + test_below(rng, PAGES - (page > at ? page : at));
    int rc = hf_dedup_range(files[a], page * TEST_PAGE, files[b], at * TEST_PAGE, count * TEST_PAGE,
                            &result);

    if (a != b || rc != -EINVAL)
        EXPECT_EQ(rc, 0);
    test_count64(&shared->merged, result.shared_bytes);
    test_count64(&shared->held, result.held_bytes);
}

/* The writer of file n; or, from FILES on, one that shares. */
static void *work(void *arg)
{
    unsigned n = (unsigned)(uintptr_t)arg;
    struct test_rng rng = {test_mix(steps, n)};

    for (uint64_t i = 0; i < steps; i++) {
        unsigned other = (unsigned)test_below(&rng, FILES);

        if (n < FILES && test_chance(&rng, 60))
            write_page(&rng, n, test_below(&rng, PAGES));
        else if (n < FILES)
            read_page(&rng, other, test_below(&rng, PAGES));
        else if (test_chance(&rng, 70))
            merge(&rng, n % FILES, other);
        else
            clone_pages(&rng, n % FILES, other);
    }
    return NULL;
}

/* Threads first, first + step and so on, of twice as many as there are files. */
static void run(unsigned first, unsigned step)
{
    pthread_t threads[2 * FILES];

    pool = test_pool_open("pool");
    for (unsigned i = 0; i < FILES; i++) {
        char name[8];

        snprintf(name, sizeof(name), "/%u", i);
        files[i] = test_file(pool, name);
    }
    for (unsigned i = first; i < 2 * FILES; i += step)
        EXPECT_EQ(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i), 0);
    for (unsigned i = first; i < 2 * FILES; i += step)
        EXPECT_EQ(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < FILES; i++)
        EXPECT_EQ(hf_close(files[i]), 0);
    test_pool_close(pool);
}

static void odd_half(void *arg)
{
    (void)arg;
    run(1, 2);
}

static int body(int argc, char **argv)
{
    struct hf_pool_info info = {.size = sizeof(info)};
    pid_t other;

    engine = test_engine(argc > 1 ? argv[1] : "slots");
    steps = test_is_slow() ? 1000 : 20000;
    shared = test_shared(sizeof(*shared));
    pool = test_engine_pool(engine, "pool", TEST_MIB(8));
    for (unsigned i = 0; i < FILES; i++) {
        char name[8];

        snprintf(name, sizeof(name), "/%u", i);
        EXPECT_EQ(hf_close(test_file_filled(pool, name, i, PAGES)), 0);
    }
    test_pool_close(pool);
    if (test_is_slow()) { /* ThreadSanitizer sees one process only */
        run(0, 1);
    } else { /* a file's writer and those who share it are of two */
        other = test_fork(odd_half, NULL);
        run(0, 2);
        test_join(other);
    }
    EXPECT(test_peek64(&shared->merged) && test_peek64(&shared->held));
    EXPECT(test_peek64(&shared->cloned));
    pool = test_pool_open("pool");
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.free_bytes + FILES * PAGES * TEST_PAGE - info.saved_bytes, info.pool_bytes);
    test_pool_close(pool);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
