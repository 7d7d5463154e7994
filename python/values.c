/* SPDX-License-Identifier: MIT */
/* How errors, records and policies of the library become objects. */
#include "hfpy.h"

#include <errno.h>

static PyTypeObject *policy_type;

/* --- errors --- */

PyObject *failed_with(long rc, const char *sentence)
{
    PyObject *arguments;

    if (rc == -EINTR && PyErr_CheckSignals())
        return NULL;
    arguments = Py_BuildValue("(is)", (int)-rc, sentence);
    if (arguments)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

PyObject *failed(long rc)
{
    return failed_with(rc, hf_strerror_detail());
}

PyObject *done(long rc)
{
    if (rc < 0)
        return failed(rc);
    Py_RETURN_NONE;
}

bool not_busy(unsigned busy)
{
    PyObject *arguments;

    if (!busy)
        return true;
    arguments = Py_BuildValue("(is)", EBUSY, "another thread, or a server, uses it");
    if (arguments)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
    return false;
}

/* --- types and records --- */

int add_object(PyObject *module, const char *name, PyObject *object)
{
    return object ? PyModule_AddObjectRef(module, name, object) : -1;
}

PyTypeObject *add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);

    if (add_object(module, strrchr(spec->name, '.') + 1, type) == 0)
        return (PyTypeObject *)type;
    Py_XDECREF(type);
    return NULL;
}

PyTypeObject *add_record(PyObject *module, PyStructSequence_Desc *desc)
{
    PyObject *type = (PyObject *)PyStructSequence_NewType(desc);

    if (add_object(module, strrchr(desc->name, '.') + 1, type) == 0)
        return (PyTypeObject *)type;
    Py_XDECREF(type);
    return NULL;
}

PyObject *make_record(PyTypeObject *type, PyObject **fields, Py_ssize_t count)
{
    PyObject *record = PyStructSequence_New(type);
    bool whole = record != NULL;

    for (Py_ssize_t i = 0; i < count; i++) {
        whole = whole && fields[i];
        if (record)
            PyStructSequence_SetItem(record, i, fields[i]);
        else
            Py_XDECREF(fields[i]);
    }
    if (whole)
        return record;
    Py_XDECREF(record);
    return NULL;
}

/* --- numbers --- */

static bool to_number(PyObject *object, unsigned long long most, const char *otherwise,
                      unsigned long long *out)
{
    PyObject *number = PyNumber_Index(object);

    if (!number)
        return false;
    *out = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    if (!PyErr_Occurred() && *out <= most)
        return true;
    PyErr_SetString(PyExc_OverflowError, otherwise);
    return false;
}

int to_uint32(PyObject *object, void *out)
{
    unsigned long long value;

    if (!to_number(object, UINT32_MAX,
                   "flags, modes, kinds of policies, spaces and counts of tables are numbers from "
                   "0 to 4294967295",
                   &value))
        return 0;
    *(uint32_t *)out = (uint32_t)value;
    return 1;
}

/* The format K would take any number modulo 2^64, and a write would go to another place. */
int to_uint64(PyObject *object, void *out)
{
    return to_number(object, UINT64_MAX,
                     "offsets, lengths, sizes, times, inodes and tags are numbers from 0 to "
                     "2^64 - 1",
                     out);
}

/* --- policies --- */

static PyStructSequence_Field policy_fields[] = {
    {"kind", "one of the POLICY_ constants"},
    {"deadline_ns", "nanoseconds from the call on; 0 without a deadline"},
    {NULL, NULL},
};
static PyStructSequence_Desc policy_desc = {
    "holdfast.Policy", "What a layout change does when a pin or lease holds part of its range.",
    policy_fields, 2};

PyObject *from_policy(const struct hf_policy *policy)
{
    PyObject *fields[] = {PyLong_FromUnsignedLong(policy->kind),
                          PyLong_FromUnsignedLongLong(policy->deadline_ns)};

    return make_record(policy_type, fields, 2);
}

int to_policy(PyObject *object, void *out)
{
    struct hf_policy *policy = out;
    unsigned long long deadline;
    uint32_t kind;

    *policy = (struct hf_policy){0};
    if (object == Py_None)
        return 1;
    if (!PyObject_TypeCheck(object, policy_type)) {
        PyErr_SetString(PyExc_TypeError,
                        "a policy is None, WAIT, NOWAIT, DETACH, deadline(seconds) "
                        "or deadline_detach(seconds)");
        return 0;
    }
    if (!PyArg_ParseTuple(object, "O&O&:Policy", to_uint32, &kind, to_uint64, &deadline))
        return 0;
    policy->kind = kind;
    policy->deadline_ns = deadline;
    return 1;
}

int add_policies(PyObject *module)
{
    return (policy_type = add_record(module, &policy_desc)) ? 0 : -1;
}
