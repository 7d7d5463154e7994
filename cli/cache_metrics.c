/* SPDX-License-Identifier: MIT */
/* What `holdfast metrics --caches` says of the caches in a pool. Counts of a cache begin when a
 * first process opens it, so each may begin again. */
#include "cache_find.h"
#include "cache_rates.h"

#include <holdfast/cache.h>
#include <stdlib.h>
#include <string.h>

struct cache_metrics {
    struct exposition *out;
    const char *pool_path;
    struct hf_pool *pool;
    char *label; /* of the cache */
};

static void put_cache_metric(const struct cache_metrics *metrics, const char *name,
                             const char *type, const char *help, uint64_t value)
{
    exposition_metric(metrics->out, name, type, help);
    exposition_sample(metrics->out, "", metrics->pool_path, metrics->label, value);
}

static void put_limit_metrics(const struct cache_metrics *metrics, const struct hfc_stats *stats,
                              bool open)
{
    put_cache_metric(metrics, "cache_open", "gauge", "1: a process has the cache open; 0: none.",
                     open);
    put_cache_metric(metrics, "cache_capacity_bytes", "gauge", "Memory of a cache for objects.",
                     stats->capacity_bytes);
    put_cache_metric(metrics, "cache_objects_max", "gauge", "Objects that there can be.",
                     stats->objects_max);
}

/* While a process has it open. */
static void put_memory_metrics(const struct cache_metrics *metrics, const struct hfc_stats *stats)
{
    put_cache_metric(metrics, "cache_used_bytes", "gauge",
                     "Memory of objects, and of what is held or being put.", stats->used_bytes);
    put_cache_metric(metrics, "cache_held_bytes", "gauge",
                     "In no object, but held by readers or by puts.", stats->held_bytes);
    put_cache_metric(metrics, "cache_objects", "gauge", "Objects in memory.", stats->objects);
    put_cache_metric(metrics, "cache_hits_total", "counter", "Gets that found their object.",
                     stats->hits);
    put_cache_metric(metrics, "cache_misses_total", "counter", "Gets that found none.",
                     stats->misses);
    put_cache_metric(metrics, "cache_puts_total", "counter", "Objects that were put.", stats->puts);
    put_cache_metric(metrics, "cache_put_bytes_total", "counter", "Bytes of objects that were put.",
                     stats->put_bytes);
    put_cache_metric(metrics, "cache_evictions_total", "counter", "Objects that were evicted.",
                     stats->evictions);
}

static void put_tier_metrics(const struct cache_metrics *metrics, const struct hfc_tier_stats *tier)
{
    put_cache_metric(metrics, "cache_tier_capacity_bytes", "gauge",
                     "Size of the second tier's file.", tier->capacity_bytes);
    put_cache_metric(metrics, "cache_tier_used_bytes", "gauge", "Of that, written to.",
                     tier->used_bytes);
    put_cache_metric(metrics, "cache_tier_demoted_bytes_total", "counter",
                     "Bytes of objects that were written to the second tier.", tier->demoted_bytes);
    put_cache_metric(metrics, "cache_tier_promoted_bytes_total", "counter",
                     "Bytes of objects that were brought back.", tier->promoted_bytes);
    put_cache_metric(metrics, "cache_tier_misses_total", "counter",
                     "Fetches that found nothing in the second tier.", tier->misses);
    put_cache_metric(metrics, "cache_tier_skipped_total", "counter",
                     "Objects evicted without a copy, since too much was on its way.",
                     tier->skipped);
    put_cache_metric(metrics, "cache_tier_damaged_total", "counter",
                     "Objects of the second tier that were not whole.", tier->damaged);
    put_cache_metric(metrics, "cache_tier_errors_total", "counter",
                     "Reads and writes of the second tier that failed.",
                     tier->read_errors + tier->write_errors);
}

static bool put_found_cache(void *arg, const char *path)
{
    struct cache_metrics *metrics = arg;
    struct hfc_stats stats = {.size = sizeof(stats)};
    struct hfc_tier_stats tier = {.size = sizeof(tier)};

    int rc = hfc_peek(metrics->pool, path, &stats, &tier);

    if (rc < 0) /* another file that is called index */
        return true;
    metrics->label = exposition_label("cache", path);
    put_limit_metrics(metrics, &stats, rc == 1);
    if (rc == 1)
        put_memory_metrics(metrics, &stats);
    if (tier.capacity_bytes > 0)
        put_tier_metrics(metrics, &tier);
    free(metrics->label);
    return true;
}

void cache_metrics_add(struct exposition *out, const char *path, struct hf_pool *pool)
{
    struct cache_metrics metrics = {.out = out, .pool_path = path, .pool = pool};

    cache_find(pool, put_found_cache, &metrics);
}
