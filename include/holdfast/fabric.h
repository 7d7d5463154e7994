/* SPDX-License-Identifier: MIT */
/*
 * Ranges of files for peers on other machines, by libfabric: a library of its own (pkg-config
 * holdfast-fabric) beside holdfast.h. The program has its domain, its endpoints and its messages.
 * This library leases a range, registers it with the domain, and says in plain bytes where it is.
 * It takes the range back when a layout change asks for it.
 *
 * A range goes through these steps
 *
 *   exposed   leased, registered; the peer gets the window and reads or writes there
 *   revoked   a layout change met the lease: the program is told, and tells the peer, which begins
 *             nothing more, waits until all it began is complete, and answers
 *   free      the program hands the answer on: the registration is closed, then the lease released
 *   lost      no answer in time: the registration is closed, the program closes the endpoint that
 *             the peer came by, and the lease goes into quarantine (hf_lease_quarantine()). So a
 *             layout change goes on, and no file gets the blocks for the pool's quarantine_ns
 *
 * When is it sure that nothing touches the range any more? Not when fi_close() of the registration
 * has returned: a transfer whose key was checked before may go on, on every provider. It is sure
 * when the peer has seen the completions of all that it began, and its answer came after them:
 *
 *   fi_read    its completion says that the bytes have come
 *   fi_write   its completion says that they are in the range only with FI_DELIVERY_COMPLETE.
 *              Without it, the answer must be a message of the same endpoint, with FI_ORDER_SAW
 *
 * The close of the endpoint that the peer came by makes it sure too, if the owner's process moves
 * the bytes. That is so with tcp, tcp;ofi_rxm, and shm with an order. Without that close, a stopped
 * peer's transfer goes on when the peer continues, however long that takes. The manual page has
 * this for each provider.
 *
 * The rules of holdfast.h hold here too. Calls return 0 or -errno; hf_fabric_detail() has the
 * sentence.
 */
#ifndef HOLDFAST_FABRIC_H
#define HOLDFAST_FABRIC_H

#include <holdfast/holdfast.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

struct fid_domain; /* of rdma/fi_domain.h */
struct fi_info;    /* of rdma/fabric.h */
struct hf_fabric;

/* ----------------------------------------------------------------------------- a domain --- */

enum hf_fabric_event_kind {
    /* Tell the peer to stop; hand its answer to hf_fabric_acknowledge(). */
    HF_FABRIC_REVOKE = 1,
    /* The peer did not answer in time. The registration is closed; close the endpoint that the peer
     * came by. */
    HF_FABRIC_LOST = 2
};

struct hf_fabric_event {
    uint64_t region; /* hf_fabric_window.region */
    void *arg;       /* of hf_fabric_expose() */
    uint32_t kind;   /* enum hf_fabric_event_kind */
    uint32_t reserved;
};

struct hf_fabric_options {
    size_t size;                /* sizeof(struct hf_fabric_options) */
    struct fid_domain *domain;  /* stays open until hf_fabric_close() */
    const struct fi_info *info; /* that the domain was opened with; looked at by the open only */
    /* Called in a thread of this library with no lock held, one at a time. It may call any function
     * here but hf_fabric_close(). It may come before hf_fabric_expose() has returned, and may still
     * run when another thread has acknowledged the region. */
    void (*event)(void *arg, const struct hf_fabric_event *event);
    uint64_t answer_ns; /* how long a peer may take to answer; 0: a second */
    uint64_t reserved;  /* 0 */
};

/* Makes a thread that calls `event`. The domain needs FI_THREAD_SAFE.
 *   -EINVAL     a null pointer or a wrong size
 *   -EOPNOTSUPP the domain is not FI_THREAD_SAFE; its keys are raw, or belong to endpoints; or it
 *               is shm without an order, where a peer needs no key
 *   -EAGAIN     no thread could be made
 *   -ENOMEM     no memory in this process */
int hf_fabric_open(struct hf_pool *pool, const struct hf_fabric_options *options,
                   struct hf_fabric **out);

/* Ends the thread. Close the fabric before the domain and the pool.
 *   -EBUSY  regions are left; the sentence counts them */
int hf_fabric_close(struct hf_fabric *fabric);

/* The sentence for the last call of this thread here that failed. Never fails. */
const char *hf_fabric_detail(void);

/* ------------------------------------------------------------------------------ windows --- */

#define HF_FABRIC_PIECES 32u /* a window lies in at most so many */

struct hf_fabric_piece {
    uint64_t address, key; /* for fi_read() and fi_write() of the peer */
    uint64_t len;          /* bytes */
};

/* Plain bytes, to be sent by any means; the entries from piece[pieces] on need not be sent. Numbers
 * are in the machine's byte order. */
struct hf_fabric_window {
    uint64_t region; /* names it in answers; not 0, and never used again by this process */
    uint64_t len;    /* bytes */
    uint64_t access; /* of hf_fabric_expose() */
    uint32_t pieces;
    uint32_t reserved;
    struct hf_fabric_piece piece[HF_FABRIC_PIECES]; /* in file order, len bytes together */
};

/* Leases [off, off+len) of the file and registers it. Access is what fi_mr_reg(3) takes:
 * FI_REMOTE_READ, FI_REMOTE_WRITE, and for transfers of this process FI_READ, FI_WRITE, FI_SEND and
 * FI_RECV. `peer` names the peer that gets the window, for people to read: its address, for
 * example. `holdfast pins` shows it as the lease's label. It may be null. `arg` goes to the events.
 * Blocks as hf_lease() does.
 * Errors as hf_lease(), and those of fi_mr_reg(3).
 *   -EINVAL  no access, or an unknown one
 *   -E2BIG   the range lies in more than HF_FABRIC_PIECES pieces
 *   -ECHILD  the parent opened it before a fork */
int hf_fabric_expose(struct hf_fabric *fabric, struct hf_file *file, uint64_t off, uint64_t len,
                     uint64_t access, const char *peer, void *arg, struct hf_fabric_window *out);

/* Where the region lies in this process, and its descriptors (fi_mr_desc(3)), for transfers of its
 * own. Returns the number of pieces.
 *   -ENOENT  there is no such region
 *   -E2BIG   there are more than `count` pieces
 *   -ECHILD  the parent opened it before a fork */
int hf_fabric_local(struct hf_fabric *fabric, uint64_t region, struct iovec *iov, void **desc,
                    int count);

/* On the peer, which needs no pool: where byte `off` of the window is. Returns how many of the
 * `len` bytes lie there in one piece, at least 1. The window may come from anywhere.
 *   -EFAULT  off+len is past the window's end, or len is 0
 *   -EINVAL  it is not a window */
ssize_t hf_fabric_place(const struct hf_fabric_window *window, uint64_t off, uint64_t len,
                        uint64_t *address, uint64_t *key);

/* ---------------------------------------------------------------------------- the way back --- */

/* Says that nothing touches the region any more: the peer's answer has come, or the peer never had
 * the window. Closes the registration, then releases the lease; a layout change that waits goes on.
 * May be called at any time, also without a revoke.
 *   -ENOENT  there is no such region (any more)
 *   -ESTALE  the region is lost, and in quarantine
 *   -ECHILD  the parent opened it before a fork
 *   and what fi_close(3) returns; the region is then still there */
int hf_fabric_acknowledge(struct hf_fabric *fabric, uint64_t region);

/* Asks for the region as a layout change does: HF_FABRIC_REVOKE, and so on. -ENOENT and -ECHILD as
 * above. */
int hf_fabric_withdraw(struct hf_fabric *fabric, uint64_t region);

/* For a peer that is known to be gone. The region is lost at once: the peer gets no time to answer,
 * and there is no event.
 *   -ENOENT  there is no such region. -ECHILD: as above */
int hf_fabric_abandon(struct hf_fabric *fabric, uint64_t region);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
