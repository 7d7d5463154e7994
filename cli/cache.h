/* SPDX-License-Identifier: MIT */
/* How the verb cache prints what it finds. */
#ifndef HOLDFAST_CLI_CACHE_H
#define HOLDFAST_CLI_CACHE_H

#include "cli.h"

#include <holdfast/cache.h>
#include <inttypes.h>

/* 0, or what hfc_next() failed with. */
int cache_print_keys(struct hfc *cache, bool as_json, bool as_hex);
void cache_print_stats(struct hfc *cache, const char *path, const struct hfc_stats *stats,
                       bool as_json);
/* cache_top.c: a line each interval, so many or (0) until it is interrupted. 0, or what hfc_stats()
 * failed with. */
int cache_watch(struct hfc *cache, uint64_t interval_ns, uint32_t lines);
/* cache_tier.c: the second tier, if there is one. */
void cache_print_tier(struct hfc *cache);
void cache_put_json_tier(struct hfc *cache, struct cli_json *json);

#endif
