/* SPDX-License-Identifier: MIT */
/* `holdfast serve`: a cache of this machine's pool for a cluster, until a signal ends it. */
#include "cluster.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)

static const char *cache_path = "/cache", *name, *listen_at;
static uint64_t lease_ns = 5 * NS_PER_S;

static struct cli_option serve_options[] = {
    CLUSTER_OPTIONS,
    {.name = "name",
     .letter = 'n',
     .kind = CLI_TEXT,
     .value = &name,
     .value_name = "NAME",
     .help = "of this member (the host's name)"},
    {.name = "listen",
     .letter = 'l',
     .kind = CLI_TEXT,
     .value = &listen_at,
     .value_name = "HOST:PORT",
     .help = "where the others find it (127.0.0.1 and any port)"},
    {.name = "cache",
     .letter = 'c',
     .kind = CLI_TEXT,
     .value = &cache_path,
     .value_name = "DIR",
     .help = "the cache in the pool that is served (/cache)"},
    {.name = "lease",
     .kind = CLI_TIME,
     .value = &lease_ns,
     .value_name = "TIME",
     .help = "a member that is silent so long is out (5s)",
     .min = NS_PER_S,
     .max = 3600 * NS_PER_S},
    {.name = "replicas",
     .kind = CLI_COUNT,
     .value = &cluster_place.etcd.replicas,
     .value_name = "N",
     .help = "copies of each object, 1 or 2; the first member decides for all (1)",
     .min = 1,
     .max = 2},
    {0},
};

static int fail_cluster(const char *what, int rc)
{
    return cli_fail_why(what, hfx_detail(), rc);
}

static int serve_until_signal(struct hfx_server *server)
{
    bool joined = cluster_place.members != NULL;

    while (!cli_interrupted()) {
        if (joined) {
            cli_sleep(NS_PER_S);
        } else if (hfx_server_await(server, NS_PER_S / 4) == 0) {
            joined = true;
            printf("joined\n");
            fflush(stdout);
        }
    }
    return EX_OK;
}

static int serve_opened(struct hfx_server *server)
{
    int rc = cluster_place.members ? hfx_server_start(server, cluster_place.members)
                                   : hfx_server_join(server, &cluster_place.etcd);

    if (rc)
        return fail_cluster(name, rc);
    printf("%s serves %s at %s\n", name, cache_path, hfx_server_address(server));
    fflush(stdout);
    return serve_until_signal(server);
}

static int serve_cache(struct hfc *cache)
{
    char secret[CLUSTER_SECRET_MAX];
    struct hfx_server_options options = {.size = sizeof(options),
                                         .name = name,
                                         .listen = listen_at,
                                         .secret = secret,
                                         .cache = cache};
    struct hfx_server *server;
    int status = cluster_read_secret(secret), rc;

    if (status != EX_OK)
        return status;
    rc = hfx_server_open(&options, &server);
    if (rc)
        return fail_cluster(name, rc);
    status = serve_opened(server);
    hfx_server_close(server);
    return status;
}

static int serve_cache_of(struct hf_pool *pool)
{
    struct hfc *cache;
    int rc = hfc_open(pool, cache_path, NULL, &cache), status;

    if (rc == -ENOENT)
        return cli_fail_why(cache_path, "there is no cache (holdfast cache make makes one)", rc);
    if (rc)
        return cli_fail_why(cache_path, hfc_detail(), rc);
    status = serve_cache(cache);
    rc = hfc_close(cache);
    return rc && status == EX_OK ? cli_fail_why(cache_path, hfc_detail(), rc) : status;
}

static int run_serve(int count, char **operands)
{
    static char host[HFX_NAME_MAX + 1];
    struct hf_pool *pool;
    int status = cluster_check_place();

    (void)count;
    if (status != EX_OK)
        return status;
    if (cluster_place.members && cluster_place.etcd.replicas > 1)
        return cli_usage(
            "--replicas is for --etcd: members by a list have one copy of each object");
    if (!name) {
        gethostname(host, sizeof(host) - 1);
        name = host;
    }
    cluster_place.etcd.lease_seconds = (uint32_t)((lease_ns + NS_PER_S - 1) / NS_PER_S);
    status = cli_pool_open(operands[0], 0, &pool);
    return status != EX_OK ? status : cli_pool_close(pool, operands[0], serve_cache_of(pool));
}

const struct cli_verb cli_verb_serve = {
    .name = "serve",
    .operands = "POOL",
    .summary = SERVE_SUMMARY,
    .details = "Ends with SIGINT or SIGTERM. By etcd, it leaves the others cleanly then, and its "
               "objects are lost with it, unless there are two copies of each.",
    .options = serve_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = run_serve,
};
