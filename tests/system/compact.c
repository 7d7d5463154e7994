/* SPDX-License-Identifier: MIT */
/*
 * hf_compact(): what was written at random lies under huge entries afterwards, also where free
 * blocks are scattered. What anybody holds or shares stays where it is. Contents stay, and the
 * accounting is exact.
 */
#include "support.h"

#include <errno.h>
#include <holdfast/compact.h>
#include <holdfast/serve.h>
#include <pthread.h>
#include <string.h>

#define RUN_PAGES ((uint64_t)HF_HUGE_BYTES / TEST_PAGE)
#define RUNS(n) ((n) * (uint64_t)HF_HUGE_BYTES)
#define POOL_BYTES TEST_MIB(32)

/* Pages of a file, in an order in which none follows its neighbour. */
static struct hf_file *scattered(struct hf_pool *pool, const char *path, uint64_t stamp,
                                 uint64_t pages)
{
    struct hf_file *file = test_file(pool, path);

    for (uint64_t i = 0; i < pages; i++)
        test_write_pages(file, stamp, (i * 7919 + 13) % pages, 1);
    return file;
}

static struct hf_compact_result compacted(struct hf_file *file, uint64_t off, uint64_t len,
                                          uint32_t flags, const struct hf_policy *policy)
{
    struct hf_compact_result result = {.size = sizeof(result)};

    EXPECT_EQ(hf_compact(file, off, len, flags, policy, &result), 0);
    EXPECT(result.was_huge <= result.huge_bytes && result.huge_bytes <= result.run_bytes);
    if (!(flags & HF_COMPACT_LOOK))
        EXPECT_EQ(result.huge_bytes + result.held_bytes + result.shared_bytes +
                      result.no_space_bytes,
                  result.run_bytes);
    return result;
}

/* In how many pieces the range lies. */
static int pieces_of(struct hf_file *file, uint64_t off, uint64_t len)
{
    static struct iovec iov[4 * RUN_PAGES];
    struct hf_pin pin;
    int pieces = hf_pin(file, off, len, HF_PIN_READ, iov, 4 * RUN_PAGES, &pin);

    EXPECT(pieces > 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    return pieces;
}

static void close_all(struct hf_pool *pool, struct hf_file *file, const char *path)
{
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, path, &test_wait), 0);
}

/* ---- what comes of it ---- */

static int count_misplaced(void *arg, const struct hf_extent_info *info)
{
    uint64_t *misplaced = arg;

    *misplaced += info->off < RUNS(3) && (info->block - info->off / TEST_PAGE) % RUN_PAGES;
    return 0;
}

static void check_scattered(struct hf_pool *pool)
{
    uint64_t free_bytes, misplaced = 0;
    struct hf_file *file = scattered(pool, "/random", 1, 3 * RUN_PAGES + 100);
    struct hf_compact_result result;
    struct stat before, after;

    EXPECT(pieces_of(file, 0, RUNS(3)) > 1000);
    EXPECT_EQ(hf_fstat(file, &before), 0);
    free_bytes = test_free_bytes(pool);
    result = compacted(file, 0, 0, HF_COMPACT_LOOK, NULL);
    EXPECT_EQ(result.run_bytes, RUNS(3));
    EXPECT_EQ(result.huge_bytes, 0);
    result = compacted(file, 0, 0, 0, NULL);
    EXPECT_EQ(result.was_huge, 0);
    EXPECT_EQ(result.huge_bytes, RUNS(3));
    EXPECT_EQ(result.moved_bytes, RUNS(3));
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
    test_expect_pages(file, 1, 0, 3 * RUN_PAGES + 100);
    EXPECT_EQ(hf_fstat(file, &after), 0);
    EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
    EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    EXPECT_EQ(after.st_blocks, before.st_blocks);
    EXPECT_EQ(hf_extents(pool, after.st_ino, count_misplaced, &misplaced), 0);
    EXPECT_EQ(misplaced, 0);
    EXPECT(pieces_of(file, 0, RUNS(3)) <= 3);
    result = compacted(file, 0, 0, 0, NULL);
    EXPECT_EQ(result.was_huge, RUNS(3));
    EXPECT_EQ(result.moved_bytes, 0);
    close_all(pool, file, "/random");
}

/* A run with a hole, and the last part of a run, cannot lie under a huge entry. */
static void check_what_counts(struct hf_pool *pool)
{
    struct hf_file *file = scattered(pool, "/parts", 2, 3 * RUN_PAGES - 1);
    struct hf_compact_result result;

    EXPECT_EQ(
        hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, RUNS(1) + 7 * TEST_PAGE, TEST_PAGE, &test_wait),
        0);
    result = compacted(file, 0, 0, 0, NULL);
    EXPECT_EQ(result.run_bytes, RUNS(1));
    EXPECT_EQ(result.huge_bytes, RUNS(1));
    EXPECT_EQ(hf_fallocate(file, 0, RUNS(1), RUNS(1), NULL), 0);
    EXPECT_EQ(hf_write(file, "x", 1, RUNS(3) - 1), 1);
    result = compacted(file, 1, 0, 0, NULL); /* the first run is not wholly inside */
    EXPECT_EQ(result.run_bytes, RUNS(2));
    result = compacted(file, 0, RUNS(2) - 1, HF_COMPACT_LOOK, NULL);
    EXPECT_EQ(result.run_bytes, RUNS(1));
    EXPECT_EQ(result.huge_bytes, RUNS(1));
    test_expect_pages(file, 2, 0, RUN_PAGES);
    test_expect_zeros(file, RUNS(1) + 7 * TEST_PAGE, TEST_PAGE);
    test_expect_pages(file, 2, 2 * RUN_PAGES, RUN_PAGES - 1);
    close_all(pool, file, "/parts");
}

/* Holes are not looked at run by run: this one would take four million looks. */
static void check_sparse(struct hf_pool *pool)
{
    struct hf_file *file = test_file(pool, "/sparse");
    struct hf_compact_result result;

    EXPECT_EQ(hf_truncate(file, UINT64_C(1) << 43, NULL), 0);
    EXPECT_EQ(hf_fallocate(file, 0, 0, RUNS(1), NULL), 0);
    EXPECT_EQ(hf_fallocate(file, 0, RUNS(4) + 7 * TEST_PAGE, RUNS(2), NULL), 0);
    EXPECT_EQ(hf_fallocate(file, 0, RUNS(4000000), RUNS(1), NULL), 0);
    result = compacted(file, 0, 0, 0, NULL);
    EXPECT_EQ(result.run_bytes, RUNS(3));
    EXPECT_EQ(result.huge_bytes, RUNS(3));
    result = compacted(file, RUNS(2), 0, HF_COMPACT_LOOK, NULL);
    EXPECT_EQ(result.run_bytes, RUNS(2));
    close_all(pool, file, "/sparse");
}

/* Blocks that lie right, with an entry for each page: no byte is copied. The table of a file of so
 * many pages is one node, or more. */
static void check_small_entries(struct hf_pool *pool, uint64_t pages)
{
    struct hf_file *file = test_file(pool, "/small");
    struct hf_compact_result result;
    uint64_t off = (pages - RUN_PAGES) * TEST_PAGE;
    char page[TEST_PAGE];

    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_KEEP_SIZE, 0, pages * TEST_PAGE, NULL), 0);
    for (uint64_t at = pages - RUN_PAGES; at < pages; at++) { /* the file ends after each page */
        test_page_fill(page, 3, at);
        EXPECT_EQ(hf_write(file, page, sizeof(page), at * TEST_PAGE), sizeof(page));
        EXPECT_EQ(pieces_of(file, at * TEST_PAGE, TEST_PAGE), 1);
    }
    result = compacted(file, off, 0, HF_COMPACT_LOOK, NULL);
    EXPECT_EQ(result.run_bytes, RUNS(1));
    EXPECT_EQ(result.huge_bytes, 0);
    result = compacted(file, off, 0, 0, NULL);
    EXPECT_EQ(result.huge_bytes, RUNS(1));
    EXPECT_EQ(result.moved_bytes, 0);
    result = compacted(file, off, 0, HF_COMPACT_LOOK, NULL);
    EXPECT_EQ(result.huge_bytes, RUNS(1));
    test_expect_pages(file, 3, pages - RUN_PAGES, RUN_PAGES);
    close_all(pool, file, "/small");
}

/* ---- what is left alone ---- */

static void check_pinned(struct hf_pool *pool)
{
    struct hf_file *file = scattered(pool, "/pinned", 4, 2 * RUN_PAGES);
    const struct hf_policy soon = test_deadline_ms(20);
    struct hf_compact_result result;
    struct iovec iov, again;
    struct hf_pin pin = test_pin(file, RUNS(1) + 5 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1),
                  other;

    result = compacted(file, 0, 0, 0, NULL);
    EXPECT_EQ(result.huge_bytes, RUNS(1));
    EXPECT_EQ(result.held_bytes, RUNS(1));
    result = compacted(file, 0, 0, 0, &test_nowait);
    EXPECT_EQ(result.held_bytes, RUNS(1));
    result = compacted(file, 0, 0, 0, &soon);
    EXPECT_EQ(result.held_bytes, RUNS(1));
    result = compacted(file, 0, 0, 0, &test_wait); /* its own pin */
    EXPECT_EQ(result.held_bytes, RUNS(1));
    EXPECT(test_page_is(iov.iov_base, 4, RUN_PAGES + 5));
    other = test_pin(file, RUNS(1) + 5 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &again, 1);
    EXPECT(again.iov_base == iov.iov_base);
    EXPECT_EQ(hf_unpin(&other), 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    result = compacted(file, 0, 0, 0, NULL);
    EXPECT_EQ(result.huge_bytes, RUNS(2));
    test_expect_pages(file, 4, 0, 2 * RUN_PAGES);
    close_all(pool, file, "/pinned");
}

struct waiter {
    struct hf_file *file;
    struct hf_compact_result result;
};

static void *wait_and_compact(void *arg)
{
    struct waiter *waiter = arg;

    waiter->result = compacted(waiter->file, 0, 0, 0, &test_wait);
    return NULL;
}

/* The table is of one node, or of more: a change of the whole file takes it out while it waits. */
static void check_waits(struct hf_pool *pool, uint64_t runs)
{
    struct waiter waiter = {.file = scattered(pool, "/waits", 5, runs * RUN_PAGES)};
    struct iovec iov;
    struct hf_pin pin = test_pin(waiter.file, 9 * TEST_PAGE, 100, HF_PIN_WRITE, &iov, 1);
    pthread_t thread;

    EXPECT_EQ(pthread_create(&thread, NULL, wait_and_compact, &waiter), 0);
    test_await_waiting(pool, 1);
    EXPECT_EQ(hf_unpin(&pin), 0);
    pthread_join(thread, NULL);
    EXPECT_EQ(waiter.result.huge_bytes, RUNS(runs));
    test_expect_pages(waiter.file, 5, 0, runs * RUN_PAGES);
    EXPECT(pieces_of(waiter.file, 0, RUNS(runs)) <= (int)runs);
    close_all(pool, waiter.file, "/waits");
}

static void check_leased(struct hf_pool *pool)
{
    const struct hf_lease_options options = {.size = sizeof(options), .flags = HF_PIN_WRITE};
    struct waiter waiter = {.file = scattered(pool, "/leased", 6, RUN_PAGES)};
    struct hf_compact_result result;
    struct iovec iov[RUN_PAGES];
    struct hf_lease lease = test_lease(waiter.file, 0, TEST_PAGE, &options, iov, RUN_PAGES);
    pthread_t thread;

    result = compacted(waiter.file, 0, 0, 0, NULL);
    EXPECT_EQ(result.held_bytes, RUNS(1));
    EXPECT_EQ(hf_lease_state(&lease), HF_LEASE_HELD); /* nobody has recalled it */
    EXPECT_EQ(pthread_create(&thread, NULL, wait_and_compact, &waiter), 0);
    test_await_waiting(pool, 1);
    EXPECT_EQ(hf_lease_state(&lease), HF_LEASE_RECALLED);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    pthread_join(thread, NULL);
    EXPECT_EQ(waiter.result.huge_bytes, RUNS(1));
    test_expect_pages(waiter.file, 6, 0, RUN_PAGES);
    close_all(pool, waiter.file, "/leased");
}

static void check_shared(struct hf_pool *pool)
{
    struct hf_file *file = scattered(pool, "/shared", 7, 2 * RUN_PAGES);
    struct hf_file *copy = test_file(pool, "/copy");
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_compact_result result;
    uint64_t saved;

    EXPECT_EQ(hf_clone_range(file, TEST_PAGE, copy, TEST_PAGE, TEST_PAGE, &test_wait), 0);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    saved = info.saved_bytes;
    result = compacted(file, 0, 0, 0, NULL);
    EXPECT_EQ(result.shared_bytes, RUNS(1));
    EXPECT_EQ(result.huge_bytes, RUNS(1));
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.saved_bytes, saved);
    test_expect_pages(copy, 7, 1, 1);
    test_expect_pages(file, 7, 0, 2 * RUN_PAGES);
    close_all(pool, copy, "/copy");
    close_all(pool, file, "/shared");
}

static void check_full(struct hf_pool *pool)
{
    struct hf_file *file = scattered(pool, "/tight", 8, RUN_PAGES),
                   *rest = test_file(pool, "/rest");
    struct hf_compact_result result;

    EXPECT_EQ(hf_fallocate(rest, 0, 0, test_free_bytes(pool), NULL), 0);
    result = compacted(file, 0, 0, 0, NULL);
    EXPECT_EQ(result.no_space_bytes, RUNS(1));
    test_expect_pages(file, 8, 0, RUN_PAGES);
    EXPECT_EQ(test_free_bytes(pool), 0);
    close_all(pool, rest, "/rest");
    result = compacted(file, 0, 0, 0, NULL);
    EXPECT_EQ(result.huge_bytes, RUNS(1));
    close_all(pool, file, "/tight");
}

/* All of the pool is in two files that lie between each other. The second one gets a hole at each
 * `step`th page. So no 2 MiB are free in one piece, but many blocks are. */
static void fill_between(struct hf_pool *pool, struct hf_file *first, struct hf_file *second,
                         uint64_t step)
{
    uint64_t pages = test_free_bytes(pool) / TEST_PAGE, ours = 6 * RUN_PAGES, at;

    for (uint64_t i = 0; i < pages; i++) {
        at = i * 7919 % pages;
        test_write_pages(at < ours ? first : second, 10, at < ours ? at : at - ours, 1);
    }
    EXPECT_EQ(test_free_bytes(pool), 0);
    for (at = 0; at < pages - ours; at += step)
        EXPECT_EQ(hf_fallocate(second, HF_FALLOC_PUNCH_HOLE, at * TEST_PAGE, TEST_PAGE, &test_wait),
                  0);
}

/* What is held or shared stays where it is; the rest makes room. */
static void check_gathered(struct hf_pool *pool)
{
    struct hf_file *first = test_file(pool, "/first"), *second = test_file(pool, "/second"),
                   *copy = test_file(pool, "/copy");
    struct hf_pool_info before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
    struct hf_compact_result result;
    struct iovec iov;
    struct hf_pin pin;

    fill_between(pool, first, second, 6);
    pin = test_pin(second, TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ(hf_clone_range(second, 2 * TEST_PAGE, copy, 0, TEST_PAGE, &test_wait), 0);
    EXPECT_EQ(hf_pool_info(pool, &before), 0);
    result = compacted(first, 0, 0, 0, NULL);
    EXPECT_EQ(result.huge_bytes, RUNS(6));
    EXPECT(result.moved_bytes > RUNS(6)); /* other pages too */
    EXPECT_EQ(hf_pool_info(pool, &after), 0);
    EXPECT_EQ(after.free_bytes, before.free_bytes);
    EXPECT_EQ(after.shared_bytes, TEST_PAGE);
    EXPECT(test_page_is(iov.iov_base, 10, 1));
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_expect_pages(first, 10, 0, 6 * RUN_PAGES);
    for (uint64_t page = 0; page < test_size(second) / TEST_PAGE; page++)
        if (page % 6)
            test_expect_pages(second, 10, page, 1);
    EXPECT_EQ(hf_close(copy), 0);
    EXPECT_EQ(hf_unlink(pool, "/copy", &test_wait), 0);
    close_all(pool, first, "/first");
    close_all(pool, second, "/second");
}

static void check_refused(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/refused", 9, 1);
    struct hf_compact_result result = {.size = sizeof(result), .run_bytes = 77};
    struct hf_file *reader;

    EXPECT_EQ(hf_compact(file, TEST_PAGE + 1, 0, 0, NULL, &result), -EINVAL);
    EXPECT_EQ(hf_compact(file, 0, 0, 2, NULL, &result), -EINVAL);
    EXPECT_EQ(hf_compact(file, 0, 0, 0, &test_detach, &result), -EINVAL);
    EXPECT_EQ(hf_compact(file, 0, 0, 0, NULL, NULL), -EINVAL);
    result.size--;
    EXPECT_EQ(hf_compact(file, 0, 0, 0, NULL, &result), -EINVAL);
    result.size++;
    EXPECT_EQ(hf_open(pool, "/refused", 0, 0, &reader), 0);
    EXPECT_EQ(hf_compact(reader, 0, 0, 0, NULL, &result), -EBADF);
    EXPECT_EQ(result.run_bytes, 77);
    EXPECT_EQ(hf_compact(reader, 0, 0, HF_COMPACT_LOOK, NULL, &result), 0);
    EXPECT_EQ(result.run_bytes, 0);
    EXPECT_EQ(hf_close(reader), 0);
    close_all(pool, file, "/refused");
}

static void check_counting_engine(void)
{
    struct hf_pool *pool = test_engine_pool(test_engine("refcount"), NULL, TEST_MIB(8));
    struct hf_compact_result result = {.size = sizeof(result)};
    struct hf_file *file = test_file(pool, "/a");

    EXPECT_EQ(hf_compact(file, 0, 0, 0, NULL, &result), -EOPNOTSUPP);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

static void compact(void)
{
    struct hf_pool *pool = test_pool_new("pool", POOL_BYTES);
    uint64_t free_bytes = test_free_bytes(pool);

    check_scattered(pool);
    check_what_counts(pool);
    check_sparse(pool);
    check_small_entries(pool, RUN_PAGES);
    check_small_entries(pool, 3 * RUN_PAGES);
    check_pinned(pool);
    check_waits(pool, 1);
    check_waits(pool, 2);
    check_leased(pool);
    check_shared(pool);
    check_full(pool);
    check_gathered(pool);
    check_refused(pool);
    check_counting_engine();
    EXPECT_EQ(test_free_bytes(pool), free_bytes);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(compact)
