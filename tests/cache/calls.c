/* SPDX-License-Identifier: MIT */
/* The calls of libholdfast-cache in one process: results, errors, policies, quotas, packed
 * objects, and that nothing is left behind. */
#include "objects.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <string.h>
#include <unistd.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define ORDERED 5000u

static struct hf_pool *pool;

static void fresh(void)
{
    pool = test_pool_new("calls", TEST_MIB(64));
}

/* Nothing is held by then, and all pages are accounted for. */
static void done(struct hfc *cache)
{
    struct hfc_stats stats = object_stats(cache);

    EXPECT_EQ(object_check_all(cache, true), stats.objects);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
    test_pool_check("calls");
    test_remove_tree(test_path("calls"));
}

static void check_basics(void)
{
    struct hfc *cache;
    struct object_key keys[3];
    uint8_t there[3];
    struct hfc_key all[3];

    fresh();
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), -ENOENT);
    EXPECT(strstr(hfc_detail(), "there is no cache in /cache"));
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 1000);
    for (uint64_t len = 8; len < KIB(300); len = len * 2 + 1)
        object_put(cache, len, 0, 5, len);
    for (uint64_t len = 8; len < KIB(300); len = len * 2 + 1)
        EXPECT_EQ(object_get(cache, len, 0, len), 5);
    EXPECT_EQ(object_get(cache, 8, 1, 0), -ENOENT); /* another namespace */
    object_put(cache, 8, 1, 6, 100);
    EXPECT_EQ(object_get(cache, 8, 0, 8), 5);
    EXPECT_EQ(object_get(cache, 8, 1, 100), 6);
    object_put(cache, 8, 0, 7, KIB(10)); /* small becomes large, and back */
    EXPECT_EQ(object_get(cache, 8, 0, KIB(10)), 7);
    object_put(cache, 8, 0, 8, 20);
    EXPECT_EQ(object_get(cache, 8, 0, 20), 8);
    for (unsigned i = 0; i < 3; i++) {
        object_key(&keys[i], i == 1 ? 999999 : 8, i == 2);
        all[i] = keys[i].key;
    }
    EXPECT_EQ(hfc_exists(cache, all, 3, there), 2);
    EXPECT(there[0] && !there[1] && there[2]);
    EXPECT_EQ(hfc_remove(cache, &all[2]), 0);
    EXPECT_EQ(hfc_remove(cache, &all[2]), -ENOENT);
    EXPECT_EQ(hfc_touch(cache, &all[0]), 0);
    EXPECT_EQ(hfc_touch(cache, &all[2]), -ENOENT);
    done(cache);
}

/* Counts of a cache that is only looked at. */
static void check_peek(void)
{
    struct hfc_stats stats = {.size = sizeof(stats)}, own;
    struct hfc_tier_stats tier = {.size = sizeof(tier)};
    struct hfc *cache;

    fresh();
    EXPECT_EQ(hfc_peek(pool, "/cache", &stats, &tier), -ENOENT);
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 1000);
    for (uint64_t i = 0; i < 100; i++)
        object_put(cache, i, 0, 1, KIB(64));
    for (uint64_t i = 0; i < 100; i++)
        object_get(cache, i, 0, 0);
    EXPECT_EQ(hfc_peek(pool, "/cache", &stats, &tier), 1);
    own = object_stats(cache);
    own.next_age_seconds = 0;
    stats.evicted_age_seconds = own.evicted_age_seconds;
    EXPECT(memcmp(&own, &stats, sizeof stats) == 0);
    EXPECT(stats.evictions > 0 && stats.hits > 0 && stats.misses > 0 && !tier.capacity_bytes);
    EXPECT_EQ(hfc_peek(NULL, "/cache", &stats, &tier), -EINVAL);
    EXPECT_EQ(hfc_peek(pool, "/cache", &stats, NULL), -EINVAL);
    stats.size = 1;
    EXPECT_EQ(hfc_peek(pool, "/cache", &stats, &tier), -EINVAL);
    stats.size = sizeof stats;
    EXPECT_EQ(hfc_close(cache), 0);
    EXPECT_EQ(hfc_peek(pool, "/cache", &stats, &tier), 0); /* nobody has it open */
    EXPECT(stats.capacity_bytes == TEST_MIB(4) && !stats.hits && !stats.objects);
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    done(cache);
}

/* Of many keys at once: all, or those before the first that is not there. */
static void check_many(void)
{
    struct object_key keys[40];
    struct hfc_key all[40];
    struct iovec iov[100];
    struct hfc_got got[40];
    struct hfc *cache;

    fresh();
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 1000);
    for (uint64_t i = 0; i < 40; i++) {
        object_key(&keys[i], i, 0);
        all[i] = keys[i].key;
        if (i != 20)
            object_put(cache, i, 0, i + 1, 8 + i * 500);
    }
    EXPECT_EQ(hfc_get_many(cache, all, 40, 0, iov, 100, got), 39);
    for (uint64_t i = 0; i < 40; i++) {
        EXPECT_EQ(got[i].pieces, i == 20 ? -ENOENT : 1);
        if (got[i].pieces < 0)
            continue;
        EXPECT_EQ(object_check(iov + got[i].first, 1, i, 8 + i * 500), i + 1);
        EXPECT_EQ(hfc_release(&got[i].ref), 0);
    }
    EXPECT_EQ(hfc_get_many(cache, all, 40, HFC_PREFIX, iov, 100, got), 20);
    for (uint64_t i = 0; i < 40; i++) {
        EXPECT_EQ(got[i].pieces, i < 20 ? 1 : -ENOENT);
        if (i < 20)
            EXPECT_EQ(hfc_release(&got[i].ref), 0);
    }
    EXPECT_EQ(hfc_get_many(cache, all, 40, 0, iov, 2, got), 2);
    EXPECT_EQ(got[2].pieces, -E2BIG);
    EXPECT_EQ(hfc_release(&got[0].ref) | hfc_release(&got[1].ref), 0);
    EXPECT_EQ(hfc_get_many(cache, all, 0, 0, NULL, 0, NULL), 0);
    EXPECT_EQ(hfc_get_many(cache, all, 40, 2, iov, 100, got), -EINVAL);
    all[7].len = 0;
    EXPECT_EQ(hfc_get_many(cache, all, 40, 0, iov, 100, got), -EINVAL);
    done(cache);
}

static void check_errors(void)
{
    struct hfc_options options = {.size = sizeof(options), .capacity_bytes = TEST_MIB(4)};
    struct hfc_key key = {"key", 3, 0};
    struct hfc *cache, *wrong;
    struct hfc_put *put;
    struct hfc_ref ref;
    struct iovec iov;

    fresh();
    options.capacity_bytes = 4096;
    EXPECT_EQ(hfc_open(pool, "/cache", &options, &wrong), -EINVAL);
    options.capacity_bytes = TEST_MIB(4);
    options.policy = 3;
    EXPECT_EQ(hfc_open(pool, "/cache", &options, &wrong), -EINVAL);
    options.policy = 0;
    options.low_bytes = TEST_MIB(5);
    EXPECT_EQ(hfc_open(pool, "/cache", &options, &wrong), -EINVAL);
    options.low_bytes = 0;
    options.reserved[1] = 1;
    EXPECT_EQ(hfc_open(pool, "/cache", &options, &wrong), -EINVAL);
    EXPECT(strstr(hfc_detail(), "reserved"));
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 100);
    EXPECT_EQ(hfc_get(cache, &key, &iov, 1, &ref), -ENOENT);
    EXPECT_EQ(hfc_get(cache, &key, &iov, 0, &ref), -EINVAL);
    key.len = 0;
    EXPECT_EQ(hfc_get(cache, &key, &iov, 1, &ref), -EINVAL);
    key.len = HFC_KEY_MAX + 1;
    EXPECT_EQ(hfc_put(cache, &key, "x", 1), -EINVAL);
    key.len = 3;
    EXPECT_EQ(hfc_put(cache, &key, NULL, 1), -EINVAL);
    key.space = HFC_SPACES;
    EXPECT_EQ(hfc_remove(cache, &key), -EINVAL);
    EXPECT_EQ(hfc_quota(cache, HFC_SPACES, 0), -EINVAL);
    key.space = 0;
    EXPECT_EQ(hfc_put(cache, &key, "x", 0), -EINVAL);
    EXPECT_EQ(hfc_put_begin(cache, &key, 0, 0, &iov, 1, &put), -EINVAL);
    EXPECT_EQ(hfc_put_begin(cache, &key, 10, HF_PIN_NOWAIT, &iov, 1, &put), -EINVAL);
    EXPECT_EQ(hfc_put_begin(cache, &key, TEST_MIB(5), 0, &iov, 1, &put), -EFBIG);
    EXPECT_EQ(hfc_put_begin(cache, &key, 10, 0, &iov, 1, &put), 1);
    EXPECT_EQ(hfc_close(cache), -EBUSY);
    EXPECT_EQ(hfc_put_commit(put, 11), -EINVAL);
    EXPECT_EQ(hfc_get(cache, &key, &iov, 1, &ref), -ENOENT);
    EXPECT_EQ(object_stats(cache).used_bytes, 0);
    done(cache);
}

static void check_in_place(void)
{
    struct hfc *cache;
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_put *put;
    int pieces;

    fresh();
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 100);
    object_key(&key, 3, 0);
    pieces = hfc_put_begin(cache, &key.key, KIB(256), HF_PIN_CPU, iov, OBJECT_PIECES, &put);
    EXPECT_OK(pieces);
    EXPECT_EQ(object_stats(cache).held_bytes, KIB(256));
    EXPECT_EQ(object_get(cache, 3, 0, 0), -ENOENT);
    object_fill(iov, pieces, 3, 9);
    EXPECT_EQ(hfc_put_commit(put, KIB(100) + 1), 0); /* the device has delivered less */
    EXPECT_EQ(object_get(cache, 3, 0, KIB(100) + 1), 9);
    EXPECT_EQ(object_stats(cache).used_bytes, KIB(104));
    pieces = hfc_put_begin(cache, &key.key, KIB(256), HF_PIN_CPU, iov, OBJECT_PIECES, &put);
    EXPECT_OK(pieces);
    hfc_put_abort(put);
    EXPECT_EQ(object_get(cache, 3, 0, KIB(100) + 1), 9);
    EXPECT_EQ(object_stats(cache).used_bytes, KIB(104));
    EXPECT_EQ(object_stats(cache).held_bytes, 0);
    done(cache);
}

/* As much as is asked for, and all; what a reader holds stays with it. */
static void check_evict(void)
{
    struct hfc *cache;
    struct iovec iov;
    struct hfc_ref ref;
    struct object_key key;
    uint64_t gone = 1;

    fresh();
    cache = object_cache(pool, TEST_MIB(4), HFC_FIFO, 1000);
    EXPECT_EQ(hfc_evict(cache, 1, &gone), 0);
    EXPECT_EQ(gone, 0);
    for (uint64_t i = 0; i < 200; i++)
        object_put(cache, i, 0, i, i < 100 ? KIB(16) : 100);
    EXPECT_EQ(hfc_evict(cache, 0, &gone), 0);
    EXPECT_EQ(gone, 0);
    EXPECT_EQ(hfc_evict(cache, KIB(16) + 1, &gone), 0);
    EXPECT_EQ(gone, KIB(32));
    EXPECT_EQ(object_get(cache, 1, 0, 0), -ENOENT);
    EXPECT_EQ(object_get(cache, 2, 0, KIB(16)), 2);
    EXPECT_EQ(object_stats(cache).evictions, 2);
    object_key(&key, 50, 0);
    EXPECT_EQ(hfc_get(cache, &key.key, &iov, 1, &ref), 1);
    EXPECT_EQ(hfc_evict(cache, UINT64_MAX, NULL), 0);
    EXPECT_EQ(object_stats(cache).objects, 0);
    EXPECT_EQ(object_stats(cache).used_bytes, KIB(16));
    EXPECT_EQ(object_stats(cache).packed_pages, 0);
    EXPECT_EQ(object_check(&iov, 1, 50, KIB(16)), 50);
    EXPECT_EQ(hfc_release(&ref), 0);
    EXPECT_EQ(hfc_evict(NULL, 1, &gone), -EINVAL);
    EXPECT_EQ(gone, 0);
    done(cache);
}

/* More objects than fit, of all sizes: the memory stays within the capacity, what is there is
 * whole, and what was used stays longest. */
static void check_eviction(uint32_t policy)
{
    struct test_rng rng = {test_seed() + policy};
    struct hfc_stats stats;
    struct hfc *cache;
    struct stat st;

    fresh();
    cache = object_cache(pool, TEST_MIB(4), policy, 512);
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t len = 8 + test_below(&rng, test_chance(&rng, 50) ? 3000 : KIB(200));

        object_put(cache, i, (uint32_t)i % 3, i, len);
        EXPECT_EQ(object_get(cache, i, (uint32_t)i % 3, len), i);
        if (i % 500 == 0)
            object_check_all(cache, true);
    }
    stats = object_stats(cache);
    EXPECT(stats.used_bytes <= TEST_MIB(4));
    EXPECT_EQ(stats.evictions + stats.objects, 3000);
    EXPECT_EQ(stats.held_bytes, 0);
    EXPECT_EQ(hf_stat(pool, "/cache/data", 0, &st), 0);
    EXPECT(st.st_blocks * 512 <= (blkcnt_t)TEST_MIB(4));
    done(cache);
}

/* Object 0 is used all the time. Pages of 64 KiB, so that 64 fit. */
static void check_policy(uint32_t policy, bool stays)
{
    struct hfc *cache;
    bool there = true;

    fresh();
    cache = object_cache(pool, TEST_MIB(4), policy, 512);
    object_put(cache, 0, 0, 1, KIB(64));
    for (uint64_t i = 1; i < 400; i++) {
        if (there)
            there = object_get(cache, 0, 0, KIB(64)) == 1;
        object_put(cache, i, 0, 1, KIB(64));
    }
    EXPECT_EQ(there, stays);
    if (policy == HFC_S3FIFO) { /* a ghost comes back to the main queue */
        uint64_t ghosts = object_stats(cache).ghost_hits;

        object_put(cache, 390 - 64, 0, 1, KIB(64));
        EXPECT_EQ(object_stats(cache).ghost_hits, ghosts + 1);
    }
    done(cache);
}

/* Keys that were used often fill the main queue. Then each key is asked for twice, 40 others
 * apart, where 64 fit. A small queue of a half loses each before its second time. The ghosts tell
 * that, and it grows. */
static void check_small_queue(void)
{
    struct hfc *cache;

    fresh();
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 512);
    for (uint64_t i = 2000; i < 2060; i++) {
        object_put(cache, i, 0, 1, KIB(64));
        for (unsigned use = 0; use < 3; use++)
            EXPECT_EQ(object_get(cache, i, 0, KIB(64)), 1);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        object_put(cache, i, 0, 1, KIB(64));
        if (i >= 40 && object_get(cache, i - 40, 0, KIB(64)) != 1) {
            EXPECT(i < 500);
            object_put(cache, i - 40, 0, 1, KIB(64));
        }
    }
    EXPECT(object_stats(cache).ghost_hits > 0);
    done(cache);
}

static void check_quota(void)
{
    struct hfc *cache;

    fresh();
    cache = object_cache(pool, TEST_MIB(8), HFC_S3FIFO, 1000);
    EXPECT_EQ(hfc_quota(cache, 2, KIB(256)), 0);
    for (uint64_t i = 0; i < 50; i++)
        object_put(cache, i, 1, 1, KIB(64));
    for (uint64_t i = 0; i < 50; i++)
        object_put(cache, i, 2, 1, KIB(64));
    for (uint64_t i = 0; i < 50; i++) {
        EXPECT_EQ(object_get(cache, i, 1, KIB(64)), 1);
        EXPECT_EQ(object_get(cache, i, 2, 0), i < 46 ? -ENOENT : 1);
    }
    EXPECT_EQ(object_try_put(cache, 1, 2, 1, KIB(260)), -EFBIG);
    done(cache);
}

static void check_watermarks(void)
{
    const struct hfc_options options = {.size = sizeof(options),
                                        .capacity_bytes = TEST_MIB(4),
                                        .objects = 512,
                                        .policy = HFC_FIFO,
                                        .high_bytes = TEST_MIB(3),
                                        .low_bytes = TEST_MIB(2)};
    struct hfc *cache;

    fresh();
    EXPECT_EQ(hfc_open(pool, "/cache", &options, &cache), 0);
    for (uint64_t i = 0; i < 48; i++)
        object_put(cache, i, 0, 1, KIB(64));
    EXPECT_EQ(object_stats(cache).used_bytes, TEST_MIB(3));
    object_put(cache, 48, 0, 1, KIB(64));
    EXPECT_EQ(object_stats(cache).used_bytes, TEST_MIB(2));
    EXPECT_EQ(object_get(cache, 16, 0, 0), -ENOENT);
    EXPECT_EQ(object_get(cache, 17, 0, 0), 1);
    done(cache);
}

static void check_age(void)
{
    const struct hfc_options options = {
        .size = sizeof(options), .capacity_bytes = TEST_MIB(4), .ttl_seconds = 1};
    struct object_key key;
    struct hfc *cache;
    struct hfc_ref ref;
    struct iovec iov;

    fresh();
    EXPECT_EQ(hfc_open(pool, "/cache", &options, &cache), 0);
    object_key(&key, 1, 0);
    while (object_try_put(cache, 1, 0, 4, 4096) || hfc_get(cache, &key.key, &iov, 1, &ref) != 1)
        ; /* the second may have ended in between */
    while (object_get(cache, 1, 0, 0) != -ENOENT)
        test_sleep_ms(10);
    EXPECT_EQ(object_check(&iov, 1, 1, 4096), 4); /* age takes nothing from a holder */
    EXPECT_EQ(hfc_release(&ref), 0);
    EXPECT(object_stats(cache).expired >= 1);
    EXPECT(object_stats(cache).next_age_seconds >= 1);
    EXPECT_EQ(hfc_remove(cache, &key.key), 0);
    done(cache);
}

/* Small objects share pages; pages whose objects are dead come back, and the living of others are
 * copied together. */
static void check_packed(void)
{
    struct hfc_stats stats;
    struct object_key key;
    struct hfc *cache;

    fresh();
    cache = object_cache(pool, TEST_MIB(16), HFC_S3FIFO, 80000);
    for (uint64_t i = 0; i < 20000; i++)
        object_put(cache, i, 0, 1, 100);
    stats = object_stats(cache);
    EXPECT_EQ(stats.objects, 20000);
    EXPECT(stats.packed_pages <= 20000 / 31 + 1);
    for (uint64_t i = 0; i < 20000; i++) {
        object_key(&key, i, 0);
        if (i % 4)
            EXPECT_EQ(hfc_remove(cache, &key.key), 0);
    }
    for (uint64_t i = 20000; i < 30000; i++)
        object_put(cache, i, 0, 1, 100);
    stats = object_stats(cache);
    EXPECT_EQ(stats.objects, 15000);
    EXPECT(stats.compacted >= 4000 && stats.packed_pages < 700);
    for (uint64_t i = 0; i < 30000; i++)
        EXPECT_EQ(object_get(cache, i, 0, 0), i % 4 && i < 20000 ? -ENOENT : 1);
    for (uint64_t i = 0; i < 30000; i++) {
        object_key(&key, i, 0);
        hfc_remove(cache, &key.key);
    }
    EXPECT(object_stats(cache).packed_pages <= 1);
    done(cache);
}

/* Closed and opened, by a process that was there before, and after all have gone. */
static void check_opening(void)
{
    struct hfc *cache, *second;

    fresh();
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 1000);
    for (uint64_t i = 0; i < 100; i++)
        object_put(cache, i, 0, i, 8 + i * 97);
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &second), 0);
    EXPECT_EQ(object_get(second, 50, 0, 0), 50);
    object_put(second, 50, 0, 1000, 77);
    EXPECT_EQ(object_get(cache, 50, 0, 77), 1000);
    EXPECT_EQ(object_stats(cache).mended, 0);
    EXPECT_EQ(hfc_close(second), 0);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
    test_pool_check("calls");
    pool = test_pool_open("calls");
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    EXPECT_EQ(object_stats(cache).objects, 100);
    for (uint64_t i = 0; i < 100; i++)
        EXPECT_EQ(object_get(cache, i, 0, 0), i == 50 ? 1000 : i);
    done(cache);
}

/* After all have gone, objects leave in the order in which they were put. There are more of them
 * than a digit has values by which cache/mend.c sorts their stamps. */
static void check_order(void)
{
    struct hfc *cache;

    fresh();
    cache = object_cache(pool, TEST_MIB(16), HFC_FIFO, 40000);
    for (uint64_t i = 0; i < ORDERED; i++)
        object_put(cache, i, 0, i, 100);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
    pool = test_pool_open("calls");
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
    for (uint64_t gone = 0; gone < ORDERED;) {
        EXPECT_EQ(hfc_evict(cache, KIB(200), NULL), 0);
        gone = ORDERED - object_stats(cache).objects;
        for (uint64_t i = 0; i < ORDERED; i++)
            EXPECT_EQ(object_get(cache, i, 0, 0), i < gone ? -ENOENT : (int64_t)i);
    }
    done(cache);
}

/* What is shared while a cache is open has another form in another version. */
static void check_other_version(void)
{
    enum { RUN_INO = 80 }; /* docs/FORMAT.md */
    struct hf_file *file;
    struct hfc *cache, *second;
    uint64_t ino, magic, other;

    fresh();
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 100);
    EXPECT_EQ(hf_open(pool, "/cache/index", O_RDONLY, 0, &file), 0);
    EXPECT_EQ(hf_read(file, &ino, sizeof ino, RUN_INO), (ssize_t)sizeof ino);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_openat(pool, ino, "", O_RDWR, 0, &file), 0);
    EXPECT_EQ(hf_read(file, &magic, sizeof magic, 0), (ssize_t)sizeof magic);
    other = magic + 1;
    EXPECT_EQ(hf_write(file, &other, sizeof other, 0), (ssize_t)sizeof other);
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &second), -EOPNOTSUPP);
    EXPECT(strstr(hfc_detail(), "another version"));
    EXPECT_EQ(hf_write(file, &magic, sizeof magic, 0), (ssize_t)sizeof magic);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hfc_open(pool, "/cache", NULL, &second), 0);
    EXPECT_EQ(hfc_close(second), 0);
    done(cache);
}

static void check_child(void *arg)
{
    struct hfc *cache = arg;
    struct hfc_key key = {"key", 3, 0};
    struct hfc_ref ref;
    struct iovec iov;

    EXPECT_EQ(hfc_get(cache, &key, &iov, 1, &ref), -ECHILD);
    EXPECT_EQ(hfc_put(cache, &key, "x", 1), -ECHILD);
    EXPECT_EQ(hfc_close(cache), -ECHILD);
}

/* An index that is damaged at random: opened or refused, and what is got is whole. */
static void check_damage(void)
{
    struct test_rng rng = {test_seed()};
    uint64_t dropped = 0;

    for (unsigned round = 0; round < 40; round++) {
        struct hf_file *file;
        struct hfc *cache;
        struct stat st;

        fresh();
        cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 200);
        for (uint64_t i = 0; i < 150; i++)
            object_put(cache, i, 0, i, 8 + i * 53);
        EXPECT_EQ(hfc_close(cache), 0);
        EXPECT_EQ(hf_open(pool, "/cache/index", O_RDWR, 0, &file), 0);
        EXPECT_EQ(hf_fstat(file, &st), 0);
        for (unsigned i = 0; i < 20; i++) {
            uint64_t word = test_random(&rng) >> test_below(&rng, 64);

            EXPECT_EQ(hf_write(file, &word, 8,
                               TEST_PAGE + test_below(&rng, (uint64_t)st.st_size - TEST_PAGE - 8)),
                      8);
        }
        EXPECT_EQ(hf_close(file), 0);
        EXPECT_EQ(hfc_open(pool, "/cache", NULL, &cache), 0);
        for (uint64_t i = 0; i < 150; i++) {
            struct object_key key;
            struct iovec iov[OBJECT_PIECES];
            struct hfc_ref ref;

            object_key(&key, i, 0);
            if (hfc_get(cache, &key.key, iov, OBJECT_PIECES, &ref) > 0) /* bytes may be anything */
                EXPECT_EQ(hfc_release(&ref), 0);
        }
        for (uint64_t i = 0; i < 600; i++)
            object_put(cache, 1000 + i, 0, i, 8 + i * 53);
        for (uint64_t i = 590; i < 600; i++)
            EXPECT_EQ(object_get(cache, 1000 + i, 0, 8 + i * 53), i);
        dropped += object_stats(cache).dropped;
        EXPECT_EQ(hfc_close(cache), 0);
        test_pool_close(pool);
        test_pool_check("calls");
        test_remove_tree(test_path("calls"));
    }
    EXPECT(dropped > 0);
}

/* More lines than 16 bits can number: all of them are used. */
static void check_large(void)
{
    struct hfc_options options = {
        .size = sizeof options, .capacity_bytes = TEST_MIB(40), .objects = 800000};
    struct hfc *cache;

    pool = test_pool_new("calls", TEST_MIB(192));
    EXPECT_EQ(hfc_open(pool, "/cache", &options, &cache), 0);
    for (uint64_t i = 0; i < 560000; i++)
        EXPECT_EQ(hfc_put(cache, &(struct hfc_key){&i, sizeof i, 0}, &i, sizeof i), 0);
    EXPECT(object_stats(cache).objects > 559000);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
    test_remove_tree(test_path("calls"));
}

static void calls(void)
{
    struct hfc *cache;

    check_basics();
    check_errors();
    check_many();
    check_peek();
    check_in_place();
    check_evict();
    check_eviction(HFC_S3FIFO);
    check_eviction(HFC_LRU);
    check_eviction(HFC_FIFO);
    check_policy(HFC_S3FIFO, true);
    check_policy(HFC_LRU, true);
    check_policy(HFC_FIFO, false);
    check_small_queue();
    check_quota();
    check_watermarks();
    check_age();
    check_packed();
    check_opening();
    check_order();
    check_other_version();
    check_damage();
    check_large();
    fresh();
    cache = object_cache(pool, TEST_MIB(4), HFC_S3FIFO, 100);
    test_join(test_fork(check_child, cache));
    done(cache);
}

TEST_SCENARIO(calls)
