/* SPDX-License-Identifier: MIT */
/* A build without liburing: no second tier is made. Caches that have one can be used.
 * Puts and removals take objects out of it; nothing is written there or read. */
#include "tier.h"

#include <errno.h>
#include <stdio.h>

int tier_look(const struct hfc_options *options, uint64_t id)
{
    (void)id;
    return options->tier
               ? cache_fail(-EOPNOTSUPP, "this build has no second tier, since it has no liburing")
               : 0;
}

void tier_open(struct hfc *cache)
{
    snprintf(cache->tier_fault, sizeof cache->tier_fault, "this build has no liburing");
}

void tier_close(struct hfc *cache)
{
    (void)cache;
}

bool tier_room(const struct hfc *cache)
{
    (void)cache;
    return false;
}

void tier_demote(struct hfc *cache, uint32_t index)
{
    (void)cache;
    (void)index;
}

bool tier_wait(struct hfc *cache, bool all)
{
    (void)cache;
    (void)all;
    return false;
}

int tier_bring(struct hfc *cache, const struct hfc_key *key)
{
    (void)cache;
    (void)key;
    return -ENOENT;
}

int tier_open_to_read(const struct hfc *cache)
{
    (void)cache;
    return cache_fail(-EOPNOTSUPP, "second tier: this build has no liburing");
}

const char *tier_wrong_object(const struct hfc *cache, int fd, const struct tier_entry *entry,
                              void *buffer)
{
    (void)cache;
    (void)fd;
    (void)entry;
    (void)buffer;
    return NULL;
}
