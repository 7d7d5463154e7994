/* SPDX-License-Identifier: MIT */
/* The rows of caches in `holdfast top`: what each has, and what happened since the screen before.
 * Finding them walks through the pool, so it is done now and then. */
#include "cache_rates.h"

#include "cache_find.h"

#include <holdfast/cache.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CACHES_MAX 4
#define FIND_NS UINT64_C(10000000000)

struct cache_counts {
    uint64_t at_ns; /* 0: there are none */
    bool open;      /* by some process */
    struct hfc_stats stats;
    struct hfc_tier_stats tier;
};

struct watched_cache {
    char *path;
    struct cache_counts now, before;
};

struct cache_rates {
    struct watched_cache caches[CACHES_MAX];
    int count;
    uint64_t found_ns;
};

static bool add_found(void *arg, const char *path)
{
    struct cache_rates *rates = arg;

    for (int i = 0; i < rates->count; i++) {
        if (strcmp(rates->caches[i].path, path) == 0)
            return true;
    }
    if (rates->count < CACHES_MAX)
        rates->caches[rates->count++] = (struct watched_cache){.path = cli_strdup(path)};
    return rates->count < CACHES_MAX;
}

static bool read_counts(struct watched_cache *cache, struct hf_pool *pool)
{
    int rc;

    cache->before = cache->now;
    cache->now = (struct cache_counts){.at_ns = cli_now_ns(),
                                       .stats.size = sizeof(cache->now.stats),
                                       .tier.size = sizeof(cache->now.tier)};
    rc = hfc_peek(pool, cache->path, &cache->now.stats, &cache->now.tier);
    cache->now.open = rc == 1;
    return rc >= 0;
}

struct cache_rates *cache_rates_read(struct cache_rates *rates, struct hf_pool *pool)
{
    uint64_t now = cli_now_ns();

    if (rates == NULL)
        rates = cli_alloc(sizeof(*rates));
    if (rates->found_ns == 0 || now - rates->found_ns > FIND_NS) {
        cache_find(pool, add_found, rates);
        rates->found_ns = now;
    }
    for (int i = 0; i < rates->count;) {
        if (read_counts(&rates->caches[i], pool)) {
            i++;
            continue;
        }
        free(rates->caches[i].path); /* it was removed, or never was one */
        rates->caches[i] = rates->caches[--rates->count];
    }
    return rates;
}

void cache_rates_free(struct cache_rates *rates)
{
    if (rates == NULL)
        return;
    for (int i = 0; i < rates->count; i++)
        free(rates->caches[i].path);
    free(rates);
}

int cache_rates_count(const struct cache_rates *rates)
{
    return rates != NULL ? rates->count : 0;
}

/* In a second. Counts that have begun again say nothing for once. */
static uint64_t rate(const struct watched_cache *cache, uint64_t now, uint64_t before)
{
    double seconds = (double)(cache->now.at_ns - cache->before.at_ns) / 1e9;

    return cache->before.at_ns == 0 || now < before ? 0
                                                    : (uint64_t)((double)(now - before) / seconds);
}

#define RATE(field) rate(cache, cache->now.field, cache->before.field)

static void print_hits(const struct watched_cache *cache, FILE *out)
{
    uint64_t hits = RATE(stats.hits), gets = hits + RATE(stats.misses);

    fprintf(out, ", %" PRIu64 " gets/s", gets);
    if (gets > 0)
        fprintf(out, " (%.1f%% hits)", 100.0 * (double)hits / (double)gets);
}

void cache_rates_print(const struct cache_rates *rates, int which, FILE *out)
{
    const struct watched_cache *cache = &rates->caches[which];
    char used[CLI_SIZE_TEXT], capacity[CLI_SIZE_TEXT], put[CLI_SIZE_TEXT], to[CLI_SIZE_TEXT],
        from[CLI_SIZE_TEXT];

    fputs("cache ", out);
    cli_put_escaped(out, cache->path);
    if (!cache->now.open) {
        fputs(": no process has it open", out);
        return;
    }
    fprintf(out, ": %s of %s", cli_size(used, cache->now.stats.used_bytes),
            cli_size(capacity, cache->now.stats.capacity_bytes));
    print_hits(cache, out);
    fprintf(out, ", %s/s put, %" PRIu64 " evicted/s", cli_size(put, RATE(stats.put_bytes)),
            RATE(stats.evictions));
    if (cache->now.tier.capacity_bytes > 0)
        fprintf(out, ", %s/s to disk, %s/s from it", cli_size(to, RATE(tier.demoted_bytes)),
                cli_size(from, RATE(tier.promoted_bytes)));
}
