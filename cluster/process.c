/* SPDX-License-Identifier: MIT */
/* The clock, chance, options of etcd, and the sentence for the last call that failed. */
#include "private.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

uint64_t cluster_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void cluster_random(void *out, size_t len)
{
    while (getrandom(out, len, 0) != (ssize_t)len) /* a signal came: len is below 256 */
        continue;
}

int cluster_take_etcd(const struct hfx_etcd *etcd, struct cluster_members_options *out)
{
    if (!etcd || etcd->size != sizeof *etcd || !etcd->urls)
        return cluster_fail(-EINVAL, "size and urls of etcd are needed");
    if (etcd->replicas > CLUSTER_REPLICAS_MAX)
        return cluster_fail(-EINVAL, "%u replicas: a cluster has one copy of each object, or two",
                            etcd->replicas);
    *out = (struct cluster_members_options){.etcd = etcd->urls,
                                            .prefix = etcd->prefix,
                                            .ca = etcd->ca,
                                            .cert = etcd->cert,
                                            .key = etcd->key,
                                            .ttl_seconds = etcd->lease_seconds,
                                            .replicas = etcd->replicas};
    return 0;
}

const char *hfx_detail(void)
{
    return cluster_detail();
}

#ifdef HF_CLUSTER_LAB
enum cluster_lab_fate (*cluster_lab_fate)(const struct wire_head *head);
bool cluster_lab_serves_twice, cluster_lab_serves_late, cluster_lab_keeps_link,
    cluster_lab_drops_nothing, cluster_lab_obeys_old;
#endif
