/* SPDX-License-Identifier: MIT */
/* What members.c, serving.c, sweep.c and join.c share. */
#ifndef HF_CLUSTER_JOINED_H
#define HF_CLUSTER_JOINED_H

#include "epoch.h"
#include "etcd.h"
#include "gateway.h"

#include <pthread.h>

struct join;

struct cluster_members {
    char name[CLUSTER_NAME_BYTES]; /* empty: it only asks */
    bool (*sweep)(void *arg, const struct cluster_view *view);
    void *arg;

    /* What cluster_serve_begin() looks at. A change takes it for writing. */
    pthread_rwlock_t serving;
    struct epoch_chain chain;
    uint64_t lease_until_ns; /* of the clock of members_now_ns(); 0: it serves nobody */

    pthread_mutex_t mutex; /* of what follows; taken last */
    pthread_cond_t changed;
    const struct cluster_view *view;
    struct cluster_members_status status;
    bool closes, is_in, sweeps; /* sweeps: one is under way */

    struct join *join; /* null: the list is given */
    pthread_t join_thread, sweep_thread;
};

/* The newest view, to all who ask. */
void members_publish(struct cluster_members *members, const struct cluster_view *view);
/* The member learns of it first, as epoch_chain_learn(). */
int members_learn(struct cluster_members *members, const struct cluster_view *view);

/* Serves until then, by what the chain says. */
void members_extend(struct cluster_members *members, uint64_t until_ns);
/* Serves nobody any more. */
void members_go_out(struct cluster_members *members);
/* Begins to collect views as this incarnation. */
void members_go_in(struct cluster_members *members, uint64_t incarnation);

/* Before it leaves. */
void members_close(struct cluster_members *members);
bool members_closes(struct cluster_members *members);

/* The thread that sweeps: sweep.c. -EAGAIN: there is none. */
int sweep_start(struct cluster_members *members);
void sweep_end(struct cluster_members *members);
/* Drops all that is in memory; the chain is empty. */
bool sweep_drop_all(struct cluster_members *members);

/* -EINVAL, -ENOMEM. */
int join_open(struct cluster_members *members, const struct cluster_members_options *options);
void join_close(struct cluster_members *members);

#endif
