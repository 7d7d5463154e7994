/* SPDX-License-Identifier: MIT */
/* Opening and closing: members whose list is given, which is one epoch for ever, or by etcd. */
#include "members.h"

#include "joined.h"
#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int open_list(struct cluster_members *members, const struct cluster_members_options *options)
{
    struct cluster_view *view;
    int rc = view_parse(options->list, &view);

    if (rc)
        return rc;
    view->epoch = 1;
    view->active = true;
    if (options->name && !view_find(view, options->name))
        rc = cluster_fail(-EINVAL, "'%s' is not in the list of members", options->name);
    if (!rc && options->name) {
        members_go_in(members, 1);
        members_learn(members, view);
        members->lease_until_ns = UINT64_MAX;
    }
    if (!rc)
        members_publish(members, view);
    cluster_view_put(view);
    return rc;
}

static int init_locks(struct cluster_members *members)
{
    pthread_rwlockattr_t serving;
    pthread_condattr_t monotonic;
    int rc;

    pthread_rwlockattr_init(&serving);
    /* Else requests that always overlap would hold a change off for ever. */
    pthread_rwlockattr_setkind_np(&serving, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    rc = pthread_rwlock_init(&members->serving, &serving);
    rc = rc ? rc : pthread_mutex_init(&members->mutex, NULL);
    rc = rc ? rc : pthread_cond_init(&members->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_rwlockattr_destroy(&serving);
    return -rc;
}

static int check_members_options(const struct cluster_members_options *options)
{
    struct cluster_member member;

    if (!options->list == !options->etcd)
        return cluster_fail(-EINVAL, options->list ? "a list of members and etcd exclude each other"
                                                   : "neither a list of members nor etcd is given");
    if (options->list || !options->name)
        return 0;
    if (!options->address)
        return cluster_fail(-EINVAL, "the member '%s' has no address", options->name);
    return view_set_member(&member, options->name, strlen(options->name), options->address,
                           strlen(options->address), 0);
}

static void free_members(struct cluster_members *members)
{
    epoch_chain_end(&members->chain);
    cluster_view_put(members->view);
    pthread_cond_destroy(&members->changed);
    pthread_mutex_destroy(&members->mutex);
    pthread_rwlock_destroy(&members->serving);
    free(members);
}

static int open_etcd(struct cluster_members *members, const struct cluster_members_options *options)
{
    int rc = sweep_start(members);

    if (rc)
        return rc;
    rc = join_open(members, options);
    if (rc) {
        members_close(members);
        sweep_end(members);
    }
    return rc;
}

int cluster_members_open(const struct cluster_members_options *options,
                         struct cluster_members **out)
{
    struct cluster_members *members;
    int rc = check_members_options(options);

    if (rc)
        return rc;
    members = calloc(1, sizeof *members);
    if (!members)
        return cluster_fail(-ENOMEM, "no memory for the members of a cluster");
    if (options->name)
        strncpy(members->name, options->name, sizeof members->name - 1);
    members->sweep = options->sweep;
    members->arg = options->arg;
    rc = init_locks(members);
    if (rc) {
        free(members);
        return cluster_fail(rc, "no memory for locks");
    }
    rc = options->list ? open_list(members, options) : open_etcd(members, options);
    if (rc)
        free_members(members);
    else
        *out = members;
    return rc;
}

void cluster_members_leave(struct cluster_members *members)
{
    members_close(members);
    members_go_out(members);
    if (!members->join)
        return;
    sweep_end(members);
    join_close(members);
    members->join = NULL;
}

void cluster_members_close(struct cluster_members *members)
{
    cluster_members_leave(members);
    free_members(members);
}
