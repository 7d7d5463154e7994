/* SPDX-License-Identifier: MIT */
/*
 * tier SCENE: the second tier of a cache. It runs with the cache's sources in a lab build
 * (cache/lab.h). So a scene can stop or kill at a named step, or answer for a read or a write.
 */
#include "tier.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct hf_pool *tier_pool;
struct hfc *tier_cache;

void tier_begin(uint64_t bytes)
{
    const struct hfc_options options = {.size = sizeof(options),
                                        .capacity_bytes = TEST_MIB(4),
                                        .objects = 2000,
                                        .tier = test_path("disk"),
                                        .tier_bytes = bytes};

    EXPECT_EQ(mkdir(options.tier, 0700), 0);
    tier_pool = test_pool_new(TIER_POOL, TEST_MIB(32));
    if (hfc_open(tier_pool, "/cache", &options, &tier_cache))
        FAIL("open: %s", hfc_detail());
}

void tier_attach(void)
{
    tier_pool = test_pool_open(TIER_POOL);
    if (hfc_open(tier_pool, "/cache", NULL, &tier_cache))
        FAIL("open: %s", hfc_detail());
}

void tier_detach(void)
{
    EXPECT_EQ(hfc_close(tier_cache), 0);
    test_pool_close(tier_pool);
}

void tier_end(void)
{
    EXPECT_EQ(object_check_all(tier_cache, true), object_stats(tier_cache).objects);
    tier_detach();
    test_pool_check(TIER_POOL);
    test_remove_tree(test_path(TIER_POOL));
    test_remove_tree(test_path("disk"));
}

void tier_evict_all(void)
{
    if (hfc_evict(tier_cache, UINT64_MAX, NULL))
        FAIL("evict: %s", hfc_detail());
    EXPECT_EQ(object_stats(tier_cache).objects, 0);
}

int64_t tier_fetch(uint64_t number, uint64_t len)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_ref ref;
    uint64_t version;
    int pieces;

    object_key(&key, number, 0);
    pieces = hfc_fetch(tier_cache, &key.key, iov, OBJECT_PIECES, &ref);
    if (pieces < 0)
        return pieces;
    version = object_check(iov, pieces, number, len);
    EXPECT_EQ(hfc_release(&ref), 0);
    return (int64_t)version;
}

struct hfc_tier_stats tier_stats(void)
{
    struct hfc_tier_stats stats = {.size = sizeof(stats)};

    EXPECT_EQ(hfc_tier_stats(tier_cache, &stats), 0);
    return stats;
}

static const struct scene {
    const char *name;
    void (*run)(void);
} scenes[] = {
    {"begun", scene_begun},
    {"begun-dead", scene_begun_dead},
    {"begun-errors", scene_begun_errors},
    {"begun-slow", scene_begun_slow},
    {"calls", scene_calls},
    {"dead", scene_dead},
    {"directory", scene_directory},
    {"errors", scene_errors},
    {"held", scene_held},
    {"many", scene_many},
    {"slow", scene_slow},
    {"together", scene_together},
};

static int body(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        if (argc > 1 && strcmp(argv[1], scenes[i].name) == 0) {
            scenes[i].run();
            return 0;
        }
    }
    FAIL("usage: tier SCENE");
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
