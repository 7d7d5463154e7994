/* SPDX-License-Identifier: MIT */
/*
 * A cache that is spread over machines: a library of its own (pkg-config holdfast-cluster) beside
 * cache.h. Each member of a cluster serves a cache of its pool. A key belongs to one member, which
 * all clients find by the key alone. A get is one message; the member writes the object into the
 * caller's memory, and answers.
 *
 * No byte of another object is ever returned, whatever dies, stops or is cut off. A member that
 * cannot be reached costs an error, which a caller may take for a miss. Objects are in one member,
 * and go with it. Where members join by etcd, they may be in two, and outlive one of them.
 *
 * Keys are those of cache.h. The rules of holdfast.h hold here too. Calls return 0, a count or
 * -errno; hfx_detail() has the sentence. Any thread may make any call but hfx_close() at any time.
 * In the child of a fork every call returns -ECHILD, and the child opens the cluster for itself.
 * hfx_epoch() returns 0 there, and hfx_server_close() does nothing.
 */
#ifndef HOLDFAST_CLUSTER_H
#define HOLDFAST_CLUSTER_H

#include <holdfast/cache.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define HFX_NAME_MAX 63u     /* bytes of a member's name */
#define HFX_ADDRESS_MAX 127u /* and of its address */

struct hfx;
struct hfx_server;

/* Where members that join and leave find each other: an etcd, version 3.4 or later. */
struct hfx_etcd {
    size_t size;        /* sizeof(struct hfx_etcd) */
    const char *urls;   /* "http://HOST:PORT,...": of some or all of its members */
    const char *prefix; /* of all keys there, ends with a slash; null: "holdfast/" */
    /* Files for https: certificates that are trusted, an own one, its key. Null: none. */
    const char *ca, *cert, *key;
    uint32_t lease_seconds; /* a member that is silent so long is out; 0: five */
    /* Copies of each object, 1 or 2, which the first member decides for all. 0: as the others have
     * it, and 1 where there are none. A member with another number does not join. */
    uint32_t replicas;
};

/* --------------------------------------------------------------------------------- a client --- */

struct hfx_options {
    size_t size; /* sizeof(struct hfx_options) */
    /* The members: "NAME=HOST:PORT,NAME=HOST:PORT". All clients and members need the same list. */
    const char *members;
    const struct hfx_etcd *etcd; /* or where they are found; the other one is null */
    /* What all of the cluster know and nobody else; null: nothing, for loopback addresses alone. */
    const char *secret;
    uint64_t timeout_ns; /* a member that has not answered then is given up; 0: two seconds */
    /* The server of this process; null: none. Its keys are served without a message. */
    struct hfx_server *server;
    uint64_t reserved[2]; /* 0 */
};

/* Opens a cluster. Connects to a member when a key of it is asked for first.
 *   -EINVAL     an option is wrong
 *   -ETIMEDOUT  etcd did not tell of members within timeout_ns
 *   -EAGAIN     no thread. -ENOMEM */
int hfx_open(const struct hfx_options *options, struct hfx **out);

/* Closes all connections. -EBUSY: requests that were begun are not taken. */
int hfx_close(struct hfx *cluster);

/* The sentence for the last call here that failed in this thread. Never fails. */
const char *hfx_detail(void);

/* Copies the object to buf, and returns its length. After a failure, buf may hold anything, and
 * nothing writes there any more.
 *   -ENOENT     it is not in the cluster
 *   -EMSGSIZE   it has more than `room` bytes; hfx_length() tells how many
 *   -EINVAL     the key as in hfc_get(), or buf is null
 * These may come from each call that names a key or a member:
 *   -ETIMEDOUT  the member did not answer in time. A put or a removal may have been done, or it
 *               came too late for that
 *   -ENOTCONN   it cannot be reached, or the connection broke; with two copies, also that between
 *               the owners. A put or a removal that was under way may have been done, and may be
 *               until timeout_ns has gone since its begin
 *   -EACCES     it does not have the same secret. -EPROTONOSUPPORT: it has another version of the
 *               messages. -EPROTO: what it sent makes no sense
 *   -ESTALE     the members could not agree in time whose the key is */
ssize_t hfx_get(struct hfx *cluster, const struct hfc_key *key, void *buf, size_t room);

/* Gets the object from the cache `local` of this machine. If it is not there, a copy from its
 * member becomes an object of that cache, of at most `room` bytes. Holds it there as hfc_get()
 * does, and returns the pieces. Later changes of the object in the cluster do not change the copy.
 *   as hfx_get(), hfc_get() and hfc_put_begin() */
int hfx_get_copy(struct hfx *cluster, const struct hfc_key *key, struct hfc *local, size_t room,
                 struct iovec *iov, int iovcnt, struct hfc_ref *ref);

/* The object's length; -ENOENT, -EINVAL. */
ssize_t hfx_length(struct hfx *cluster, const struct hfc_key *key);

/* Copies len bytes under the key; replaces what is there, in one step.
 *   -EINVAL, -EFBIG, -ENOSPC, -EBUSY, -ENOMEM  as hfc_put() in the member */
int hfx_put(struct hfx *cluster, const struct hfc_key *key, const void *bytes, size_t len);

/* Takes the object out. -ENOENT, -EINVAL, -EBUSY. */
int hfx_remove(struct hfx *cluster, const struct hfc_key *key);

/* ------------------------------------------------------------------------ many at once --- */

enum hfx_operation { HFX_GET = 1, HFX_PUT = 2, HFX_REMOVE = 3, HFX_LENGTH = 4 };

struct hfx_request {
    uint32_t operation; /* enum hfx_operation */
    uint32_t reserved;  /* 0 */
    struct hfc_key key; /* is copied */
    void *bytes;        /* HFX_GET: where it goes; HFX_PUT: what is put, which is not changed */
    size_t len;         /* of them */
    uint64_t tag;       /* comes back by hfx_next() */
};

struct hfx_result {
    uint64_t tag;
    /* As of the call that does the same; hfx_detail() of the caller does not have its sentence. */
    int64_t result;
};

#define HFX_REQUESTS 65536u /* that were begun and not taken, at most */

/* Begins requests, of which any number may be under way. `bytes` belongs to the library until
 * hfx_next() tells of the request. Requests for one key are served in the order in which they were
 * begun. This ends when the connection to its member breaks, or that does not serve the key. Never
 * waits. Nothing was begun after a failure.
 *   -EINVAL  a request is wrong. -EAGAIN: more than HFX_REQUESTS. -ENOMEM */
int hfx_begin(struct hfx *cluster, const struct hfx_request *requests, unsigned count);

/* Takes requests that have ended, up to `count`: waits until there is one or timeout_ns has gone,
 * and returns how many. Requests move on while a thread is in a call of this library.
 *   -EINVAL */
int hfx_next(struct hfx *cluster, uint64_t timeout_ns, struct hfx_result *out, unsigned count);

/* Begins them, waits for all, and stores the result of the i-th in results[i]. Returns how many
 * ended without a failure. -EINVAL, -EAGAIN, -ENOMEM. */
int hfx_batch(struct hfx *cluster, const struct hfx_request *requests, unsigned count,
              int64_t *results);

/* ---------------------------------------------------------------------------------- looking --- */

struct hfx_member {
    char name[HFX_NAME_MAX + 1], address[HFX_ADDRESS_MAX + 1];
};
/* The i-th member: 1, or 0 when there are not so many. -EINVAL. */
int hfx_member(struct hfx *cluster, unsigned index, struct hfx_member *out);

/* The number of the newest epoch that is known: it grows when members join or leave. */
uint64_t hfx_epoch(struct hfx *cluster);

/* The member that the key belongs to. -EINVAL. */
int hfx_owner(struct hfx *cluster, const struct hfc_key *key, struct hfx_member *out);

/* Calls `each` for every object of the i-th member, until it returns non-zero, which is then
 * returned. An object that is there all the time is seen once; one that comes or goes meanwhile may
 * be seen. `each` must not call this library. -ENOENT: there is no such member. -EINVAL. */
int hfx_each(struct hfx *cluster, unsigned index,
             int (*each)(void *arg, const struct hfc_entry *entry), void *arg);

struct hfx_counts {
    size_t size; /* sizeof(struct hfx_counts), set by the caller */
    uint64_t gets, hits, puts, removals;
    uint64_t
        refused; /* requests for keys of other members, strangers without proof of the secret */
    uint64_t given_up; /* transfers whose client was silent for too long */
    uint64_t connections;
    uint64_t objects, used_bytes, capacity_bytes; /* of its cache */
};
/* What the i-th member has done since it began. -ENOENT: there is no such member. -EINVAL. */
int hfx_counts(struct hfx *cluster, unsigned index, struct hfx_counts *out);

/* --------------------------------------------------------------------------------- a server --- */

struct hfx_server_options {
    size_t size;        /* sizeof(struct hfx_server_options) */
    const char *name;   /* of the member */
    const char *listen; /* HOST:PORT; port 0: any that is free. Null: 127.0.0.1:0 */
    /* As of hfx_options. Null or "": only if `listen` is a loopback address. */
    const char *secret;
    struct hfc *cache; /* that is served; stays open until hfx_server_close() */
    /* A connection with a transfer on which nothing has moved for so long is closed; 0: 10 s */
    uint64_t stall_ns;
    uint64_t reserved[2]; /* 0 */
};

/* Makes a member that listens, but does not answer yet.
 *   -EINVAL        an option is wrong
 *   -EACCES        no secret, and the address is not a loopback address
 *   -EADDRNOTAVAIL there is no such address here. -EADDRINUSE. -ENOMEM */
int hfx_server_open(const struct hfx_server_options *options, struct hfx_server **out);

/* HOST:PORT where it listens; lasts until hfx_server_close(). */
const char *hfx_server_address(const struct hfx_server *server);

/* Begins to answer, in a thread of its own, for the keys that belong to its name in the list of
 * members (as of hfx_options).
 *   -EINVAL  the list is wrong, or does not have its name. -EAGAIN: no thread. -ENOMEM */
int hfx_server_start(struct hfx_server *server, const char *members);

/* Begins to answer likewise, and joins the members in etcd, in threads of its own. Drops all
 * objects of the cache each time before it joins, and those whose keys move to others. Goes on
 * trying while etcd is down.
 *   -EINVAL  an option is wrong, or the cache has a second tier. -EAGAIN: no thread. -ENOMEM */
int hfx_server_join(struct hfx_server *server, const struct hfx_etcd *etcd);

/* Waits until the others know it as a member. -ETIMEDOUT: hfx_detail() says what has failed last.
 * -EINVAL: it was not started. */
int hfx_server_await(struct hfx_server *server, uint64_t timeout_ns);

/* Leaves etcd, takes no further requests, ends those under way (two seconds at most) and closes. */
void hfx_server_close(struct hfx_server *server);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
