/* SPDX-License-Identifier: MIT */
#include "objects.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void object_key(struct object_key *key, uint64_t number, uint32_t space)
{
    uint64_t mixed = test_mix(number, 77);
    uint32_t len = mixed % 5 == 0 ? 4 + (uint32_t)(mixed >> 8) % (HFC_KEY_MAX - 3)
                                  : 8 + (uint32_t)(mixed >> 8) % 24;

    for (uint32_t i = 0; i < len; i++)
        key->bytes[i] = (char)test_mix(number, i / 8);
    memcpy(key->bytes, &(uint32_t){(uint32_t)number}, 4);
    key->key = (struct hfc_key){.bytes = key->bytes, .len = len, .space = space};
}

/* Byte `at` of the object; the first eight are the version. */
static uint8_t byte_of(uint64_t number, uint64_t version, uint64_t at)
{
    if (at < 8)
        return (uint8_t)(version >> 8 * at);
    return (uint8_t)(test_mix(test_mix(number, version), at / 8) >> at % 8 * 8);
}

void object_fill(const struct iovec *iov, int pieces, uint64_t number, uint64_t version)
{
    uint64_t at = 0;

    for (int i = 0; i < pieces; i++)
        for (size_t j = 0; j < iov[i].iov_len; j++)
            ((uint8_t *)iov[i].iov_base)[j] = byte_of(number, version, at++);
}

uint64_t object_check(const struct iovec *iov, int pieces, uint64_t number, uint64_t len)
{
    uint64_t version = 0, at = 0;

    for (int i = 0; i < pieces; i++) {
        for (size_t j = 0; j < iov[i].iov_len; j++, at++) {
            uint8_t byte = ((const uint8_t *)iov[i].iov_base)[j];

            if (at < 8)
                version |= (uint64_t)byte << 8 * at;
            else if (byte != byte_of(number, version, at))
                FAIL("object %" PRIu64 ", version %" PRIu64 ": byte %" PRIu64 " is 0x%02x", number,
                     version, at, byte);
        }
    }
    if (len)
        EXPECT_EQ(at, len);
    return version;
}

int object_try_put(struct hfc *cache, uint64_t number, uint32_t space, uint64_t version,
                   uint64_t len)
{
    struct object_key key;
    struct iovec iov = {malloc(len), len};
    int rc;

    object_key(&key, number, space);
    object_fill(&iov, 1, number, version);
    rc = hfc_put(cache, &key.key, iov.iov_base, len);
    free(iov.iov_base);
    return rc;
}

void object_put(struct hfc *cache, uint64_t number, uint32_t space, uint64_t version, uint64_t len)
{
    int rc = object_try_put(cache, number, space, version, len);

    if (rc)
        FAIL("put: %d, %s", rc, hfc_detail());
}

int object_try_put_in_place(struct hfc *cache, uint64_t number, uint32_t space, uint64_t version,
                            uint64_t len)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_put *put;
    int pieces;

    object_key(&key, number, space);
    pieces = hfc_put_begin(cache, &key.key, len, HF_PIN_CPU, iov, OBJECT_PIECES, &put);
    if (pieces < 0)
        return pieces;
    object_fill(iov, pieces, number, version);
    return hfc_put_commit(put, len);
}

int64_t object_get(struct hfc *cache, uint64_t number, uint32_t space, uint64_t len)
{
    struct iovec iov[OBJECT_PIECES];
    struct object_key key;
    struct hfc_ref ref;
    uint64_t version;
    int pieces;

    object_key(&key, number, space);
    pieces = hfc_get(cache, &key.key, iov, OBJECT_PIECES, &ref);
    if (pieces < 0)
        return pieces;
    version = object_check(iov, pieces, number, len);
    EXPECT_EQ(hfc_release(&ref), 0);
    return (int64_t)version;
}

uint64_t object_check_all(struct hfc *cache, bool still)
{
    uint64_t cursor = 0, count = 0;
    struct hfc_entry entry;
    int rc;

    while ((rc = hfc_next(cache, &cursor, &entry)) == 1) {
        struct object_key key;
        uint32_t number;
        int64_t got;

        memcpy(&number, entry.key, 4);
        object_key(&key, number, entry.space);
        EXPECT_EQ(entry.key_len, key.key.len);
        EXPECT(memcmp(entry.key, key.bytes, entry.key_len) == 0);
        got = object_get(cache, number, entry.space, entry.bytes);
        if (still || got != -ENOENT)
            EXPECT_OK(got);
        count++;
    }
    EXPECT_EQ(rc, 0);
    return count;
}

struct hfc_stats object_stats(struct hfc *cache)
{
    struct hfc_stats stats = {.size = sizeof(stats)};
    int rc = hfc_stats(cache, &stats);

    if (rc)
        FAIL("stats: %d, %s", rc, hfc_detail());
    return stats;
}

struct hfc *object_cache(struct hf_pool *pool, uint64_t capacity, uint32_t policy, uint32_t objects)
{
    const struct hfc_options options = {
        .size = sizeof(options), .capacity_bytes = capacity, .policy = policy, .objects = objects};
    struct hfc *cache;
    int rc = hfc_open(pool, "/cache", &options, &cache);

    if (rc)
        FAIL("open: %d, %s", rc, hfc_detail());
    return cache;
}
