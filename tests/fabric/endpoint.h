/* SPDX-License-Identifier: MIT */
/*
 * A domain and an endpoint of a provider, as short as a test needs them. The provider tcp, without
 * ofi_rxm, has endpoints that are connected. The side that asks for its name listens there, and the
 * other one connects.
 */
#ifndef HF_TESTS_FABRIC_ENDPOINT_H
#define HF_TESTS_FABRIC_ENDPOINT_H

#include "support.h"

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_rma.h>

#define ENDPOINT_NAME_BYTES 128

struct endpoint {
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_av *av;
    struct fid_cq *cq; /* null: it is closed */
    struct fid_ep *ep; /* null on the side that listens, before a peer has come */
    /* Of connected endpoints. */
    struct fid_eq *eq;
    struct fid_pep *listens;
    bool connected; /* transfers may begin; always with the other providers */
};

struct endpoint_name {
    uint64_t len;
    char bytes[ENDPOINT_NAME_BYTES];
};

/* Ends the test as skipped when the provider is not there. `node`: a local address, null for
 * 127.0.0.1. */
void endpoint_domain(struct endpoint *end, const char *provider, const char *node);
void endpoint_open(struct endpoint *end);
void endpoint_close(struct endpoint *end);
/* By which a peer comes here. */
struct endpoint_name endpoint_name(struct endpoint *end);
/* It may be connected later, in endpoint_completed(). */
fi_addr_t endpoint_to(struct endpoint *end, const struct endpoint_name *name);
/* The provider shm leaves files of a process that was killed, and nobody else removes them. */
void endpoint_forget(pid_t killed);
/* test_kill(), then that. */
void endpoint_kill(pid_t pid);
/* The next completion's context, null when there is none yet; *error gets what a failed one has. */
void *endpoint_completed(struct endpoint *end, int *error);

#endif
