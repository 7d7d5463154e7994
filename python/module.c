/* SPDX-License-Identifier: MIT */
/* The module: constants, and the calls that have no pool yet. */
#include "hfpy.h"

#include <fcntl.h>

static PyTypeObject *check_type;

/* --- policies --- */

static PyObject *timed(PyObject *arg, uint32_t kind)
{
    struct hf_policy policy = {.kind = kind};
    double seconds = PyFloat_AsDouble(arg);

    if (PyErr_Occurred())
        return NULL;
    if (!(seconds >= 0 && seconds < 1e9)) {
        PyErr_SetString(PyExc_ValueError, "a deadline is 0 to 1e9 seconds");
        return NULL;
    }
    policy.deadline_ns = (uint64_t)(seconds * 1e9);
    return from_policy(&policy);
}

static PyObject *py_deadline(PyObject *module, PyObject *seconds)
{
    (void)module;
    return timed(seconds, HF_POLICY_DEADLINE);
}

static PyObject *py_deadline_detach(PyObject *module, PyObject *seconds)
{
    (void)module;
    return timed(seconds, HF_POLICY_DEADLINE_DETACH);
}

/* --- making pools --- */

static bool take_quarantine(double seconds, struct hf_pool_options *options)
{
    if (!(seconds >= 0 && seconds < 1e9)) {
        PyErr_SetString(PyExc_ValueError, "a quarantine is 0 to 1e9 seconds");
        return false;
    }
    options->quarantine_ns = (uint64_t)(seconds * 1e9);
    return true;
}

static PyObject *create_there(PyObject *path, PyObject *data, struct hf_pool_options *options)
{
    int rc;

    options->data_path = data ? PyBytes_AsString(data) : NULL;
    UNSHARED_WITHOUT_LOCK(rc = hf_pool_create(PyBytes_AsString(path), options));
    return done(rc);
}

static PyObject *py_create(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path",       "pool_bytes", "data_path",     "durable",     "mode",
                            "engine",     "policy",     "max_processes", "max_threads", "max_files",
                            "max_leases", "quarantine", "trim_above",    NULL};
    struct hf_pool_options options = {.size = sizeof options};
    PyObject *path = NULL, *data = Py_None, *data_path = NULL, *result = NULL;
    unsigned long long bytes, trim_above = 0;
    uint32_t mode = 0;
    double quarantine = 0;
    int durable = 0;

    (void)module;
    if (PyArg_ParseTupleAndKeywords(args, keywords, "O&O&|$OpO&zO&O&O&O&O&dO&:create", names,
                                    PyUnicode_FSConverter, &path, to_uint64, &bytes, &data,
                                    &durable, to_uint32, &mode, &options.engine, to_policy,
                                    &options.policy, to_uint32, &options.max_processes, to_uint32,
                                    &options.max_threads, to_uint32, &options.max_files, to_uint32,
                                    &options.max_leases, &quarantine, to_uint64, &trim_above) &&
        (data == Py_None || PyUnicode_FSConverter(data, &data_path)) &&
        take_quarantine(quarantine, &options)) {
        options.pool_bytes = bytes;
        options.trim_above_bytes = trim_above;
        options.flags = durable ? HF_POOL_DURABLE : HF_POOL_MEMORY;
        options.mode = mode;
        result = create_there(path, data_path, &options);
    }
    Py_XDECREF(path);
    Py_XDECREF(data_path);
    return result;
}

static PyStructSequence_Field check_fields[] = {
    {"problems", "how many were found"},
    {"repaired", "how many of those were repaired"},
    {"sentences", "a list with one sentence for each problem"},
    {"inodes", "looked at"},
    {"extents", "looked at"},
    {"dirents", "looked at"},
    {"blocks_used", "in files"},
    {NULL, NULL},
};
static PyStructSequence_Desc check_desc = {"holdfast.CheckResult", "What a check has found.",
                                           check_fields, 7};

/* In the call's own thread, which has not the interpreter's lock meanwhile. */
static void add_sentence(void *list, const char *sentence)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *text = PyErr_Occurred()
                         ? NULL
                         : PyUnicode_DecodeUTF8(sentence, (Py_ssize_t)strlen(sentence), "replace");

    if (text)
        PyList_Append(list, text);
    Py_XDECREF(text);
    PyGILState_Release(state);
}

static PyObject *check_result(const struct hf_check_result *result, PyObject *sentences)
{
    PyObject *fields[] = {
        PyLong_FromUnsignedLongLong(result->problems),
        PyLong_FromUnsignedLongLong(result->repaired),
        Py_NewRef(sentences),
        PyLong_FromUnsignedLongLong(result->inodes),
        PyLong_FromUnsignedLongLong(result->extents),
        PyLong_FromUnsignedLongLong(result->dirents),
        PyLong_FromUnsignedLongLong(result->blocks_used),
    };

    return make_record(check_type, fields, 7);
}

static PyObject *py_check(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "repair", NULL};
    struct hf_check_result result = {.size = sizeof result};
    PyObject *path, *sentences, *out = NULL;
    int repair = 0, rc;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|$p:check", names, PyUnicode_FSConverter,
                                     &path, &repair))
        return NULL;
    sentences = PyList_New(0);
    if (sentences) {
        UNSHARED_WITHOUT_LOCK(rc = hf_pool_check(PyBytes_AsString(path),
                                                 repair ? HF_CHECK_REPAIR : 0, add_sentence, NULL,
                                                 sentences, &result));
        if (rc)
            failed(rc);
        else if (!PyErr_Occurred())
            out = check_result(&result, sentences);
    }
    Py_XDECREF(sentences);
    Py_DECREF(path);
    return out;
}

/* --- the module --- */

static PyMethodDef functions[] = {
    {"create", (PyCFunction)(void (*)(void))py_create, METH_VARARGS | METH_KEYWORDS,
     "create(path, pool_bytes, *, data_path=None, durable=False, mode=0, engine=None,\n"
     "       policy=None, max_processes=0, max_threads=0, max_files=0, max_leases=0,\n"
     "       quarantine=0.0, trim_above=0)\n--\n\n"
     "Makes a pool in the directory path, which must not exist or must be empty.\n\n"
     "pool_bytes is the memory for files: a multiple of 2 MiB, at least 8 MiB. A durable\n"
     "pool survives a power cut on memory that does. quarantine is in seconds. 0 or None\n"
     "is the default everywhere.\n\n"
     "FileExistsError: path is not an empty directory. OSError EINVAL: a size or limit is\n"
     "out of bounds. ENOSPC: the file system is too small."},
    {"check", (PyCFunction)(void (*)(void))py_check, METH_VARARGS | METH_KEYWORDS,
     "check(path, *, repair=False)\n--\n\n"
     "Checks a pool that no process has open, and returns a CheckResult.\n\n"
     "OSError EBUSY: a process has it open. EUCLEAN: damaged beyond what it can read."},
    {"deadline", py_deadline, METH_O,
     "deadline(seconds, /)\n--\n\n"
     "A policy: wait at most so long, then raise TimeoutError; nothing has changed."},
    {"deadline_detach", py_deadline_detach, METH_O,
     "deadline_detach(seconds, /)\n--\n\n"
     "A policy: wait at most so long, then change the file; what is held leaves the file and\n"
     "stays with its holders."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast._holdfast",
    .m_doc = "The calls of libholdfast; use the package holdfast.",
    .m_size = -1,
    .m_methods = functions,
};

static int add_policy(PyObject *module, const char *name, uint32_t kind)
{
    struct hf_policy policy = {.kind = kind};
    PyObject *object = from_policy(&policy);
    int rc = add_object(module, name, object);

    Py_XDECREF(object);
    return rc;
}

static int add_constants(PyObject *module)
{
    static const struct {
        const char *name;
        long value;
    } constants[] = {
        {"BLOCK_BYTES", HF_BLOCK_BYTES},
        {"HUGE_BYTES", HF_HUGE_BYTES},
        {"POLICY_DEFAULT", HF_POLICY_DEFAULT},
        {"POLICY_WAIT", HF_POLICY_WAIT},
        {"POLICY_NOWAIT", HF_POLICY_NOWAIT},
        {"POLICY_DEADLINE", HF_POLICY_DEADLINE},
        {"POLICY_DETACH", HF_POLICY_DETACH},
        {"POLICY_DEADLINE_DETACH", HF_POLICY_DEADLINE_DETACH},
        {"READ", HF_PIN_READ},
        {"WRITE", HF_PIN_WRITE},
        {"NOFILL", HF_PIN_NOFILL},
        {"COHERENT", HF_PIN_COHERENT},
        {"YIELD", HF_PIN_YIELD},
        {"IO_URING", HF_PIN_IO_URING},
        {"RDMA", HF_PIN_RDMA},
        {"GPU", HF_PIN_GPU},
        {"PIN_LEASE", HF_PIN_LEASE},
        {"PIN_RECALLED", HF_PIN_RECALLED},
        {"PIN_STOPPED", HF_PIN_STOPPED},
        {"PIN_PUT", HF_PIN_PUT},
        {"PIN_HELD", HF_PIN_HELD},
        {"PIN_DETACHED", HF_PIN_DETACHED},
        {"PIN_WAITING", HF_PIN_WAITING},
        {"PIN_QUARANTINED", HF_PIN_QUARANTINED},
        {"LEASE_HELD", HF_LEASE_HELD},
        {"LEASE_RECALLED", HF_LEASE_RECALLED},
        {"LEASE_DETACHED", HF_LEASE_DETACHED},
        {"CHANGE_TRUNCATE", HF_CHANGE_TRUNCATE},
        {"CHANGE_PUNCH", HF_CHANGE_PUNCH},
        {"CHANGE_ZERO", HF_CHANGE_ZERO},
        {"CHANGE_COLLAPSE", HF_CHANGE_COLLAPSE},
        {"CHANGE_INSERT", HF_CHANGE_INSERT},
        {"CHANGE_MOVE", HF_CHANGE_MOVE},
        {"CHANGE_DELETE", HF_CHANGE_DELETE},
        {"CHANGE_CLONE", HF_CHANGE_CLONE},
        {"RENAME_NOREPLACE", HF_RENAME_NOREPLACE},
        {"RENAME_EXCHANGE", HF_RENAME_EXCHANGE},
        {"XATTR_CREATE", HF_XATTR_CREATE},
        {"XATTR_REPLACE", HF_XATTR_REPLACE},
    };
    int rc = add_policy(module, "WAIT", HF_POLICY_WAIT);

    rc = rc ? rc : add_policy(module, "NOWAIT", HF_POLICY_NOWAIT);
    rc = rc ? rc : add_policy(module, "DETACH", HF_POLICY_DETACH);
    for (unsigned i = 0; rc == 0 && i < sizeof constants / sizeof *constants; i++)
        rc = PyModule_AddIntConstant(module, constants[i].name, constants[i].value);
    return rc ? rc : PyModule_AddStringConstant(module, "__version__", hf_version());
}

PyMODINIT_FUNC PyInit__holdfast(void);
PyMODINIT_FUNC PyInit__holdfast(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module && !add_policies(module) && (check_type = add_record(module, &check_desc)) &&
        !add_constants(module) && !add_pool(module) && !add_looking(module) && !add_dir(module) &&
        !add_file(module) && !add_held(module) && !add_lease(module) && !add_put(module) &&
        !add_cache(module))
        return module;
    Py_XDECREF(module);
    return NULL;
}
