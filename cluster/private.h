/* SPDX-License-Identifier: MIT */
/* What the server and the client of libholdfast-cluster share. */
#ifndef HF_CLUSTER_PRIVATE_H
#define HF_CLUSTER_PRIVATE_H

#include "members.h"
#include "peer.h"
#include "place.h"

#include <holdfast/cluster.h>

#define CLUSTER_PROVIDER "tcp"
_Static_assert(HFX_NAME_MAX + 1 == CLUSTER_NAME_BYTES && CLUSTER_NAME_BYTES == WIRE_NAME, "names");
_Static_assert(HFX_ADDRESS_MAX + 1 == CLUSTER_ADDRESS_BYTES, "addresses");

uint64_t cluster_now_ns(void); /* of CLOCK_MONOTONIC */
void cluster_random(void *out, size_t len);

/* What it says, as options of the members. -EINVAL. */
int cluster_take_etcd(const struct hfx_etcd *etcd, struct cluster_members_options *out);

/* For a client in the process of the server: whether it is this member, and may serve the key. */
bool server_is(const struct hfx_server *server, const char *member);
bool server_may(struct hfx_server *server, const struct hfc_key *key);
/* -ESTALE: not any more. Else as hfc_put(). */
int server_put(struct hfx_server *server, const struct hfc_key *key, const void *bytes, size_t len);
struct hfc *server_cache(struct hfx_server *server);

#endif
