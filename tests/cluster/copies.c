/* SPDX-License-Identifier: MIT */
/*
 * Copies of objects of the cluster in a cache of this machine. The first get makes one, and the
 * next finds it. It stays as it is, and fits or is not made. The cache may be cut up or full.
 */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH 200000u
#define PIECES 256

static struct hfx *cluster;
static struct hf_pool *pool;
static struct hfc *local;

/* Its version, or -errno. */
static int64_t get_copy(uint64_t number, size_t room, struct hfc_ref *ref)
{
    static struct iovec iov[PIECES];
    struct rig_key key;
    int pieces = hfx_get_copy(cluster, rig_key(&key, number), local, room, iov, PIECES, ref);
    char *bytes;
    size_t len = 0;
    int64_t version;

    if (pieces < 0)
        return pieces;
    for (int i = 0; i < pieces; i++)
        len += iov[i].iov_len;
    bytes = malloc(len);
    for (int i = 0, at = 0; i < pieces; at += (int)iov[i].iov_len, i++)
        memcpy(bytes + at, iov[i].iov_base, iov[i].iov_len);
    version = (int64_t)rig_version(bytes, len, number);
    free(bytes);
    return version;
}

static int64_t get_and_release(uint64_t number, size_t room)
{
    struct hfc_ref ref;
    int64_t version = get_copy(number, room, &ref);

    if (version >= 0)
        EXPECT_OK(hfc_release(&ref));
    return version;
}

static uint64_t gets_of_member(void)
{
    struct hfx_counts counts = {.size = sizeof(counts)};

    EXPECT_OK(hfx_counts(cluster, 0, &counts));
    return counts.gets;
}

static bool is_in_local(uint64_t number)
{
    struct rig_key key;
    uint8_t there;

    return hfc_exists(local, rig_key(&key, number), 1, &there) == 1 && there;
}

static void made_once(void)
{
    struct hfc_ref ref;
    struct rig_key key;
    uint64_t gets;

    EXPECT_EQ(get_and_release(1, LENGTH), -ENOENT);
    EXPECT(!is_in_local(1));
    rig_put(cluster, 1, 7, LENGTH);
    EXPECT_EQ(get_copy(1, LENGTH, &ref), 7);
    gets = gets_of_member();
    EXPECT_EQ(get_and_release(1, LENGTH), 7);
    EXPECT_EQ(gets_of_member(), gets);
    rig_put(cluster, 1, 8, LENGTH); /* the copy is of before */
    EXPECT_EQ(get_and_release(1, LENGTH), 7);
    EXPECT_OK(hfc_remove(local, rig_key(&key, 1)));
    EXPECT_EQ(get_and_release(1, LENGTH + 4096), 8); /* and this one is as long as the object */
    EXPECT_OK(hfc_release(&ref));
}

static void smaller_than_room(void)
{
    for (unsigned i = 0; i < 3; i++) {
        static const size_t lengths[] = {64, 8192, 8200};

        rig_put(cluster, 10 + i, 1, lengths[i]);
        EXPECT_EQ(get_and_release(10 + i, TEST_MIB(1)), 1);
        EXPECT_EQ(get_and_release(10 + i, 64), 1); /* it is there: room is for what is made */
    }
}

static void does_not_fit(void)
{
    struct hfc_stats stats = {.size = sizeof(stats)};

    rig_put(cluster, 2, 1, LENGTH);
    EXPECT_EQ(get_and_release(2, LENGTH - 1), -EMSGSIZE);
    EXPECT_EQ(get_and_release(2, TEST_MIB(100)), -EFBIG); /* than the cache */
    EXPECT(!is_in_local(2));
    EXPECT_OK(hfc_stats(local, &stats));
    EXPECT_EQ(stats.held_bytes, 0);
}

static void wrong_calls(void)
{
    struct hfc_key none = {"", 0, 0};
    struct rig_key key;
    struct iovec iov;
    struct hfc_ref ref;

    rig_key(&key, 1);
    EXPECT_EQ(hfx_get_copy(cluster, NULL, local, 1, &iov, 1, &ref), -EINVAL);
    EXPECT_EQ(hfx_get_copy(cluster, &key.key, NULL, 1, &iov, 1, &ref), -EINVAL);
    EXPECT_EQ(hfx_get_copy(cluster, &key.key, local, 0, &iov, 1, &ref), -EINVAL);
    EXPECT_EQ(hfx_get_copy(cluster, &key.key, local, 1, NULL, 1, &ref), -EINVAL);
    EXPECT_EQ(hfx_get_copy(cluster, &key.key, local, 1, &iov, 1, NULL), -EINVAL);
    EXPECT_EQ(hfx_get_copy(cluster, &none, local, 1, &iov, 1, &ref), -EINVAL);
    EXPECT_EQ(hfx_get_copy(NULL, &key.key, local, 1, &iov, 1, &ref), -EINVAL);
}

/* What the cache has is held, so there is no room for a copy until it is released. */
static void full_of_held(void)
{
    static char bytes[1 << 20];
    struct hfc_ref held[8];
    struct iovec iov[PIECES];
    struct rig_key key;
    unsigned count = 0;

    EXPECT_OK(hfc_evict(local, UINT64_MAX, NULL));
    while (count < 8 && hfc_put(local, rig_key(&key, 100 + count), bytes, sizeof(bytes)) == 0) {
        EXPECT_OK(hfc_get(local, &key.key, iov, PIECES, &held[count]));
        count++;
    }
    EXPECT(count > 0 && count < 8);
    rig_put(cluster, 3, 4, TEST_MIB(1));
    EXPECT_EQ(get_and_release(3, TEST_MIB(1)), -ENOSPC);
    while (count-- > 0)
        EXPECT_OK(hfc_release(&held[count]));
    EXPECT_EQ(get_and_release(3, TEST_MIB(1)), 4);
}

/* Every second page of the pool is free: a copy lies in many pieces. */
static void cut_up(void)
{
    struct hf_file *filler;
    struct hfc_ref ref;
    struct iovec iov[2];
    struct rig_key key;
    uint64_t pages = 0;

    EXPECT_OK(hfc_evict(local, UINT64_MAX, NULL));
    filler = test_file(pool, "/filler");
    while (hf_fallocate(filler, 0, pages * TEST_PAGE, TEST_PAGE, NULL) == 0)
        pages++;
    for (uint64_t page = 0; page < pages; page += 2)
        EXPECT_OK(hf_fallocate(filler, HF_FALLOC_PUNCH_HOLE | HF_FALLOC_KEEP_SIZE, page * TEST_PAGE,
                               TEST_PAGE, &test_nowait));
    rig_put(cluster, 4, 5, LENGTH);
    EXPECT_EQ(hfx_get_copy(cluster, rig_key(&key, 4), local, LENGTH, iov, 2, &ref), -E2BIG);
    EXPECT_EQ(get_and_release(4, LENGTH), 5);
    EXPECT_EQ(get_and_release(5, LENGTH), -ENOENT);
    EXPECT_OK(hf_close(filler));
}

static void scenario(void)
{
    const struct hf_pool_options pool_options = {.size = sizeof(pool_options),
                                                 .pool_bytes = TEST_MIB(16)};
    const struct hfc_options cache_options = {.size = sizeof(cache_options),
                                              .capacity_bytes = TEST_MIB(4)};
    struct rig *rig = rig_new(1, TEST_MIB(32), 0);

    cluster = rig_open(rig, TEST_PATIENCE_NS);
    EXPECT_OK(hf_pool_open_anonymous(&pool_options, &pool));
    EXPECT_OK(hfc_open(pool, "/cache", &cache_options, &local));
    made_once();
    smaller_than_room();
    does_not_fit();
    wrong_calls();
    full_of_held();
    cut_up();
    EXPECT_OK(hfc_close(local));
    EXPECT_OK(hf_pool_close(pool));
    EXPECT_OK(hfx_close(cluster));
    rig_end(rig);
}

TEST_SCENARIO(scenario)
