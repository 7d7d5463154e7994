/* SPDX-License-Identifier: MIT */
/* Objects of many sizes are put, got, measured, listed and removed, by one call or by many. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const size_t sizes[] = {16, 1024, 8192, 8200, 65536, 1 << 20, (3 << 20) + 8};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void one_by_one(struct hfx *cluster)
{
    struct rig_key key;
    char small[16];

    for (unsigned i = 0; i < SIZES; i++) {
        EXPECT_EQ(rig_get(cluster, i, sizes[i]), -ENOENT);
        EXPECT_EQ(hfx_remove(cluster, rig_key(&key, i)), -ENOENT);
        EXPECT_EQ(hfx_length(cluster, rig_key(&key, i)), -ENOENT);
        rig_put(cluster, i, 7, sizes[i]);
        EXPECT_EQ(rig_get(cluster, i, sizes[i]), 7);
        EXPECT_EQ(rig_get(cluster, i, sizes[i] + 4096), 7);
        rig_put(cluster, i, 8, sizes[i]);
        EXPECT_EQ(rig_get(cluster, i, sizes[i]), 8);
        EXPECT_EQ(hfx_length(cluster, rig_key(&key, i)), (long long)sizes[i]);
        EXPECT_EQ(hfx_get(cluster, rig_key(&key, i), small, 8), -EMSGSIZE);
        EXPECT_EQ(hfx_remove(cluster, rig_key(&key, i)), 0);
        EXPECT_EQ(rig_get(cluster, i, sizes[i]), -ENOENT);
    }
}

#define MANY 200u

static void many_at_once(struct hfx *cluster)
{
    static struct rig_key keys[MANY];
    static struct hfx_request requests[MANY];
    static int64_t results[MANY];
    static char bytes[MANY][65536];

    for (unsigned i = 0; i < MANY; i++) {
        size_t len = i % 3 == 0 ? 65536 : i % 3 == 1 ? 4096 : 64;

        rig_fill(bytes[i], len, i, i);
        requests[i] = (struct hfx_request){HFX_PUT, 0, *rig_key(&keys[i], i), bytes[i], len, i};
    }
    EXPECT_EQ(hfx_batch(cluster, requests, MANY, results), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        memset(bytes[i], 0, sizeof(bytes[i]));
        requests[i].operation = HFX_GET;
        requests[i].len = sizeof(bytes[i]);
    }
    EXPECT_EQ(hfx_batch(cluster, requests, MANY, results), MANY);
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT_EQ(rig_version(bytes[i], (size_t)results[i], i), i);
        requests[i].operation = i % 2 ? HFX_REMOVE : HFX_LENGTH;
    }
    EXPECT_EQ(hfx_begin(cluster, requests, MANY), 0);
    EXPECT_EQ(hfx_close(cluster), -EBUSY);
    for (unsigned left = MANY; left > 0;) {
        struct hfx_result ended[16];
        int got = hfx_next(cluster, TEST_PATIENCE_NS, ended, 16);

        EXPECT(got > 0);
        for (int i = 0; i < got; i++)
            EXPECT(ended[i].tag % 2 ? ended[i].result == 0 : ended[i].result >= 64);
        left -= (unsigned)got;
    }
    EXPECT_EQ(hfx_next(cluster, 0, &(struct hfx_result){0}, 1), 0);
}

static int count_entry(void *arg, const struct hfc_entry *entry)
{
    unsigned *seen = arg;

    EXPECT(entry->key_len > 7 && memcmp(entry->key, "object-", 7) == 0);
    (*seen)++;
    return 0;
}

static void look(struct hfx *cluster)
{
    struct hfx_counts counts = {.size = sizeof(counts)};
    struct hfx_member member;
    unsigned seen = 0;
    uint64_t objects = 0;

    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(hfx_member(cluster, i, &member), 1);
        EXPECT(member.name[0] == 'm');
        EXPECT_EQ(hfx_each(cluster, i, count_entry, &seen), 0);
        EXPECT_EQ(hfx_counts(cluster, i, &counts), 0);
        EXPECT(counts.objects > 0 && counts.connections == 1 && counts.refused == 0);
        objects += counts.objects;
    }
    EXPECT_EQ(seen, MANY / 2);
    EXPECT_EQ(objects, MANY / 2);
    EXPECT_EQ(hfx_member(cluster, 3, &member), 0);
    EXPECT_EQ(hfx_each(cluster, 3, count_entry, &seen), -ENOENT);
}

static void scenario(void)
{
    struct rig *rig = rig_new(3, TEST_MIB(64), 0);
    struct hfx *cluster = rig_open(rig, TEST_PATIENCE_NS);

    one_by_one(cluster);
    many_at_once(cluster);
    look(cluster);
    EXPECT_EQ(hfx_close(cluster), 0);
    rig_end(rig);
}

TEST_SCENARIO(scenario)
