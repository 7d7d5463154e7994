/* SPDX-License-Identifier: MIT */
/*
 * Hit rates of the policies s3fifo and lru: each key of a trace is asked for, and put if it is not
 * there. Beside them stand the same policies offline (cache_offline.c), and LRU that is exact. A
 * trace is the same in each round. Only the seed of a cache's hashes differs.
 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/uio.h>

#define ROOM 2000u /* objects that the cache has room for, of one page each */
#define CELLS (ROOM + 80u)
#define KEYS 20000u
#define ASKED (bench.quick ? 20000u : 120000u)
#define REQUESTS (bench.quick ? 600u : 3500u)

static struct bench_pool *pool;
static unsigned made; /* caches, each with its own folder */

static struct stream {
    const char *key, *situation;
    struct cache_trace trace;
    double measured[2]; /* of each policy, in this round */
} streams[] = {
    {"trace", "hits among requests to a model, %", {0}, {0}},
    {"zipf", "hits among Zipf 0.8, %", {0}, {0}},
    {"scan", "hits among Zipf 0.8 with scans, %", {0}, {0}},
};
#define STREAMS (sizeof streams / sizeof streams[0])

/* ------------------------------------------------------------------------- the cache ------ */

static struct hfc *cache_of(enum hfc_policy policy)
{
    const struct hfc_options options = {.size = sizeof options,
                                        .capacity_bytes = ROOM * LAB_PAGE,
                                        .objects = CELLS,
                                        .policy = policy};
    struct hfc *cache;

    cache_must(hfc_open(pool->pool, bench_text("/hits-%u", made++), &options, &cache),
               "making a cache");
    return cache;
}

static void remove_last(const char *name)
{
    bench_must(&bench_real, hf_unlink(pool->pool, bench_text("/hits-%u/%s", made - 1, name), NULL),
               "removing a cache");
}

static void ask_cache(struct hfc *cache, uint32_t number)
{
    static const char page[LAB_PAGE] = "an object";
    char text[CACHE_KEY];
    const struct hfc_key key = {.bytes = text, .len = CACHE_KEY - 1};
    struct iovec piece;
    struct hfc_ref ref;
    int rc;

    cache_key_text(text, number);
    rc = hfc_get(cache, &key, &piece, 1, &ref);
    if (rc == 1)
        cache_must(hfc_release(&ref), "letting go");
    else if (rc == -ENOENT)
        cache_must(hfc_put(cache, &key, page, sizeof page), "putting");
    else
        cache_must(rc, "getting");
}

/* The cache is gone afterwards, so that the next one has its memory. */
static double measure_cache(const struct cache_trace *trace, enum hfc_policy policy)
{
    struct hfc_stats stats = {.size = sizeof stats};
    struct hfc *cache = cache_of(policy);

    for (unsigned i = 0; i < trace->count; i++)
        ask_cache(cache, trace->asked[i]);
    cache_must(hfc_stats(cache, &stats), "asking for statistics");
    cache_must(hfc_close(cache), "closing a cache");
    remove_last("data");
    remove_last("index");
    return 100.0 * (double)stats.hits / (double)(stats.hits + stats.misses);
}

/* -------------------------------------------------------------------------- the rows ------ */

static double measure_s3fifo(void *state)
{
    struct stream *stream = state;

    return stream->measured[0] = measure_cache(&stream->trace, HFC_S3FIFO);
}

static double measure_lru(void *state)
{
    struct stream *stream = state;

    return stream->measured[1] = measure_cache(&stream->trace, HFC_LRU);
}

static double simulate_s3fifo(void *state)
{
    return cache_offline_s3fifo(&((struct stream *)state)->trace, ROOM, CELLS);
}

static double simulate_lru(void *state)
{
    return cache_offline_turns(&((struct stream *)state)->trace, ROOM);
}

static double simulate_exact(void *state)
{
    return cache_offline_lru(&((struct stream *)state)->trace, ROOM);
}

/* Of the caches that this round has measured. */
static double measure_apart(void *state)
{
    const struct stream *stream = state;
    double s3fifo = fabs(stream->measured[0] - simulate_s3fifo(state));
    double lru = fabs(stream->measured[1] - simulate_lru(state));

    return s3fifo > lru ? s3fifo : lru;
}

static void add_stream(struct bench_group *group, struct stream *stream)
{
    static const struct {
        const char *key, *subject;
        double (*measure)(void *state);
    } rows[] = {
        {"lru", "lru", measure_lru},
        {"lru-offline", "lru, offline", simulate_lru},
        {"lru-exact", "LRU exactly, offline", simulate_exact},
        {"s3fifo", "s3fifo", measure_s3fifo},
        {"s3fifo-offline", "s3fifo, offline", simulate_s3fifo},
        {"apart", "the cache and offline apart, points", measure_apart},
    };
    const size_t count = sizeof rows / sizeof rows[0];

    for (size_t i = 0; i < count; i++)
        bench_add(
            group,
            (struct bench_row){
                .key = bench_text("cache.hits.%s.%s", stream->key, rows[i].key),
                .situation = stream->situation,
                .subject = rows[i].subject,
                .beside = i && i + 1 < count ? bench_text("cache.hits.%s.lru", stream->key) : NULL,
                .measure = rows[i].measure,
                .state = stream,
                .unit = i + 1 < count ? "%" : "points",
                .more_is_better = i + 1 < count});
}

void cache_hits_begin(struct bench_group *group)
{
    pool = bench_pool_new(96 * LAB_MIB);
    streams[0].trace = cache_trace_model(REQUESTS);
    streams[1].trace = cache_trace_zipf(KEYS, ASKED);
    streams[2].trace = cache_trace_scan(KEYS, ASKED);
    for (size_t i = 0; i < STREAMS; i++)
        add_stream(group, &streams[i]);
}

void cache_hits_end(void)
{
    for (size_t i = 0; i < STREAMS; i++)
        free(streams[i].trace.asked);
    bench_pool_end(pool);
}
