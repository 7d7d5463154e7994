/* SPDX-License-Identifier: MIT */
/* How options, errors and results of libholdfast-cluster become objects. */
#include "cluster.h"

#include <errno.h>

/* --- errors --- */

PyObject *cluster_failed(long rc)
{
    return failed_with(rc, hfx_detail());
}

PyObject *cluster_error(int64_t rc)
{
    return PyObject_CallFunction(PyExc_OSError, "is", (int)-rc, strerror((int)-rc));
}

bool cluster_is_open(const struct py_cluster *self)
{
    if (self->cluster)
        return true;
    PyErr_SetString(PyExc_ValueError, "the cluster is closed");
    return false;
}

PyObject *cluster_answer(uint32_t operation, int64_t result)
{
    if (operation == HFX_REMOVE)
        return PyBool_FromLong(result >= 0);
    if (operation == HFX_PUT || result == -ENOENT)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(result);
}

/* --- options --- */

bool seconds_to_ns(double seconds, uint64_t *out)
{
    if (!(seconds >= 0 && seconds < 1e9)) {
        PyErr_SetString(PyExc_ValueError, "a time is 0 to 1e9 seconds");
        return false;
    }
    *out = (uint64_t)(seconds * 1e9);
    return true;
}

int to_certificate(PyObject *object, void *out)
{
    return object == NULL || object == Py_None ? 1 : PyUnicode_FSConverter(object, out);
}

struct hfx_etcd name_etcd(const char *urls, const struct etcd_names *names)
{
    return (struct hfx_etcd){.size = sizeof(struct hfx_etcd),
                             .urls = urls,
                             .prefix = names->prefix,
                             .ca = names->ca ? PyBytes_AsString(names->ca) : NULL,
                             .cert = names->cert ? PyBytes_AsString(names->cert) : NULL,
                             .key = names->key ? PyBytes_AsString(names->key) : NULL};
}

void drop_etcd_names(struct etcd_names *names)
{
    Py_CLEAR(names->ca);
    Py_CLEAR(names->cert);
    Py_CLEAR(names->key);
}
