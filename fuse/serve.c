/* SPDX-License-Identifier: MIT */
/*
 * Owns the session with the kernel: what is agreed when it begins, which function handles which
 * request, and how replies are written. Starts the threads that serve, and ends them when the pool
 * is unmounted.
 */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Flags that linux/fuse.h of Debian 12 does not have yet. */
#define INIT_DIRECT_IO_ALLOW_MMAP UINT64_C(0x1000000000) /* bit 36: shared mmap of uncached files */

#define REPLY_BYTES 256u /* all replies but those with content, names or values */

/* ---- what is agreed with the kernel ---- */

static void init(void *arg, struct fuse_conn_info *conn)
{
    struct mount *mount = arg;
    unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_DONT_MASK |
                    FUSE_CAP_POSIX_ACL | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                    FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_EXPLICIT_INVAL_DATA |
                    FUSE_CAP_EXPORT_SUPPORT;

    /* The kernel drops the pages that it keeps before an asynchronous direct write, and not after
     * it. A read in between would fill them with old content, for good. After a synchronous one it
     * drops them again. */
    if (!mount->cached)
        want |= FUSE_CAP_ASYNC_DIO;
    conn->want = want & conn->capable;
    conn->max_background = 64;
    mount->ready(mount->ready_arg);
}

/* libfuse 3.14 knows neither shared mappings of uncached files nor the second form of dropping
 * set-user-ID. So the flags are put into its answer, if the kernel has offered them. */
static void agree_more(struct fuse_init_out *out)
{
    const struct fuse_init_in *in = mount_call_body();

    out->flags |= in->flags & FUSE_HANDLE_KILLPRIV_V2;
    if (in->flags & FUSE_INIT_EXT) {
        out->flags |= FUSE_INIT_EXT;
        out->flags2 |= in->flags2 & (uint32_t)(INIT_DIRECT_IO_ALLOW_MMAP >> 32);
    }
}

static size_t total_of(const struct iovec *iov, int count)
{
    size_t total = 0;

    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

/* The kernel takes hold of each page that a reply lies in: one is cheaper than two. */
static ssize_t write_joined(int fd, const struct iovec *iov, int count)
{
    _Alignas(REPLY_BYTES) char reply[REPLY_BYTES];
    size_t len = 0;

    for (int i = 0; i < count; i++) {
        memcpy(reply + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    return write(fd, reply, len);
}

static ssize_t send_reply(int fd, struct iovec *iov, int count, void *arg)
{
    const struct fuse_in_header *in = mount_call_header();

    (void)arg;
    if (in && in->opcode == FUSE_INIT && count == 2 &&
        iov[1].iov_len >= sizeof(struct fuse_init_out))
        agree_more(iov[1].iov_base);
    return total_of(iov, count) <= REPLY_BYTES ? write_joined(fd, iov, count)
                                               : writev(fd, iov, count);
}

static ssize_t read_device(int fd, void *buf, size_t len, void *arg)
{
    (void)arg;
    return read(fd, buf, len);
}

static const struct fuse_lowlevel_ops handlers = {
    .init = init,
    .lookup = on_lookup,
    .forget = on_forget,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .readlink = on_readlink,
    .mknod = on_mknod,
    .mkdir = on_mkdir,
    .unlink = on_unlink,
    .rmdir = on_rmdir,
    .symlink = on_symlink,
    .rename = on_rename,
    .link = on_link,
    .create = on_create,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .release = on_release,
    .fsync = on_fsync,
    .fallocate = on_fallocate,
    .lseek = on_lseek,
    .copy_file_range = on_copy_range,
    .opendir = on_opendir,
    .readdir = on_readdir,
    .readdirplus = on_readdirplus,
    .releasedir = on_releasedir,
    .fsyncdir = on_fsyncdir,
    .statfs = on_statfs,
    .setxattr = on_setxattr,
    .getxattr = on_getxattr,
    .listxattr = on_listxattr,
    .removexattr = on_removexattr,
};

/* ---- serving ---- */

int mount_serve(struct mount *mount)
{
    static const struct fuse_custom_io io = {.writev = send_reply, .read = read_device};
    char *words[] = {(char[]){"holdfast"}, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, words);
    int rc;

    mount->inodes = mount_inodes_new(mount->kept_max);
    mount->lookups = mount_lookups_new();
    mount->waiting = mount_waiting_new(mount);
    mount->session = fuse_session_new(&args, &handlers, sizeof handlers, mount);
    fuse_opt_free_args(&args);
    if (!mount->inodes || !mount->lookups || !mount->waiting || !mount->session)
        return -ENOMEM;
    rc = fuse_session_custom_io(mount->session, &io, mount->fd);
    if (rc == 0 && mount->cached)
        rc = mount_watch_start(mount);
    if (rc)
        return rc;
    rc = mount_workers_run(mount);
    if (mount->cached)
        mount_watch_stop(mount);
    mount_lookups_expire(mount, true);
    mount_files_evict_all(mount);
    return rc;
}
