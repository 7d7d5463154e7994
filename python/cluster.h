/* SPDX-License-Identifier: MIT */
/*
 * What the files of the second extension share: holdfast.cluster, on libholdfast-cluster. It is a
 * module of its own, so that the package works where that library is not installed. What it needs
 * of the first one comes by a capsule.
 */
#ifndef HFPY_CLUSTER_H
#define HFPY_CLUSTER_H

#include "cache.h"

#include <holdfast/cluster.h>

struct py_server {
    PyObject_HEAD struct py_cache *cache; /* busy while it is served */
    struct hfx_server *server;            /* null: closed */
    unsigned busy;                        /* also of clusters that were opened with it */
};

struct py_cluster {
    PyObject_HEAD struct py_server *server; /* of this process; or null */
    struct hfx *cluster;                    /* null: closed */
    unsigned busy;
    unsigned long begun; /* requests that next() has not told of */
};

extern const struct py_cache_calls *cache_calls; /* of the first extension */
extern PyTypeObject *server_type;

/* OSError with the cluster's sentence; null, for return. */
PyObject *cluster_failed(long rc);
/* ValueError: it is closed. */
bool cluster_is_open(const struct py_cluster *self);
/* Seconds, as nanoseconds; false: ValueError. */
bool seconds_to_ns(double seconds, uint64_t *out);

/* Where etcd is, as "$zO&O&O&" of prefix, ca, cert and key takes it. */
struct etcd_names {
    const char *prefix;
    PyObject *ca, *cert, *key;
};
/* For "O&": a path, or None. */
int to_certificate(PyObject *object, void *out);
struct hfx_etcd name_etcd(const char *urls, const struct etcd_names *names);
void drop_etcd_names(struct etcd_names *names);

/* An OSError, with the sentence of its errno: the library has none for one request of many. */
PyObject *cluster_error(int64_t rc);
/* What the call returns that does the same: a length, True or False, or None. */
PyObject *cluster_answer(uint32_t operation, int64_t result);

/* Methods of Cluster that batch.c and begun.c have. */
PyObject *cluster_get_many(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_get_many_into(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_put_many(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_remove_many(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_length_many(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_begin_get(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_begin_put(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_begin_remove(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_begin_length(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_next(struct py_cluster *self, PyObject *args, PyObject *keywords);
/* Waits for all that has begun, and forgets it. */
void cluster_drain(struct py_cluster *self);

/* And those that members.c has. */
PyObject *cluster_members(struct py_cluster *self, PyObject *unused);
PyObject *cluster_epoch(struct py_cluster *self, PyObject *unused);
PyObject *cluster_owner(struct py_cluster *self, PyObject *args, PyObject *keywords);
PyObject *cluster_entries(struct py_cluster *self, PyObject *args);
PyObject *cluster_counts(struct py_cluster *self, PyObject *args);

int add_server(PyObject *module);
int add_cluster(PyObject *module);
int add_members(PyObject *module);

#endif
