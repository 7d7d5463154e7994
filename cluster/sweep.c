/* SPDX-License-Identifier: MIT */
/*
 * The thread that sweeps: for each epoch in its order, one after the other. A member that goes out
 * waits for the sweep that is under way, and then drops all.
 */
#include "joined.h"
#include "view.h"

#include <errno.h>
#include <string.h>

bool sweep_drop_all(struct cluster_members *members)
{
    pthread_mutex_lock(&members->mutex);
    while (members->sweeps)
        pthread_cond_wait(&members->changed, &members->mutex);
    pthread_mutex_unlock(&members->mutex);
    /* The chain is empty, so the sweeper begins nothing. */
    return !members->sweep || members->sweep(members->arg, NULL);
}

/* The view to sweep for, got; null: none. */
static const struct cluster_view *begin_sweep(struct cluster_members *members)
{
    const struct cluster_view *view;

    pthread_rwlock_rdlock(&members->serving);
    view = epoch_chain_to_sweep(&members->chain);
    if (view) {
        view_again(view);
        pthread_mutex_lock(&members->mutex);
        members->sweeps = true;
        pthread_mutex_unlock(&members->mutex);
    }
    pthread_rwlock_unlock(&members->serving);
    return view;
}

/* Its member may have gone out meanwhile, and have begun another chain. */
static void end_sweep(struct cluster_members *members, const struct cluster_view *view, bool done)
{
    pthread_rwlock_wrlock(&members->serving);
    if (done && members->chain.count > 1 && members->chain.views[1]->epoch == view->epoch)
        epoch_chain_swept(&members->chain);
    pthread_rwlock_unlock(&members->serving);
    pthread_mutex_lock(&members->mutex);
    members->sweeps = false;
    members->status.sweeps += done;
    pthread_cond_broadcast(&members->changed);
    pthread_mutex_unlock(&members->mutex);
    cluster_view_put(view);
}

static void sweep_all_there_are(struct cluster_members *members)
{
    const struct cluster_view *view;

    while (!members_closes(members) && (view = begin_sweep(members)))
        end_sweep(members, view, !members->sweep || members->sweep(members->arg, view));
}

static void *sweep_for_views(void *arg)
{
    struct cluster_members *members = arg;
    const struct cluster_view *last = NULL;

    pthread_mutex_lock(&members->mutex);
    while (!members->closes) {
        /* Each view that is learned is published after it. */
        while (members->view == last && !members->closes)
            pthread_cond_wait(&members->changed, &members->mutex);
        last = members->view;
        pthread_mutex_unlock(&members->mutex);
        sweep_all_there_are(members);
        pthread_mutex_lock(&members->mutex);
    }
    pthread_mutex_unlock(&members->mutex);
    return NULL;
}

int sweep_start(struct cluster_members *members)
{
    int rc = cluster_thread(&members->sweep_thread, sweep_for_views, members);

    return rc ? cluster_fail(-EAGAIN, "no thread for sweeps: %s", strerror(rc)) : 0;
}

void sweep_end(struct cluster_members *members)
{
    pthread_join(members->sweep_thread, NULL);
}
