/* SPDX-License-Identifier: MIT */
/*
 * Owns the requests about content. A read is answered from the pool's own memory: the range is
 * pinned while the kernel copies it to the program, once. Truncating, punching and zeroing are
 * layout changes of the library, and wait for pins as the pool's policy says.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define PIECES 256 /* of a read: 1 MiB lies in so many at most */
#define CACHE_LINE 64u
#define COPY_BYTES                                                                                 \
    ((size_t)16 << 20) /* what one request copies at most, so that others get their turn */

/* ---- opening ---- */

/* Opens for reading and writing, whatever the program asked for. The kernel checks what a program
 * may do, and its cache may read a file that a program only writes. */
void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_call_enter(req);
    const struct fuse_open_in *in = mount_call_body();
    int mode = mount->readonly ? O_RDONLY : O_RDWR;
    struct hf_file *file;
    ssize_t rc = mount_file_open(mount, ino, "", mode | (fi->flags & O_TRUNC), 0, &file);

    if (rc == 0) {
        if (in->open_flags & FUSE_OPEN_KILL_SUIDGID)
            rc = mount_kill_ids(mount, ino);
        rc = rc ? rc : mount_file_answer(mount, file, ino, fi);
        if (rc)
            mount_file_close(mount, file);
    }
    if (!mount_call_leave(req, &rc))
        return;
    if (rc)
        fuse_reply_err(req, (int)-rc);
    else if (fuse_reply_open(req, fi) == -ENOENT)
        mount_file_abandon(mount, ino, fi);
}

void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_call_enter(req);

    mount_file_release(mount, ino, mount_file_of(fi));
    mount_call_reply(req, 0);
}

/* ---- reading and writing ---- */

/* Reads all, up to end of file, or fails: the kernel takes a short reply for end of file, and fills
 * its page with zeros. */
static ssize_t read_to_end(struct hf_file *file, char *buf, size_t len, uint64_t off)
{
    size_t done = 0;
    ssize_t rc;

    do {
        rc = hf_read(file, buf + done, len - done, off + done);
        done += rc > 0 ? (size_t)rc : 0;
    } while (rc > 0 && done < len);
    return rc < 0 ? rc : (ssize_t)done;
}

/* Reads through memory of its own. A pin would fill holes, which a read must not do, and would wait
 * at gates. */
static void read_copy(fuse_req_t req, struct hf_file *file, size_t len, uint64_t off)
{
    char *buf = malloc(len);
    ssize_t rc = buf ? read_to_end(file, buf, len, off) : (ssize_t)-ENOMEM;

    if (mount_call_leave(req, &rc)) {
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

/* The kernel copies page by page, and would wait for memory at each. So all pages are asked for
 * first. */
static void prefetch(const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++)
        for (size_t at = 0; at < iov[i].iov_len; at += CACHE_LINE)
            __builtin_prefetch((const char *)iov[i].iov_base + at);
}

void on_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off, struct fuse_file_info *fi)
{
    const uint32_t flags = HF_PIN_READ | HF_PIN_NOFILL;
    struct hf_file *file = mount_file_of(fi);
    struct iovec iov[PIECES];
    struct hf_pin pin;
    ssize_t rc;

    (void)ino;
    mount_call_enter(req);
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
    if (mount_call_leave(req, &rc)) {
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

/* Writes until all is written or no more can be. *error says why, else it is 0. */
static size_t write_until(struct hf_file *file, const char *buf, size_t len, uint64_t off,
                          ssize_t *error)
{
    size_t done = 0;
    ssize_t rc = 0;

    do {
        rc = hf_write(file, buf + done, len - done, off + done);
        done += rc > 0 ? (size_t)rc : 0;
    } while (rc > 0 && done < len);
    *error = rc < 0 ? rc : 0;
    return done;
}

/* Returns as write(2). A write that would have to wait is deferred as a whole. */
static ssize_t write_content(struct hf_file *file, const char *buf, size_t len, uint64_t off)
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

/* Writes what was stored in a shared mapping: inside the file, which may have been cut since
 * (HF_CLIENT_WRITE_BACK). The kernel does not look at how much was written, only at errors: it
 * keeps an error for the next msync(2), fsync(2) or close(2). */
static ssize_t write_mapping(struct hf_file *file, const char *buf, size_t len, uint64_t off)
{
    ssize_t error;

    write_until(file, buf, len, off, &error);
    return error ? error : (ssize_t)len;
}

/* A program that appends writes at the pool's end of file, since the kernel may know an old one. */
void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t len, off_t off,
              struct fuse_file_info *fi)
{
    struct mount *mount = mount_call_enter(req);
    const struct fuse_write_in *in = mount_call_body();
    uint64_t at = (uint64_t)off;
    ssize_t rc = in->write_flags & FUSE_WRITE_KILL_SUIDGID ? mount_kill_ids(mount, ino) : 0;

    if (rc == 0 && in->write_flags & FUSE_WRITE_CACHE)
        rc = write_mapping(mount_file_of(fi), buf, len, at);
    else if (rc == 0 && fi->flags & O_APPEND)
        rc = hf_append(mount_file_of(fi), buf, len, &at);
    else if (rc == 0)
        rc = write_content(mount_file_of(fi), buf, len, at);
    if (!mount_call_leave(req, &rc))
        return;
    reply_written(req, rc);
    if (mount->cached && rc > 0 && at != (uint64_t)off) /* the kernel has it in the wrong place */
        mount_drop_soon(mount, ino, (uint64_t)off, (uint64_t)rc);
}

void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    (void)ino, (void)data_only;
    mount_call_enter(req);
    mount_call_reply(req, hf_fsync(mount_file_of(fi)));
}

/* ---- the rest ---- */

/* The bits are fallocate(2)'s; the kernel lets no others through. */
void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                  struct fuse_file_info *fi)
{
    struct mount *mount = mount_call_enter(req);
    int rc = hf_fallocate(mount_file_of(fi), (uint32_t)mode, (uint64_t)off, (uint64_t)len, NULL);

    if (rc == 0 && fuse_req_ctx(req)->uid != 0)
        rc = mount_kill_ids(mount, ino);
    mount_call_reply(req, rc);
}

void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    uint64_t found = 0;
    ssize_t rc;

    (void)ino;
    mount_call_enter(req);
    rc = hf_seek(mount_file_of(fi), (uint64_t)off, whence, &found);
    if (!mount_call_leave(req, &rc))
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
    struct mount *mount = mount_call_enter(req);
    ssize_t rc = flags ? -EINVAL
                       : hf_copy_range(mount_file_of(fi), (uint64_t)off, mount_file_of(to_fi),
                                       (uint64_t)to_off, len < COPY_BYTES ? len : COPY_BYTES);

    (void)ino;
    if (rc > 0 && fuse_req_ctx(req)->uid != 0) {
        int killed = mount_kill_ids(mount, to_ino);

        rc = killed ? killed : rc;
    }
    if (!mount_call_leave(req, &rc))
        return;
    reply_written(req, rc);
}
