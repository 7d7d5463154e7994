/* SPDX-License-Identifier: MIT */
/* What Cluster shows of its members. */
#include "cluster.h"

#include <errno.h>

static PyTypeObject *member_type, *entry_type;

/* --- members --- */

static PyStructSequence_Field member_fields[] = {
    {"name", "its name"},
    {"address", "HOST:PORT where it listens"},
    {NULL, NULL},
};
static PyStructSequence_Desc member_desc = {"holdfast.cluster.ClusterMember",
                                            "A member of a cluster.", member_fields, 2};

static PyObject *from_member(const struct hfx_member *member)
{
    PyObject *fields[] = {PyUnicode_FromString(member->name),
                          PyUnicode_FromString(member->address)};

    return make_record(member_type, fields, 2);
}

PyObject *cluster_members(struct py_cluster *self, PyObject *unused)
{
    PyObject *list = cluster_is_open(self) ? PyList_New(0) : NULL;
    struct hfx_member member;
    int rc = 1;

    (void)unused;
    for (unsigned i = 0; list && (rc = hfx_member(self->cluster, i, &member)) == 1; i++) {
        PyObject *one = from_member(&member);

        if (!one || PyList_Append(list, one))
            Py_CLEAR(list);
        Py_XDECREF(one);
    }
    if (rc < 0) {
        Py_CLEAR(list);
        return cluster_failed(rc);
    }
    return list;
}

PyObject *cluster_epoch(struct py_cluster *self, PyObject *unused)
{
    (void)unused;
    return cluster_is_open(self) ? PyLong_FromUnsignedLongLong(hfx_epoch(self->cluster)) : NULL;
}

PyObject *cluster_owner(struct py_cluster *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"key", "space", NULL};
    struct hfx_member member;
    PyObject *owner = NULL;
    uint32_t space = 0;
    struct hfc_key key;
    Py_buffer view;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s*|$O&:owner", names, &view, to_uint32,
                                     &space))
        return NULL;
    name_key(&view, space, &key);
    if (cluster_is_open(self)) {
        rc = hfx_owner(self->cluster, &key, &member);
        owner = rc ? cluster_failed(rc) : from_member(&member);
    }
    PyBuffer_Release(&view);
    return owner;
}

/* The index of the member that is named; false with an exception. */
static bool find_named(struct py_cluster *self, PyObject *args, unsigned *index)
{
    struct hfx_member member;
    const char *name;
    int rc = 1;

    if (!PyArg_ParseTuple(args, "s", &name) || !cluster_is_open(self))
        return false;
    for (*index = 0; (rc = hfx_member(self->cluster, *index, &member)) == 1; ++*index)
        if (strcmp(member.name, name) == 0)
            return true;
    if (rc < 0)
        cluster_failed(rc);
    else
        failed_with(-ENOENT, "the cluster does not have that member");
    return false;
}

/* --- objects --- */

static PyStructSequence_Field entry_fields[] = {
    {"key", "bytes"},
    {"space", "its namespace"},
    {"len", "bytes of the object"},
    {NULL, NULL},
};
static PyStructSequence_Desc entry_desc = {"holdfast.cluster.ClusterEntry",
                                           "An object of a member.", entry_fields, 3};

/* In the call's own thread, which has not the interpreter's lock meanwhile. */
static int add_member_entry(void *list, const struct hfc_entry *entry)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *fields[] = {PyBytes_FromStringAndSize((const char *)entry->key, entry->key_len),
                          PyLong_FromUnsignedLong(entry->space),
                          PyLong_FromUnsignedLongLong(entry->bytes)};
    PyObject *record = make_record(entry_type, fields, 3);
    int rc = record ? PyList_Append(list, record) : -1;

    Py_XDECREF(record);
    if (rc == 0)
        rc = PyErr_CheckSignals();
    PyGILState_Release(state);
    return rc ? 1 : 0;
}

PyObject *cluster_entries(struct py_cluster *self, PyObject *args)
{
    PyObject *list;
    unsigned index;
    int rc;

    if (!find_named(self, args, &index))
        return NULL;
    list = PyList_New(0);
    if (!list)
        return NULL;
    WITHOUT_LOCK(self, rc, hfx_each(self->cluster, index, add_member_entry, list));
    if (rc == 0)
        return list;
    Py_DECREF(list);
    return rc < 0 ? cluster_failed(rc) : NULL;
}

PyObject *cluster_counts(struct py_cluster *self, PyObject *args)
{
    struct hfx_counts counts = {.size = sizeof counts};
    unsigned index;
    int rc;

    if (!find_named(self, args, &index))
        return NULL;
    WITHOUT_LOCK(self, rc, hfx_counts(self->cluster, index, &counts));
    if (rc)
        return cluster_failed(rc);
#define FIELD(name) #name, (unsigned long long)counts.name
    return Py_BuildValue("{sK sK sK sK sK sK sK sK sK sK}", FIELD(gets), FIELD(hits), FIELD(puts),
                         FIELD(removals), FIELD(refused), FIELD(given_up), FIELD(connections),
                         FIELD(objects), FIELD(used_bytes), FIELD(capacity_bytes));
#undef FIELD
}

int add_members(PyObject *module)
{
    return (member_type = add_record(module, &member_desc)) &&
                   (entry_type = add_record(module, &entry_desc))
               ? 0
               : -1;
}
