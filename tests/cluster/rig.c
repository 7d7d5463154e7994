/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct start {
    struct rig *rig;
    unsigned index;
};

static void be_member(void *arg)
{
    const struct start *start = arg;
    struct rig *rig = start->rig;
    struct rig_member *self = &rig->member[start->index];
    const struct hf_pool_options pool_options = {.size = sizeof(pool_options),
                                                 .pool_bytes = 2 * rig->capacity + TEST_MIB(8)};
    const struct hfc_options cache_options = {.size = sizeof(cache_options),
                                              .capacity_bytes = rig->capacity};
    char name[16];
    struct hfx_server_options options = {
        .size = sizeof(options), .name = name, .secret = RIG_SECRET, .stall_ns = rig->stall_ns};
    struct hfx_server *server;
    struct hf_pool *pool;

    snprintf(name, sizeof(name), "m%u", start->index);
    EXPECT_EQ(hf_pool_open_anonymous(&pool_options, &pool), 0);
    EXPECT_EQ(hfc_open(pool, "/cache", &cache_options, &options.cache), 0);
    options.listen = self->address[0] ? self->address : NULL; /* one that comes back */
    EXPECT_EQ(hfx_server_open(&options, &server), 0);
    strcpy(self->address, hfx_server_address(server));
    test_raise(&self->listens, 1);
    test_await(&self->starts, 1);
    EXPECT_EQ(hfx_server_start(server, rig->members), 0);
    for (;;)
        pause(); /* ended by its number */
}

struct rig *rig_new(unsigned count, uint64_t capacity, uint64_t stall_ns)
{
    struct rig *rig = test_shared(sizeof(*rig));

    rig->count = count;
    rig->capacity = capacity;
    rig->stall_ns = stall_ns;
    rig_start(rig);
    return rig;
}

void rig_start(struct rig *rig)
{
    size_t used = 0;

    for (unsigned i = 0; i < rig->count; i++) {
        struct start start = {rig, i};

        rig->member[i].listens = rig->member[i].starts = 0;
        rig->member[i].pid = test_fork(be_member, &start);
    }
    for (unsigned i = 0; i < rig->count; i++) {
        test_await(&rig->member[i].listens, 1);
        used += (size_t)snprintf(rig->members + used, sizeof(rig->members) - used, "%sm%u=%s",
                                 i ? "," : "", i, rig->member[i].address);
    }
    for (unsigned i = 0; i < rig->count; i++)
        test_raise(&rig->member[i].starts, 1);
}

void rig_end(struct rig *rig)
{
    for (unsigned i = 0; i < rig->count; i++)
        test_kill(rig->member[i].pid);
}

struct hfx *rig_open(const struct rig *rig, uint64_t timeout_ns)
{
    const struct hfx_options options = {.size = sizeof(options),
                                        .members = rig->members,
                                        .secret = RIG_SECRET,
                                        .timeout_ns = timeout_ns};
    struct hfx *cluster;

    EXPECT_EQ(hfx_open(&options, &cluster), 0);
    return cluster;
}

struct hfc_key *rig_key(struct rig_key *key, uint64_t number)
{
    int len = snprintf(key->bytes, sizeof(key->bytes), "object-%" PRIu64, number);

    key->key = (struct hfc_key){key->bytes, (uint32_t)len, 0};
    return &key->key;
}

static uint64_t word_of(uint64_t number, uint64_t version, size_t at)
{
    return test_mix(test_mix(number, version), at);
}

void rig_fill(void *bytes, size_t len, uint64_t number, uint64_t version)
{
    uint64_t *words = bytes;

    EXPECT(len >= 16 && len % 8 == 0);
    words[0] = version;
    for (size_t i = 1; i < len / 8; i++)
        words[i] = word_of(number, version, i);
}

/* Where the first word is that is not the object's; the length: nowhere. */
static size_t find_foreign(const void *bytes, size_t len, uint64_t number)
{
    const uint64_t *words = bytes;
    size_t i = 1;

    while (i < len / 8 && words[i] == word_of(number, words[0], i))
        i++;
    return i * 8;
}

bool rig_is_whole(const void *bytes, size_t len, uint64_t number)
{
    return find_foreign(bytes, len, number) == len;
}

uint64_t rig_version(const void *bytes, size_t len, uint64_t number)
{
    size_t at = find_foreign(bytes, len, number);

    if (at < len)
        FAIL("object %" PRIu64 " of %zu bytes has a foreign word at %zu", number, len, at);
    return ((const uint64_t *)bytes)[0];
}

void rig_put(struct hfx *cluster, uint64_t number, uint64_t version, size_t len)
{
    void *bytes = malloc(len);
    struct rig_key key;
    int rc;

    rig_fill(bytes, len, number, version);
    rc = hfx_put(cluster, rig_key(&key, number), bytes, len);
    if (rc)
        FAIL("a put: %s", hfx_detail());
    free(bytes);
}

int64_t rig_get(struct hfx *cluster, uint64_t number, size_t len)
{
    void *bytes = malloc(len);
    struct rig_key key;
    ssize_t got = hfx_get(cluster, rig_key(&key, number), bytes, len);
    int64_t version = got < 0 ? got : (int64_t)rig_version(bytes, (size_t)got, number);

    free(bytes);
    return version;
}
