/* SPDX-License-Identifier: MIT */
/* In the place of cache_rates.c and cache_metrics.c in a build without libholdfast-cache. */
#include "cache_rates.h"

void cache_metrics_add(struct exposition *out, const char *path, struct hf_pool *pool)
{
    (void)out;
    (void)path;
    (void)pool;
}

struct cache_rates *cache_rates_read(struct cache_rates *rates, struct hf_pool *pool)
{
    (void)pool;
    return rates;
}

void cache_rates_free(struct cache_rates *rates)
{
    (void)rates;
}

int cache_rates_count(const struct cache_rates *rates)
{
    (void)rates;
    return 0;
}

void cache_rates_print(const struct cache_rates *rates, int which, FILE *out)
{
    (void)rates;
    (void)which;
    (void)out;
}
