/* SPDX-License-Identifier: MIT */
/*
 * The cache: gets and puts of 256 KiB by one, two and four processes, beside a pin, files on tmpfs
 * and stores behind a socket. All ask for the same keys in the same order. CPU time counts, and of
 * a store that of its server too: a get by itself waits for nothing.
 */
#include "cache.h"

#include <stdlib.h>

#define OBJECTS (bench.quick ? 24u : 512u)
#define ASKED 65536u

static struct cache_trace trace;
static bool stores[STORES];

struct doing {
    unsigned way, count;
};

static double measure_doing(void *state)
{
    const struct doing *doing = state;

    return cache_workers_run(doing->way, doing->count) / 1000;
}

static void add_way(struct bench_group *group, unsigned way, unsigned count)
{
    const char *verb = way < GET_WAYS ? "get" : "put";
    bool first = way == GET_CACHE || way == PUT_CACHE;
    struct doing *doing = lab_alloc(sizeof *doing);

    *doing = (struct doing){way, count};
    bench_add(group, (struct bench_row){
                         .key = bench_text("cache.%s.%u.%s", verb, count, cache_ways[way].key),
                         .situation = bench_text("%s of 256 KiB, %u process%s; us", verb, count,
                                                 count > 1 ? "es" : ""),
                         .subject = cache_ways[way].subject,
                         .beside = first ? NULL : bench_text("cache.%s.%u.cache", verb, count),
                         .measure = measure_doing,
                         .state = doing,
                         .unit = "us"});
}

static void add_ways(struct bench_group *group, unsigned first, unsigned end, unsigned count)
{
    for (unsigned way = first; way < end; way++)
        if (cache_ways[way].store < 0 || stores[cache_ways[way].store])
            add_way(group, way, count);
}

static void begin_cache(struct bench_group *group)
{
    for (unsigned i = 0; i < STORES; i++)
        stores[i] = cache_store_begin(i);
    trace = cache_trace_zipf(OBJECTS, ASKED);
    cache_ways_begin(OBJECTS, stores);
    cache_workers_begin(&trace, stores);
    for (unsigned count = 1; count <= CACHE_WORKERS; count *= 2)
        add_ways(group, 0, GET_WAYS, count);
    for (unsigned count = 1; count <= CACHE_WORKERS; count *= 2)
        add_ways(group, GET_WAYS, CACHE_WAYS, count);
    cache_hits_begin(group);
    cache_tier_begin(group);
    cache_many_begin(group);
}

static void end_cache(void)
{
    cache_hits_end();
    cache_tier_end();
    cache_workers_end();
    for (unsigned i = 0; i < STORES; i++)
        if (stores[i])
            cache_store_end(i);
    free(trace.asked);
}

struct bench_group bench_cache_group = {
    .name = "cache",
    .title = "a cache of objects, CPU time; each row says its unit",
    .help = "gets, puts and hits of a cache, beside tmpfs, redis, memcached and offline",
    .ratio = "x the cache",
    .begin = begin_cache,
    .end = end_cache,
};
