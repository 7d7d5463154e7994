/* SPDX-License-Identifier: MIT */
/* What a member asks of etcd, as requests of its gateway. */
#ifndef HF_CLUSTER_GATEWAY_H
#define HF_CLUSTER_GATEWAY_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define REQUEST_PREFIX_BYTES 96
#define REQUEST_KEY_BYTES 192

/* A transaction, made step by step: {"compare":[...],"success":[...]}. */
json_object *request_transaction(void);
/* The key was last changed in this revision; 0: it does not exist. */
void request_if(json_object *transaction, const char *key, uint64_t revision);
void request_put(json_object *transaction, const char *key, const char *value, uint64_t lease);
void request_delete_all(json_object *transaction, const char *prefix);
void request_range(json_object *transaction, const char *key, bool prefix);
/* Of the keys with the prefix, the last one made before the revision; without its value. */
void request_last_before(json_object *transaction, const char *prefix, uint64_t revision);

/* Of an answer: the keys that its i-th range found, or null; and the first of them. */
json_object *answer_kvs(json_object *answer, unsigned index);
json_object *answer_kv(json_object *answer, unsigned index);
uint64_t answer_revision(json_object *answer);
bool answer_succeeded(json_object *answer);

json_object *request_lease(uint32_t ttl_seconds); /* /v3/lease/grant */
json_object *request_of_lease(uint64_t lease);    /* /v3/lease/keepalive, /v3/lease/revoke */

#endif
