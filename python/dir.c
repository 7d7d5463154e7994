/* SPDX-License-Identifier: MIT */
/* Dir: an iterator over a directory. */
#include "hfpy.h"

static PyTypeObject *dir_type, *dirent_type;

struct py_dir {
    PyObject_HEAD struct py_pool *pool;
    struct hf_dir *dir; /* null: closed */
    unsigned busy;
};

static PyStructSequence_Field dirent_fields[] = {
    {"name", "str"},
    {"ino", "inode number"},
    {"type", "stat.S_IFREG, S_IFDIR ..."},
    {NULL, NULL},
};
static PyStructSequence_Desc dirent_desc = {"holdfast.DirEntry", "An entry of a directory.",
                                            dirent_fields, 3};

PyObject *pool_opendir(struct py_pool *self, PyObject *args)
{
    struct hf_dir *dir = NULL;
    struct py_dir *out;
    PyObject *path;
    int rc;

    if (!PyArg_ParseTuple(args, "O&:opendir", PyUnicode_FSConverter, &path))
        return NULL;
    if (!pool_is_open(self)) {
        Py_DECREF(path);
        return NULL;
    }
    WITHOUT_LOCK(self, rc, hf_opendir(self->pool, PyBytes_AsString(path), &dir));
    Py_DECREF(path);
    if (rc)
        return failed(rc);
    out = PyObject_New(struct py_dir, dir_type);
    if (!out) {
        UNSHARED_WITHOUT_LOCK(hf_closedir(dir));
        return NULL;
    }
    out->pool = (struct py_pool *)Py_NewRef((PyObject *)self);
    out->dir = dir;
    out->busy = 0;
    return (PyObject *)out;
}

static bool dir_is_open(struct py_dir *self)
{
    if (self->dir)
        return true;
    PyErr_SetString(PyExc_ValueError, "the directory is closed");
    return false;
}

static PyObject *dir_next(struct py_dir *self)
{
    struct hf_dirent entry;
    int rc;

    if (!dir_is_open(self) || !not_busy(self->busy))
        return NULL;
    do {
        WITHOUT_LOCK(self, rc, hf_readdir(self->dir, &entry));
    } while (rc == 1 && (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0));
    if (rc <= 0)
        return rc ? failed(rc) : NULL; /* the end */
    PyObject *fields[] = {PyUnicode_DecodeFSDefault(entry.name),
                          PyLong_FromUnsignedLongLong(entry.ino),
                          PyLong_FromUnsignedLong(entry.type)};
    return make_record(dirent_type, fields, 3);
}

static PyObject *dir_seek(struct py_dir *self, PyObject *args)
{
    PyObject *given, *name = NULL;
    int rc;

    if (!PyArg_ParseTuple(args, "O:seek", &given) || !dir_is_open(self) || !not_busy(self->busy) ||
        (given != Py_None && !PyUnicode_FSConverter(given, &name)))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_seekdir(self->dir, name ? PyBytes_AsString(name) : NULL));
    Py_XDECREF(name);
    return done(rc);
}

static PyObject *dir_close(struct py_dir *self, PyObject *unused)
{
    struct hf_dir *dir = self->dir;
    int rc;

    (void)unused;
    if (!dir)
        Py_RETURN_NONE;
    if (!not_busy(self->busy))
        return NULL;
    self->dir = NULL;
    UNSHARED_WITHOUT_LOCK(rc = hf_closedir(dir));
    return done(rc);
}

static PyObject *dir_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return dir_is_open((struct py_dir *)self) ? Py_NewRef(self) : NULL;
}

static PyObject *dir_exit(struct py_dir *self, PyObject *args)
{
    (void)args;
    return dir_close(self, NULL);
}

static void dir_dealloc(struct py_dir *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    if (self->dir)
        UNSHARED_WITHOUT_LOCK(hf_closedir(self->dir));
    Py_DECREF((PyObject *)self->pool);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef dir_methods[] = {
    {"seek", PLAIN(dir_seek),
     "seek(name, /)\n--\n\nGoes on with the first entry after name, or from the start (None)."},
    {"close", ALONE(dir_close), "close()\n--\n\nCloses it."},
    {"__enter__", ALONE(dir_enter), NULL},
    {"__exit__", PLAIN(dir_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot dir_slots[] = {
    {Py_tp_doc, "An open directory: an iterator of DirEntry, without \".\" and \"..\"."},
    {Py_tp_dealloc, dir_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, dir_next},
    {Py_tp_methods, dir_methods},
    {0, NULL},
};
static PyType_Spec dir_spec = {"holdfast.Dir", sizeof(struct py_dir), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, dir_slots};

int add_dir(PyObject *module)
{
    return (dir_type = add_type(module, &dir_spec)) &&
                   (dirent_type = add_record(module, &dirent_desc))
               ? 0
               : -1;
}
