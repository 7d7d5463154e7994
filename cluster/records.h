/* SPDX-License-Identifier: MIT */
/*
 * What lies in etcd, under the prefix of a cluster:
 *
 *   epoch          {"epoch":7,"active":true}
 *   list           {"epoch":7,"replicas":1,"members":[["NAME","ADDRESS",INCARNATION,STAYS,LEASE], ...]}
 *   members/NAME   {"address":"ADDRESS","lease":3}; attached to the member's lease of so many
 *                  seconds. Its create revision is the member's incarnation
 *   acks/7/NAME    the member's incarnation; attached to its lease
 *   stopped/NAME   an incarnation that serves nobody any more, until the next epoch is proposed
 *
 * No object, and no key of one, ever lies there. What is not understood is a failure, and never a
 * reason to crash.
 */
#ifndef HF_CLUSTER_RECORDS_H
#define HF_CLUSTER_RECORDS_H

#include "epoch.h"

#include <json-c/json.h>

struct record_epoch {
    uint64_t epoch; /* 0: there is none */
    bool active;
    uint64_t revision; /* when it was last changed; 0: there is none */
};

/* `kv`: of an answer, or null. -EPROTO: it makes no sense. */
int record_read_epoch(json_object *kv, struct record_epoch *out);
/* -EPROTO, -ENOMEM. */
int record_read_list(json_object *kv, struct cluster_view **out);
/* `kvs`: of an answer, or null for none. Members that make no sense are left out. */
int record_read_members(json_object *kvs, size_t prefix_len, struct cluster_view **out);
/* Acknowledgements, or members that have stopped; what is at out->at is to be freed. */
int record_read_marks(json_object *kvs, size_t prefix_len, struct epoch_marks *out);

/* Text, to be freed; null: no memory. */
char *record_write_epoch(uint64_t epoch, bool active);
char *record_write_list(const struct cluster_view *view);
char *record_write_member(const char *address, uint32_t lease_seconds);

#endif
