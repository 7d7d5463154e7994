/* SPDX-License-Identifier: MIT */
/* A get that looks on the disk too. */
#include "tier.h"

#include <errno.h>

#define FETCH_TRIES 16 /* of an object that others evict again at once */

bool tier_may_have(struct hfc *cache, const struct hfc_key *key)
{
    if (!cache->tier_at)
        return false;
    if (tier_has(cache, key_hash(cache, key)))
        return true;
    tier_count(&cache_tier(cache)->misses, 1);
    return false;
}

/* Somebody has brought it since the get that found nothing. */
static bool is_back(struct hfc *cache, const struct hfc_key *key)
{
    struct found found;

    return table_find(cache, key, key_hash(cache, key), &found);
}

int tier_get(struct hfc *cache, const struct hfc_key *key, struct iovec *iov, int iovcnt,
             struct hfc_ref *ref)
{
    int rc = -ENOENT;

    for (int i = 0; rc == -ENOENT && cache->tier_at && i < FETCH_TRIES; i++) {
        rc = i == 0 && is_back(cache, key) ? 0 : tier_bring(cache, key);
        if (rc)
            break;
        rc = hfc_get(cache, key, iov, iovcnt, ref);
    }
    return rc;
}

int hfc_fetch(struct hfc *cache, const struct hfc_key *key, struct iovec *iov, int iovcnt,
              struct hfc_ref *ref)
{
    int rc = hfc_get(cache, key, iov, iovcnt, ref);

    return rc == -ENOENT ? tier_get(cache, key, iov, iovcnt, ref) : rc;
}
