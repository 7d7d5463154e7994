/* SPDX-License-Identifier: MIT */
/* A client's beginning and its end. */
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TIMEOUT_NS UINT64_C(2000000000)

static void free_client(struct hfx *cluster)
{
    while (cluster->links) {
        struct link *link = cluster->links;

        cluster->links = link->next;
        link_close(link, -ECANCELED, "the cluster is closed");
        free(link);
    }
    if (cluster->members)
        cluster_members_close(cluster->members);
    if (cluster->waits >= 0)
        close(cluster->waits);
    pthread_cond_destroy(&cluster->moved);
    pthread_mutex_destroy(&cluster->mutex);
    free(cluster->secret);
    free(cluster);
}

static void init_client(struct hfx *cluster, const struct hfx_options *options)
{
    pthread_condattr_t attributes;

    *cluster = (struct hfx){.server = options->server,
                            .timeout_ns = options->timeout_ns ? options->timeout_ns : TIMEOUT_NS,
                            .waits = epoll_create1(EPOLL_CLOEXEC),
                            .secret = strdup(options->secret ? options->secret : ""),
                            .pid = getpid()};
    pthread_mutex_init(&cluster->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&cluster->moved, &attributes);
    pthread_condattr_destroy(&attributes);
    queue_init(&cluster->results);
    queue_init(&cluster->again);
}

static int find_members(struct hfx *cluster, const struct hfx_options *options)
{
    struct cluster_members_options members = {.list = options->members};
    int rc = options->etcd ? cluster_take_etcd(options->etcd, &members) : 0;

    members.list = options->members; /* with etcd too, it is refused there */
    rc = rc ? rc : cluster_members_open(&members, &cluster->members);
    return rc ? rc : cluster_members_await(cluster->members, cluster->timeout_ns);
}

int hfx_open(const struct hfx_options *options, struct hfx **out)
{
    struct hfx *cluster;
    int rc;

    if (!options || options->size != sizeof *options || !out || options->reserved[0] ||
        options->reserved[1])
        return cluster_fail(-EINVAL, "options or out is null, or the size is wrong");
    cluster = malloc(sizeof *cluster);
    if (!cluster)
        return cluster_fail(-ENOMEM, "no memory");
    init_client(cluster, options);
    rc = cluster->waits < 0 || !cluster->secret
             ? cluster_fail(-ENOMEM, "no memory, or no descriptor")
             : find_members(cluster, options);
    if (rc) {
        free_client(cluster);
        return rc;
    }
    *out = cluster;
    return 0;
}

int hfx_close(struct hfx *cluster)
{
    int rc = client_check(cluster);

    if (rc)
        return rc;
    pthread_mutex_lock(&cluster->mutex);
    if (cluster->begun)
        rc = cluster_fail(-EBUSY, "%u requests were begun and not taken", cluster->begun);
    pthread_mutex_unlock(&cluster->mutex);
    if (rc == 0)
        free_client(cluster);
    return rc;
}
