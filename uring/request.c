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
    uint64_t at = address - (uintptr_t)uring->requests;

    return at / sizeof(struct request) < uring->request_count
               ? &uring->requests[at / sizeof(struct request)]
               : NULL;
}

/* The user_data of the entry of this request. */
static uint64_t data_of(const struct request *request)
{
    return (uintptr_t)request + request->generation;
}

static void drop_hold(struct request *request)
{
    if (request->leased)
        hf_lease_release(&request->lease);
    else
        hf_unpin(&request->pin);
}

static inline void free_slot(struct hf_uring *uring, struct request *request)
{
    request->busy = false;
    request->next_free = uring->free_list;
    uring->free_list = (uint32_t)(request - uring->requests);
    uring->under_way--;
}

void request_end(struct hf_uring *uring, struct request *request)
{
    drop_hold(request);
    free_slot(uring, request);
}

/* ------------------------------------------------------------------------------- hold ----- */

/* A range that is held: in one piece at an address, or as many as the request has. */
struct held {
    char *at;
    int count;
};

static inline uint32_t pin_flags(const struct hf_uring_io *io)
{
    bool into_memory = io->op == HF_URING_READ || io->op == HF_URING_RECV;

    return HF_PIN_IO_URING | (into_memory ? HF_PIN_WRITE : HF_PIN_READ) |
           (io->flags & HF_URING_WAIT ? 0 : HF_PIN_YIELD);
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
    if (io->flags & HF_URING_RECALL)
        return lease_once(request, io, pin_flags(io));
    return hf_pin(io->file, io->off, io->len, pin_flags(io), request->pieces, request->room,
                  &request->pin);
}

static int hold_range(struct request *request, const struct hf_uring_io *io, struct held *held)
{
    int rc = hold_once(request, io);

    while (rc == -E2BIG && request->room < URING_PIECES_MAX) {
        if (!more_room(request))
            return uring_fail(-ENOMEM, "no memory");
        rc = hold_once(request, io);
    }
    if (rc < 0)
        return uring_fail_pool(rc);
    request->leased = io->flags & HF_URING_RECALL;
    *held = (struct held){request->pieces->iov_base, rc};
    return 0;
}

/* ---------------------------------------------------------------------------- prepare ----- */

/* What an entry does, and to which memory. All of an entry is written at once: what a program's
 * version of liburing leaves to io_uring_get_sqe(3) does not matter. */
static inline void write_entry(struct io_uring_sqe *sqe, const struct request *request,
                               const struct hf_uring_io *io, uint8_t op, uint64_t addr,
                               uint64_t len)
{
    *sqe = (struct io_uring_sqe){.opcode = op,
                                 .flags = (uint8_t)io->sqe_flags,
                                 .fd = io->fd,
                                 .addr = addr,
                                 .len = (uint32_t)len,
                                 .rw_flags = (int)io->op_flags,
                                 .user_data = data_of(request)};
}

_Static_assert(IORING_OP_WRITE_FIXED - IORING_OP_READ_FIXED == HF_URING_WRITE - HF_URING_READ &&
                   IORING_OP_WRITE - IORING_OP_READ == HF_URING_WRITE - HF_URING_READ,
               "prepare_rw() adds the difference");

static inline void prepare_rw(const struct hf_uring *uring, const struct request *request,
                              const struct hf_uring_io *io, struct held held, uint32_t entry,
                              struct io_uring_sqe *sqe)
{
    bool reads = io->op == HF_URING_READ, fixed = entry != URING_NONE;

    if (held.count == 1) {
        write_entry(
            sqe, request, io,
            (uint8_t)((fixed ? IORING_OP_READ_FIXED : IORING_OP_READ) + io->op - HF_URING_READ),
            (uintptr_t)held.at, io->len);
    } else {
        fixed = fixed && uring->vectors;
        write_entry(sqe, request, io,
                    fixed   ? (reads ? URING_OP_READV_FIXED : URING_OP_WRITEV_FIXED)
                    : reads ? IORING_OP_READV
                            : IORING_OP_WRITEV,
                    (uintptr_t)request->pieces, (unsigned)held.count);
    }
    sqe->off = io->fd_off;
    if (fixed)
        sqe->buf_index = (uint16_t)entry;
}

static void prepare_socket(const struct hf_uring *uring, struct request *request,
                           const struct hf_uring_io *io, struct held held, uint32_t entry,
                           struct io_uring_sqe *sqe)
{
    bool receives = io->op == HF_URING_RECV;
    bool zero_copy = !receives && io->flags & HF_URING_ZERO_COPY && uring->zero_copy;

    if (held.count == 1) {
        write_entry(sqe, request, io,
                    receives    ? IORING_OP_RECV
                    : zero_copy ? IORING_OP_SEND_ZC
                                : IORING_OP_SEND,
                    (uintptr_t)held.at, io->len);
    } else {
        request->message =
            (struct msghdr){.msg_iov = request->pieces, .msg_iovlen = (size_t)held.count};
        write_entry(sqe, request, io,
                    receives    ? IORING_OP_RECVMSG
                    : zero_copy ? IORING_OP_SENDMSG_ZC
                                : IORING_OP_SENDMSG,
                    (uintptr_t)&request->message, 1);
    }
    if (zero_copy && entry != URING_NONE && (held.count == 1 || uring->vectors)) {
        sqe->ioprio = IORING_RECVSEND_FIXED_BUF;
        sqe->buf_index = (uint16_t)entry;
    }
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

static inline bool has_room(const struct hf_uring *uring)
{
    return uring->free_list != URING_NONE && io_uring_sq_space_left(uring->ring) != 0;
}

static int check_room(const struct hf_uring *uring)
{
    if (has_room(uring))
        return 0;
    if (uring->free_list == URING_NONE)
        return uring_fail(-EBUSY, "%u requests are under way: reap some", uring->request_count);
    return uring_fail(-EBUSY, "the submission queue is full: submit");
}

/* has_room() has seen it. */
static inline struct io_uring_sqe *entry_for_request(struct io_uring *ring)
{
    struct io_uring_sq *sq = &ring->sq;

    return &sq->sqes[(sq->sqe_tail++ & sq->ring_mask)
                     << (ring->flags & IORING_SETUP_SQE128 ? 1 : 0)];
}

static inline void begin_request(struct hf_uring *uring, struct request *request,
                                 const struct hf_uring_io *io, struct held held, uint32_t entry)
{
    struct io_uring_sqe *sqe = entry_for_request(uring->ring);

    request->generation++;
    if (io->op <= HF_URING_WRITE)
        prepare_rw(uring, request, io, held, entry, sqe);
    else
        prepare_socket(uring, request, io, held, entry, sqe);
    look_at_ring(uring);
    request->position = uring->position - 1;
    request->user_data = io->user_data;
    request->result = 0;
    request->busy = true;
    uring->free_list = request->next_free;
    uring->under_way++;
}

/* Where what is held lies in the table. Nothing is held if that fails. */
static int find_entry(struct hf_uring *uring, struct request *request, struct held held,
                      uint64_t len, uint32_t *entry)
{
    int rc;

    *entry = held.count == 1 ? memory_entry(uring, held.at, len) : URING_NONE;
    if (*entry != URING_NONE)
        return 0;
    if (held.count == 1)
        request->pieces[0] = (struct iovec){held.at, len};
    rc = memory_entry_of_all(uring, request->pieces, held.count, entry);
    if (rc)
        drop_hold(request);
    return rc;
}

static __attribute__((noinline)) int prep_any(struct hf_uring *uring, const struct hf_uring_io *io)
{
    struct request *request;
    struct held held = {NULL, 0};
    uint32_t entry;
    int rc = uring_check(uring);

    rc = rc ? rc : check_io(io);
    rc = rc ? rc : check_room(uring);
    if (rc)
        return rc;
    request = &uring->requests[uring->free_list];
    rc = hold_range(request, io, &held);
    if (rc)
        return rc;
    rc = find_entry(uring, request, held, io->len, &entry);
    if (rc)
        return rc;
    begin_request(uring, request, io, held, entry);
    return 0;
}

/* The commonest request: bytes of one page, read or written, without flags. check_io() would find
 * nothing. */
static inline bool is_common(const struct hf_uring_io *io)
{
    return io && io->size == sizeof *io && io->file && io->op - HF_URING_READ <= 1 &&
           (io->flags | io->sqe_flags | io->reserved) == 0 && io->len - 1 < HF_BLOCK_BYTES &&
           io->off % HF_BLOCK_BYTES + io->len <= HF_BLOCK_BYTES;
}

/* As prep_any(), in a straight line for the commonest request. Each one comes back from the kernel,
 * which has had the caches, so that every instruction counts. */
int hf_uring_prep(struct hf_uring *uring, const struct hf_uring_io *io)
{
    struct request *request;
    uint32_t entry;
    intptr_t at;

    if (__builtin_expect(
            !uring || uring->forks != uring_forks || !is_common(io) || !has_room(uring), false))
        return prep_any(uring, io);
    request = &uring->requests[uring->free_list];
    at = hf_pin_at(io->file, io->off, io->len, pin_flags(io), &request->pin);
    if (__builtin_expect(at < 0, false))
        return uring_fail_pool((int)at);
    request->leased = false;
    entry = memory_entry(uring, (char *)at, io->len);
    if (__builtin_expect(entry == URING_NONE, false)) {
        int rc = find_entry(uring, request, (struct held){(char *)at, 1}, io->len, &entry);

        if (rc)
            return rc;
    }
    begin_request(uring, request, io, (struct held){(char *)at, 1}, entry);
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

static __attribute__((noinline)) int complete_any(struct hf_uring *uring,
                                                  const struct io_uring_cqe *cqe,
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

/* As complete_any(), in a straight line for a request that had a pin and ends. */
int hf_uring_complete(struct hf_uring *uring, const struct io_uring_cqe *cqe,
                      struct hf_uring_done *out)
{
    struct request *request;

    if (__builtin_expect(!uring || uring->forks != uring_forks || !cqe || !out, false))
        return complete_any(uring, cqe, out);
    request = slot_of(uring, cqe->user_data);
    if (__builtin_expect(!request || !request->busy || request->leased ||
                             cqe->user_data != data_of(request) ||
                             cqe->flags & (IORING_CQE_F_NOTIF | IORING_CQE_F_MORE),
                         false))
        return complete_any(uring, cqe, out);
    look_at_ring(uring);
    *out = (struct hf_uring_done){.user_data = request->user_data, .result = cqe->res};
    hf_unpin(&request->pin);
    free_slot(uring, request);
    return 1;
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
