/* SPDX-License-Identifier: MIT */
/* A domain and an endpoint of a provider, as short as a test needs them. */
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
    struct fid_cq *cq;
    struct fid_ep *ep;
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
struct endpoint_name endpoint_name(const struct endpoint *end);
fi_addr_t endpoint_to(const struct endpoint *end, const struct endpoint_name *name);
/* The provider shm leaves files of a process that was killed, and nobody else removes them. */
void endpoint_forget(pid_t killed);
/* test_kill(), then that. */
void endpoint_kill(pid_t pid);
/* The next completion's context, null when there is none yet; *error gets what a failed one has. */
void *endpoint_completed(const struct endpoint *end, int *error);

#endif
