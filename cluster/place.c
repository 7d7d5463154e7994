/* SPDX-License-Identifier: MIT */
/*
 * Rendezvous hashing. Each member has a score for each key, and the highest have it. The score
 * depends on the key and the member's name alone. So a member that joins takes only keys for which
 * its own score is the highest, one of N, and no other key moves. One that leaves gives away only
 * its own.
 *
 * The hash is XXH3, which is the same on every machine. A key is hashed once, a name once in a
 * view. The score is that of the name's hash with the key's as its seed, so it costs the same for
 * keys of any length.
 */
#include "place.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Stored as bytes, so that a machine of the other byte order has the same scores. */
static uint64_t score_of(const struct cluster_member *member, uint64_t key_hash)
{
    unsigned char bytes[8];

    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(member->hash >> 8 * i);
    return XXH3_64bits_withSeed(bytes, sizeof bytes, key_hash);
}

/* Equal scores are in the order of the names, which is that of the view. */
static unsigned insert_score(uint64_t *scores, uint32_t *out, unsigned found, unsigned room,
                             uint64_t score, uint32_t index)
{
    unsigned at = found;

    while (at > 0 && scores[at - 1] < score)
        at--;
    if (at == room)
        return found;
    if (found < room)
        found++;
    for (unsigned i = found - 1; i > at; i--) {
        scores[i] = scores[i - 1];
        out[i] = out[i - 1];
    }
    scores[at] = score;
    out[at] = index;
    return found;
}

#define REPLICAS_MAX 16u

unsigned cluster_place(const struct cluster_view *view, const void *key, size_t length,
                       unsigned replicas, uint32_t *out)
{
    uint64_t scores[REPLICAS_MAX], key_hash = XXH3_64bits(key, length);
    unsigned found = 0;

    if (replicas > REPLICAS_MAX)
        replicas = REPLICAS_MAX;
    for (uint32_t i = 0; i < view->count && replicas; i++)
        found =
            insert_score(scores, out, found, replicas, score_of(&view->members[i], key_hash), i);
    return found;
}

bool cluster_place_is(const struct cluster_view *view, const void *key, size_t length,
                      const char *name)
{
    uint32_t first;

    return cluster_place(view, key, length, 1, &first) == 1 &&
           strcmp(view->members[first].name, name) == 0;
}

bool cluster_place_has(const struct cluster_view *view, const void *key, size_t length,
                       const char *name)
{
    uint32_t owners[REPLICAS_MAX];
    unsigned count = cluster_place(view, key, length, view->replicas, owners);

    for (unsigned i = 0; i < count; i++)
        if (strcmp(view->members[owners[i]].name, name) == 0)
            return true;
    return false;
}

uint64_t cluster_place_hash_of(const void *key, size_t length)
{
    return XXH3_64bits(key, length);
}

uint64_t cluster_place_hash(const char *name)
{
    return XXH3_64bits(name, strlen(name));
}
