/* SPDX-License-Identifier: MIT */
/* Pool: opening and closing, names, attributes. look.c shows what is in it; dir.c lists names. */
#include "hfpy.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/compact.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

PyTypeObject *pool_type;
static PyObject *stat_result; /* os.stat_result */

bool pool_is_open(struct py_pool *self)
{
    if (self->pool)
        return true;
    PyErr_SetString(PyExc_ValueError, "the pool is closed");
    return false;
}

/* --- opening and closing --- */

static PyObject *wrap_pool(PyTypeObject *type, int rc, struct hf_pool *pool)
{
    struct py_pool *self;

    if (rc)
        return failed(rc);
    self = PyObject_New(struct py_pool, type);
    if (!self) {
        UNSHARED_WITHOUT_LOCK(hf_pool_close(pool));
        return NULL;
    }
    self->pool = pool;
    self->busy = 0;
    return (PyObject *)self;
}

static PyObject *py_open(PyObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "readonly", "engine", NULL};
    const char *engine = NULL;
    struct hf_pool *pool = NULL;
    uint32_t flags;
    int readonly = 0, rc;
    PyObject *path;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|$pz:open", names, PyUnicode_FSConverter,
                                     &path, &readonly, &engine))
        return NULL;
    flags = readonly ? HF_OPEN_RDONLY : 0;
    UNSHARED_WITHOUT_LOCK(
        rc = engine ? hf_pool_open_engine(PyBytes_AsString(path), flags, engine, &pool)
                    : hf_pool_open(PyBytes_AsString(path), flags, &pool));
    Py_DECREF(path);
    return wrap_pool((PyTypeObject *)type, rc, pool);
}

static PyObject *py_anonymous(PyObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"pool_bytes", "engine", "policy", NULL};
    struct hf_pool_options options = {.size = sizeof options};
    struct hf_pool *pool = NULL;
    unsigned long long bytes;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|$zO&:anonymous", names, to_uint64, &bytes,
                                     &options.engine, to_policy, &options.policy))
        return NULL;
    options.pool_bytes = bytes;
    UNSHARED_WITHOUT_LOCK(rc = hf_pool_open_anonymous(&options, &pool));
    return wrap_pool((PyTypeObject *)type, rc, pool);
}

static PyObject *pool_close(struct py_pool *self, PyObject *unused)
{
    struct hf_pool *pool = self->pool;
    int rc;

    (void)unused;
    if (!pool)
        Py_RETURN_NONE;
    if (!not_busy(self->busy))
        return NULL;
    self->pool = NULL;
    UNSHARED_WITHOUT_LOCK(rc = hf_pool_close(pool));
    if (rc)
        self->pool = pool;
    return done(rc);
}

static void *close_later(void *pool)
{
    hf_pool_close(pool);
    return NULL;
}

/* The function of a recall may drop the last reference, in the thread that a close waits for. Then
 * another thread closes the pool; where none can be made, it stays open until the process ends. */
static void close_dropped(struct hf_pool *pool)
{
    pthread_t thread;

    if (hf_pool_close(pool) == -EDEADLK && pthread_create(&thread, NULL, close_later, pool) == 0)
        pthread_detach(thread);
}

static void pool_dealloc(struct py_pool *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);

    if (self->pool)
        UNSHARED_WITHOUT_LOCK(close_dropped(self->pool));
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *pool_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    return pool_is_open((struct py_pool *)self) ? Py_NewRef(self) : NULL;
}

/* An exception that passes says more than one about what its frames still hold. The pool is closed
 * with the last of that, as one that was never closed. */
static PyObject *pool_exit(struct py_pool *self, PyObject *args)
{
    bool passes = PyTuple_Size(args) > 0 && PyTuple_GetItem(args, 0) != Py_None;
    PyObject *closed = pool_close(self, NULL);

    if (closed || !passes || !PyErr_ExceptionMatches(PyExc_OSError))
        return closed;
    PyErr_Clear();
    Py_RETURN_NONE;
}

static PyObject *pool_grow(struct py_pool *self, PyObject *args)
{
    unsigned long long bytes;
    int rc;

    if (!PyArg_ParseTuple(args, "O&:grow", to_uint64, &bytes) || !pool_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_pool_grow(self->pool, bytes));
    return done(rc);
}

static PyObject *pool_shrink(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"", "policy", NULL};
    struct hf_policy policy = {0};
    unsigned long long bytes;
    int rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|O&:shrink", names, to_uint64, &bytes,
                                     to_policy, &policy) ||
        !pool_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_pool_shrink(self->pool, bytes, &policy));
    return done(rc);
}

static PyObject *pool_trim(struct py_pool *self, PyObject *args)
{
    struct hf_trim_result result = {.size = sizeof result};
    unsigned long long keep = 0;
    int rc;

    if (!PyArg_ParseTuple(args, "|O&:trim", to_uint64, &keep) || !pool_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, rc, hf_pool_trim(self->pool, keep, &result));
    return rc ? failed(rc) : PyLong_FromUnsignedLongLong(result.given_bytes);
}

/* --- names --- */

static PyObject *pool_open_file(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "flags", "mode", NULL};
    struct hf_file *file = NULL;
    int flags = O_RDONLY, rc;
    uint32_t mode = 0666;
    PyObject *path;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|iO&:open", names, PyUnicode_FSConverter,
                                     &path, &flags, to_uint32, &mode))
        return NULL;
    if (!pool_is_open(self)) {
        Py_DECREF(path);
        return NULL;
    }
    WITHOUT_LOCK(self, rc, hf_open(self->pool, PyBytes_AsString(path), flags, mode, &file));
    Py_DECREF(path);
    return rc ? failed(rc) : make_file(self, file);
}

/* A call on one path; `call` uses `pool` and `text`. */
#define ON_PATH(format, call, ...)                                                                 \
    do {                                                                                           \
        PyObject *path = NULL;                                                                     \
        const char *text;                                                                          \
        long rc;                                                                                   \
        if (!PyArg_ParseTupleAndKeywords(args, keywords, format, names, PyUnicode_FSConverter,     \
                                         &path, ##__VA_ARGS__) ||                                  \
            !pool_is_open(self)) {                                                                 \
            Py_XDECREF(path);                                                                      \
            return NULL;                                                                           \
        }                                                                                          \
        text = PyBytes_AsString(path);                                                             \
        WITHOUT_LOCK(self, rc, call);                                                              \
        Py_DECREF(path);                                                                           \
        return done(rc);                                                                           \
    } while (0)

/* A call on two. */
#define ON_PATHS(format, call, ...)                                                                \
    do {                                                                                           \
        PyObject *first = NULL, *second = NULL;                                                    \
        const char *a, *b;                                                                         \
        int rc;                                                                                    \
        if (!PyArg_ParseTupleAndKeywords(args, keywords, format, names, PyUnicode_FSConverter,     \
                                         &first, PyUnicode_FSConverter, &second, ##__VA_ARGS__) || \
            !pool_is_open(self)) {                                                                 \
            Py_XDECREF(first);                                                                     \
            Py_XDECREF(second);                                                                    \
            return NULL;                                                                           \
        }                                                                                          \
        a = PyBytes_AsString(first);                                                               \
        b = PyBytes_AsString(second);                                                              \
        WITHOUT_LOCK(self, rc, call);                                                              \
        Py_DECREF(first);                                                                          \
        Py_DECREF(second);                                                                         \
        return done(rc);                                                                           \
    } while (0)

static PyObject *pool_mkdir(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "mode", NULL};
    uint32_t mode = 0777;

    ON_PATH("O&|O&:mkdir", hf_mkdir(self->pool, text, mode), to_uint32, &mode);
}

static PyObject *pool_rmdir(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", NULL};

    ON_PATH("O&:rmdir", hf_rmdir(self->pool, text));
}

static PyObject *pool_unlink(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "policy", NULL};
    struct hf_policy policy = {0};

    ON_PATH("O&|O&:unlink", hf_unlink(self->pool, text, &policy), to_policy, &policy);
}

static PyObject *pool_chmod(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "mode", NULL};
    uint32_t mode;

    ON_PATH("O&O&:chmod", hf_chmod(self->pool, text, mode), to_uint32, &mode);
}

static PyObject *pool_chown(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "uid", "gid", "follow_symlinks", NULL};
    int uid, gid, follow = 1;

    ON_PATH("O&ii|$p:chown",
            hf_chown(self->pool, text, (uid_t)uid, (gid_t)gid, follow ? 0 : HF_AT_NOFOLLOW), &uid,
            &gid, &follow);
}

static struct timespec time_of_ns(long long ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = ns % 1000000000};

    if (time.tv_nsec < 0) {
        time.tv_sec--;
        time.tv_nsec += 1000000000;
    }
    return time;
}

static PyObject *pool_utime(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "ns", "follow_symlinks", NULL};
    long long ns[2];
    PyObject *given = Py_None;
    struct timespec times[2];
    int follow = 1;
    PyObject *path;
    long rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|$Op:utime", names, PyUnicode_FSConverter,
                                     &path, &given, &follow))
        return NULL;
    if ((given != Py_None && !PyArg_ParseTuple(given, "LL:utime", &ns[0], &ns[1])) ||
        !pool_is_open(self)) {
        Py_DECREF(path);
        return NULL;
    }
    for (unsigned i = 0; i < 2 && given != Py_None; i++)
        times[i] = time_of_ns(ns[i]);
    WITHOUT_LOCK(self, rc,
                 hf_utimens(self->pool, PyBytes_AsString(path), given == Py_None ? NULL : times,
                            follow ? 0 : HF_AT_NOFOLLOW));
    Py_DECREF(path);
    return done(rc);
}

static PyObject *pool_rename(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"from_path", "to_path", "flags", NULL};
    uint32_t flags = 0;

    ON_PATHS("O&O&|O&:rename", hf_rename(self->pool, a, b, flags), to_uint32, &flags);
}

static PyObject *pool_link(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"from_path", "to_path", NULL};

    ON_PATHS("O&O&:link", hf_link(self->pool, a, b));
}

static PyObject *pool_symlink(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"target", "path", NULL};

    ON_PATHS("O&O&:symlink", hf_symlink(self->pool, a, b));
}

static PyObject *pool_readlink(struct py_pool *self, PyObject *args)
{
    char target[HF_SYMLINK_MAX];
    PyObject *path;
    ssize_t len;

    if (!PyArg_ParseTuple(args, "O&:readlink", PyUnicode_FSConverter, &path))
        return NULL;
    if (!pool_is_open(self)) {
        Py_DECREF(path);
        return NULL;
    }
    WITHOUT_LOCK(self, len, hf_readlink(self->pool, PyBytes_AsString(path), target, sizeof target));
    Py_DECREF(path);
    return len < 0 ? failed(len) : PyUnicode_DecodeFSDefaultAndSize(target, len);
}

/* --- attributes --- */

static bool put_item(PyObject *dict, const char *name, PyObject *value)
{
    int rc = value ? PyDict_SetItemString(dict, name, value) : -1;

    Py_XDECREF(value);
    return rc == 0;
}

static long long whole_ns(const struct timespec *time)
{
    return (long long)time->tv_sec * 1000000000 + time->tv_nsec;
}

static bool put_time(PyObject *dict, const char *name, const char *name_ns,
                     const struct timespec *time)
{
    return put_item(dict, name,
                    PyFloat_FromDouble((double)time->tv_sec + 1e-9 * (double)time->tv_nsec)) &&
           put_item(dict, name_ns, PyLong_FromLongLong(whole_ns(time)));
}

PyObject *make_stat(const struct stat *stat)
{
    PyObject *dict = PyDict_New(), *out = NULL;

    if (dict && put_time(dict, "st_atime", "st_atime_ns", &stat->st_atim) &&
        put_time(dict, "st_mtime", "st_mtime_ns", &stat->st_mtim) &&
        put_time(dict, "st_ctime", "st_ctime_ns", &stat->st_ctim) &&
        put_item(dict, "st_blksize", PyLong_FromLong(stat->st_blksize)) &&
        put_item(dict, "st_blocks", PyLong_FromLongLong(stat->st_blocks)) &&
        put_item(dict, "st_rdev", PyLong_FromUnsignedLongLong(stat->st_rdev)))
        out = PyObject_CallFunction(
            stat_result, "(IKKKIILLLL)O", stat->st_mode, (unsigned long long)stat->st_ino,
            (unsigned long long)stat->st_dev, (unsigned long long)stat->st_nlink, stat->st_uid,
            stat->st_gid, (long long)stat->st_size, (long long)stat->st_atim.tv_sec,
            (long long)stat->st_mtim.tv_sec, (long long)stat->st_ctim.tv_sec, dict);
    Py_XDECREF(dict);
    return out;
}

static PyObject *pool_stat(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "follow_symlinks", NULL};
    struct stat stat;
    PyObject *path;
    int follow = 1, rc;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|$p:stat", names, PyUnicode_FSConverter,
                                     &path, &follow))
        return NULL;
    if (!pool_is_open(self)) {
        Py_DECREF(path);
        return NULL;
    }
    WITHOUT_LOCK(self, rc,
                 hf_stat(self->pool, PyBytes_AsString(path), follow ? 0 : HF_AT_NOFOLLOW, &stat));
    Py_DECREF(path);
    return rc ? failed(rc) : make_stat(&stat);
}

static PyObject *pool_setxattr(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "name", "value", "flags", NULL};
    uint32_t flags = 0;
    const char *name;
    Py_buffer value;
    PyObject *path;
    int rc = -1;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&sy*|O&:setxattr", names,
                                     PyUnicode_FSConverter, &path, &name, &value, to_uint32,
                                     &flags))
        return NULL;
    if (pool_is_open(self)) {
        WITHOUT_LOCK(self, rc,
                     hf_setxattr(self->pool, PyBytes_AsString(path), name, value.buf,
                                 (size_t)value.len, flags));
        if (rc)
            failed(rc);
    }
    PyBuffer_Release(&value);
    Py_DECREF(path);
    return rc ? NULL : Py_NewRef(Py_None);
}

static PyObject *pool_getxattr(struct py_pool *self, PyObject *args)
{
    PyObject *path, *out = NULL;
    const char *name;
    char *value;
    ssize_t len;

    if (!PyArg_ParseTuple(args, "O&s:getxattr", PyUnicode_FSConverter, &path, &name))
        return NULL;
    value = PyMem_Malloc(HF_XATTR_VALUE_MAX);
    if (!value) {
        PyErr_NoMemory();
    } else if (pool_is_open(self)) {
        WITHOUT_LOCK(
            self, len,
            hf_getxattr(self->pool, PyBytes_AsString(path), name, value, HF_XATTR_VALUE_MAX));
        out = len < 0 ? failed(len) : PyBytes_FromStringAndSize(value, len);
    }
    PyMem_Free(value);
    Py_DECREF(path);
    return out;
}

/* Names follow each other in `text`, each with its 0. */
static PyObject *list_of_names(const char *text, ssize_t len)
{
    PyObject *list = PyList_New(0);

    for (const char *name = text; list && name < text + len; name += strlen(name) + 1) {
        PyObject *item = PyUnicode_DecodeFSDefault(name);

        if (!item || PyList_Append(list, item))
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *pool_listxattr(struct py_pool *self, PyObject *args)
{
    PyObject *path, *out = NULL;
    char *names = NULL;
    ssize_t len, room = 0;

    if (!PyArg_ParseTuple(args, "O&:listxattr", PyUnicode_FSConverter, &path))
        return NULL;
    if (!pool_is_open(self)) {
        Py_DECREF(path);
        return NULL;
    }
    do { /* the list may have grown since its size was asked */
        PyMem_Free(names);
        names = PyMem_Malloc((size_t)room + 1);
        len = -ENOMEM;
        if (names)
            WITHOUT_LOCK(self, len,
                         hf_listxattr(self->pool, PyBytes_AsString(path), names, (size_t)room));
        if (room == 0 && len > 0) {
            room = len;
            len = -ERANGE;
        } else {
            room *= 2;
        }
    } while (len == -ERANGE);
    out = len < 0 ? failed(len) : list_of_names(names, len);
    PyMem_Free(names);
    Py_DECREF(path);
    return out;
}

static PyObject *pool_removexattr(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "name", NULL};
    const char *name;

    ON_PATH("O&s:removexattr", hf_removexattr(self->pool, text, name), &name);
}

static PyObject *pool_cancel(struct py_pool *self, PyObject *args)
{
    int tid;

    if (!PyArg_ParseTuple(args, "i:cancel", &tid) || !pool_is_open(self))
        return NULL;
    return done(hf_cancel(self->pool, tid));
}

static PyObject *pool_recall_fd(struct py_pool *self, PyObject *unused)
{
    int fd;

    (void)unused;
    if (!pool_is_open(self))
        return NULL;
    WITHOUT_LOCK(self, fd, hf_recall_fd(self->pool));
    return fd < 0 ? failed(fd) : PyLong_FromLong(fd);
}

static PyObject *pool_next_recall(struct py_pool *self, PyObject *unused)
{
    (void)unused;
    return pool_is_open(self) ? next_recall(self) : NULL;
}

static PyObject *pool_take(struct py_pool *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"token", "recall", NULL};
    struct py_token token = {0};
    PyObject *recall = Py_None;
    const char *bytes;
    Py_ssize_t len;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "y#|$O:take", names, &bytes, &len, &recall) ||
        !pool_is_open(self))
        return NULL;
    if (len != PY_TOKEN_BYTES && len != sizeof token.token) {
        PyErr_Format(PyExc_ValueError, "a token has %zu bytes, or %zu from a program in C",
                     PY_TOKEN_BYTES, sizeof token.token);
        return NULL;
    }
    memcpy(&token, bytes, (size_t)len);
    return take_lease(self, &token.token, token.writable, recall);
}

/* --- types --- */

static PyMethodDef pool_methods[] = {
    {"anonymous", (PyCFunction)(void (*)(void))py_anonymous,
     METH_VARARGS | METH_KEYWORDS | METH_CLASS,
     "anonymous(pool_bytes, *, engine=None, policy=None)\n--\n\n"
     "Makes and opens a pool that only this process can reach. It is gone when it is closed.\n"
     "pool_bytes as of create()."},
    {"close", ALONE(pool_close),
     "close()\n--\n\nCloses the pool; the last one of a process detaches it.\n\n"
     "OSError EBUSY: files, directories, pins or leases are open; the sentence counts them.\n"
     "EDEADLK: the function of a recall calls it, and the close would wait for its end."},
    {"grow", PLAIN(pool_grow),
     "grow(pool_bytes, /)\n--\n\nGrows the pool for every process that has it open.\n\n"
     "OSError EINVAL: smaller than it is, or not a multiple of 2 MiB. ENOSPC: no room."},
    {"shrink", NAMED(pool_shrink),
     "shrink(pool_bytes, /, policy=None)\n--\n\nMakes the pool smaller for every process that has it open. "
     "What files have past\nthe new end moves, and pins there are waited for as the policy says.\n\n"
     "OSError EINVAL: larger than it is, or not a multiple of 2 MiB. ENOSPC: what lies there has\n"
     "no room. EBUSY: a device has the memory registered, or somebody holds a part and the policy is\n"
     "NOWAIT or DETACH. What is held cannot leave the pool: with DETACH the files move, and a later\n"
     "call succeeds when the holders have let go. deadline_detach() is likewise, and TimeoutError."},
    {"trim", PLAIN(pool_trim),
     "trim(keep_bytes=0, /)\n--\n\nGives the memory of free blocks back to the system, but for keep_bytes of "
     "it. Returns\nhow many bytes that were."},
    {"open", NAMED(pool_open_file),
     "open(path, flags=0, mode=0o666)\n--\n\n"
     "Opens a file of the pool and returns a File. flags are those of os.open(): O_RDONLY (0),\n"
     "O_WRONLY or O_RDWR with any of O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW. With O_TMPFILE,\n"
     "path is a directory, and the file has no name yet. mode is that of a file that is made; no umask\n"
     "applies. A name has at most 255 bytes.\n\n"
     "FileNotFoundError, FileExistsError (O_EXCL), IsADirectoryError, NotADirectoryError.\n"
     "OSError ENFILE: the pool's limit of open files is reached."},
    {"mkdir", NAMED(pool_mkdir), "mkdir(path, mode=0o777)\n--\n\nMakes a directory."},
    {"rmdir", NAMED(pool_rmdir),
     "rmdir(path)\n--\n\nRemoves an empty directory. OSError ENOTEMPTY: it is not."},
    {"unlink", NAMED(pool_unlink),
     "unlink(path, policy=None)\n--\n\nRemoves a name. Was it the last one, and is the file not\n"
     "open anywhere, then this waits for pins as the policy says. OSError EBUSY: NOWAIT, and\n"
     "somebody holds it: the name stays. DETACH: the name goes, and the memory is free with its\n"
     "last holder. A file that is open keeps its blocks until its last close."},
    {"rename", NAMED(pool_rename),
     "rename(from_path, to_path, flags=0)\n--\n\nRenames, atomically, also over a file that is there.\n"
     "A process that holds that file keeps its memory; there is no wait. flags: RENAME_NOREPLACE\n"
     "(FileExistsError) or RENAME_EXCHANGE."},
    {"link", NAMED(pool_link), "link(from_path, to_path)\n--\n\nMakes a second name of a file."},
    {"symlink", NAMED(pool_symlink), "symlink(target, path)\n--\n\nMakes a symbolic link."},
    {"readlink", PLAIN(pool_readlink),
     "readlink(path, /)\n--\n\nReturns the target of a symbolic link."},
    {"stat", NAMED(pool_stat),
     "stat(path, *, follow_symlinks=True)\n--\n\nReturns an os.stat_result."},
    {"chmod", NAMED(pool_chmod), "chmod(path, mode)\n--\n\nSets the permission bits."},
    {"chown", NAMED(pool_chown),
     "chown(path, uid, gid, *, follow_symlinks=True)\n--\n\n-1 leaves an id as it is."},
    {"utime", NAMED(pool_utime),
     "utime(path, *, ns=None, follow_symlinks=True)\n--\n\n"
     "Sets (access, modification) in nanoseconds; None: both are now."},
    {"setxattr", NAMED(pool_setxattr),
     "setxattr(path, name, value, flags=0)\n--\n\nSets an extended attribute: name is a str such as\n"
     "\"user.dtype\", value is bytes, at most 65,536. flags: XATTR_CREATE or XATTR_REPLACE."},
    {"getxattr", PLAIN(pool_getxattr),
     "getxattr(path, name, /)\n--\n\nReturns bytes. OSError ENODATA: no such attribute."},
    {"listxattr", PLAIN(pool_listxattr),
     "listxattr(path, /)\n--\n\nReturns a list of the names of extended attributes."},
    {"removexattr", NAMED(pool_removexattr),
     "removexattr(path, name)\n--\n\nRemoves one. OSError ENODATA: no such attribute."},
    {"opendir", PLAIN(pool_opendir),
     "opendir(path, /)\n--\n\nReturns a Dir, which gives a DirEntry for each name, in byte order."},
    {"info", ALONE(pool_info), "info()\n--\n\nReturns a PoolInfo."},
    {"stats", ALONE(pool_stats), "stats()\n--\n\nReturns a Stats."},
    {"pins", ALONE(pool_pins),
     "pins()\n--\n\nReturns a list of PinInfo: pins, leases and layout changes that wait.\n\n"
     "OSError EOPNOTSUPP: the engine does not know."},
    {"extents", PLAIN(pool_extents),
     "extents(ino=0, /)\n--\n\nReturns a list of Extent, of one file or of all (0): where they lie."},
    {"path", PLAIN(pool_path),
     "path(ino, /)\n--\n\nReturns one path of an inode. It looks through all names."},
    {"cancel", PLAIN(pool_cancel),
     "cancel(native_id, /)\n--\n\nEnds the wait of a thread of this process, known by\n"
     "threading.get_native_id(): its call raises InterruptedError.\n\n"
     "ProcessLookupError: the thread does not wait."},
    {"take", NAMED(pool_take),
     "take(token, *, recall=None)\n--\n\nTakes a lease that was offered with Lease.give(), or with\n"
     "hf_lease_give() by a program in C, which is then read-only here.\n\n"
     "FileNotFoundError: no such offer. OSError ESTALE: blocks of it are detached."},
    {"recall_fd", ALONE(pool_recall_fd),
     "recall_fd()\n--\n\nA descriptor that is readable while next_recall() has something."},
    {"next_recall", ALONE(pool_next_recall),
     "next_recall()\n--\n\nThe next Recall of a lease without a function, or None."},
    {"__enter__", ALONE(pool_enter), NULL},
    {"__exit__", PLAIN(pool_exit), NULL},
    {NULL, NULL, 0, NULL},
};

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    return py_open((PyObject *)type, args, keywords);
}

static PyType_Slot pool_slots[] = {
    {Py_tp_doc,
     "Pool(path, *, readonly=False, engine=None)\n--\n\n"
     "A pool, opened by its path. A context manager that closes it; when an exception passes, and\n"
     "its frames still hold something, with the last of that.\n\n"
     "FileNotFoundError: there is no pool. OSError EUCLEAN: it is damaged, run\n"
     "`holdfast fsck`. EBUSY: in use with another engine, or all process entries are\n"
     "taken. In the child of a fork every call raises ChildProcessError."},
    {Py_tp_new, pool_new},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_methods, pool_methods},
    {0, NULL},
};
static PyType_Spec pool_spec = {"holdfast.Pool", sizeof(struct py_pool), 0, Py_TPFLAGS_DEFAULT,
                                pool_slots};

int add_pool(PyObject *module)
{
    PyObject *os = PyImport_ImportModule("os");

    stat_result = os ? PyObject_GetAttrString(os, "stat_result") : NULL;
    Py_XDECREF(os);
    return stat_result && (pool_type = add_type(module, &pool_spec)) ? 0 : -1;
}
