/* SPDX-License-Identifier: MIT */
/*
 * A million objects of one page each: more entries than a processor's cache holds. A process that
 * nobody shares the pool with opens it, so that it looks at the whole index. Then it gets objects
 * at random, and pins the same memory without a key. What a cache takes beside its objects is
 * counted once, when it is full: in the pool, in the pool's metadata, and in the process.
 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define OBJECTS (bench.quick ? 10000u : 1000000u)
#define GETS (bench.quick ? 10000u : 200000u)

/* What children store: of the round that is under way, and of the filled cache. */
static struct {
    double attach_ms, attach_cpu_ms, get_ns, pin_ns, extra_bytes;
    unsigned count; /* of objects that are there */
    uint32_t there[];
} * seen;

static const char *path(void)
{
    return bench_text("%s/cache-many", bench.folder);
}

/* --------------------------------------------------------------------------- filling ------ */

/* KiB of this process's memory that no file has. */
static uint64_t private_kib(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    uint64_t kib = 0;

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtoull(line + 8, NULL, 10);
    if (file)
        fclose(file);
    return kib;
}

static uint64_t metadata_bytes(void)
{
    struct stat st;

    bench_must_host(stat(bench_text("%s/meta/data.mdb", path()), &st),
                    "looking at a pool's metadata");
    return (uint64_t)st.st_blocks * 512;
}

static uint64_t used_bytes(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof info};

    bench_must(&bench_real, hf_pool_info(pool, &info), "asking about a pool");
    return info.pool_bytes - info.free_bytes;
}

static void put_all(struct hfc *cache)
{
    static char page[LAB_PAGE];
    char text[CACHE_KEY];

    for (unsigned i = 0; i < OBJECTS; i++) {
        struct hfc_key key = cache_key(text, i);

        memcpy(page, text, CACHE_KEY);
        cache_must(hfc_put(cache, &key, page, sizeof page), "putting");
    }
}

/* A few have left, since the four lines of a key's word were full. */
static void note_there(struct hfc *cache)
{
    char text[CACHE_KEY];

    for (unsigned i = 0; i < OBJECTS; i++) {
        struct hfc_key key = cache_key(text, i);
        uint8_t there;

        if (cache_must(hfc_exists(cache, &key, 1, &there), "looking for an object"))
            seen->there[seen->count++] = i;
    }
}

/* In a child, so that no process has the pool open afterwards. */
static int fill_many(void *arg)
{
    const struct hfc_options options = {.size = sizeof options,
                                        .capacity_bytes = (OBJECTS + 512) * LAB_PAGE,
                                        .objects = OBJECTS + 64};
    struct hf_pool *pool;
    struct hfc *cache;
    uint64_t before;

    (void)arg;
    bench_must(&bench_real, hf_pool_open(path(), 0, &pool), "opening a pool");
    before = used_bytes(pool) + metadata_bytes() + private_kib() * 1024;
    cache_must(hfc_open(pool, "/cache", &options, &cache), "making a cache");
    put_all(cache);
    note_there(cache);
    seen->extra_bytes = (double)(used_bytes(pool) + metadata_bytes() + private_kib() * 1024 -
                                 before - seen->count * LAB_PAGE) /
                        seen->count;
    cache_must(hfc_close(cache), "closing a cache");
    bench_must(&bench_real, hf_pool_close(pool), "closing a pool");
    return 0;
}

/* -------------------------------------------------------------------------- measuring ----- */

static uint64_t sum;

static void get_one(struct hfc *cache, unsigned number)
{
    char text[CACHE_KEY];
    struct hfc_key key = cache_key(text, number);
    struct iovec piece;
    struct hfc_ref ref;

    cache_must(hfc_get(cache, &key, &piece, 1, &ref), "getting");
    sum += *(const volatile uint64_t *)piece.iov_base;
    cache_must(hfc_release(&ref), "letting go");
}

static void pin_one(struct hf_file *data, unsigned number)
{
    struct iovec piece;
    struct hf_pin pin;

    bench_must(
        &bench_real,
        hf_pin(data, number * LAB_PAGE, LAB_PAGE, HF_PIN_READ | HF_PIN_NOFILL, &piece, 1, &pin),
        "pinning");
    sum += *(const volatile uint64_t *)piece.iov_base;
    hf_unpin(&pin);
}

static double time_gets(struct hfc *cache)
{
    uint64_t state = 1, start = bench_own_cpu_ns();

    for (unsigned i = 0; i < GETS; i++)
        get_one(cache, seen->there[lab_below(&state, seen->count)]);
    return (double)(bench_own_cpu_ns() - start) / GETS;
}

static double time_pins(struct hf_file *data)
{
    uint64_t state = 1, start = bench_own_cpu_ns();

    for (unsigned i = 0; i < GETS; i++)
        pin_one(data, (unsigned)lab_below(&state, seen->count));
    return (double)(bench_own_cpu_ns() - start) / GETS;
}

/* The first goes see pages that are new to the process. */
static int attach_and_get(void *arg)
{
    uint64_t start = lab_now_ns(), start_cpu = bench_own_cpu_ns();
    struct hf_pool *pool;
    struct hf_file *data;
    struct hfc *cache;

    (void)arg;
    bench_stay_on_cpu(0);
    bench_must(&bench_real, hf_pool_open(path(), 0, &pool), "opening a pool");
    cache_must(hfc_open(pool, "/cache", NULL, &cache), "opening a cache");
    seen->attach_ms = (double)(lab_now_ns() - start) / 1e6;
    seen->attach_cpu_ms = (double)(bench_own_cpu_ns() - start_cpu) / 1e6;
    bench_must(&bench_real, hf_open(pool, "/cache/data", O_RDWR, 0, &data), "opening a file");
    time_gets(cache);
    seen->get_ns = time_gets(cache);
    time_pins(data);
    seen->pin_ns = time_pins(data);
    bench_must(&bench_real, hf_close(data), "closing a file");
    cache_must(hfc_close(cache), "closing a cache");
    bench_must(&bench_real, hf_pool_close(pool), "closing a pool");
    return 0;
}

/* ------------------------------------------------------------------------------ rows ------ */

static double measure_attach(void *state)
{
    (void)state;
    cache_must_end(lab_fork(attach_and_get, NULL));
    return seen->attach_ms;
}

static double measure_seen(void *state)
{
    return *(double *)state;
}

static void add_many(struct bench_group *group, const char *key, const char *subject,
                     const char *beside, double (*measure)(void *state), void *state,
                     const char *unit)
{
    bench_add(group, (struct bench_row){.key = key,
                                        .situation = bench.quick ? "10,000 objects of 4 KiB"
                                                                 : "1,000,000 objects of 4 KiB",
                                        .subject = subject,
                                        .beside = beside,
                                        .measure = measure,
                                        .state = state,
                                        .unit = unit});
}

void cache_many_begin(struct bench_group *group)
{
    const struct hf_pool_options options = {
        .size = sizeof options,
        .pool_bytes = (OBJECTS * (LAB_PAGE + 512) + 64 * LAB_MIB) / HF_HUGE_BYTES * HF_HUGE_BYTES};

    if (lab_room(bench.folder) < options.pool_bytes + LAB_GIB) {
        bench_note("cache: a million objects are left out, since %s has no room for them",
                   bench.folder);
        return;
    }
    seen = lab_shared(sizeof *seen + OBJECTS * sizeof seen->there[0]);
    bench_must(&bench_real, hf_pool_create(path(), &options), "making a pool");
    cache_must_end(lab_fork(fill_many, NULL));
    bench_note("cache: of %u objects that were put, %u are there; the others had no place in the "
               "lines of their key",
               OBJECTS, seen->count);
    add_many(group, "cache.many.attach", "hf_pool_open, hfc_open, alone; ms", NULL, measure_attach,
             NULL, "ms");
    add_many(group, "cache.many.attach-cpu", "... CPU time; ms", NULL, measure_seen,
             &seen->attach_cpu_ms, "ms");
    add_many(group, "cache.many.pin", "hf_pin, hf_unpin, by its place; ns", NULL, measure_seen,
             &seen->pin_ns, "ns");
    add_many(group, "cache.many.get", "hfc_get, hfc_release; ns", "cache.many.pin", measure_seen,
             &seen->get_ns, "ns");
    add_many(group, "cache.many.bytes", "memory beyond the data of an object; bytes", NULL,
             measure_seen, &seen->extra_bytes, "bytes");
}
