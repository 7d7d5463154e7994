/* SPDX-License-Identifier: MIT */
/*
 * Holdfast for a program that serves a pool to others, as the mount does. It has names relative to
 * an inode, calls on behalf of a client, and reports of what other processes change. The rules at
 * the top of holdfast/holdfast.h hold here too.
 */
#ifndef HOLDFAST_SERVE_H
#define HOLDFAST_SERVE_H

#include <holdfast/holdfast.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default) /* the library hides all that is not declared here */
#endif

/* --------------------------------------------------------------------- names by inode ---- */

/* These are the name calls of holdfast.h in the manner of openat(2): a relative path starts at the
 * inode `at`. The empty path is that inode itself, whatever its type. While a process has it open,
 * hf_openat(), hf_statat() and the calls that change attributes find it also without a name. If it
 * was made without a name (O_TMPFILE) and has had none, hf_linkat() and hf_renameat() give it one:
 * an empty `from` is the inode. Any other call that needs a name (hf_mkdirat(), hf_unlinkat() ...)
 * returns -ENOENT for an empty path.
 *   -ESTALE   the inode `at` does not exist any more
 *   -ENOTDIR  it is not a directory, and path is not empty */
#define HF_ROOT_INO UINT64_C(1)
int hf_openat(struct hf_pool *pool, uint64_t at, const char *path, int flags, mode_t mode,
              struct hf_file **out);
int hf_mkdirat(struct hf_pool *pool, uint64_t at, const char *path, mode_t mode);
int hf_rmdirat(struct hf_pool *pool, uint64_t at, const char *path);
int hf_mknodat(struct hf_pool *pool, uint64_t at, const char *path, mode_t mode, dev_t rdev);
int hf_linkat(struct hf_pool *pool, uint64_t from_at, const char *from, uint64_t to_at,
              const char *to);
int hf_symlinkat(struct hf_pool *pool, const char *target, uint64_t at, const char *path);
ssize_t hf_readlinkat(struct hf_pool *pool, uint64_t at, const char *path, char *buf, size_t len);
int hf_unlinkat(struct hf_pool *pool, uint64_t at, const char *path,
                const struct hf_policy *policy);
int hf_renameat(struct hf_pool *pool, uint64_t from_at, const char *from, uint64_t to_at,
                const char *to, uint32_t flags);
int hf_statat(struct hf_pool *pool, uint64_t at, const char *path, uint32_t flags,
              struct stat *out);
int hf_statxat(struct hf_pool *pool, uint64_t at, const char *path, uint32_t flags,
               struct statx *out);
int hf_chmodat(struct hf_pool *pool, uint64_t at, const char *path, mode_t mode);
int hf_chownat(struct hf_pool *pool, uint64_t at, const char *path, uid_t uid, gid_t gid,
               uint32_t flags);
int hf_utimensat(struct hf_pool *pool, uint64_t at, const char *path,
                 const struct timespec times[2], uint32_t flags);
int hf_setxattrat(struct hf_pool *pool, uint64_t at, const char *path, const char *name,
                  const void *value, size_t len, uint32_t flags);
ssize_t hf_getxattrat(struct hf_pool *pool, uint64_t at, const char *path, const char *name,
                      void *value, size_t len);
ssize_t hf_listxattrat(struct hf_pool *pool, uint64_t at, const char *path, char *list, size_t len);
int hf_removexattrat(struct hf_pool *pool, uint64_t at, const char *path, const char *name);
int hf_opendirat(struct hf_pool *pool, uint64_t at, const char *path, struct hf_dir **out);

/* One of the files for hf_clone_files(): the regular file with the inode number `from` gets a copy
 * `name` in the directory `dir`. */
struct hf_clone_entry {
    uint64_t from, dir;
    const char *name; /* one name, not a path */
    /* Set: 0 when the copy was made, else -errno. */
    int result;
    /* Set when the copy was made: how many names `from` has; inode of the copy, and its size. */
    uint32_t links;
    uint64_t to, bytes;
};

/* Makes copies of files, many in one step: a tree is copied in few transactions. A copy shares all
 * blocks with its file, as by hf_clone_range(), and has its mode, owner, access and modification
 * time and extended attributes. It is as of one moment. Up to 128 copies appear together, in a
 * durable pool up to 4. Returns how many were made; the entries say which. Does not wait for a
 * process that holds or changes one of the files.
 *
 * In an entry:
 *   -EBUSY        somebody holds the file or changes it, it lies in 64 pieces or more, or it was
 *                 not tried. Copy it by itself, with hf_openat() and hf_clone_range()
 *   -ENOENT       `from` does not exist, or has no name
 *   -EINVAL       it is not a regular file, or the name is empty, a dot or two, or has a slash
 *   -EEXIST       `dir` has that name already
 *   -ENAMETOOLONG the name is too long
 *   -ESTALE       `dir` does not exist any more
 *   -ENOTDIR      `dir` is not a directory
 * In an entry, or of the call where none was made:
 *   -EOPNOTSUPP   the engine is neither refcount nor one of the slots engines
 *   -ENFILE       too many files are in use
 *   -ENOSPC       the metadata is full */
ssize_t hf_clone_files(struct hf_pool *pool, struct hf_clone_entry *entries, size_t count);

/* -------------------------------------------------------------------------- a client ----- */

/* The client that a thread of a server acts for. */
struct hf_client {
    size_t size;    /* sizeof(struct hf_client) */
    uint32_t flags; /* HF_CLIENT_... */
    mode_t umask;   /* for new entries of a directory without a default ACL */
    uid_t uid;      /* owner of new entries */
    gid_t gid;
    /* The client's process and thread, as this process numbers them; for hf_pins() and for
     * deadlocks. The client's thread stays in its call until this thread has answered. pid 0: found
     * by tid when it is needed. Both 0: the calling thread stands for the client. */
    pid_t pid, tid;
    /* Not null: a wait of this thread ends with -EINTR, within 50 ms, after this has become
     * non-zero. Any thread may read and write it, as an atomic. */
    const uint32_t *cancelled;
    uint64_t reserved[2]; /* 0 */
};
/* Where a call would wait for pins, or at the gate of a layout change, it returns -EAGAIN instead
 * and has changed nothing. But hf_write() and hf_copy_range() return the count, if they have moved
 * something, and hf_fallocate() keeps what it has allocated. A policy that does not wait for pins
 * is not affected by pins. Leases are recalled all the same. */
#define HF_CLIENT_NOWAIT 0x1u
/* The thread writes back whole pages of a copy into which somebody has stored, as at a report
 * (HF_WATCH_STORES). There is no report before the write. While this process has not come back for
 * the next report, the write waits for no watcher. hf_write() does not extend the file: it writes
 * what lies inside, and returns that count, 0 past end of file. */
#define HF_CLIENT_WRITE_BACK 0x2u
/* From now on the calls of this thread, in all pools, are for this client; null: for the thread
 * itself again. The struct is copied; the word at `cancelled` must stay valid. Pins that the
 * client's own thread `tid` has through this library count as the caller's: at gates and for
 * -EDEADLK. Never blocks; a child of fork(2) acts for itself. -EINVAL. */
int hf_act_for(const struct hf_client *client);

/* ----------------------------------------------------------------- what others change ---- */

/* A process that keeps copies of content (a cache, a mirror) can be told what others change.
 * hf_watch(file, 1) begins the watch; hf_watch(file, 0) or the close of the handle ends it. From
 * the return of hf_watch() on, hf_watch_next() reports what other processes of the pool change of
 * the file's content or size. When a file that is open loses its last name, that is reported as a
 * change of the whole file.
 *
 * hf_write(), hf_append(), hf_copy_range() and layout changes wait before they return, until every
 * watcher has taken the report and come back for the next. They wait HF_WATCH_WAIT_NS at most, for
 * all watchers together. From then on no process waits for a late watcher until it has come back.
 * Bytes that are written through a pin or a lease are reported, without a wait, when the holder
 * releases it.
 *
 * hf_watch(file, HF_WATCH_STORES) is for copies into which programs store, a page at a time. There
 * is a report before each change too, so that the watcher can write back first. The manual says
 * what it must do. hf_watch() may wait for the layout mutex.
 *   -EINVAL  on is something else
 *   -EBUSY   a process that is stopped holds the mutex. -EINTR: hf_cancel(), or a signal */
#define HF_WATCH_WAIT_NS UINT64_C(100000000)
#define HF_WATCH_STORES 2
int hf_watch(struct hf_file *file, int on);

struct hf_watch_report {
    uint64_t ino;      /* 0: reports were lost: anything may have changed, in all files */
    uint64_t off, len; /* whole pages; to end of file and beyond: len is UINT64_MAX - off */
};
/* The next report: 1, or 0 after timeout_ns without one (UINT64_MAX: as long as it takes). Asking
 * for it says that the reports before have been dealt with. A report may say more than what has
 * changed, and may come for a file that is not watched any more. At most 1024 reports wait to be
 * taken; beyond that some are lost. One thread of the process at a time may call it. That thread
 * should not change files that others watch. -EINTR: a signal handler ran. */
int hf_watch_next(struct hf_pool *pool, uint64_t timeout_ns, struct hf_watch_report *out);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
