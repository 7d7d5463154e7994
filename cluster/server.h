/* SPDX-License-Identifier: MIT */
/* What the thread of a server (server.c) and its opening and closing (member.c) share. */
#ifndef HF_CLUSTER_SERVER_H
#define HF_CLUSTER_SERVER_H

#include "private.h"

#include <pthread.h>

struct session;
struct session_calls;
struct turn;

#define TURN_BUCKETS 256u

/* The newest connection of a member that is the first owner of keys. */
struct newest {
    uint64_t first, connection;
};

struct hfx_server {
    struct peer_net net;
    struct cluster_members *members;
    struct hfc *cache;
    char *secret;
    char name[WIRE_NAME], address[128];
    uint64_t incarnation, stall_ns, now_ns;
    struct session *sessions;
    unsigned count, strangers, come; /* come: messages, in this poll */
    struct wire_counts counts;
    const struct session_calls *calls;
    struct hfx *peers; /* links to second owners */
    struct turn *turns[TURN_BUCKETS], *ready;
    unsigned turns_count;
    struct newest *newest;
    uint32_t newest_count, newest_room;
    pthread_mutex_t mutex; /* of counts */
    pthread_t thread;
    int wake;
    pid_t pid;
    bool started, ends; /* ends: under the mutex */
};

/* The thread, and what it does for the connections of its net. */
void *server_run(void *arg);
extern const struct peer_calls server_calls;

#endif
