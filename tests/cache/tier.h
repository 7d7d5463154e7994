/* SPDX-License-Identifier: MIT */
/* What the scenes of the second tier share: a cache of 4 MiB with objects of 64 KiB, and a
 * directory for what is evicted. */
#ifndef HF_TESTS_CACHE_TIER_H
#define HF_TESTS_CACHE_TIER_H

#include "cache/lab.h"
#include "objects.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define TIER_POOL "tier"

extern struct hf_pool *tier_pool;
extern struct hfc *tier_cache;

/* A pool, and a cache of 4 MiB with a tier of so many bytes in FOLDER/disk. */
void tier_begin(uint64_t bytes);
/* The cache is as it should be; all goes. */
void tier_end(void);
/* Of a process of its own; also the second time of this one. */
void tier_attach(void);
void tier_detach(void);
/* All that the cache has goes to the disk, if it can. */
void tier_evict_all(void);
/* The version, or -errno. Of the length, or any (0). */
int64_t tier_fetch(uint64_t number, uint64_t len);
struct hfc_tier_stats tier_stats(void);

void scene_begun(void);
void scene_begun_dead(void);
void scene_begun_errors(void);
void scene_begun_slow(void);
void scene_calls(void);
void scene_directory(void);
void scene_errors(void);
void scene_dead(void);
void scene_held(void);
void scene_many(void);
void scene_slow(void);
void scene_together(void);

#endif
