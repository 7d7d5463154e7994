/* SPDX-License-Identifier: MIT */
/* The caches of a pool, for programs that look at it again and again. */
#ifndef HOLDFAST_CLI_CACHE_RATES_H
#define HOLDFAST_CLI_CACHE_RATES_H

#include "cli.h"
#include "exposition.h"

/* The caches in the pool as metrics. They are looked for in all of its directories. */
void cache_metrics_add(struct exposition *out, const char *path, struct hf_pool *pool);

struct cache_rates;
/* Of the caches in the pool, which are looked for now and then. Null: there is none yet. */
struct cache_rates *cache_rates_read(struct cache_rates *rates, struct hf_pool *pool);
void cache_rates_free(struct cache_rates *rates);
int cache_rates_count(const struct cache_rates *rates);
/* A line without its end: what the cache has, and what happened since the read before. */
void cache_rates_print(const struct cache_rates *rates, int which, FILE *out);

#endif
