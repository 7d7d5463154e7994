/* SPDX-License-Identifier: MIT */
/*
 * What a process knows of its cluster, and what its member may serve. Requests look at it under a
 * lock for reading, changes take it for writing. A request judged by what was known before has made
 * its copy visible before the change. A sweep that begins after the change finds it.
 */
#include "joined.h"
#include "view.h"

#include <errno.h>
#include <time.h>

static uint64_t read_clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t members_now_ns(void)
{
    return read_clock_ns(CLOCK_BOOTTIME);
}

/* -------------------------------------------------------------------------- requests ---- */

bool cluster_serve_begin(struct cluster_members *members, const void *key, size_t length)
{
    pthread_rwlock_rdlock(&members->serving);
    if (members->lease_until_ns > members_now_ns() &&
        epoch_chain_may_serve(&members->chain, key, length))
        return true;
    pthread_rwlock_unlock(&members->serving);
    return false;
}

bool cluster_serve_as_first(struct cluster_members *members, const void *key, size_t length,
                            struct cluster_owners *out)
{
    pthread_rwlock_rdlock(&members->serving);
    if (members->lease_until_ns > members_now_ns() &&
        epoch_chain_is_first(&members->chain, key, length, out))
        return true;
    pthread_rwlock_unlock(&members->serving);
    return false;
}

bool cluster_serve_as_second(struct cluster_members *members, const void *key, size_t length,
                             uint64_t epoch, uint64_t first)
{
    pthread_rwlock_rdlock(&members->serving);
    if (members->lease_until_ns > members_now_ns() &&
        epoch_chain_is_second(&members->chain, key, length, epoch, first))
        return true;
    pthread_rwlock_unlock(&members->serving);
    return false;
}

void cluster_serve_end(struct cluster_members *members)
{
    pthread_rwlock_unlock(&members->serving);
}

bool cluster_may_serve(struct cluster_members *members, const void *key, size_t length)
{
    if (!cluster_serve_begin(members, key, length))
        return false;
    cluster_serve_end(members);
    return true;
}

const struct cluster_view *cluster_view_get(struct cluster_members *members)
{
    const struct cluster_view *view;

    pthread_mutex_lock(&members->mutex);
    view = members->view ? view_again(members->view) : NULL;
    pthread_mutex_unlock(&members->mutex);
    return view;
}

void cluster_members_status(struct cluster_members *members, struct cluster_members_status *out)
{
    uint64_t now = members_now_ns(), until;

    pthread_rwlock_rdlock(&members->serving);
    until = members->lease_until_ns;
    pthread_rwlock_unlock(&members->serving);
    pthread_mutex_lock(&members->mutex);
    *out = members->status;
    pthread_mutex_unlock(&members->mutex);
    out->lease_ns = until > now ? until - now : 0;
}

static bool wait_for_change(struct cluster_members *members, uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000),
                             .tv_nsec = (long)(until_ns % 1000000000)};

    return pthread_cond_timedwait(&members->changed, &members->mutex, &until) != ETIMEDOUT;
}

int cluster_members_await(struct cluster_members *members, uint64_t timeout_ns)
{
    uint64_t now = read_clock_ns(CLOCK_MONOTONIC);
    uint64_t until = timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
    int rc = 0;

    pthread_mutex_lock(&members->mutex);
    while (!rc && !(members->view && (!members->name[0] || members->is_in)))
        if (!wait_for_change(members, until))
            rc = cluster_fail(-ETIMEDOUT, "no member of the cluster yet: %s",
                              members->status.failure[0] ? members->status.failure
                                                         : "the others have not agreed");
    pthread_mutex_unlock(&members->mutex);
    return rc;
}

/* --------------------------------------------------------------------------- changes ---- */

void members_publish(struct cluster_members *members, const struct cluster_view *view)
{
    const struct cluster_view *old;

    pthread_mutex_lock(&members->mutex);
    old = members->view;
    members->view = view_again(view);
    members->is_in = view->active && members->chain.is_in;
    pthread_cond_broadcast(&members->changed);
    pthread_mutex_unlock(&members->mutex);
    cluster_view_put(old);
}

int members_learn(struct cluster_members *members, const struct cluster_view *view)
{
    int rc;

    pthread_rwlock_wrlock(&members->serving);
    rc = epoch_chain_learn(&members->chain, view);
    pthread_rwlock_unlock(&members->serving);
    return rc;
}

void members_extend(struct cluster_members *members, uint64_t until_ns)
{
    pthread_rwlock_wrlock(&members->serving);
    members->lease_until_ns = until_ns;
    pthread_rwlock_unlock(&members->serving);
}

void members_go_out(struct cluster_members *members)
{
    pthread_rwlock_wrlock(&members->serving);
    members->lease_until_ns = 0;
    epoch_chain_end(&members->chain);
    pthread_rwlock_unlock(&members->serving);
    pthread_mutex_lock(&members->mutex);
    members->status.incarnation = 0;
    members->status.leads = false;
    members->is_in = false;
    pthread_mutex_unlock(&members->mutex);
}

void members_go_in(struct cluster_members *members, uint64_t incarnation)
{
    pthread_rwlock_wrlock(&members->serving);
    epoch_chain_begin(&members->chain, members->name, incarnation);
    pthread_rwlock_unlock(&members->serving);
    pthread_mutex_lock(&members->mutex);
    members->status.incarnation = incarnation;
    members->status.joins++;
    pthread_mutex_unlock(&members->mutex);
}

void members_close(struct cluster_members *members)
{
    pthread_mutex_lock(&members->mutex);
    members->closes = true;
    pthread_cond_broadcast(&members->changed);
    pthread_mutex_unlock(&members->mutex);
}

bool members_closes(struct cluster_members *members)
{
    bool closes;

    pthread_mutex_lock(&members->mutex);
    closes = members->closes;
    pthread_mutex_unlock(&members->mutex);
    return closes;
}
