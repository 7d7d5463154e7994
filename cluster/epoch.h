/* SPDX-License-Identifier: MIT */
/*
 * What follows from what is known, without clocks, threads or etcd: which step the leader takes
 * next, and which keys a member may serve. docs/CLUSTER.md has the rule, and model/epoch.pml
 * searches it.
 */
#ifndef HF_CLUSTER_EPOCH_H
#define HF_CLUSTER_EPOCH_H

#include "members.h"

/* Of a member: it has acknowledged an epoch, or has stopped. */
struct epoch_mark {
    char name[CLUSTER_NAME_BYTES];
    uint64_t incarnation;
};

enum epoch_step {
    EPOCH_KEEP,     /* nothing, or wait for acknowledgements */
    EPOCH_PROPOSE,  /* the next epoch, of those that live */
    EPOCH_ACTIVATE, /* the newest epoch */
};

/* Members, each with one mark, in the order of their names. */
struct epoch_marks {
    const struct epoch_mark *at;
    uint32_t count;
};

/* `view`: the newest epoch, null: none yet. `living`: members with a key in etcd. `stopped`:
 * members that surely serve nobody any more. `acks`: of the newest epoch. */
enum epoch_step epoch_next(const struct cluster_view *view, const struct cluster_view *living,
                           struct epoch_marks stopped, struct epoch_marks acks);
bool epoch_lives(const struct cluster_view *living, const struct cluster_member *member);
bool epoch_is_marked(struct epoch_marks marks, const struct cluster_member *member);

/* The view to propose. Null: no memory. */
struct cluster_view *epoch_propose(const struct cluster_view *view,
                                   const struct cluster_view *living);

/* What a member knows of the epochs since the last one whose sweep has ended. */
#define EPOCH_CHAIN_MAX 16
struct epoch_chain {
    char name[CLUSTER_NAME_BYTES];
    uint64_t incarnation;
    bool is_in;    /* the newest view has it */
    bool must_ack; /* and waits for its acknowledgement */
    uint32_t count;
    const struct cluster_view *views[EPOCH_CHAIN_MAX]; /* oldest first */
};

void epoch_chain_begin(struct epoch_chain *chain, const char *name, uint64_t incarnation);
void epoch_chain_end(struct epoch_chain *chain);

/* The newest view, which it counts. -ESTALE: the member has missed an epoch, so that it must join
 * again. -EAGAIN: too many sweeps have not ended; later. */
int epoch_chain_learn(struct epoch_chain *chain, const struct cluster_view *view);

/* The view to sweep for next; null: none. */
const struct cluster_view *epoch_chain_to_sweep(const struct epoch_chain *chain);
void epoch_chain_swept(struct epoch_chain *chain);

/* Whether the member may serve the key, as its first owner. */
bool epoch_chain_may_serve(const struct epoch_chain *chain, const void *key, size_t length);
/* The same, and tells of the other owner. */
bool epoch_chain_is_first(const struct epoch_chain *chain, const void *key, size_t length,
                          struct cluster_owners *out);
/* Whether it is the second owner, and the first one, of this incarnation, has the same newest
 * epoch. */
bool epoch_chain_is_second(const struct epoch_chain *chain, const void *key, size_t length,
                           uint64_t epoch, uint64_t first);

#endif
