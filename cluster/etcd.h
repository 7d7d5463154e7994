/* SPDX-License-Identifier: MIT */
/*
 * What is needed of etcd, by its JSON gateway: calls, and one stream of watches. Belongs to one
 * thread, but for etcd_wake(). Any call may fail at any time; what it asked for may have been done.
 */
#ifndef HF_CLUSTER_ETCD_H
#define HF_CLUSTER_ETCD_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct etcd;

struct etcd_options {
    const char *urls;            /* with commas between */
    const char *ca, *cert, *key; /* files, or null */
};

/* -EINVAL, -ENOMEM. */
int etcd_open(const struct etcd_options *options, struct etcd **out);
void etcd_close(struct etcd *etcd);

/* From any thread: ends the wait that the other thread is in. */
void etcd_wake(struct etcd *etcd);

/* POSTs the request, which it takes, to `path` of the URL that answered last: "/v3/kv/range". After
 * a failure the next call goes to the next URL. Returns the answer, which belongs to the caller.
 * Null: it failed, and etcd_failure() says how. */
json_object *etcd_call(struct etcd *etcd, const char *path, json_object *request,
                       unsigned timeout_ms);
const char *etcd_failure(const struct etcd *etcd); /* empty: the last call was fine */

/* A range of keys that is watched: one key, or all that begin with it. */
struct etcd_watch {
    char key[192];
    bool prefix;
};

/* Watches these from the revision on, and nothing else any more. */
void etcd_watch(struct etcd *etcd, const struct etcd_watch *watches, unsigned count,
                uint64_t revision);

/* Waits until a watched key changes, the stream ends, the time is over or etcd_wake() is called; or
 * less. Whether a key may have changed: also true where the stream has ended. */
bool etcd_wait(struct etcd *etcd, uint64_t timeout_ns);
bool etcd_is_watching(const struct etcd *etcd);

uint64_t etcd_calls(const struct etcd *etcd);
uint64_t etcd_events(const struct etcd *etcd);

/* JSON of the gateway: keys and values in base64, 64-bit numbers as text. Null objects are empty
 * ones. */
json_object *etcd_bytes(const char *text); /* for a request */
void etcd_add_range(json_object *request, const char *key, bool prefix);
char *etcd_text(json_object *object, const char *name); /* of an answer; to be freed; or null */
uint64_t etcd_number(json_object *object,
                     const char *name); /* of an answer; 0 where it is missing */
json_object *etcd_member(json_object *object, const char *name);

#endif
