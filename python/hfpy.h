/* SPDX-License-Identifier: MIT */
/*
 * What the files of the extension share. Each file owns a type; module.c puts them together.
 *
 * Two rules keep Python's objects and the library's handles together. An object keeps alive what
 * it was made from, so a pool cannot go before its files and pins. A call that may wait is made
 * without the interpreter's lock, also as an object goes. For hf_pool_close() waits for the thread
 * of recalls, whose functions need that lock. `busy` counts the calls, so that no other thread
 * closes the handle meanwhile.
 */
#ifndef HFPY_H
#define HFPY_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <holdfast/holdfast.h>
#include <structmember.h>

#include <stdbool.h>
#include <string.h>

struct py_pool {
    PyObject_HEAD struct hf_pool *pool; /* null: closed */
    unsigned busy;
};

struct py_file {
    PyObject_HEAD struct py_pool *pool;
    struct hf_file *file; /* null: closed */
    unsigned busy;
};

/* A pin or a lease: memory that is held. */
struct py_held {
    PyObject_HEAD PyObject *weak; /* of leases */
    struct py_pool *pool;
    struct iovec *iov; /* `one`, or allocated */
    struct iovec one;
    int pieces;
    bool live, writable;
    Py_ssize_t views;                     /* while there is one, it is not released */
    void (*unseen)(struct py_held *self); /* called when the last view has gone; or null */
    struct hf_pin pin;
    /* Of leases. */
    struct hf_lease lease;
    bool released;    /* perhaps before hf_lease() has returned */
    PyObject *recall; /* called when it is recalled; or null */
    uint64_t number;  /* by which recalls know it */
};

/* What Lease.give() returns: the library's token, and whether it is for writing. */
struct py_token {
    struct hf_lease_token token;
    char writable;
};
#define PY_TOKEN_BYTES (sizeof(struct hf_lease_token) + 1)

extern PyTypeObject *pool_type, *file_type;

/* The function of a method, and the arguments that it takes. */
#define PLAIN(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS
#define NAMED(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS
#define ALONE(function) (PyCFunction)(void (*)(void))(function), METH_NOARGS

#define WITHOUT_LOCK(self, rc, call)                                                               \
    do {                                                                                           \
        (self)->busy++;                                                                            \
        Py_BEGIN_ALLOW_THREADS rc = (call);                                                        \
        Py_END_ALLOW_THREADS(self)->busy--;                                                        \
    } while (0)

/* For a handle that no other thread can have: before its object is there, or from its end on. */
#define UNSHARED_WITHOUT_LOCK(call)                                                                \
    do {                                                                                           \
        Py_BEGIN_ALLOW_THREADS(call);                                                              \
        Py_END_ALLOW_THREADS                                                                       \
    } while (0)

/* OSError with the library's sentence; null, for return. A signal whose Python handler raises
 * becomes that exception. */
PyObject *failed(long rc);
PyObject *failed_with(long rc, const char *sentence);
/* None, or OSError. */
PyObject *done(long rc);

/* For "O&": a policy, or None. */
int to_policy(PyObject *object, void *out);
/* The same: a uint32_t. The format I would take the low bits of a larger number. */
int to_uint32(PyObject *object, void *out);
int to_uint64(PyObject *object, void *out); /* of an unsigned long long */
PyObject *from_policy(const struct hf_policy *policy);

/* Sets ValueError when it is closed. */
bool pool_is_open(struct py_pool *self);
bool file_is_open(struct py_file *self);
/* Sets OSError when another thread is in a call on it, or a server has it. */
bool not_busy(unsigned busy);

PyObject *make_stat(const struct stat *stat);
PyObject *make_file(struct py_pool *pool, struct hf_file *file);
PyObject *make_pin(struct py_file *file, uint64_t off, uint64_t len, uint32_t flags);
PyObject *make_lease(struct py_file *file, uint64_t off, uint64_t len, uint32_t flags,
                     PyObject *recall, const char *label);
/* A lease that was given by a program in C is taken without `writable`: its token does not say. */
PyObject *take_lease(struct py_pool *pool, const struct hf_lease_token *token, bool writable,
                     PyObject *recall);
PyObject *make_put(struct py_file *file, uint64_t off, uint64_t len, uint32_t flags);
/* The next recall of a lease without a function, or None. */
PyObject *next_recall(struct py_pool *pool);

/* Methods of Pool that other files have. */
PyObject *pool_opendir(struct py_pool *self, PyObject *args);
PyObject *pool_info(struct py_pool *self, PyObject *unused);
PyObject *pool_stats(struct py_pool *self, PyObject *unused);
PyObject *pool_pins(struct py_pool *self, PyObject *unused);
PyObject *pool_extents(struct py_pool *self, PyObject *args);
PyObject *pool_path(struct py_pool *self, PyObject *args);

/* Each adds its types to the module; 0 or -1. */
int add_policies(PyObject *module);
int add_pool(PyObject *module);
int add_looking(PyObject *module);
int add_dir(PyObject *module);
int add_file(PyObject *module);
int add_held(PyObject *module);
int add_lease(PyObject *module);
int add_put(PyObject *module);
int add_cache(PyObject *module);
/* Null: -1, with the exception that is set. */
int add_object(PyObject *module, const char *name, PyObject *object);
/* The type of `spec`, added to the module under its last name; null on failure. */
PyTypeObject *add_type(PyObject *module, PyType_Spec *spec);
PyTypeObject *add_record(PyObject *module, PyStructSequence_Desc *desc);
/* A record of `type`; takes over the references of `fields`, and null if one of them is. */
PyObject *make_record(PyTypeObject *type, PyObject **fields, Py_ssize_t count);

#endif
