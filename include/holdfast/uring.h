/* SPDX-License-Identifier: MIT */
/*
 * Transfers between files of a pool and descriptors, by io_uring: a library of its own (pkg-config
 * holdfast-uring) beside holdfast.h. The program has its ring, submits, and reaps. This library
 * registers the pool's memory with the ring, once. For each request it pins the range of the file,
 * prepares one submission entry, and unpins when the request has ended.
 *
 * A request ends in one of these ways, and in each of them its range is released
 *
 *   transferred     all of it, or less: a short transfer, end of file, a peer that has closed
 *   failed          -errno of the kernel, also for a bad descriptor
 *   cancelled       -ECANCELED, -EINTR: hf_uring_cancel(), or a recall
 *   never run       -ECANCELED: the request that it was linked behind has failed
 *   notified        a zero-copy send: first its result, then that the memory is not used any more
 *   not submitted   it was prepared, and the ring ends: hf_uring_exit()
 *   ring ended      it was running: hf_uring_exit() cancels it and waits for its end
 *   process died    its range is kept for the pool's quarantine, as of any device
 *
 * When the completion queue is full, the kernel keeps a completion until there is room. Then it is
 * one of the above, only later. The comment of hf_uring_exit() says what happens when the kernel
 * has lost one.
 *
 * The rules of holdfast.h hold here too. Calls return 0 or -errno; hf_uring_detail() has the
 * sentence. A ring is for one thread at a time, and so is its struct hf_uring. In the child of a
 * fork every call returns -ECHILD, and the parent's requests go on.
 */
#ifndef HOLDFAST_URING_H
#define HOLDFAST_URING_H

#include <holdfast/holdfast.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

struct io_uring; /* of liburing.h */
struct io_uring_cqe;
struct hf_uring;

/* ------------------------------------------------------------------------------- a ring --- */

#define HF_URING_BUFFER_BYTES_MAX (UINT64_C(1) << 30) /* what one entry of the table may hold */

#define HF_URING_HAS_TABLE                                                                         \
    0x1u /* the ring has a table of buffers, with room from first_buffer on */

struct hf_uring_options {
    size_t size;           /* sizeof(struct hf_uring_options) */
    uint32_t flags;        /* HF_URING_HAS_TABLE */
    uint32_t first_buffer; /* entries of the table before this are the program's */
    uint32_t requests;     /* under way at once; 0: as many as the completion queue has room for */
    uint32_t reserved;     /* 0 */
    /* Bytes of the pool's memory in each entry: a power of two, from HF_HUGE_BYTES; 0: the most. */
    uint64_t buffer_bytes;
};

/* Registers the pool's memory with the ring, and holds it (hf_pool_register()). Without
 * HF_URING_HAS_TABLE the ring gets a sparse table, with room for all that the pool can grow to.
 * Null options: zeros. The whole pool becomes resident, so it may take long. The ring stays alive
 * until hf_uring_close() or hf_uring_exit(), also after io_uring_queue_exit(3).
 *   -EINVAL     an option is not known or out of bounds; the ring was not set up; or its table has
 *               no room
 *   -EBUSY      the ring has a table already, and HF_URING_HAS_TABLE was not given
 *   -EEXIST     the ring belongs to another thread (IORING_SETUP_SINGLE_ISSUER)
 *   -EOPNOTSUPP the kernel is older than 6.0; the ring was set up with flags that are not known, or
 *               cannot be mapped a second time; or as hf_pool_register()
 *   -E2BIG      the table would need more entries than the kernel allows
 *   -ENOMEM     no memory; or the user has locked as much as RLIMIT_MEMLOCK allows
 *   -EMFILE     no descriptor is left */
int hf_uring_open(struct hf_pool *pool, struct io_uring *ring,
                  const struct hf_uring_options *options, struct hf_uring **out);

/* Takes the memory out of the ring's table, and the table away, if hf_uring_open() made it and
 * first_buffer is 0. The ring goes on.
 *   -EBUSY  requests or cancels are under way: nothing was closed; the sentence counts them */
int hf_uring_close(struct hf_uring *uring);

/* As hf_uring_close(), where the ring ends with it. Cancels all requests of the ring, also the
 * program's, waits until those of this library have ended, and takes all completions out of the
 * ring. io_uring_queue_exit(3) may come before or after; no other call on the ring may come after.
 *   -EEXIST  the ring belongs to another thread (IORING_SETUP_SINGLE_ISSUER)
 *   -EIO     the kernel lost completions for lack of memory, and a second has brought none. Ranges
 *            that may be in use stay pinned until the process ends */
int hf_uring_exit(struct hf_uring *uring);

/* The sentence for the last call here that failed in this thread. Never fails. */
const char *hf_uring_detail(void);

/* ---------------------------------------------------------------------------- a request --- */

enum hf_uring_op {
    HF_URING_READ = 1,  /* from fd, at fd_off, into the range */
    HF_URING_WRITE = 2, /* from the range to fd, at fd_off */
    HF_URING_RECV = 3,  /* from the socket fd into the range */
    HF_URING_SEND = 4   /* from the range to the socket fd */
};

/* Holds the range by a lease and not by a pin, so that a layout change asks for it. The recall
 * comes by hf_recall_next(), and hf_uring_recalled() says which request it is of. For a request
 * that may take long, since it waits for somebody else. */
#define HF_URING_RECALL 0x1u
/* At the gate of a layout change, waits as hf_pin() does, instead of -EAGAIN. A thread that holds
 * something else passes the gate, and can hold the layout change up for ever. */
#define HF_URING_WAIT 0x2u
/* HF_URING_SEND: without a copy where the kernel can. There are two completions then. The second
 * comes when the peer has all of it; neither a cancel nor hf_uring_exit() ends that wait. So end
 * the connection first (connect(2) to AF_UNSPEC), if the peer may have stopped reading. */
#define HF_URING_ZERO_COPY 0x4u

#define HF_URING_LEN_MAX 0x7ffff000u /* the most that the kernel transfers at once */

struct hf_uring_io {
    size_t size;    /* sizeof(struct hf_uring_io) */
    uint32_t op;    /* enum hf_uring_op */
    uint32_t flags; /* HF_URING_RECALL, _WAIT, _ZERO_COPY */
    struct hf_file *file;
    uint64_t off, len;  /* bytes of the file; at most HF_URING_LEN_MAX, and not past end of file */
    int fd;             /* the other side; with IOSQE_FIXED_FILE an index */
    uint32_t sqe_flags; /* IOSQE_FIXED_FILE, _IO_DRAIN, _IO_LINK, _IO_HARDLINK, _ASYNC */
    uint64_t fd_off;    /* read and write: bytes; UINT64_MAX: the descriptor's own position */
    uint32_t op_flags;  /* read and write: RWF_...; recv and send: MSG_... */
    uint32_t reserved;  /* 0 */
    uint64_t user_data; /* comes back in struct hf_uring_done */
};

/* Pins the range, for writing where bytes come into it, and prepares one submission entry. From
 * then on, until hf_uring_complete() says that it has ended, the blocks are held. Never waits at a
 * gate without HF_URING_WAIT; else as hf_pin(), with its errors. On failure nothing is held or
 * prepared.
 *   -EAGAIN  a layout change has its gate over the range: reap what is under way, try again
 *   -EBUSY   no submission entry is free, or `requests` are under way: submit and reap
 *   -EINVAL  an unknown op or flag, len is 0 or too large, or the file is of another pool;
 *            MSG_ZEROCOPY; HF_URING_ZERO_COPY with IOSQE_IO_DRAIN
 *   -E2BIG   the range lies in more than 1,024 pieces
 *   -ENOMEM  no memory. Or the pool has grown, and RLIMIT_MEMLOCK leaves no room: the last buffer
 *            is locked once more before the shorter one goes
 *   -EFAULT, -EBADF, -ENOSPC, -EROFS, -EINTR, -ENOLCK, -EUCLEAN  as hf_pin() */
int hf_uring_prep(struct hf_uring *uring, const struct hf_uring_io *io);

#define HF_URING_MORE 0x1u /* the result is known; the range is held until the next completion */
#define HF_URING_RECALLED 0x2u /* a layout change has asked for it: HF_URING_RECALL */
#define HF_URING_DETACHED 0x4u /* its blocks had left the file: HF_URING_RECALL */

struct hf_uring_done {
    uint64_t user_data; /* of the request */
    int32_t result;     /* bytes, or -errno of the kernel */
    uint32_t flags;     /* HF_URING_MORE, _RECALLED, _DETACHED */
};

/* For each completion that the program takes from the ring, before io_uring_cqe_seen(3). 1: *out is
 * filled, and without HF_URING_MORE the range has been released. 0: it was of a cancel, or a
 * notification of a request that has ended. Each request ends with one completion without
 * HF_URING_MORE. Never waits.
 *   -ENOENT  it is of a request of the program's own, or of another struct hf_uring
 *   -EINVAL  a pointer is null */
int hf_uring_complete(struct hf_uring *uring, const struct io_uring_cqe *cqe,
                      struct hf_uring_done *out);

/* Cancels each request with this user_data; they end as usual. A request that runs is cancelled at
 * once, whatever entries with IOSQE_IO_LINK or IOSQE_IO_DRAIN wait. For one that was not submitted,
 * or that the kernel does not find, an entry is prepared: submit it. The entry finds no request
 * that waits behind another request: such a one ends with the other, or runs after it. A transfer
 * that a device has begun goes on to its end.
 *   -ENOENT  no request with this user_data is under way
 *   -EBUSY   an entry is needed, and none is free: submit, and call again. Or the last entry is
 *            linked to the next one: prepare that one, and call again */
int hf_uring_cancel(struct hf_uring *uring, uint64_t user_data);

/* Whether a recall is of a request of this ring: 1 with its user_data, or 0. After 1 the program
 * cancels that request, at once or after a while. Detached blocks belong to the request alone, so
 * it may go on. */
int hf_uring_recalled(struct hf_uring *uring, const struct hf_recall *recall, uint64_t *user_data);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
