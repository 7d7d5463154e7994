/* SPDX-License-Identifier: MIT */
/* Which members have a key: rendezvous hashing. It is the same wherever the view is the same. */
#ifndef HF_CLUSTER_PLACE_H
#define HF_CLUSTER_PLACE_H

#include "members.h"

/* Finds the first `replicas` members for the key, best first, and stores their places in
 * view->members. Returns how many those are: fewer only if there are fewer members. At most 16. */
unsigned cluster_place(const struct cluster_view *view, const void *key, size_t length,
                       unsigned replicas, uint32_t *out);

/* The first of them has this name; false where there is no member. */
bool cluster_place_is(const struct cluster_view *view, const void *key, size_t length,
                      const char *name);

/* It is among the first view->replicas of them. */
bool cluster_place_has(const struct cluster_view *view, const void *key, size_t length,
                       const char *name);

uint64_t cluster_place_hash_of(const void *key, size_t length);
/* What a member's `hash` is. */
uint64_t cluster_place_hash(const char *name);

#endif
