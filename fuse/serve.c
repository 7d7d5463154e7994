/* SPDX-License-Identifier: MIT */
/*
 * Owns the serving process: what is agreed with the kernel, and the frame around every request. A
 * worker (workers.c) reads a request from /dev/fuse and has libfuse take it apart and call its
 * handler. Workers run with HF_CLIENT_NOWAIT: a handler that would wait leaves without a reply, and
 * the request goes to waiting.c as the bytes it came in.
 */
#include "mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* What linux/fuse.h of Debian 12 does not have yet. */
#define INIT_DIRECT_IO_ALLOW_MMAP UINT64_C(0x1000000000) /* bit 36: shared mmap of uncached files */

#define REPLY_BYTES 256u /* all replies but those with content, names or values */

static _Thread_local struct mount_call *call_now;

/* The kernel sends an interrupt once. While it is handed to libfuse no request is put off: so the
 * request that is put off was interrupted before, and is not put off, or libfuse keeps the
 * interrupt for when it comes again. */
static pthread_mutex_t interrupts = PTHREAD_MUTEX_INITIALIZER;

/* ---- the frame around a request ---- */

bool mount_call_run(struct mount *mount, const char *request, size_t len, bool may_wait)
{
    struct mount_call call = {.mount = mount, .request = request, .may_wait = may_wait};
    struct fuse_buf buf = {.mem = (void *)(uintptr_t)request, .size = len};

    const struct fuse_in_header *in = (const void *)request;
    bool interrupts_one = in->opcode == FUSE_INTERRUPT;

    call_now = &call;
    if (interrupts_one)
        pthread_mutex_lock(&interrupts);
    fuse_session_process_buf(mount->session, &buf);
    if (interrupts_one)
        pthread_mutex_unlock(&interrupts);
    call_now = NULL;
    return call.put_off;
}

const void *mount_call_body(void)
{
    return call_now->request + sizeof(struct fuse_in_header);
}

static void cancel(fuse_req_t req, void *arg)
{
    struct mount_call *call = arg;

    (void)req;
    __atomic_store_n(&call->cancelled, 1u, __ATOMIC_RELEASE);
}

static bool is_write_back(const char *request)
{
    const struct fuse_in_header *in = (const void *)request;
    const struct fuse_write_in *write = (const void *)(in + 1);

    return in->opcode == FUSE_WRITE && write->write_flags & FUSE_WRITE_CACHE;
}

struct mount *mount_enter(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct mount_call *call = call_now;
    struct hf_client client = {.size = sizeof client,
                               .flags = call->may_wait ? 0 : HF_CLIENT_NOWAIT,
                               .umask = ctx->umask,
                               .uid = ctx->uid,
                               .gid = ctx->gid,
                               .tid = ctx->pid, /* which is a thread's number, whatever its name */
                               .cancelled = &call->cancelled};

    if (is_write_back(call->request))
        client.flags |= HF_CLIENT_WRITE_BACK;
    if (call->may_wait)
        fuse_req_interrupt_func(req, cancel, call);
    if (hf_act_for(&client)) /* a worker must not wait as nobody */
        abort();
    return call->mount;
}

bool mount_leave(fuse_req_t req, ssize_t *rc)
{
    struct mount_call *call = call_now;
    bool would_wait = *rc == (call->may_wait ? -ENOLCK : -EAGAIN);

    hf_act_for(NULL);
    if (*rc == -ESTALE)
        mount_lookups_lost(call->mount->lookups);
    if (call->may_wait)
        fuse_req_interrupt_func(req, NULL, NULL);
    if (!would_wait)
        return true;
    pthread_mutex_lock(&interrupts);
    call->put_off = !fuse_req_interrupted(req);
    if (call->put_off)
        fuse_reply_none(req);
    pthread_mutex_unlock(&interrupts);
    if (!call->put_off)
        *rc = -EINTR;
    return !call->put_off;
}

void mount_reply(fuse_req_t req, int rc)
{
    ssize_t result = rc;

    if (mount_leave(req, &result))
        fuse_reply_err(req, (int)-result);
}

/* ---- what is agreed with the kernel ---- */

static void init(void *arg, struct fuse_conn_info *conn)
{
    struct mount *mount = arg;
    unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_DONT_MASK |
                    FUSE_CAP_POSIX_ACL | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                    FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_EXPLICIT_INVAL_DATA;

    /* The kernel drops the pages that it keeps before an asynchronous direct write and not after
     * it: a read in between would fill them with what was, for good. A synchronous one drops them
     * again when it is done. */
    if (!mount->cached)
        want |= FUSE_CAP_ASYNC_DIO;
    conn->want = want & conn->capable;
    conn->max_background = 64;
    mount->ready(mount->ready_arg);
}

/* libfuse 3.14 knows neither shared mappings of uncached files nor the second form of dropping
 * set-user-id, so the flags are put into its answer, if the kernel has offered them. */
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
    const struct fuse_in_header *in = call_now ? (const void *)call_now->request : NULL;

    (void)arg;
    if (in && in->opcode == FUSE_INIT && count == 2 &&
        iov[1].iov_len >= sizeof(struct fuse_init_out))
        agree_more(iov[1].iov_base);
    return total_of(iov, count) <= REPLY_BYTES ? write_joined(fd, iov, count)
                                               : writev(fd, iov, count);
}

static ssize_t read_request(int fd, void *buf, size_t len, void *arg)
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
    static const struct fuse_custom_io io = {.writev = send_reply, .read = read_request};
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
    mount_let_go_all(mount);
    return rc;
}
