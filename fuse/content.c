/* SPDX-License-Identifier: MIT */
/*
 * Owns the requests about content. A read is answered from the pool's own memory: the range is
 * pinned while the kernel copies it to the program, once. Truncating, punching and zeroing are
 * layout changes of the library, and wait for pins as the pool's policy says.
 */
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define PIECES 256 /* of a read: all that 1 MiB can lie in */
#define CACHE_LINE 64u
#define COPY_BYTES                                                                                 \
    ((size_t)16 << 20) /* what one request copies at most, so that others get their turn */

static struct hf_file *file_of(const struct fuse_file_info *fi)
{
    return (struct hf_file *)(uintptr_t)fi->fh;
}

/* ---- opening ---- */

static bool let_go_oldest(struct mount *mount)
{
    struct hf_file *file = mount_inodes_let_go_oldest(mount->inodes);

    if (file)
        mount_close_file(mount, file);
    return file;
}

/* When all vnodes of the pool are in use, the name of a new file has been made already: it is
 * opened then. */
int mount_open_file(struct mount *mount, uint64_t at, const char *path, int flags, mode_t mode,
                    struct hf_file **out)
{
    int rc;

    do {
        rc = -ENFILE;
        if (__atomic_add_fetch(&mount->files, 1u, __ATOMIC_RELAXED) <= mount->files_max) {
            rc = hf_openat(mount->pool, at, path, flags, mode, out);
            flags &= ~O_EXCL;
        }
        if (rc)
            __atomic_sub_fetch(&mount->files, 1u, __ATOMIC_RELAXED);
    } while (rc == -ENFILE && let_go_oldest(mount));
    return rc;
}

void mount_close_file(struct mount *mount, struct hf_file *file)
{
    hf_close(file);
    __atomic_sub_fetch(&mount->files, 1u, __ATOMIC_RELAXED);
}

void mount_let_go(struct mount *mount, uint64_t ino)
{
    struct hf_file *file = mount_inode_let_go(mount->inodes, ino);

    if (file)
        mount_close_file(mount, file);
}

void mount_let_go_all(struct mount *mount)
{
    while (let_go_oldest(mount))
        ;
}

/* Only who may read and write can map a file to store into it, and then it is open as long as it is
 * mapped. */
int mount_opened(struct mount *mount, struct hf_file *file, uint64_t ino, struct fuse_file_info *fi)
{
    bool stores = (fi->flags & O_ACCMODE) == O_RDWR && !mount->readonly;
    int rc = mount->cached ? hf_watch(file, stores ? HF_WATCH_STORES : 1) : 0;

    if (rc)
        return rc;
    if (mount->cached) /* what it has kept is true as long as it has been watched */
        fi->keep_cache = mount_inode_opened(mount->inodes, ino);
    fi->direct_io = !mount->cached;
    fi->fh = (uint64_t)(uintptr_t)file;
    return 0;
}

/* A file without names is not kept, or it would keep its blocks; who takes its last name later has
 * us let go of it. */
static void release(struct mount *mount, uint64_t ino, struct hf_file *file)
{
    uint64_t told = mount_inodes_told(mount->inodes);
    struct stat attr;
    bool keep = hf_fstat(file, &attr) == 0 && attr.st_nlink > 0;

    keep = keep && hf_watch(file, 1) == 0; /* nobody maps it through this handle any more */
    file = mount_inode_closed(mount->inodes, ino, file, keep, told);
    if (file)
        mount_close_file(mount, file);
}

void mount_abandon(struct mount *mount, uint64_t ino, struct fuse_file_info *fi)
{
    if (mount->cached)
        mount_inode_abandoned(mount->inodes, ino);
    mount_close_file(mount, file_of(fi));
}

/* For reading and writing, whatever the program asked for: the kernel checks that, and its cache
 * may read what a program only writes. */
void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_enter(req);
    const struct fuse_open_in *in = mount_call_body();
    int mode = mount->readonly ? O_RDONLY : O_RDWR;
    struct hf_file *file;
    ssize_t rc = mount_open_file(mount, ino, "", mode | (fi->flags & O_TRUNC), 0, &file);

    if (rc == 0) {
        if (in->open_flags & FUSE_OPEN_KILL_SUIDGID)
            rc = mount_kill_ids(mount, ino);
        rc = rc ? rc : mount_opened(mount, file, ino, fi);
        if (rc)
            mount_close_file(mount, file);
    }
    if (!mount_leave(req, &rc))
        return;
    if (rc)
        fuse_reply_err(req, (int)-rc);
    else if (fuse_reply_open(req, fi) == -ENOENT)
        mount_abandon(mount, ino, fi);
}

void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_enter(req);

    if (mount->cached)
        release(mount, ino, file_of(fi));
    else
        mount_close_file(mount, file_of(fi));
    mount_reply(req, 0);
}

/* ---- reading and writing ---- */

/* All of it, to end of file, or the error: the kernel takes a short reply for end of file, and
 * fills its page with zeros. */
static ssize_t read_all(struct hf_file *file, char *buf, size_t len, uint64_t off)
{
    size_t done = 0;
    ssize_t rc;

    do {
        rc = hf_read(file, buf + done, len - done, off + done);
        done += rc > 0 ? (size_t)rc : 0;
    } while (rc > 0 && done < len);
    return rc < 0 ? rc : (ssize_t)done;
}

/* Through memory of our own: where there are holes, which a read must not fill, and gates, at which
 * a pin would wait. */
static void read_copy(fuse_req_t req, struct hf_file *file, size_t len, uint64_t off)
{
    char *buf = malloc(len);
    ssize_t rc = buf ? read_all(file, buf, len, off) : (ssize_t)-ENOMEM;

    if (mount_leave(req, &rc)) {
        if (rc < 0)
            fuse_reply_err(req, (int)-rc);
        else
            fuse_reply_buf(req, buf, (size_t)rc);
    }
    free(buf);
}

/* How much of [off, off+len) is in the file. */
static ssize_t within(struct hf_file *file, size_t len, uint64_t off)
{
    struct stat attr;
    int rc = hf_fstat(file, &attr);
    uint64_t size = (uint64_t)attr.st_size;

    if (rc)
        return rc;
    if (off >= size)
        return 0;
    return (ssize_t)(size - off < len ? size - off : len);
}

/* The kernel copies page by page, wherever they lie, and waits for memory in each: so all is asked
 * for first. */
static void prefetch(const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++)
        for (size_t at = 0; at < iov[i].iov_len; at += CACHE_LINE)
            __builtin_prefetch((const char *)iov[i].iov_base + at);
}

void on_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off, struct fuse_file_info *fi)
{
    const uint32_t flags = HF_PIN_READ | HF_PIN_NOFILL;
    struct hf_file *file = file_of(fi);
    struct iovec iov[PIECES];
    struct hf_pin pin;
    ssize_t rc;

    (void)ino;
    mount_enter(req);
    rc = hf_pin(file, (uint64_t)off, len, flags, iov, PIECES, &pin);
    if (rc == -EFAULT) {
        rc = within(file, len, (uint64_t)off);
        if (rc > 0)
            rc = hf_pin(file, (uint64_t)off, (size_t)rc, flags, iov, PIECES, &pin);
    }
    if (rc == -ENODATA || rc == -EAGAIN || rc == -EFAULT || rc == -E2BIG) {
        read_copy(req, file, len, (uint64_t)off);
        return;
    }
    if (mount_leave(req, &rc)) {
        if (rc < 0) {
            fuse_reply_err(req, (int)-rc);
        } else {
            prefetch(iov, (int)rc);
            fuse_reply_iov(req, iov, (int)rc);
        }
    }
    if (rc > 0)
        hf_unpin(&pin);
}

/* Until all is written or nothing more can be; *error says why, else it is 0. */
static size_t write_until(struct hf_file *file, const char *buf, size_t len, uint64_t off,
                          ssize_t *error)
{
    size_t done = 0;
    ssize_t rc = 0;

    while (rc >= 0 && done < len) {
        rc = hf_write(file, buf + done, len - done, off + done);
        done += rc > 0 ? (size_t)rc : 0;
    }
    *error = rc < 0 ? rc : 0;
    return done;
}

/* What could be written, as write(2) says it. What would have to wait is put off as a whole. */
static ssize_t write_some(struct hf_file *file, const char *buf, size_t len, uint64_t off)
{
    ssize_t error;
    size_t done = write_until(file, buf, len, off, &error);

    return error && (!done || error == -EAGAIN) ? error : (ssize_t)done;
}

static void reply_written(fuse_req_t req, ssize_t rc)
{
    if (rc < 0)
        fuse_reply_err(req, (int)-rc);
    else
        fuse_reply_write(req, (size_t)rc);
}

/* What was stored in a shared mapping; a mapping extends no file, also when that has been cut
 * since. The kernel does not look at how much was written, only at errors: it keeps one for the
 * next msync(2), fsync(2) or close(2). */
static ssize_t write_back(struct hf_file *file, const char *buf, size_t len, uint64_t off)
{
    ssize_t rc = within(file, len, off), error = 0;

    if (rc > 0)
        write_until(file, buf, (size_t)rc, off, &error);
    rc = rc < 0 ? rc : error;
    return rc < 0 ? rc : (ssize_t)len;
}

/* The kernel's idea of the end of file is not good enough for who appends. */
void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t len, off_t off,
              struct fuse_file_info *fi)
{
    struct mount *mount = mount_enter(req);
    const struct fuse_write_in *in = mount_call_body();
    uint64_t at = (uint64_t)off;
    ssize_t rc = in->write_flags & FUSE_WRITE_KILL_SUIDGID ? mount_kill_ids(mount, ino) : 0;

    if (rc == 0 && in->write_flags & FUSE_WRITE_CACHE)
        rc = write_back(file_of(fi), buf, len, at);
    else if (rc == 0 && fi->flags & O_APPEND)
        rc = hf_append(file_of(fi), buf, len, &at);
    else if (rc == 0)
        rc = write_some(file_of(fi), buf, len, at);
    if (!mount_leave(req, &rc))
        return;
    reply_written(req, rc);
    if (mount->cached && rc > 0 && at != (uint64_t)off) /* the kernel has it in the wrong place */
        mount_drop_soon(mount, ino, (uint64_t)off, (uint64_t)rc);
}

void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    (void)ino, (void)data_only;
    mount_enter(req);
    mount_reply(req, hf_fsync(file_of(fi)));
}

/* ---- the rest ---- */

/* The bits are fallocate(2)'s; the kernel lets no others through. */
void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                  struct fuse_file_info *fi)
{
    struct mount *mount = mount_enter(req);
    int rc = hf_fallocate(file_of(fi), (uint32_t)mode, (uint64_t)off, (uint64_t)len, NULL);

    if (rc == 0 && fuse_req_ctx(req)->uid != 0)
        rc = mount_kill_ids(mount, ino);
    mount_reply(req, rc);
}

void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    uint64_t found = 0;
    ssize_t rc;

    (void)ino;
    mount_enter(req);
    rc = hf_seek(file_of(fi), (uint64_t)off, whence, &found);
    if (!mount_leave(req, &rc))
        return;
    if (rc)
        fuse_reply_err(req, (int)-rc);
    else
        fuse_reply_lseek(req, (off_t)found);
}

void on_copy_range(fuse_req_t req, fuse_ino_t ino, off_t off, struct fuse_file_info *fi,
                   fuse_ino_t to_ino, off_t to_off, struct fuse_file_info *to_fi, size_t len,
                   int flags)
{
    struct mount *mount = mount_enter(req);
    ssize_t rc = flags ? -EINVAL
                       : hf_copy_range(file_of(fi), (uint64_t)off, file_of(to_fi), (uint64_t)to_off,
                                       len < COPY_BYTES ? len : COPY_BYTES);

    (void)ino;
    if (rc > 0 && fuse_req_ctx(req)->uid != 0) {
        int killed = mount_kill_ids(mount, to_ino);

        rc = killed ? killed : rc;
    }
    if (!mount_leave(req, &rc))
        return;
    reply_written(req, rc);
}
