/* SPDX-License-Identifier: MIT */
/*
 * The end of a ring with requests. After it, the kernel does not touch the pool's memory through
 * this ring. Each request has had its last completion, or its entry was never consumed.
 *
 * Entries are consumed in order, and sq_head says how far. Without IORING_SETUP_SQPOLL the kernel
 * consumes only when a thread calls io_uring_enter(2) with entries to submit. Nobody may do that
 * after this call, and this call does not. With it, the ring's own thread consumes all up to
 * sq_tail, which only the program moves. Cancelling is done again and again, since a cancel does
 * not find what waits behind a link and begins later.
 *
 * Only the library's own mapping is touched here, so the program may have ended its own before.
 */
#include "private.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define LOOK_NS 10000000u /* between two cancels */
#define LOST_LOOKS 100u   /* without a completion, where some were lost */

static int cancel_all(const struct hf_uring *uring)
{
    struct io_uring_sync_cancel_reg all = {.fd = -1, .flags = IORING_ASYNC_CANCEL_ANY};
    int rc = io_uring_register((unsigned)uring->fd, IORING_REGISTER_SYNC_CANCEL, &all, 1);

    return rc == -EEXIST ? rc : 0; /* the rest says that nothing, or not all, was found */
}

/* Until there is a completion, or it is time to cancel again. */
static void wait_a_little(const struct hf_uring *uring)
{
    struct __kernel_timespec time = {.tv_nsec = LOOK_NS};
    struct io_uring_getevents_arg argument = {.ts = (uintptr_t)&time};
    unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;

    if (uring->setup_flags & IORING_SETUP_SQPOLL)
        flags |= IORING_ENTER_SQ_WAKEUP;
    io_uring_enter2((unsigned)uring->fd, 0, 1, flags, (void *)&argument, sizeof argument);
}

/* How many there were. */
static unsigned reap_all(struct hf_uring *uring)
{
    struct view *view = &uring->view;
    unsigned head = *view->cq_head, tail = io_uring_smp_load_acquire(view->cq_tail), count = 0;
    struct hf_uring_done done;

    for (; head != tail; head++, count++)
        request_complete(uring, &view->cqes[(head & view->cq_mask) << view->cqe_shift], &done);
    io_uring_smp_store_release(view->cq_head, head);
    return count;
}

/* Entries before this one have been or will be consumed. */
static uint64_t consumed_until(const struct hf_uring *uring)
{
    unsigned at = io_uring_smp_load_acquire(
        uring->setup_flags & IORING_SETUP_SQPOLL ? uring->view.sq_tail : uring->view.sq_head);

    return uring->position + (uint64_t)(int64_t)(int32_t)(at - (uint32_t)uring->position);
}

static void end_those_never_run(struct hf_uring *uring)
{
    uint64_t until = consumed_until(uring);

    for (uint32_t i = 0; i < uring->request_count; i++)
        if (uring->requests[i].busy && uring->requests[i].position >= until)
            request_end(uring, &uring->requests[i]);
}

int exit_drain(struct hf_uring *uring)
{
    unsigned idle = 0;
    bool first = true;
    int rc = 0;

    for (;;) {
        rc = cancel_all(uring);
        if (rc)
            return uring_fail(rc, "the ring is another thread's (IORING_SETUP_SINGLE_ISSUER)");
        if (first) /* not before: that other thread may submit them */
            end_those_never_run(uring);
        first = false;
        idle = reap_all(uring) ? 0 : idle + 1;
        if (uring->under_way == 0)
            return 0;
        if (*uring->view.lost != uring->view.lost_before && idle > LOST_LOOKS)
            return uring_fail(-EIO,
                              "the kernel lost completions; %u ranges may be in use, and "
                              "stay pinned until the process ends",
                              uring->under_way);
        wait_a_little(uring);
    }
}
