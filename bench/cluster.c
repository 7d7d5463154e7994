/* SPDX-License-Identifier: MIT */
/*
 * Objects of another machine, got through libholdfast-cluster, from redis, and as bare messages of
 * the same provider. With those, the client sends a message. The server writes the bytes into
 * the client's memory and answers, which is the least that a get can be. The machine is a network
 * namespace with processes of its own. Without root there are none, and all goes through the
 * loopback.
 */
#include "cluster.h"

#include <fcntl.h>
#include <holdfast/cluster.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 32u
#define GETS_MOST 1000u
#define GETS (bench.quick ? 20u : GETS_MOST)
#define GOES 320u
#define ROUNDS_MOST 50u
#define ROUNDS (bench.quick ? 4u : ROUNDS_MOST) /* of GOES gets */
#define OBJECTS 64u

static struct place place = {.node = "127.0.0.1"};
static struct bare_client bare;
static pid_t bare_server, cluster_server, redis_server;
static struct hfx *cluster;
static int redis = -1;
static char *buffer;

/* ---- two namespaces with a cable ---- */

static int network_namespace(void)
{
    return (int)bench_must_host(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "a namespace");
}

static bool run_ip(const char *command)
{
    return system(bench_text("{ %s; } >/dev/null 2>&1", command)) == 0;
}

/* This process stays in its own namespace, and enters that of clients to make connections. */
static void make_namespaces(void)
{
    pid_t keeper;

    place.own = network_namespace();
    if (geteuid() != 0 || !run_ip("ip -V") || unshare(CLONE_NEWNET) != 0)
        return;
    place.server = network_namespace();
    keeper = fork();
    bench_must_host(keeper, "fork");
    if (keeper == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
    }
    bench_must_host(unshare(CLONE_NEWNET), "unshare");
    place.client = network_namespace();
    if (!run_ip(bench_text("ip link add hfc type veth peer name hfs netns %d && ip link set lo up "
                           "&& ip addr add 10.79.0.2/24 dev hfc && ip link set hfc up",
                           (int)keeper)))
        lab_fail("the cable between two namespaces cannot be made");
    bench_must_host(setns(place.server, CLONE_NEWNET), "setns");
    if (!run_ip("ip link set lo up && ip addr add 10.79.0.1/24 dev hfs && ip link set hfs up"))
        lab_fail("the cable between two namespaces cannot be made");
    bench_must_host(setns(place.own, CLONE_NEWNET), "setns");
    kill(keeper, SIGKILL);
    waitpid(keeper, NULL, 0);
    place.apart = true;
    place.node = "10.79.0.1";
}

static void enter_network(int network)
{
    if (place.apart)
        bench_must_host(setns(network, CLONE_NEWNET), "setns");
}

/* A child on the servers' side, on the second CPU. Tells by a pipe what it has to tell. */
static pid_t start_beyond(void (*serve)(int to), void *told, size_t bytes)
{
    int pipes[2];
    pid_t pid;

    bench_must_host(pipe2(pipes, O_CLOEXEC), "pipe");
    pid = fork();
    bench_must_host(pid, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bench_stay_on_cpu(1);
        enter_network(place.server);
        serve(pipes[1]);
        _exit(1);
    }
    close(pipes[1]);
    if (read(pipes[0], told, bytes) != (ssize_t)bytes)
        lab_fail("a server of the group cluster did not begin");
    close(pipes[0]);
    return pid;
}

/* ---- bare messages ---- */

static void serve_bare(int to)
{
    bare_serve(place.node, to);
}

static double measure_bare_get(void *state)
{
    double us[GETS_MOST];

    (void)state;
    bench_must_host(kill(bare_server, SIGCONT), "kill");
    bare_get(&bare);
    for (unsigned i = 0; i < GETS; i++) {
        uint64_t start = lab_now_ns();

        bare_get(&bare);
        us[i] = (double)(lab_now_ns() - start) / 1000;
    }
    bench_must_host(kill(bare_server, SIGSTOP), "kill"); /* it polls all the time */
    return bench_quantile(us, GETS, 0.5);
}

/* ---- the cluster ---- */

static void cluster_must(int64_t rc, const char *what)
{
    if (rc < 0)
        lab_fail("%s: %s", what, hfx_detail());
}

static void serve_cluster(int to)
{
    const struct hf_pool_options pool_options = {.size = sizeof pool_options,
                                                 .pool_bytes = 64 * LAB_MIB};
    const struct hfc_options cache_options = {.size = sizeof cache_options,
                                              .capacity_bytes = 32 * LAB_MIB};
    struct hfx_server_options options = {.size = sizeof options,
                                         .name = "member",
                                         .secret = "bench",
                                         .listen = bench_text("%s:0", place.node)};
    struct hfx_server *server;
    struct hf_pool *pool;
    char address[HFX_ADDRESS_MAX + 1] = "";

    bench_must(&bench_real, hf_pool_open_anonymous(&pool_options, &pool), "making a pool");
    if (hfc_open(pool, "/cache", &cache_options, &options.cache))
        lab_fail("making a cache: %s", hfc_detail());
    cluster_must(hfx_server_open(&options, &server), "a member");
    strncpy(address, hfx_server_address(server), sizeof address - 1);
    cluster_must(hfx_server_start(server, bench_text("member=%s", address)), "a member");
    if (write(to, address, sizeof address) == (ssize_t)sizeof address)
        for (;;)
            pause();
}

static struct hfc_key object_key(char text[16], char kind, unsigned number)
{
    return (struct hfc_key){text, (uint32_t)snprintf(text, 16, "%c%03u", kind, number % OBJECTS),
                            0};
}

static void fill_cluster(void)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        char large[16], small[16];
        const struct hfc_key large_key = object_key(large, 'l', i);
        const struct hfc_key small_key = object_key(small, 's', i);

        cluster_must(hfx_put(cluster, &large_key, buffer, CLUSTER_LARGE), "a put");
        cluster_must(hfx_put(cluster, &small_key, buffer, CLUSTER_SMALL), "a put");
    }
}

static double measure_get(void *state)
{
    double us[GETS_MOST];
    char text[16];

    (void)state;
    for (unsigned i = 0; i < GETS; i++) {
        const struct hfc_key key = object_key(text, 'l', i);
        uint64_t start = lab_now_ns();

        cluster_must(hfx_get(cluster, &key, buffer, CLUSTER_LARGE), "a get");
        us[i] = (double)(lab_now_ns() - start) / 1000;
    }
    return bench_quantile(us, GETS, 0.5);
}

/* MANY are under way all the time: a new one for each that has ended. */
static void get_many(unsigned all)
{
    static char text[MANY][16];
    struct hfx_request requests[MANY], next[MANY];
    struct hfx_result results[MANY];
    unsigned begun = MANY;

    for (unsigned i = 0; i < MANY; i++)
        requests[i] = (struct hfx_request){
            HFX_GET,       0, object_key(text[i], 's', i), buffer + (size_t)i * CLUSTER_SMALL,
            CLUSTER_SMALL, i};
    cluster_must(hfx_begin(cluster, requests, MANY), "gets");
    for (unsigned ended = 0; ended < all;) {
        int got = hfx_next(cluster, 20 * LAB_SEC, results, MANY);
        unsigned count = 0;

        cluster_must(got ? got : -1, "gets");
        ended += (unsigned)got;
        for (int i = 0; i < got; i++) {
            cluster_must(results[i].result, "a get");
            if (begun < all) {
                next[count++] = requests[results[i].tag];
                begun++;
            }
        }
        if (count)
            cluster_must(hfx_begin(cluster, next, count), "gets");
    }
}

static void get_many_redis(unsigned all)
{
    redis_get_many(redis, 's', OBJECTS, MANY, all, CLUSTER_SMALL);
}

/* The median of several goes, as above: a go in which a CPU was taken away says nothing. */
static double rate_of(void (*get)(unsigned all))
{
    double rates[ROUNDS_MOST];

    get(GOES);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t start = lab_now_ns();

        get(GOES);
        rates[i] = GOES / ((double)(lab_now_ns() - start) / LAB_SEC);
    }
    return bench_quantile(rates, ROUNDS, 0.5);
}

static double measure_many(void *state)
{
    (void)state;
    return rate_of(get_many);
}

static void begin_cluster(void)
{
    char address[HFX_ADDRESS_MAX + 1];
    const struct hfx_options options = {
        .size = sizeof options, .members = address, .secret = "bench", .timeout_ns = 20 * LAB_SEC};
    char *list;

    cluster_server = start_beyond(serve_cluster, address, sizeof address);
    list = bench_text("member=%s", address);
    cluster_must(hfx_open(&(struct hfx_options){.size = sizeof options,
                                                .members = list,
                                                .secret = options.secret,
                                                .timeout_ns = options.timeout_ns},
                          &cluster),
                 "the cluster");
    fill_cluster();
}

/* ---- redis ---- */

static void serve_redis(int to)
{
    if (write(to, "", 1) == 1)
        redis_serve(place.node);
}

static double measure_redis(void *state)
{
    double us[GETS_MOST];

    (void)state;
    for (unsigned i = 0; i < GETS; i++) {
        uint64_t start = lab_now_ns();

        redis_get(redis, 'l', i % OBJECTS, buffer, CLUSTER_LARGE);
        us[i] = (double)(lab_now_ns() - start) / 1000;
    }
    return bench_quantile(us, GETS, 0.5);
}

static double measure_redis_many(void *state)
{
    (void)state;
    return rate_of(get_many_redis);
}

static bool begin_redis(void)
{
    char nothing;

    redis_server = start_beyond(serve_redis, &nothing, 1);
    redis = redis_connect(place.node, redis_server);
    if (redis < 0) {
        bench_note("cluster: redis is left out, since it is not installed or did not start");
        return false;
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        redis_put(redis, 'l', i, buffer, CLUSTER_LARGE);
        redis_put(redis, 's', i, buffer, CLUSTER_SMALL);
    }
    return true;
}

/* ---- the group ---- */

static void add_cluster_rows(const struct bench_group *group, bool has_redis)
{
    const char *where = place.apart ? "another network namespace" : "the loopback";
    const char *one = bench_text("a get of 64 KiB, %s", where);
    const char *many = bench_text("gets of 4 KiB, 32 at once, %s", where);

    bench_add(group, (struct bench_row){.key = "cluster.get.bare",
                                        .situation = one,
                                        .subject = "a message, an RMA write, a message",
                                        .measure = measure_bare_get});
    bench_add(group, (struct bench_row){.key = "cluster.get.holdfast",
                                        .situation = one,
                                        .subject = "hfx_get",
                                        .beside = "cluster.get.bare",
                                        .measure = measure_get});
    if (has_redis)
        bench_add(group, (struct bench_row){.key = "cluster.get.redis",
                                            .situation = one,
                                            .subject = "redis GET",
                                            .beside = "cluster.get.bare",
                                            .measure = measure_redis});
    bench_add(group, (struct bench_row){.key = "cluster.many.holdfast",
                                        .situation = many,
                                        .subject = "hfx_begin, hfx_next",
                                        .unit = "gets a second",
                                        .more_is_better = true,
                                        .measure = measure_many});
    if (has_redis)
        bench_add(group, (struct bench_row){.key = "cluster.many.redis",
                                            .situation = many,
                                            .subject = "redis GET",
                                            .unit = "gets a second",
                                            .more_is_better = true,
                                            .beside = "cluster.many.holdfast",
                                            .measure = measure_redis_many});
}

static void begin_group(struct bench_group *group)
{
    char port[16];

    make_namespaces();
    buffer = lab_alloc(CLUSTER_LARGE > MANY * CLUSTER_SMALL ? CLUSTER_LARGE : MANY * CLUSTER_SMALL);
    memset(buffer, 'b', CLUSTER_LARGE);
    bare_server = start_beyond(serve_bare, port, sizeof port);
    enter_network(place.client);
    bare_connect(&bare, place.node, port);
    bench_must_host(kill(bare_server, SIGSTOP), "kill");
    begin_cluster();
    add_cluster_rows(group, begin_redis());
    enter_network(place.own);
    if (!place.apart)
        bench_note("cluster: only root can make network namespaces, so it is the loopback");
}

static void end_group(void)
{
    const pid_t servers[] = {bare_server, cluster_server, redis_server};

    hfx_close(cluster);
    bare_close(&bare);
    if (redis >= 0)
        close(redis);
    for (size_t i = 0; i < sizeof servers / sizeof servers[0]; i++) {
        kill(servers[i], SIGKILL);
        waitpid(servers[i], NULL, 0);
    }
    free(buffer);
}

struct bench_group bench_cluster_group = {
    .name = "cluster",
    .title = "objects of another machine",
    .help = "gets through libholdfast-cluster, beside bare messages and redis",
    .unit = "us",
    .ratio = "x bare",
    .begin = begin_group,
    .end = end_group,
};
