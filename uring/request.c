/* SPDX-License-Identifier: MIT */
/*
 * Requests: a hold of a range, and one submission entry.
 *
 * A slot is busy from the moment that its range is held and its entry is prepared, until the last
 * completion of the entry. The entry's user_data is an address inside the slot, so the program's
 * own addresses and small numbers are not taken for it. Which address, is another one for each
 * request of the slot. A zero-copy send that fails before it runs has its one completion without
 * IORING_CQE_F_MORE, and then a notification all the same. That one is of no request any more. A
 * range of several pieces is one entry with a vector, so each request has one result: the first
 * bytes of the range. A chain of linked entries, one a piece, would not do. A receive that is short
 * does not break a chain, and would leave a gap. A cancel does not find a link that has not begun.
 *
 * The hold outlives the transfer. The entry is prepared after the range is held, in the same call.
 * An entry has one completion without IORING_CQE_F_MORE. The kernel posts it when it does not touch
 * the memory any more; of a zero-copy send that is the notification. The range is released then,
 * and not before. There are two other ends. An entry that the kernel has not consumed when the ring
 * ends is never run (exit.c). And what a dead process held is in libholdfast's quarantine, since
 * the purpose of the hold is HF_PIN_IO_URING.
 *
 * A request under way is what a pin is for: it ends by itself, and a pin costs no lock. Any thread
 * may release it. It counts as held by the thread that prepared it. A layout change of the range
 * by that thread gets -EDEADLK. That is right, as the thread would have to reap to go on. Such a
 * thread would pass every gate, since it nearly always holds something: so it yields
 * (HF_PIN_YIELD). A request that waits for somebody else may be held by a lease. That one has no
 * callback, so that it counts as held by the thread too.
 */
#include "private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SQE_FLAGS                                                                                  \
    (IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC)

/* ------------------------------------------------------------------------------ slots ----- */

/* Counts the entries that the ring has had since the last look. */
static void look_at_ring(struct hf_uring *uring)
{
    uring->position += (uint32_t)(uring->ring->sq.sqe_tail - (uint32_t)uring->position);
}

/* The slot that an address leads into. */
static struct request *slot_of(const struct hf_uring *uring, uint64_t address)
{
    uint64_t at = (address - (uintptr_t)uring->requests) / sizeof(struct request);

    return at < uring->request_count ? &uring->requests[at] : NULL;
}

/* The user_data of the entry of this request. */
static uint64_t data_of(const struct request *request)
{
    return (uintptr_t)request + request->generation;
}

void request_end(struct hf_uring *uring, struct request *request)
{
    if (request->leased)
        hf_lease_release(&request->lease);
    else
        hf_unpin(&request->pin);
    request->busy = false;
    request->next_free = uring->free_list;
    uring->free_list = (uint32_t)(request - uring->requests);
    uring->under_way--;
}

/* ------------------------------------------------------------------------------- hold ----- */

static bool writes_memory(uint32_t op)
{
    return op == HF_URING_READ || op == HF_URING_RECV;
}

static bool more_room(struct request *request)
{
    uint16_t room = request->room == URING_PIECES ? 64 : URING_PIECES_MAX;
    struct iovec *pieces = malloc(room * sizeof *pieces);

    if (!pieces)
        return false;
    if (request->pieces != request->own)
        free(request->pieces);
    request->pieces = pieces;
    request->room = room;
    return true;
}

static int lease_once(struct request *request, const struct hf_uring_io *io, uint32_t flags)
{
    const struct hf_lease_options options = {
        .size = sizeof options, .flags = flags, .arg = request};

    return hf_lease(io->file, io->off, io->len, &options, request->pieces, request->room,
                    &request->lease);
}

static int hold_once(struct request *request, const struct hf_uring_io *io)
{
    uint32_t flags = HF_PIN_IO_URING | (writes_memory(io->op) ? HF_PIN_WRITE : HF_PIN_READ) |
                     (io->flags & HF_URING_WAIT ? 0 : HF_PIN_YIELD);

    if (io->flags & HF_URING_RECALL)
        return lease_once(request, io, flags);
    return hf_pin(io->file, io->off, io->len, flags, request->pieces, request->room, &request->pin);
}

/* The number of pieces. */
static int hold_range(struct request *request, const struct hf_uring_io *io)
{
    int rc = hold_once(request, io);

    while (rc == -E2BIG && request->room < URING_PIECES_MAX) {
        if (!more_room(request))
            return uring_fail(-ENOMEM, "no memory");
        rc = hold_once(request, io);
    }
    request->leased = io->flags & HF_URING_RECALL;
    return rc < 0 ? uring_fail_pool(rc) : rc;
}

/* ---------------------------------------------------------------------------- prepare ----- */

static void prepare_rw(const struct hf_uring *uring, const struct request *request,
                       const struct hf_uring_io *io, int count, uint32_t entry,
                       struct io_uring_sqe *sqe)
{
    bool reads = io->op == HF_URING_READ, fixed = entry != URING_NONE;
    const struct iovec *pieces = request->pieces;

    if (count == 1)
        io_uring_prep_rw(fixed   ? (reads ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED)
                         : reads ? IORING_OP_READ
                                 : IORING_OP_WRITE,
                         sqe, io->fd, pieces->iov_base, (unsigned)io->len, io->fd_off);
    else if (fixed && uring->vectors)
        io_uring_prep_rw(reads ? URING_OP_READV_FIXED : URING_OP_WRITEV_FIXED, sqe, io->fd, pieces,
                         (unsigned)count, io->fd_off);
    else
        io_uring_prep_rw(reads ? IORING_OP_READV : IORING_OP_WRITEV, sqe, io->fd, pieces,
                         (unsigned)count, io->fd_off);
    if (fixed && (count == 1 || uring->vectors))
        sqe->buf_index = (uint16_t)entry;
    sqe->rw_flags = (int)io->op_flags;
}

static void prepare_socket(const struct hf_uring *uring, struct request *request,
                           const struct hf_uring_io *io, int count, uint32_t entry,
                           struct io_uring_sqe *sqe)
{
    bool receives = io->op == HF_URING_RECV;
    bool zero_copy = !receives && io->flags & HF_URING_ZERO_COPY && uring->zero_copy;

    if (count == 1) {
        io_uring_prep_rw(receives    ? IORING_OP_RECV
                         : zero_copy ? IORING_OP_SEND_ZC
                                     : IORING_OP_SEND,
                         sqe, io->fd, request->pieces->iov_base, (unsigned)io->len, 0);
    } else {
        request->message = (struct msghdr){.msg_iov = request->pieces, .msg_iovlen = (size_t)count};
        io_uring_prep_rw(receives    ? IORING_OP_RECVMSG
                         : zero_copy ? IORING_OP_SENDMSG_ZC
                                     : IORING_OP_SENDMSG,
                         sqe, io->fd, &request->message, 1, 0);
    }
    if (zero_copy && entry != URING_NONE && (count == 1 || uring->vectors)) {
        sqe->ioprio = IORING_RECVSEND_FIXED_BUF;
        sqe->buf_index = (uint16_t)entry;
    }
    sqe->msg_flags = io->op_flags;
}

static int check_io(const struct hf_uring_io *io)
{
    if (!io || io->size != sizeof *io || io->reserved || !io->file)
        return uring_fail(-EINVAL, "size and file are needed; reserved is 0");
    if (io->op < HF_URING_READ || io->op > HF_URING_SEND)
        return uring_fail(-EINVAL, "op %u is not known", io->op);
    if (io->flags & ~(HF_URING_RECALL | HF_URING_WAIT | HF_URING_ZERO_COPY) ||
        (io->flags & HF_URING_ZERO_COPY && io->op != HF_URING_SEND))
        return uring_fail(-EINVAL, "flags 0x%x are not known for op %u", io->flags, io->op);
    if (io->sqe_flags & ~SQE_FLAGS)
        return uring_fail(-EINVAL, "sqe_flags 0x%x are not for these requests", io->sqe_flags);
    /* Linux 6.18 waits for the send's own notification before it runs such a send. */
    if (io->flags & HF_URING_ZERO_COPY && io->sqe_flags & IOSQE_IO_DRAIN)
        return uring_fail(-EINVAL, "a zero-copy send cannot be drained (IOSQE_IO_DRAIN)");
    /* Its one completion comes while the kernel still sends from the memory. */
    if (io->op >= HF_URING_RECV && io->op_flags & MSG_ZEROCOPY)
        return uring_fail(-EINVAL, "MSG_ZEROCOPY is not for these requests: use "
                                   "HF_URING_ZERO_COPY");
    if (io->len == 0 || io->len > HF_URING_LEN_MAX)
        return uring_fail(-EINVAL, "len is %" PRIu64 ": from 1 to %u bytes", io->len,
                          HF_URING_LEN_MAX);
    return 0;
}

static int check_room(const struct hf_uring *uring)
{
    if (uring->free_list == URING_NONE)
        return uring_fail(-EBUSY, "%u requests are under way: reap some", uring->request_count);
    if (io_uring_sq_space_left(uring->ring) == 0)
        return uring_fail(-EBUSY, "the submission queue is full: submit");
    return 0;
}

static void begin_request(struct hf_uring *uring, struct request *request,
                          const struct hf_uring_io *io, int count, uint32_t entry)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(uring->ring);

    if (io->op <= HF_URING_WRITE)
        prepare_rw(uring, request, io, count, entry, sqe);
    else
        prepare_socket(uring, request, io, count, entry, sqe);
    sqe->flags = (uint8_t)io->sqe_flags;
    request->generation = (uint16_t)((request->generation + 1u) % sizeof *request);
    io_uring_sqe_set_data64(sqe, data_of(request));
    look_at_ring(uring);
    request->position = uring->position - 1;
    request->user_data = io->user_data;
    request->result = 0;
    request->busy = true;
    uring->free_list = request->next_free;
    uring->under_way++;
}

int hf_uring_prep(struct hf_uring *uring, const struct hf_uring_io *io)
{
    struct request *request;
    uint32_t entry;
    int rc = uring_check(uring), count;

    rc = rc ? rc : check_io(io);
    rc = rc ? rc : check_room(uring);
    if (rc)
        return rc;
    request = &uring->requests[uring->free_list];
    count = hold_range(request, io);
    if (count < 0)
        return count;
    rc = memory_entry(uring, request->pieces, count, &entry);
    if (rc) {
        if (request->leased)
            hf_lease_release(&request->lease);
        else
            hf_unpin(&request->pin);
        return rc;
    }
    begin_request(uring, request, io, count, entry);
    return 0;
}

/* --------------------------------------------------------------------------- complete ----- */

static uint32_t lease_flags(const struct request *request)
{
    int state = request->leased ? hf_lease_state(&request->lease) : HF_LEASE_HELD;

    return state == HF_LEASE_RECALLED   ? HF_URING_RECALLED
           : state == HF_LEASE_DETACHED ? HF_URING_RECALLED | HF_URING_DETACHED
                                        : 0;
}

int request_complete(struct hf_uring *uring, const struct io_uring_cqe *cqe,
                     struct hf_uring_done *out)
{
    struct request *request = slot_of(uring, cqe->user_data);

    if (cqe->user_data == (uintptr_t)uring) {
        uring->cancels--;
        return 0;
    }
    if (!request)
        return -ENOENT;
    if (!request->busy || cqe->user_data != data_of(request))
        return cqe->flags & IORING_CQE_F_NOTIF ? 0 : -ENOENT;
    if (!(cqe->flags & IORING_CQE_F_NOTIF))
        request->result = cqe->res;
    *out = (struct hf_uring_done){
        .user_data = request->user_data, .result = request->result, .flags = lease_flags(request)};
    if (cqe->flags & IORING_CQE_F_MORE)
        out->flags |= HF_URING_MORE;
    else
        request_end(uring, request);
    return 1;
}

int hf_uring_complete(struct hf_uring *uring, const struct io_uring_cqe *cqe,
                      struct hf_uring_done *out)
{
    int rc = uring_check(uring);

    if (rc)
        return rc;
    if (!cqe || !out)
        return uring_fail(-EINVAL, "cqe or out is null");
    look_at_ring(uring);
    return request_complete(uring, cqe, out);
}

/* ----------------------------------------------------------------------------- cancel ----- */

/* Whether the kernel has found it, and has cancelled it or told its worker to end. Such a cancel
 * waits behind nothing. It does not find what was not submitted, waits behind another request, or
 * is with a worker of the ring's own thread (IORING_SETUP_SQPOLL). */
static bool cancel_now(const struct hf_uring *uring, const struct request *request)
{
    struct io_uring_sync_cancel_reg one = {.addr = data_of(request), .fd = -1};
    int rc = io_uring_register((unsigned)uring->fd, IORING_REGISTER_SYNC_CANCEL, &one, 1);

    return rc >= 0 || rc == -ETIME;
}

/* An entry prepared now would wait for the one before it. */
static bool next_is_linked(const struct hf_uring *uring)
{
    const struct io_uring_sq *sq = &uring->ring->sq;
    unsigned last = (sq->sqe_tail - 1) & sq->ring_mask;
    unsigned shift = uring->setup_flags & IORING_SETUP_SQE128 ? 1 : 0;

    return sq->sqe_tail != sq->sqe_head &&
           sq->sqes[last << shift].flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
}

static int prep_cancel(struct hf_uring *uring, const struct request *request)
{
    struct io_uring_sqe *sqe;

    if (next_is_linked(uring))
        return uring_fail(-EBUSY, "the entry that was prepared last is linked to the next one: "
                                  "prepare that one, and call again");
    sqe = io_uring_get_sqe(uring->ring);
    if (!sqe)
        return uring_fail(-EBUSY, "the submission queue is full: submit, and call again");
    io_uring_prep_cancel64(sqe, data_of(request), 0);
    io_uring_sqe_set_data(sqe, uring);
    uring->cancels++;
    return 0;
}

int hf_uring_cancel(struct hf_uring *uring, uint64_t user_data)
{
    unsigned found = 0;
    int rc = uring_check(uring);

    if (rc)
        return rc;
    for (uint32_t i = 0; i < uring->request_count; i++) {
        const struct request *request = &uring->requests[i];

        if (!request->busy || request->user_data != user_data)
            continue;
        found++;
        if (!cancel_now(uring, request))
            rc = prep_cancel(uring, request);
        if (rc)
            return rc;
    }
    look_at_ring(uring);
    return found ? 0
                 : uring_fail(-ENOENT, "no request with user_data %" PRIu64 " is under way",
                              user_data);
}

int hf_uring_recalled(struct hf_uring *uring, const struct hf_recall *recall, uint64_t *user_data)
{
    int rc = uring_check(uring);
    const struct request *request;

    if (rc)
        return rc;
    if (!recall || !user_data)
        return uring_fail(-EINVAL, "recall or user_data is null");
    request = slot_of(uring, (uintptr_t)recall->arg);
    if (!request || !request->busy || !request->leased ||
        memcmp(&request->lease, &recall->lease, sizeof recall->lease) != 0)
        return 0;
    *user_data = request->user_data;
    return 1;
}
