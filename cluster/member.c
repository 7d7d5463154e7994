/* SPDX-License-Identifier: MIT */
/* A member of a cluster: how its server is opened, joins, drops what is not its own, and leaves. */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STALL_NS UINT64_C(10000000000)
#define DROP_RETRY_US 10000

static int check_server_options(const struct hfx_server_options *options)
{
    if (!options || options->size != sizeof *options || !options->cache || !options->name ||
        options->reserved[0] || options->reserved[1])
        return cluster_fail(-EINVAL, "size, cache and name are needed; what is reserved is 0");
    if (strlen(options->name) == 0 || strlen(options->name) >= WIRE_NAME)
        return cluster_fail(-EINVAL, "%s: a name has 1 to %u bytes", options->name, WIRE_NAME - 1);
    return 0;
}

static int copy_secret(struct hfx_server *server, const char *secret)
{
    server->secret = strdup(secret ? secret : "");
    if (!server->secret)
        return cluster_fail(-ENOMEM, "no memory");
    if (server->secret[0] == '\0' && !peer_net_is_loopback(&server->net))
        return cluster_fail(-EACCES,
                            "%s is not a loopback address: without a secret, any machine "
                            "that reaches it could read and change the cache",
                            server->address);
    return 0;
}

static int watch_wake(struct hfx_server *server)
{
    struct epoll_event event = {.events = EPOLLIN};

    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->wake < 0 || epoll_ctl(server->net.waits, EPOLL_CTL_ADD, server->wake, &event) != 0)
        return cluster_fail(-errno, "eventfd: %s", strerror(errno));
    return 0;
}

static void free_server(struct hfx_server *server)
{
    peer_net_close(&server->net);
    if (server->wake >= 0)
        close(server->wake);
    if (server->members)
        cluster_members_close(server->members);
    pthread_mutex_destroy(&server->mutex);
    free(server->newest);
    free(server->secret);
    free(server);
}

static int open_server_net(struct hfx_server *server, const struct hfx_server_options *options)
{
    const char *listen = options->listen ? options->listen : "127.0.0.1:0";
    int rc = peer_net_open(&server->net, CLUSTER_PROVIDER, listen, true, &server_calls, server);

    rc = rc ? rc : peer_listen(&server->net);
    rc = rc ? rc : peer_net_name(&server->net, server->address, sizeof server->address);
    rc = rc ? rc : copy_secret(server, options->secret);
    return rc ? rc : watch_wake(server);
}

int hfx_server_open(const struct hfx_server_options *options, struct hfx_server **out)
{
    int rc = check_server_options(options);
    struct hfx_server *server;

    if (rc)
        return rc;
    server = calloc(1, sizeof *server);
    if (!server)
        return cluster_fail(-ENOMEM, "no memory");
    *server = (struct hfx_server){.cache = options->cache,
                                  .wake = -1,
                                  .pid = getpid(),
                                  .net = {.waits = -1},
                                  .now_ns = cluster_now_ns(),
                                  .stall_ns = options->stall_ns ? options->stall_ns : STALL_NS};
    strncpy(server->name, options->name, sizeof server->name - 1);
    pthread_mutex_init(&server->mutex, NULL);
    cluster_random(&server->incarnation, sizeof server->incarnation);
    rc = open_server_net(server, options);
    if (rc) {
        free_server(server);
        return rc;
    }
    *out = server;
    return 0;
}

static int start_server_thread(struct hfx_server *server)
{
    int rc = cluster_thread(&server->thread, server_run, server);

    server->started = rc == 0;
    return rc ? cluster_fail(-EAGAIN, "no thread could be made: %s", strerror(rc)) : 0;
}

/* Its threads are not in the child of a fork, and what they have in etcd is the parent's. */
static int server_check(const struct hfx_server *server)
{
    return server->pid == getpid() ? 0
                                   : cluster_fail(-ECHILD, "the parent opened it before the fork");
}

static int check_is_new(const struct hfx_server *server)
{
    int rc = server_check(server);

    return rc == 0 && server->members ? cluster_fail(-EINVAL, "it has been started already") : rc;
}

int hfx_server_start(struct hfx_server *server, const char *members)
{
    int rc = check_is_new(server);

    if (rc)
        return rc;
    rc = cluster_members_open(
        &(struct cluster_members_options){.list = members ? members : "", .name = server->name},
        &server->members);
    return rc ? rc : start_server_thread(server);
}

/* ---- etcd ---- */

static bool is_ending(struct hfx_server *server)
{
    bool ends;

    pthread_mutex_lock(&server->mutex);
    ends = server->ends;
    pthread_mutex_unlock(&server->mutex);
    return ends;
}

/* False: it could not be done, and will not be, since the server ends. */
static bool drop_object(struct hfx_server *server, const struct hfc_key *key)
{
    int rc;

    /* Another process may be in the cache, or be stopped there. */
    while ((rc = hfc_remove(server->cache, key)) != 0 && rc != -ENOENT) {
        if (is_ending(server))
            return false;
        usleep(DROP_RETRY_US);
    }
    return true;
}

/* The sweep of members.h: of the whole cache if `view` is null. */
static bool drop_foreign(void *arg, const struct cluster_view *view)
{
    struct hfx_server *server = arg;
    struct hfc_entry entry;
    uint64_t cursor = 0;
    int rc;

#ifdef HF_CLUSTER_LAB
    if (cluster_lab_drops_nothing)
        return true;
#endif
    while ((rc = hfc_next(server->cache, &cursor, &entry)) == 1) {
        const struct hfc_key key = {entry.key, entry.key_len, entry.space};

        if (view && cluster_place_has(view, entry.key, entry.key_len, server->name))
            continue;
        if (!drop_object(server, &key))
            return false;
    }
    return rc == 0;
}

/* What is on a disk alone is not found by hfc_next(), and could come back by hfc_fetch(). */
static int has_no_tier(struct hfx_server *server)
{
    struct hfc_tier_stats stats = {.size = sizeof stats};

    return hfc_tier_stats(server->cache, &stats) == 0
               ? cluster_fail(-EINVAL, "the cache has a second tier, whose objects cannot be "
                                       "dropped when their keys move")
               : 0;
}

int hfx_server_join(struct hfx_server *server, const struct hfx_etcd *etcd)
{
    struct cluster_members_options options;
    int rc = cluster_take_etcd(etcd, &options);

    rc = rc ? rc : check_is_new(server);
    rc = rc ? rc : has_no_tier(server);
    if (rc)
        return rc;
    options.name = server->name;
    options.address = server->address;
    options.sweep = drop_foreign;
    options.arg = server;
    rc = cluster_members_open(&options, &server->members);
    return rc ? rc : start_server_thread(server);
}

int hfx_server_await(struct hfx_server *server, uint64_t timeout_ns)
{
    int rc = server_check(server);

    if (rc == 0 && !server->members)
        rc = cluster_fail(-EINVAL, "it has not been started");
    return rc ? rc : cluster_members_await(server->members, timeout_ns);
}

const char *hfx_server_address(const struct hfx_server *server)
{
    return server->address;
}

void hfx_server_close(struct hfx_server *server)
{
    const uint64_t one = 1;

    if (server_check(server))
        return;
    pthread_mutex_lock(&server->mutex);
    server->ends = true;
    pthread_mutex_unlock(&server->mutex);
    if (write(server->wake, &one, sizeof one) != sizeof one)
        cluster_fail(-errno, "eventfd: %s", strerror(errno));
    if (server->members)
        cluster_members_leave(server->members);
    if (server->started)
        pthread_join(server->thread, NULL);
    free_server(server);
}

/* ---- for a client in this process ---- */

bool server_is(const struct hfx_server *server, const char *member)
{
    return strcmp(server->name, member) == 0;
}

bool server_may(struct hfx_server *server, const struct hfc_key *key)
{
    return server->members && cluster_may_serve(server->members, key->bytes, key->len);
}

int server_put(struct hfx_server *server, const struct hfc_key *key, const void *bytes, size_t len)
{
    int rc;

    if (!cluster_serve_begin(server->members, key->bytes, key->len))
        return cluster_fail(-ESTALE, "its member has changed just now");
    rc = hfc_put(server->cache, key, bytes, len);
    cluster_serve_end(server->members);
    return rc;
}

struct hfc *server_cache(struct hfx_server *server)
{
    return server->cache;
}
