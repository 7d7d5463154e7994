/* SPDX-License-Identifier: MIT */
/*
 * Connections to peers by libfabric: messages, and moves of bytes to and from memory of the peer.
 * Endpoints are connected ones (FI_EP_MSG), so that the death of a peer is told at once, and each
 * peer can be cut off alone. One thread at a time uses a net and its peers.
 *
 * After peer_close() has returned, nothing moves for that peer any more, into this process's memory
 * or out of it. For the provider moves bytes in this process, and its endpoint is closed. Callbacks
 * for what was under way come later, from peer_poll() or peer_net_close().
 */
#ifndef HF_CLUSTER_PEER_H
#define HF_CLUSTER_PEER_H

#include "members.h"
#include "wire.h"

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <sys/socket.h>

struct peer;
struct peer_net;

struct peer_calls {
    /* A peer asks for a connection: return memory for it, or null to refuse. */
    struct peer *(*asks)(struct peer_net *net);
    void (*connected)(struct peer *peer);
    /* A whole message that wire_check() has found to make sense. */
    void (*message)(struct peer *peer, const struct wire_head *head);
    /* A move with this arg has ended; error is 0 or -errno. */
    void (*moved)(struct peer *peer, void *arg, int error);
    /* The connection has ended, or the peer sent what makes no sense: `why` says it. The callee
     * closes it. */
    void (*lost)(struct peer *peer, const char *why);
    /* It was closed and all that was under way has ended: its memory may be used again. */
    void (*ended)(struct peer *peer);
};

struct peer_net {
    const struct peer_calls *calls;
    void *owner;
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_cq *cq;
    struct fid_eq *eq;
    struct fid_pep *listens;
    struct peer *dying; /* closed, and not ended */
    int waits;          /* epoll(7) of the two queues */
    unsigned polls;
};

/* Messages travel together, as many as fit into a frame. A peer that sends more frames than are
 * received waits. */
#define PEER_FRAME_BYTES ((32u << 10) + WIRE_BYTES_MAX)
#define PEER_RECEIVES 32u

enum peer_op_kind { PEER_RECEIVE, PEER_SEND, PEER_MOVE };

struct peer_op {
    struct peer_op *next, **at; /* of those under way, or the next spare one */
    struct peer *peer;
    void *arg;
    uint8_t *bytes; /* PEER_RECEIVE, PEER_SEND */
    enum peer_op_kind kind;
};

enum peer_state { PEER_CLOSED, PEER_CONNECTING, PEER_OPEN, PEER_LOST };

struct peer {
    struct peer_net *net;
    struct fid_ep *ep;
    struct peer *next_dying;
    struct peer_op *busy, *spare_moves, *spare_sends;
    struct peer_op *frame; /* that is not sent yet */
    size_t filled;         /* bytes of it */
    enum peer_state state;
    unsigned sending; /* frames that it has not taken */
};

/* `source`: address is of this machine, and peers may connect there by peer_listen(). The address
 * is HOST:PORT. */
int peer_net_open(struct peer_net *net, const char *provider, const char *address, bool source,
                  const struct peer_calls *calls, void *owner);
int peer_listen(struct peer_net *net);
/* HOST:PORT of the listening end. */
int peer_net_name(const struct peer_net *net, char *out, size_t room);
bool peer_net_is_loopback(const struct peer_net *net);
/* Closes all peers that are dying; the others must be closed. */
void peer_net_close(struct peer_net *net);

/* To where the net's address leads. */
int peer_connect(struct peer_net *net, struct peer *peer);
void peer_close(struct peer *peer);

/* Adds a copy of a message to the frame; peer_flush() sends it. -EAGAIN: too much is under way. */
int peer_send(struct peer *peer, const struct wire_head *head);
int peer_flush(struct peer *peer);
/* Moves bytes to or from the peer's memory. `arg` comes back by moved(). */
int peer_write(struct peer *peer, const void *from, size_t len, uint64_t address, uint64_t key,
               void *arg);
int peer_read(struct peer *peer, void *to, size_t len, uint64_t address, uint64_t key, void *arg);
/* Memory of this process that the peer may read or write: how it finds it. */
int peer_lend(struct peer_net *net, void *bytes, size_t len, bool writes, struct fid_mr **out,
              uint64_t *address, uint64_t *key);

/* Handles what has come; true if that was anything. */
bool peer_poll(struct peer_net *net);
/* Nothing has come: it may be waited for at `waits`. */
bool peer_may_sleep(struct peer_net *net);
/* Sleeps until something may have come, or for so long. */
void peer_sleep(struct peer_net *net, int ms);

#ifdef HF_CLUSTER_LAB
/* For tests: what becomes of a message, and what is wrong on purpose. */
enum cluster_lab_fate { CLUSTER_LAB_SENT, CLUSTER_LAB_LOST, CLUSTER_LAB_TWICE, CLUSTER_LAB_AGAIN };
extern enum cluster_lab_fate (*cluster_lab_fate)(const struct wire_head *head);
extern bool cluster_lab_serves_twice, cluster_lab_serves_late, cluster_lab_keeps_link,
    cluster_lab_drops_nothing, cluster_lab_obeys_old;
#endif

#endif
