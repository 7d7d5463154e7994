/* SPDX-License-Identifier: MIT */
/*
 * Which members a cluster has, as this process knows it, and what a member may serve. Members are a
 * list that is given once and for all, or those that have joined by etcd. docs/CLUSTER.md has the
 * rule of epochs, and why it is right.
 *
 * A view is what the cluster is in one epoch. It never changes, and is counted.
 */
#ifndef HF_CLUSTER_MEMBERS_H
#define HF_CLUSTER_MEMBERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLUSTER_NAME_BYTES 64
#define CLUSTER_ADDRESS_BYTES 128
#define CLUSTER_MEMBERS_MAX 65536u

struct cluster_member {
    char name[CLUSTER_NAME_BYTES];
    char address[CLUSTER_ADDRESS_BYTES];
    /* Grows whenever a member of this name joins. */
    uint64_t incarnation;
    uint64_t hash;          /* of the name: place.c */
    uint32_t lease_seconds; /* of its lease in etcd */
    bool stays;             /* the same incarnation was in the epoch before */
};

#define CLUSTER_REPLICAS_MAX 2u

struct cluster_view {
    uint64_t epoch;
    bool active;
    uint32_t replicas; /* copies of each object: the same in all epochs */
    uint32_t count;
    struct cluster_member members[]; /* in the order of their names */
};

struct cluster_members;

struct cluster_members_options {
    /* "NAME=ADDRESS,NAME=ADDRESS": all of the cluster have the same. Null: they join by etcd. */
    const char *list;
    /* This member's name, which is in the list if there is one. Null: no member, it only asks. */
    const char *name;

    /* The rest is for etcd alone. */
    const char *etcd;    /* "URL,URL": any of its members answers for all */
    const char *prefix;  /* of all keys, for several clusters in one etcd; null: "holdfast/" */
    const char *ca;      /* of https: a file with the certificates that are trusted, or null */
    const char *cert;    /* this side's own certificate, or null */
    const char *key;     /* and its key */
    const char *address; /* where others find this member */
    /* In what time a death is noticed; 0: five. Of these, two thirds are its lease in etcd, which
     * raises what it finds too short. */
    uint32_t ttl_seconds;
    /* Copies of each object, 1 or 2. 0: as the others have it, and one where there are no others.
     * A member stays out of a cluster that has another number. */
    uint32_t replicas;
    /* Drops from the member's memory each key that is not its own in the view, or all of them where
     * `view` is null. From then on no older copy of such a key may be found. False: not all could
     * be dropped, and it is called again. In a thread of its own, once at a time. Null: there is
     * nothing to drop. */
    bool (*sweep)(void *arg, const struct cluster_view *view);
    void *arg;
};

/* With etcd, returns at once, and goes on joining until it is closed.
 * -EINVAL: an option is wrong. -ENOMEM. cluster_detail() has the sentence. */
int cluster_members_open(const struct cluster_members_options *options,
                         struct cluster_members **out);

/* Serves nobody from now on, waits for a sweep to end, and leaves the cluster if etcd answers. */
void cluster_members_leave(struct cluster_members *members);
/* Leaves, too. Views that were got stay. */
void cluster_members_close(struct cluster_members *members);

/* Waits until a view is known, and in a member until it is in one that is active.
 * -ETIMEDOUT: the sentence says what failed last. */
int cluster_members_await(struct cluster_members *members, uint64_t timeout_ns);

/* The newest view that is known, to be given back; null: none yet. */
const struct cluster_view *cluster_view_get(struct cluster_members *members);
void cluster_view_put(const struct cluster_view *view);

/* The owners of a key in the newest view. */
struct cluster_owners {
    uint64_t epoch, self;         /* self: this member's incarnation */
    bool may_write;               /* false: the owners are about to change; later */
    uint32_t replicas;            /* of the view, even if there are fewer members */
    bool has_second;              /* the view has a second owner */
    struct cluster_member second; /* if it has one */
};

/* As cluster_serve_begin(), for the first owner of a key, and tells who the other one is. */
bool cluster_serve_as_first(struct cluster_members *members, const void *key, size_t length,
                            struct cluster_owners *out);
/* For its second owner: the first one, whose incarnation is `first`, asks by its newest epoch. */
bool cluster_serve_as_second(struct cluster_members *members, const void *key, size_t length,
                             uint64_t epoch, uint64_t first);

/* May this process serve the key now? True: what is known of members and lease stays as it is until
 * cluster_serve_end(). What makes a copy visible, or takes one, stands between the two, and waits
 * for nothing else. Always false in a process that is not a member. */
bool cluster_serve_begin(struct cluster_members *members, const void *key, size_t length);
void cluster_serve_end(struct cluster_members *members);
/* Both in one: the answer may be out of date when it returns. */
bool cluster_may_serve(struct cluster_members *members, const void *key, size_t length);

struct cluster_members_status {
    uint64_t incarnation;   /* of this member; 0: it has not joined */
    uint64_t lease_ns;      /* how long its lease lasts at least; 0: it serves nobody */
    uint64_t calls, events; /* to etcd; of its watches */
    uint64_t sweeps, joins; /* that have ended */
    bool leads;             /* it proposes epochs */
    char failure[256];      /* what etcd failed with last; empty: the last call was fine */
};
void cluster_members_status(struct cluster_members *members, struct cluster_members_status *out);

/* pthread_create(), with all signals blocked: those of the program are its other threads'. */
int cluster_thread(pthread_t *out, void *(*run)(void *arg), void *arg);

/* Its sentence is for the last call of this thread that failed. Returns rc. */
int cluster_fail(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *cluster_detail(void);

/* Of a clock that also runs while the machine sleeps. */
uint64_t members_now_ns(void);

#endif
