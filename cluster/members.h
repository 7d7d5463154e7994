/* SPDX-License-Identifier: MIT */
/*
 * Which members a cluster has, as this process knows it, and what a member may serve. The list is
 * given once and for all. docs/CLUSTER.md has the rule of epochs, and why it is right.
 *
 * A view is what the cluster was in one epoch. It never changes, and is counted.
 */
#ifndef HF_CLUSTER_MEMBERS_H
#define HF_CLUSTER_MEMBERS_H

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
    uint64_t hash; /* of the name: place.c */
};

struct cluster_view {
    uint64_t epoch;
    bool active;
    uint32_t count;
    struct cluster_member members[]; /* in the order of their names */
};

struct cluster_members;

struct cluster_members_options {
    const char *list; /* "NAME=ADDRESS,NAME=ADDRESS": all of the cluster have the same */
    const char *name; /* this member's, which is in the list; null: no member, it only asks */
};

/* -EINVAL: the list or the name is wrong. -ENOMEM. cluster_detail() has the sentence. */
int cluster_members_open(const struct cluster_members_options *options,
                         struct cluster_members **out);
void cluster_members_close(struct cluster_members *members);

/* The newest view that is known; to be given back. */
const struct cluster_view *cluster_view_get(struct cluster_members *members);
void cluster_view_put(const struct cluster_view *view);

/* May this process serve the key now? Always false in one that is not a member. */
bool cluster_may_serve(struct cluster_members *members, const void *key, size_t length);

/* Its sentence is for the last call of this thread that failed. Returns rc. */
int cluster_fail(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *cluster_detail(void);

#endif
