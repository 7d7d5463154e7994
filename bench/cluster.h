/* SPDX-License-Identifier: MIT */
/* What the files of the group `cluster` share. */
#ifndef HF_BENCH_CLUSTER_H
#define HF_BENCH_CLUSTER_H

#include "bench.h"

#define CLUSTER_LARGE (64u << 10)
#define CLUSTER_SMALL (4u << 10)

/* Where servers and clients are: namespaces, if `apart`. */
struct place {
    const char *node;
    bool apart;
    int own, server, client;
};

/* ------------------------------------------------------------------ cluster_bare.c ------ */

struct fi_info;
struct fid_fabric;
struct fid_domain;
struct fid_eq;
struct fid_cq;
struct fid_pep;
struct fid_ep;
struct fid_mr;
struct bare_end {
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_eq *eq;
    struct fid_cq *cq;
    struct fid_pep *listens;
    struct fid_ep *ep;
    struct fid_mr *mr;
    char *bytes;
};
struct bare_client {
    struct bare_end end;
};
/* Writes its port (16 bytes) to the descriptor, then answers one client for ever. */
void bare_serve(const char *node, int to);
void bare_connect(struct bare_client *client, const char *node, const char *port);
/* A message there, CLUSTER_LARGE bytes written here, a message back. */
void bare_get(struct bare_client *client);
void bare_close(struct bare_client *client);

/* ----------------------------------------------------------------- cluster_redis.c ------ */

void redis_serve(const char *node); /* returns if it cannot be started */
/* Waits until it listens; -1: the process has ended. */
int redis_connect(const char *node, pid_t server);
void redis_put(int fd, char kind, unsigned number, const char *bytes, size_t len);
void redis_get(int fd, char kind, unsigned number, char *bytes, size_t len);
/* `count` gets of all objects in turn, with `depth` under way all the time. */
void redis_get_many(int fd, char kind, unsigned objects, unsigned depth, unsigned count,
                    size_t len);

#endif
