/* SPDX-License-Identifier: MIT */
/*
 * The verb metrics: the state of pools in Prometheus' text exposition format, once on standard
 * output, or for everybody who asks at an address. Printed once, it is all of the pools or nothing.
 * A server says of a pool that cannot be read just that, and of the others all.
 */
#include "cli.h"
#include "cache_rates.h"
#include "listen.h"
#include "pool_metrics.h"
#include "watched.h"

#include <stdlib.h>
#include <string.h>

static const char *listen_address;
static bool with_caches;

static struct cli_option metrics_options[] = {
    CLI_LISTEN_OPTION(listen_address, "answer Prometheus there; a PORT alone: on this machine"),
    {.name = "caches",
     .letter = 'c',
     .kind = CLI_FLAG,
     .value = &with_caches,
     .help = "also of the caches in them, found in all directories"},
    {0},
};

static int add_with_caches(struct exposition *exposition, const char *path, struct hf_pool *pool)
{
    int rc = pool_metrics_add(exposition, path, pool);

    if (rc == 0 && with_caches)
        cache_metrics_add(exposition, path, pool);
    return rc;
}

/* The pools of a server. */
struct scrape {
    struct watched *pools;
    int count;
};

static void begin_watch(struct scrape *scrape, int count, char **paths)
{
    scrape->pools = cli_alloc((size_t)count * sizeof(scrape->pools[0]));
    scrape->count = count;
    for (int i = 0; i < count; i++)
        scrape->pools[i].path = paths[i];
}

static void end_watch(struct scrape *scrape)
{
    for (int i = 0; i < scrape->count; i++)
        watched_close(&scrape->pools[i]);
    free(scrape->pools);
}

static void add_watched(struct exposition *exposition, struct watched *watched)
{
    struct hf_pool *pool = watched_pool(watched);

    if (pool != NULL)
        watched_looked(watched, add_with_caches(exposition, watched->path, pool));
    if (watched->failure != 0)
        pool_metrics_add_down(exposition, watched->path);
}

static void write_scrape(void *arg, FILE *out)
{
    const struct scrape *scrape = arg;
    struct exposition *exposition = exposition_begin();

    for (int i = 0; i < scrape->count; i++)
        add_watched(exposition, &scrape->pools[i]);
    exposition_end(exposition, out);
}

/* All pools are opened before the first request: counts then begin now. */
static int serve_metrics(int count, char **paths)
{
    static const struct cli_page pages[] = {{"/metrics", EXPOSITION_TYPE, write_scrape}, {0}};
    struct scrape scrape;
    int status;

    begin_watch(&scrape, count, paths);
    for (int i = 0; i < count; i++)
        watched_pool(&scrape.pools[i]);
    status = cli_listen(listen_address, pages, &scrape);
    end_watch(&scrape);
    return status;
}

static int add_once(struct exposition *exposition, const char *path)
{
    struct hf_pool *pool;
    int status = cli_pool_open(path, HF_OPEN_RDONLY, &pool);
    int rc;

    if (status != EX_OK)
        return status;
    rc = add_with_caches(exposition, path, pool);
    if (rc != 0)
        status = cli_fail(path, rc);
    return cli_pool_close(pool, path, status);
}

static int print_metrics(int count, char **paths)
{
    struct exposition *exposition = exposition_begin();
    int status = EX_OK;

    for (int i = 0; i < count && status == EX_OK; i++)
        status = add_once(exposition, paths[i]);
    exposition_end(exposition, status == EX_OK ? stdout : NULL);
    return status;
}

static int metrics_run(int count, char **operands)
{
    for (int i = 1; i < count; i++) {
        for (int before = 0; before < i; before++) {
            if (strcmp(operands[before], operands[i]) == 0)
                return cli_usage("%s: is given twice", operands[i]);
        }
    }
    return listen_address != NULL ? serve_metrics(count, operands) : print_metrics(count, operands);
}

const struct cli_verb cli_verb_metrics = {
    .name = "metrics",
    .operands = "POOL...",
    .summary = "print the metrics of pools, in Prometheus' text format, or serve them",
    .options = metrics_options,
    .operands_min = 1,
    .operands_max = 1 << 10,
    .run = metrics_run,
};
