/* SPDX-License-Identifier: MIT */
/*
 * A client: requests, and a link to each member. All of it is under one mutex. There is no thread:
 * of the threads that wait for requests, one polls for all.
 */
#ifndef HF_CLUSTER_CLIENT_H
#define HF_CLUSTER_CLIENT_H

#include "private.h"

#include <pthread.h>

struct link;

/* A request from its beginning until its result is taken. Lies on the stack of its caller, or is
 * the library's own (`begun`). */
struct request {
    struct request *next; /* in the queue of its link, in those that wait, or in the results */
    struct hfx *cluster;
    struct link *link;
    enum wire_kind kind;
    bool begun, done;
    uint64_t number, deadline_ns, again_ns;
    uint64_t length; /* of bytes; LIST: the cursor */
    uint64_t epoch;  /* KEEP, DROP, COPY */
    uint64_t needs;  /* after -EMSGSIZE: the object's length */
    void *bytes;
    struct fid_mr *mr; /* of bytes, while it is under way */
    int64_t result;
    const char *why;            /* the sentence of a failure; null: the errno says it all */
    struct wire_answer *answer; /* where a whole answer goes: LIST, COUNTS */
    uint64_t tag;
    uint32_t space, key_len;
    uint8_t key[HFC_KEY_MAX];
};

struct queue {
    struct request *first, **last;
};

enum link_state { LINK_DOWN, LINK_CONNECTS, LINK_GREETS, LINK_OPEN };

struct link {
    struct link *next;
    struct hfx *cluster;
    struct peer_net net;
    struct peer peer;
    char name[WIRE_NAME], address[128];
    enum link_state state;
    int broken; /* -errno: it is to be closed, and what is under way fails so */
    const char *why;
    char refusal[WIRE_NAME];
    uint64_t deadline_ns; /* of connecting */
    uint64_t retry_ns;    /* down: no request is tried before */
    uint64_t looked_ns;
    int failure;                  /* of the last attempt to connect */
    uint64_t server_ns, heard_ns; /* the member's clock is past server_ns since heard_ns of ours */
    uint64_t last_number;
    unsigned under_way;
    uint8_t nonce[WIRE_NONCE];
    struct request *sent[WIRE_DEPTH]; /* by number */
    struct queue waiting;
};

struct hfx {
    /* Of a member that talks to other members, which has no thread that waits; else 0. */
    uint64_t incarnation, connections;
    pthread_mutex_t mutex;
    pthread_cond_t moved; /* something has ended, or nobody polls any more */
    struct cluster_members *members;
    struct hfx_server *server;
    char *secret;
    uint64_t timeout_ns;
    struct link *links;
    struct queue results, again; /* again: the members do not agree yet whose key it is */
    unsigned begun;              /* and not taken */
    unsigned wanting;            /* threads that want the mutex while one polls */
    unsigned waiters;            /* at `moved` */
    bool polling;
    int waits; /* epoll(7) of the links that are up */
    pid_t pid;
};

void queue_init(struct queue *queue);
void queue_add(struct queue *queue, struct request *request);
struct request *queue_take(struct queue *queue);

/* For a member to talk to others: links alone. Null: no memory. */
struct hfx *client_new(const char *secret, uint64_t timeout_ns);
void client_free(struct hfx *cluster);

/* 0, or why this process may not use it. */
int client_check(const struct hfx *cluster);

/* All with the mutex held. */
struct link *link_find(struct hfx *cluster, const struct cluster_member *member);
/* Sends it, or keeps it until it can be sent. */
void link_add(struct link *link, struct request *request, uint64_t now_ns);
/* Handles what has come for the link, and what is overdue. */
bool link_poll(struct link *link, uint64_t now_ns);
void link_close(struct link *link, int error, const char *why);

/* Its result is there. */
void request_end(struct request *request, int64_t result, const char *why);

#endif
