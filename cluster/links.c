/* SPDX-License-Identifier: MIT */
/* What has links: a client of a program, or a member that talks to others. */
#include "client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TIMEOUT_NS UINT64_C(2000000000)

void client_free(struct hfx *cluster)
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

static void init_client(struct hfx *cluster, const char *secret, uint64_t timeout_ns)
{
    pthread_condattr_t attributes;

    *cluster = (struct hfx){.timeout_ns = timeout_ns ? timeout_ns : TIMEOUT_NS,
                            .waits = epoll_create1(EPOLL_CLOEXEC),
                            .secret = strdup(secret ? secret : ""),
                            .pid = getpid()};
    pthread_mutex_init(&cluster->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&cluster->moved, &attributes);
    pthread_condattr_destroy(&attributes);
    queue_init(&cluster->results);
    queue_init(&cluster->again);
}

struct hfx *client_new(const char *secret, uint64_t timeout_ns)
{
    struct hfx *cluster = malloc(sizeof *cluster);

    if (!cluster)
        return NULL;
    init_client(cluster, secret, timeout_ns);
    if (cluster->waits >= 0 && cluster->secret)
        return cluster;
    client_free(cluster);
    return NULL;
}
