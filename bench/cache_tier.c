/* SPDX-License-Identifier: MIT */
/*
 * Objects of 1 MiB that come back from a second tier, beside fio, which reads the same file of the
 * same disk with O_DIRECT. The pool is one that processes can share, on a tmpfs. So its memory is
 * huge pages, and the disk gets one piece of memory for an object rather than 256. The cache has
 * room for a quarter of the objects, and its policy is fifo. They are fetched in order, so none is
 * in memory any more, and each takes the memory of an earlier one. Elapsed time counts, since that
 * is how long the disk is waited for.
 */
#include "cache.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define OBJECTS (bench.quick ? 64u : 256u)
#define OBJECT LAB_MIB
#define PIECES 64
#define UNDER_WAY 8u
#define EVICTED_AT_ONCE 8u /* so that none is skipped */

static struct {
    struct hf_pool *pool;
    struct hfc *cache;
    const char *folder; /* of the disk; null: the rows are left out */
} tier;

static void evict_all(void)
{
    cache_must(hfc_evict(tier.cache, UINT64_MAX, NULL), "evicting");
}

static void put_on_disk(void)
{
    char *bytes = lab_alloc(OBJECT), text[CACHE_KEY];

    for (unsigned i = 0; i < OBJECTS; i++) {
        struct hfc_key key = cache_key(text, i);

        memset(bytes, (int)i, OBJECT);
        cache_must(hfc_put(tier.cache, &key, bytes, OBJECT), "putting");
        if (i % EVICTED_AT_ONCE == EVICTED_AT_ONCE - 1)
            evict_all();
    }
    evict_all();
    free(bytes);
}

/* ---------------------------------------------------------------------- one by one ------- */

static void fetch_one_by_one(void)
{
    struct iovec pieces[PIECES];
    char text[CACHE_KEY];
    struct hfc_ref ref;

    for (unsigned i = 0; i < OBJECTS; i++) {
        struct hfc_key key = cache_key(text, i);

        cache_must(hfc_fetch(tier.cache, &key, pieces, PIECES, &ref), "fetching");
        cache_must(hfc_release(&ref), "letting go");
    }
}

/* ------------------------------------------------------------------ many at a time ------- */

/* True: it is on its way, and not in memory already. */
static bool ask_disk(unsigned number)
{
    struct iovec pieces[PIECES];
    char text[CACHE_KEY];
    struct hfc_key key = cache_key(text, number);
    struct hfc_ref ref;
    int rc = (int)cache_must(hfc_fetch_begin(tier.cache, &key, number, pieces, PIECES, &ref),
                             "beginning a fetch");

    if (rc > 0)
        cache_must(hfc_release(&ref), "letting go");
    return rc == 0;
}

static unsigned take_fetched(void)
{
    struct iovec pieces[PIECES];
    struct hfc_fetched fetched;
    unsigned count = 0;

    for (; cache_must(hfc_fetch_next(tier.cache, pieces, PIECES, &fetched), "taking"); count++) {
        cache_must(fetched.pieces, "fetching");
        cache_must(hfc_release(&fetched.ref), "letting go");
    }
    return count;
}

static void fetch_many_at_a_time(void)
{
    struct pollfd ready = {.fd = hfc_fetch_fd(tier.cache), .events = POLLIN};
    unsigned begun = 0, on_way = 0;

    while (begun < OBJECTS || on_way) {
        for (; begun < OBJECTS && on_way < UNDER_WAY; begun++)
            on_way += ask_disk(begun);
        if (on_way && poll(&ready, 1, -1) < 0 && errno != EINTR)
            bench_must_host(-1, "waiting for fetches");
        on_way -= take_fetched();
    }
}

/* ---------------------------------------------------------------------------- rows ------- */

static double measure_fetches(void *state)
{
    void (*const *fetch)(void) = state;
    uint64_t start = lab_now_ns();

    (*fetch)();
    return OBJECTS / ((double)(lab_now_ns() - start) / 1e9);
}

static double measure_fio_tier(void *state)
{
    char *command = bench_text(
        "fio --name=x --filename='%s/objects' --readonly --size=%lu --rw=read --bs=1m --direct=1 "
        "--ioengine=io_uring --iodepth=%u --thread --minimal 2>/dev/null",
        tier.folder, OBJECTS * OBJECT, *(const unsigned *)state);
    FILE *fio = popen(command, "re");
    char line[8192] = "", *at = line;

    if (fio && fgets(line, sizeof line, fio))
        for (unsigned field = 1; field < 7 && at; field++) /* the seventh: KiB a second */
            at = (at = strchr(at, ';')) ? at + 1 : NULL;
    if (!fio || pclose(fio) || !at || strtod(at, NULL) <= 0)
        lab_fail("fio failed on %s/objects", tier.folder);
    free(command);
    return strtod(at, NULL) / 1024;
}

static void add_row(struct bench_group *group, const char *key, const char *subject,
                    const char *beside, double (*measure)(void *state), void *state)
{
    bench_add(group, (struct bench_row){.key = key,
                                        .situation = "objects of 1 MiB from a disk; MiB/s",
                                        .subject = subject,
                                        .beside = beside,
                                        .measure = measure,
                                        .state = state,
                                        .unit = "MiB/s",
                                        .more_is_better = true});
}

static void add_rows(struct bench_group *group)
{
    static void (*one)(void) = fetch_one_by_one, (*many)(void) = fetch_many_at_a_time;
    static unsigned depth_one = 1, depth_many = 8;

    add_row(group, "cache.tier.one.fetch", "hfc_fetch, one by one", NULL, measure_fetches, &one);
    add_row(group, "cache.tier.one.fio", "fio, one by one", "cache.tier.one.fetch",
            measure_fio_tier, &depth_one);
    add_row(group, "cache.tier.many.fetch", "hfc_fetch_begin, 8 at once", NULL, measure_fetches,
            &many);
    add_row(group, "cache.tier.many.fio", "fio, 8 at once", "cache.tier.many.fetch",
            measure_fio_tier, &depth_many);
}

void cache_tier_begin(struct bench_group *group)
{
    struct hfc_options options = {.size = sizeof options,
                                  .capacity_bytes = OBJECTS * OBJECT / 4,
                                  .objects = 4 * OBJECTS,
                                  .policy = HFC_FIFO,
                                  .tier_bytes = 4 * OBJECTS * OBJECT};
    const struct hf_pool_options pool = {.size = sizeof pool,
                                         .pool_bytes = OBJECTS * OBJECT / 2 + 64 * LAB_MIB};
    const char *path;
    int rc;

    if (!bench.disk || lab_room(bench.disk) < options.tier_bytes + LAB_GIB ||
        system("command -v fio >/dev/null") != 0) {
        bench_note("cache: the rows of a second tier are left out, since there is no disk with "
                   "room, or no fio (Debian's package fio)");
        return;
    }
    tier.folder = bench_text("%s/holdfast-bench-tier-%d", bench.disk, (int)getpid());
    options.tier = tier.folder;
    bench_must_host(mkdir(tier.folder, 0700), "making a folder on the disk");
    path = bench_text("%s/cache-tier", bench.folder);
    bench_must(&bench_real, hf_pool_create(path, &pool), "making a pool");
    bench_must(&bench_real, hf_pool_open(path, 0, &tier.pool), "opening a pool");
    rc = hfc_open(tier.pool, "/tier", &options, &tier.cache);
    cache_must(rc, "making a cache with a second tier");
    put_on_disk();
    add_rows(group);
}

void cache_tier_end(void)
{
    if (!tier.folder)
        return;
    cache_must(hfc_close(tier.cache), "closing a cache");
    bench_must(&bench_real, hf_pool_close(tier.pool), "closing a pool");
    unlink(bench_text("%s/objects", tier.folder));
    rmdir(tier.folder);
}
