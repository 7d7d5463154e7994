/* SPDX-License-Identifier: MIT */
/* What the files of the group `cache` share. */
#ifndef HF_BENCH_CACHE_H
#define HF_BENCH_CACHE_H

#include "bench.h"

#include <holdfast/cache.h>

#define CACHE_OBJECT (256 * 1024ul)
#define CACHE_KEY 24u /* bytes of a key, with its end */

/* The keys that are asked for, in the order of all ways. */
struct cache_trace {
    unsigned keys, count;
    uint32_t *asked;
};

/* ------------------------------------------------------------------ cache_trace.c ------ */

void cache_key_text(char text[CACHE_KEY], unsigned number);
struct hfc_key cache_key(char text[CACHE_KEY], unsigned number);
/* Ends the program with the cache's sentence when rc is a failure; returns rc. */
int64_t cache_must(int64_t rc, const char *what);
struct cache_trace cache_trace_zipf(unsigned keys, unsigned count);
/* Zipf, with scans of keys that nobody else asks for. */
struct cache_trace cache_trace_scan(unsigned keys, unsigned count);
/* Requests to a model, of the shape that examples/kv/arrivals.py describes. */
struct cache_trace cache_trace_model(unsigned requests);

/* ---------------------------------------------------------------- cache_offline.c ------ */

/* The hits among all, in percent, of a cache of `room` objects that nothing disturbs. */
double cache_offline_s3fifo(const struct cache_trace *trace, unsigned room, unsigned ghosts);
double cache_offline_turns(const struct cache_trace *trace, unsigned room); /* policy lru */
double cache_offline_lru(const struct cache_trace *trace, unsigned room);   /* exactly */

/* ----------------------------------------------------------------- cache_store.c ------ */

enum cache_store { STORE_REDIS, STORE_MEMCACHED, STORES };

/* Starts the server on a socket in bench.folder. False: it is not installed. */
bool cache_store_begin(enum cache_store store);
void cache_store_end(enum cache_store store);
uint64_t cache_store_cpu_ns(enum cache_store store);
/* Ends this program too unless the process, of lab_fork(), ended well. */
void cache_must_end(pid_t process);
int cache_store_connect(enum cache_store store);
/* `buffer` has room for CACHE_OBJECT and CACHE_STORE_EXTRA more. */
#define CACHE_STORE_EXTRA 256u
void cache_store_get(enum cache_store store, int fd, const char *key, char *buffer);
void cache_store_put(enum cache_store store, int fd, const char *key, const char *bytes);

/* ------------------------------------------------------------------- cache_ways.c ------ */

/* What a process has open. */
struct cache_user {
    struct hf_pool *pool;
    struct hfc *gets, *puts;
    struct hf_file *data, *put_data; /* of `gets`, of `puts` */
    int folder, store[STORES];
    char *buffer;
    unsigned number;
    uint64_t sum;
};

struct cache_way {
    const char *key, *subject;
    void (*once)(struct cache_user *user, unsigned object);
    int store; /* its server's CPU time counts too; -1: none */
};
enum { GET_CACHE, GET_PIN, GET_TMPFS, GET_REDIS, GET_MEMCACHED, GET_WAYS };
enum { PUT_CACHE = GET_WAYS, PUT_TMPFS, PUT_REDIS, CACHE_WAYS };
extern const struct cache_way cache_ways[CACHE_WAYS];

/* Makes the pool and what is got; `stores` says which servers run. */
void cache_ways_begin(unsigned objects, const bool stores[STORES]);
void cache_user_open(struct cache_user *user, unsigned number, const bool stores[STORES]);
/* Touches the memory that the cache `puts` has. */
void cache_user_see_puts(struct cache_user *user);

/* -------------------------------------------------------------- cache_workers.c ------ */

#define CACHE_WORKERS 4u

void cache_workers_begin(const struct cache_trace *trace, const bool stores[STORES]);
/* CPU time of an operation in ns, with that of the store, while `count` processes do it. */
double cache_workers_run(unsigned way, unsigned count);
void cache_workers_end(void);

/* ------------------------------------------------------------------ cache_many.c ------ */

/* Rows of a million objects, if there is room for them. */
void cache_many_begin(struct bench_group *group);

/* ------------------------------------------------------------------ cache_tier.c ------ */

/* Rows of a second tier, beside fio, if there is a disk. */
void cache_tier_begin(struct bench_group *group);
void cache_tier_end(void);

/* ------------------------------------------------------------------ cache_hits.c ------ */

void cache_hits_begin(struct bench_group *group);
void cache_hits_end(void);

#endif
