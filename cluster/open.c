/* SPDX-License-Identifier: MIT */
/* A client's beginning and its end. */
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

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
    cluster = client_new(options->secret, options->timeout_ns);
    if (!cluster)
        return cluster_fail(-ENOMEM, "no memory, or no descriptor");
    cluster->server = options->server;
    rc = find_members(cluster, options);
    if (rc) {
        client_free(cluster);
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
        client_free(cluster);
    return rc;
}
