/* SPDX-License-Identifier: MIT */
/* Where objects lie in memory. They lie in one piece in a cache that has room. So they do in a full
 * one, with objects of one size or with a high watermark. A cache that was emptied has no memory,
 * and in a pool with little room it takes none in advance. */
#include "objects.h"

#include <errno.h>
#include <fcntl.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define CAPACITY TEST_MIB(16)

static struct hf_pool *pool;
static struct hfc *cache;

static void fresh(uint64_t pool_bytes, uint64_t high)
{
    const struct hfc_options options = {.size = sizeof(options),
                                        .capacity_bytes = CAPACITY,
                                        .objects = 4000,
                                        .policy = HFC_FIFO,
                                        .high_bytes = high};

    pool = test_pool_new("places", pool_bytes);
    EXPECT_EQ(hfc_open(pool, "/cache", &options, &cache), 0);
}

static void done(void)
{
    EXPECT_EQ(object_check_all(cache, true), object_stats(cache).objects);
    EXPECT_EQ(object_stats(cache).held_bytes, 0);
    EXPECT_EQ(hfc_close(cache), 0);
    test_pool_close(pool);
    test_pool_check("places");
    test_remove_tree(test_path("places"));
}

/* The memory of the objects' file. */
static uint64_t memory(void)
{
    struct stat st;

    EXPECT_EQ(hf_stat(pool, "/cache/data", 0, &st), 0);
    EXPECT((uint64_t)st.st_blocks * 512 <= CAPACITY);
    return (uint64_t)st.st_blocks * 512;
}

static uint64_t pool_free(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.free_bytes;
}

static int pieces_of(uint64_t number, struct hfc_ref *ref)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    int pieces;

    object_key(&key, number, 0);
    pieces = hfc_get(cache, &key.key, iov, OBJECT_PIECES, ref);
    EXPECT_OK(pieces);
    return pieces;
}

/* Puts objects; returns how many of a hundred lie in one piece. */
static unsigned in_one_piece(unsigned count, uint64_t least, uint64_t most)
{
    struct test_rng rng = {test_seed()};
    unsigned whole = 0;

    for (uint64_t i = 0; i < count; i++) {
        struct hfc_ref ref;

        object_put(cache, i, 0, i, least + test_below(&rng, most - least + 1));
        whole += pieces_of(i, &ref) == 1;
        EXPECT_EQ(hfc_release(&ref), 0);
    }
    return whole * 100 / count;
}

/* Room for an object of that length lies in one piece. */
static void expect_whole(uint64_t len)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_put *put;

    object_key(&key, 1, 0);
    EXPECT_EQ(hfc_put_begin(cache, &key.key, len, HF_PIN_CPU, iov, OBJECT_PIECES, &put), 1);
    hfc_put_abort(put);
}

/* Room that objects of other sizes have left, and that nobody had, are neighbours in memory too. */
static void check_room(void)
{
    fresh(TEST_MIB(64), 0);
    for (uint64_t i = 0; i < 3; i++)
        object_put(cache, i, 0, 1, i == 0 ? 100000 : TEST_MIB(i));
    EXPECT(memory() <= TEST_MIB(6));
    expect_whole(TEST_MIB(2) + 4096);
    EXPECT_EQ(hfc_evict(cache, TEST_MIB(100), NULL), 0);
    EXPECT_EQ(in_one_piece(60, 8, KIB(300)), 100);
    EXPECT(memory() < CAPACITY);
    EXPECT_EQ(hfc_evict(cache, TEST_MIB(100), NULL), 0);
    expect_whole(TEST_MIB(8));
    expect_whole(CAPACITY);
    EXPECT_EQ(memory(), CAPACITY);
    done();
}

static void check_full(void)
{
    fresh(TEST_MIB(24), 0);
    EXPECT_EQ(in_one_piece(400, KIB(64), KIB(64)), 100);
    EXPECT_EQ(memory(), CAPACITY);
    done();
    fresh(TEST_MIB(24), CAPACITY / 4 * 3);
    EXPECT(in_one_piece(150, KIB(4), KIB(1000)) >= 90);
    EXPECT(memory() > CAPACITY / 4 * 3);
    done();
    fresh(TEST_MIB(24), 0); /* most lie in several pieces; all are whole */
    in_one_piece(150, 8, KIB(1000));
    done();
}

/* What no object has goes back to the pool when all is evicted, and only then. */
static void check_giving_back(void)
{
    struct hfc_ref ref;
    uint64_t before;

    fresh(TEST_MIB(32), 0);
    before = pool_free();
    in_one_piece(200, 8, KIB(200));
    EXPECT_EQ(hfc_evict(cache, TEST_MIB(100), NULL), 0);
    EXPECT(pool_free() < before - TEST_MIB(8));
    EXPECT_EQ(hfc_evict(cache, UINT64_MAX, NULL), 0);
    EXPECT_EQ(memory(), 0);
    EXPECT_EQ(pool_free(), before);
    object_put(cache, 7, 0, 1, KIB(64));
    EXPECT_EQ(pieces_of(7, &ref), 1);
    for (uint64_t i = 10; i < 50; i++)
        object_put(cache, i, 0, 1, KIB(100));
    EXPECT_EQ(hfc_evict(cache, UINT64_MAX, NULL), 0);
    EXPECT_EQ(memory(), KIB(64)); /* a reader holds it */
    EXPECT_EQ(hfc_release(&ref), 0);
    EXPECT_EQ(in_one_piece(60, 8, KIB(300)), 100);
    done();
}

/* A pool with room for one object, but not for memory in advance; then for none. */
static void check_tight(void)
{
    struct hf_file *file;
    uint64_t left;

    fresh(TEST_MIB(8), 0);
    left = pool_free() - KIB(600);
    EXPECT_EQ(hf_open(pool, "/other", O_RDWR | O_CREAT, 0600, &file), 0);
    EXPECT_EQ(hf_fallocate(file, 0, 0, left, NULL), 0);
    object_put(cache, 1, 0, 1, KIB(64));
    EXPECT_EQ(memory(), KIB(64));
    EXPECT_EQ(hf_fallocate(file, 0, 0, left + KIB(500), NULL), 0);
    EXPECT_EQ(object_try_put(cache, 2, 0, 2, TEST_MIB(1)), -ENOSPC);
    object_put(cache, 3, 0, 3, KIB(64));
    EXPECT_EQ(object_get(cache, 3, 0, KIB(64)), 3);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_unlink(pool, "/other", NULL), 0);
    EXPECT_EQ(in_one_piece(20, 8, KIB(100)) > 0, true);
    done();
}

static void places(void)
{
    check_room();
    check_full();
    check_giving_back();
    check_tight();
}

TEST_SCENARIO(places)
