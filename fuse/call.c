/* SPDX-License-Identifier: MIT */
/*
 * Owns the frame of a request: libfuse takes its bytes apart and calls its handler, which begins
 * with mount_call_enter() and ends with mount_call_leave(). A worker runs requests with
 * HF_CLIENT_NOWAIT. A handler that would have to wait leaves without a reply. The request is then
 * deferred, and run again from the bytes that it came in.
 */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One request while a thread is at it. */
struct call {
    struct mount *mount;
    /* Its bytes: struct fuse_in_header and what follows. */
    char *request;
    bool may_wait;
    /* It would have had to wait, and is to be run again. */
    bool deferred;
    /* The kernel wants it to end. */
    uint32_t cancelled;
};

static _Thread_local struct call *current;

/* The kernel sends an interrupt once. While it is handed to libfuse no request is deferred. So a
 * request was either interrupted before, and is not deferred, or libfuse keeps the interrupt for
 * when the request comes again. */
static pthread_mutex_t interrupts = PTHREAD_MUTEX_INITIALIZER;

#define SMALL_BYTES 1024u /* a request of those below: a header, some numbers and a name */

/* A request that libfuse 3.14 does not know is handed to it as one that begins alike and that it
 * does know. The handler then looks at the real one. Null: libfuse knows the request. */
static const char *as_known(const char *request, size_t len, char copy[SMALL_BYTES])
{
    uint32_t opcode = ((const struct fuse_in_header *)request)->opcode;
    struct fuse_in_header *in = (void *)copy;

    if (len > SMALL_BYTES || (opcode != FUSE_TMPFILE && opcode != MOUNT_FUSE_STATX))
        return NULL;
    memcpy(copy, request, len);
    in->opcode = opcode == FUSE_TMPFILE ? FUSE_CREATE : FUSE_GETATTR;
    return copy;
}

bool mount_call_run(struct mount *mount, char *request, size_t len, bool may_wait)
{
    _Alignas(struct fuse_in_header) char copy[SMALL_BYTES];
    const char *known = as_known(request, len, copy);
    struct call call = {.mount = mount, .request = request, .may_wait = may_wait};
    struct fuse_buf buf = {.mem = (void *)(uintptr_t)(known ? known : request), .size = len};
    const struct fuse_in_header *in = (const void *)request;
    bool interrupts_one = in->opcode == FUSE_INTERRUPT;

    current = &call;
    if (interrupts_one)
        pthread_mutex_lock(&interrupts);
    fuse_session_process_buf(mount->session, &buf);
    if (interrupts_one)
        pthread_mutex_unlock(&interrupts);
    current = NULL;
    return call.deferred;
}

const struct fuse_in_header *mount_call_header(void)
{
    return current ? (const void *)current->request : NULL;
}

const void *mount_call_body(void)
{
    return mount_call_header() + 1;
}

static void cancel_call(fuse_req_t req, void *arg)
{
    struct call *call = arg;

    (void)req;
    __atomic_store_n(&call->cancelled, 1u, __ATOMIC_RELEASE);
}

static bool is_write_back(const char *request)
{
    const struct fuse_in_header *in = (const void *)request;
    const struct fuse_write_in *write = (const void *)(in + 1);

    return in->opcode == FUSE_WRITE && write->write_flags & FUSE_WRITE_CACHE;
}

struct mount *mount_call_enter(fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct call *call = current;
    struct hf_client client = {.size = sizeof client,
                               .flags = call->may_wait ? 0 : HF_CLIENT_NOWAIT,
                               .umask = ctx->umask,
                               .uid = ctx->uid,
                               .gid = ctx->gid,
                               .tid = ctx->pid, /* a thread's, despite its name */
                               .cancelled = &call->cancelled};

    if (is_write_back(call->request))
        client.flags |= HF_CLIENT_WRITE_BACK;
    if (call->may_wait)
        fuse_req_interrupt_func(req, cancel_call, call);
    if (hf_act_for(&client)) /* a worker must never wait */
        abort();
    return call->mount;
}

bool mount_call_leave(fuse_req_t req, ssize_t *rc)
{
    struct call *call = current;
    bool would_wait = *rc == (call->may_wait ? -ENOLCK : -EAGAIN);

    hf_act_for(NULL);
    if (*rc == -ESTALE)
        mount_lookups_lost(call->mount->lookups);
    if (call->may_wait)
        fuse_req_interrupt_func(req, NULL, NULL);
    if (!would_wait)
        return true;
    pthread_mutex_lock(&interrupts);
    call->deferred = !fuse_req_interrupted(req);
    if (call->deferred)
        fuse_reply_none(req);
    pthread_mutex_unlock(&interrupts);
    if (!call->deferred)
        *rc = -EINTR;
    return !call->deferred;
}

void mount_call_made(uint64_t parent, const char *name)
{
    struct fuse_in_header *in = (void *)current->request;
    size_t bytes = strlen(name) + 1;

    memmove(in + 1, name, bytes); /* it is one of the request's, after these bytes */
    in->opcode = FUSE_LOOKUP;
    in->nodeid = parent;
    in->len = (uint32_t)(sizeof *in + bytes);
}

void mount_call_reply(fuse_req_t req, int rc)
{
    ssize_t result = rc;

    if (mount_call_leave(req, &result))
        fuse_reply_err(req, (int)-result);
}
