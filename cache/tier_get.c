/* SPDX-License-Identifier: MIT */
/* A get that looks on the disk too. */
#include "tier.h"

#include <errno.h>

#define FETCH_TRIES 16 /* of an object that others evict again at once */

int hfc_fetch(struct hfc *cache, const struct hfc_key *key, struct iovec *iov, int iovcnt,
              struct hfc_ref *ref)
{
    int rc = hfc_get(cache, key, iov, iovcnt, ref);

    for (int i = 0; rc == -ENOENT && cache->tier_at && i < FETCH_TRIES; i++) {
        rc = tier_bring(cache, key);
        if (rc)
            break;
        rc = hfc_get(cache, key, iov, iovcnt, ref);
    }
    return rc;
}
