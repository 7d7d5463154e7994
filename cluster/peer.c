/* SPDX-License-Identifier: MIT */
/*
 * Endpoints of libfabric. Each operation has a struct peer_op as its context, which is in the list
 * of its peer from its beginning until its completion. When a peer is closed, some completions may
 * lie in the queue that several peers share, and others never come. So a closed peer is dying until
 * the queue was seen empty once. Then what is left in its list has ended without a completion.
 */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define POLL_MOST 16           /* completions that are taken at once */
#define EVENTS_EACH 32         /* polls that find something, there is a look at connections */
#define FRAME_FULL (32u << 10) /* a message is not added to more than that */
#define ALIGNED(bytes) (((bytes) + 7u) / 8 * 8)

/* ---- a net ---- */

static struct fi_info *hints_for(const char *provider)
{
    struct fi_info *hints = fi_allocinfo();

    if (!hints)
        return NULL;
    hints->caps = FI_MSG | FI_RMA;
    hints->ep_attr->type = FI_EP_MSG;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    hints->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    /* A message comes after what was written before it (SAW), and messages come in order. */
    hints->tx_attr->msg_order = hints->rx_attr->msg_order = FI_ORDER_SAW | FI_ORDER_SAS;
    hints->fabric_attr->prov_name = strdup(provider);
    return hints;
}

static int split_peer_address(const char *address, char host[], size_t room, const char **port)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : 0;

    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') { /* [::1]:7070 */
        address++;
        len -= 2;
    }
    if (len == 0 || len >= room || colon[1] == '\0')
        return cluster_fail(-EINVAL, "%s: an address is HOST:PORT", address);
    memcpy(host, address, len);
    host[len] = '\0';
    *port = colon + 1;
    return 0;
}

static int find_info(struct peer_net *net, const char *provider, const char *address, bool source)
{
    struct fi_info *hints = hints_for(provider);
    const char *port = NULL;
    char host[256];
    int rc = split_peer_address(address, host, sizeof host, &port);

    if (rc == 0 && hints)
        rc = fi_getinfo(FI_VERSION(1, 17), host, port, source ? FI_SOURCE : 0, hints, &net->info);
    else if (rc == 0)
        rc = -ENOMEM;
    if (hints)
        fi_freeinfo(hints);
    if (rc == -FI_ENODATA)
        return cluster_fail(-EADDRNOTAVAIL,
                            "%s: no such address, or libfabric has no provider %s for it", address,
                            provider);
    return rc && rc != -EINVAL ? cluster_fail(rc, "%s: %s", address, fi_strerror(-rc)) : rc;
}

static int watch_queue(const struct peer_net *net, struct fid *queue)
{
    struct epoll_event event = {.events = EPOLLIN};
    int fd, rc = fi_control(queue, FI_GETWAIT, &fd);

    if (rc == 0 && epoll_ctl(net->waits, EPOLL_CTL_ADD, fd, &event) != 0)
        rc = -errno;
    return rc;
}

static int open_queues(struct peer_net *net)
{
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_FD};
    struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_FD};
    int rc = fi_fabric(net->info->fabric_attr, &net->fabric, NULL);

    rc = rc ? rc : fi_domain(net->fabric, net->info, &net->domain, NULL);
    rc = rc ? rc : fi_eq_open(net->fabric, &eq, &net->eq, NULL);
    rc = rc ? rc : fi_cq_open(net->domain, &cq, &net->cq, NULL);
    net->waits = epoll_create1(EPOLL_CLOEXEC);
    if (rc == 0 && net->waits < 0)
        rc = -errno;
    rc = rc ? rc : watch_queue(net, &net->eq->fid);
    rc = rc ? rc : watch_queue(net, &net->cq->fid);
    return rc ? cluster_fail(rc, "opening an endpoint: %s", fi_strerror(-rc)) : 0;
}

int peer_net_open(struct peer_net *net, const char *provider, const char *address, bool source,
                  const struct peer_calls *calls, void *owner)
{
    int rc;

    *net = (struct peer_net){.calls = calls, .owner = owner, .waits = -1};
    rc = find_info(net, provider, address, source);
    rc = rc ? rc : open_queues(net);
    if (rc)
        peer_net_close(net);
    return rc;
}

int peer_listen(struct peer_net *net)
{
    int rc = fi_passive_ep(net->fabric, net->info, &net->listens, NULL);

    rc = rc ? rc : fi_pep_bind(net->listens, &net->eq->fid, 0);
    rc = rc ? rc : fi_listen(net->listens);
    return rc ? cluster_fail(rc, "listening: %s", fi_strerror(-rc)) : 0;
}

static int net_address(const struct peer_net *net, struct sockaddr_storage *out)
{
    size_t len = sizeof *out;

    return fi_getname(&net->listens->fid, out, &len);
}

int peer_net_name(const struct peer_net *net, char *out, size_t room)
{
    struct sockaddr_storage address;
    char host[INET6_ADDRSTRLEN];
    const struct sockaddr_in *v4 = (const void *)&address;
    const struct sockaddr_in6 *v6 = (const void *)&address;
    bool is6;
    int rc = net_address(net, &address);

    if (rc)
        return cluster_fail(rc, "fi_getname: %s", fi_strerror(-rc));
    is6 = address.ss_family == AF_INET6;
    inet_ntop(address.ss_family, is6 ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr,
              host, sizeof host);
    snprintf(out, room, is6 ? "[%s]:%u" : "%s:%u", host,
             (unsigned)ntohs(is6 ? v6->sin6_port : v4->sin_port));
    return 0;
}

bool peer_net_is_loopback(const struct peer_net *net)
{
    struct sockaddr_storage address;
    const struct sockaddr_in *v4 = (const void *)&address;
    const struct sockaddr_in6 *v6 = (const void *)&address;

    if (net_address(net, &address) != 0)
        return false;
    if (address.ss_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    return address.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* ---- operations ---- */

static struct peer_op *take_op(struct peer *peer, enum peer_op_kind kind, size_t bytes)
{
    struct peer_op **spare = kind == PEER_MOVE ? &peer->spare_moves : &peer->spare_sends;
    struct peer_op *op = *spare;

    if (op) {
        *spare = op->next;
    } else {
        op = malloc(sizeof *op + bytes);
        if (!op)
            return NULL;
        op->bytes = (uint8_t *)(op + 1);
    }
    op->peer = peer;
    op->kind = kind;
    peer->sending += kind == PEER_SEND;
    op->at = &peer->busy;
    op->next = peer->busy;
    if (op->next)
        op->next->at = &op->next;
    peer->busy = op;
    return op;
}

static void unlist_op(struct peer_op *op)
{
    op->peer->sending -= op->kind == PEER_SEND;
    *op->at = op->next;
    if (op->next)
        op->next->at = op->at;
}

static void spare_op(struct peer_op *op)
{
    struct peer_op **spare =
        op->kind == PEER_MOVE ? &op->peer->spare_moves : &op->peer->spare_sends;

    unlist_op(op);
    op->next = *spare;
    *spare = op;
}

static void free_ops(struct peer_op *op)
{
    while (op) {
        struct peer_op *next = op->next;

        free(op);
        op = next;
    }
}

static int post_receive(struct peer_op *op)
{
    return (int)fi_recv(op->peer->ep, op->bytes, PEER_FRAME_BYTES, NULL, FI_ADDR_UNSPEC, op);
}

/* ---- connections ---- */

static int make_endpoint(struct peer_net *net, struct peer *peer, struct fi_info *info)
{
    int rc;

    *peer = (struct peer){.net = net, .state = PEER_CONNECTING};
    rc = fi_endpoint(net->domain, info, &peer->ep, peer);
    if (rc)
        peer->state = PEER_CLOSED;
    if (rc)
        return cluster_fail(rc, "fi_endpoint: %s", fi_strerror(-rc));
    rc = fi_ep_bind(peer->ep, &net->eq->fid, 0);
    rc = rc ? rc : fi_ep_bind(peer->ep, &net->cq->fid, FI_TRANSMIT | FI_RECV);
    rc = rc ? rc : fi_enable(peer->ep);
    for (unsigned i = 0; i < PEER_RECEIVES && rc == 0; i++) {
        struct peer_op *op = take_op(peer, PEER_RECEIVE, PEER_FRAME_BYTES);

        rc = op ? post_receive(op) : -ENOMEM;
    }
    return rc ? cluster_fail(rc, "making an endpoint: %s", fi_strerror(-rc)) : 0;
}

int peer_connect(struct peer_net *net, struct peer *peer)
{
    int rc = make_endpoint(net, peer, net->info);

    if (rc == 0)
        rc = fi_connect(peer->ep, net->info->dest_addr, NULL, 0);
    if (rc && peer->ep)
        peer_close(peer);
    return rc ? cluster_fail(rc, "connecting: %s", fi_strerror(-rc)) : 0;
}

void peer_close(struct peer *peer)
{
    if (peer->state == PEER_CLOSED)
        return;
    fi_close(&peer->ep->fid);
    peer->ep = NULL;
    peer->state = PEER_CLOSED;
    peer->next_dying = peer->net->dying;
    peer->net->dying = peer;
}

static void lose_peer(struct peer *peer, const char *why)
{
    if (peer->state == PEER_CLOSED || peer->state == PEER_LOST)
        return;
    peer->state = PEER_LOST;
    peer->net->calls->lost(peer, why);
}

/* The queue was empty after they were closed. */
static void end_dying(struct peer_net *net)
{
    while (net->dying) {
        struct peer *peer = net->dying;

        net->dying = peer->next_dying;
        while (peer->busy) {
            struct peer_op *op = peer->busy;

            spare_op(op);
            if (op->kind == PEER_MOVE)
                net->calls->moved(peer, op->arg, -ECANCELED);
        }
        free_ops(peer->spare_moves);
        free_ops(peer->spare_sends);
        net->calls->ended(peer);
    }
}

/* ---- sending and moving ---- */

static int fail_post(struct peer *peer, struct peer_op *op, ssize_t rc)
{
    if (rc)
        spare_op(op);
    if (rc == 0 || rc == -FI_EAGAIN)
        return rc ? -EAGAIN : 0;
    return peer->state == PEER_OPEN ? (int)rc : -ENOTCONN;
}

int peer_flush(struct peer *peer)
{
    struct peer_op *op = peer->frame;
    ssize_t rc;

    if (!op || peer->state != PEER_OPEN)
        return peer->state == PEER_OPEN ? 0 : -ENOTCONN;
    rc = fi_send(peer->ep, op->bytes, peer->filled, NULL, FI_ADDR_UNSPEC, op);
    if (rc == 0)
        peer->frame = NULL;
    return rc == -FI_EAGAIN ? -EAGAIN : (int)rc;
}

static int send_once(struct peer *peer, const struct wire_head *head)
{
    int rc = peer->frame && peer->filled >= FRAME_FULL ? peer_flush(peer) : 0;

    if (rc)
        return rc;
    if (!peer->frame) {
        peer->frame = take_op(peer, PEER_SEND, PEER_FRAME_BYTES);
        peer->filled = 0;
    }
    if (!peer->frame)
        return -ENOMEM;
    memcpy(peer->frame->bytes + peer->filled, head, head->bytes);
    peer->filled += ALIGNED(head->bytes);
    return 0;
}

#ifdef HF_CLUSTER_LAB
/* AGAIN: a copy is sent after the next message. */
static int send_by_fate(struct peer *peer, const struct wire_head *head)
{
    static uint8_t copy[PEER_FRAME_BYTES];
    static bool copied;
    enum cluster_lab_fate fate = cluster_lab_fate ? cluster_lab_fate(head) : CLUSTER_LAB_SENT;
    int rc = fate == CLUSTER_LAB_LOST ? 0 : send_once(peer, head);

    if (rc == 0 && fate == CLUSTER_LAB_TWICE)
        rc = send_once(peer, head);
    if (rc == 0 && copied)
        rc = send_once(peer, (const struct wire_head *)copy);
    copied = fate == CLUSTER_LAB_AGAIN;
    if (copied)
        memcpy(copy, head, head->bytes);
    return rc;
}
#else
#define send_by_fate send_once
#endif

int peer_send(struct peer *peer, const struct wire_head *head)
{
    return peer->state == PEER_OPEN ? send_by_fate(peer, head) : -ENOTCONN;
}

/* 0, -ENOTCONN or -ENOMEM. */
static int begin_move(struct peer *peer, void *arg, struct peer_op **out)
{
    if (peer->state != PEER_OPEN)
        return -ENOTCONN;
    *out = take_op(peer, PEER_MOVE, 0);
    if (!*out)
        return -ENOMEM;
    (*out)->arg = arg;
    return 0;
}

int peer_write(struct peer *peer, const void *from, size_t len, uint64_t address, uint64_t key,
               void *arg)
{
    struct peer_op *op;
    int rc = begin_move(peer, arg, &op);

    if (rc)
        return rc;
    return fail_post(peer, op,
                     fi_write(peer->ep, from, len, NULL, FI_ADDR_UNSPEC, address, key, op));
}

int peer_read(struct peer *peer, void *to, size_t len, uint64_t address, uint64_t key, void *arg)
{
    struct peer_op *op;
    int rc = begin_move(peer, arg, &op);

    if (rc)
        return rc;
    return fail_post(peer, op, fi_read(peer->ep, to, len, NULL, FI_ADDR_UNSPEC, address, key, op));
}

int peer_lend(struct peer_net *net, void *bytes, size_t len, bool writes, struct fid_mr **out,
              uint64_t *address, uint64_t *key)
{
    static uint64_t last_key;
    uint64_t wanted = __atomic_add_fetch(&last_key, 1, __ATOMIC_RELAXED); /* relaxed: a name */
    int rc = fi_mr_reg(net->domain, bytes, len, writes ? FI_REMOTE_WRITE : FI_REMOTE_READ, 0,
                       wanted, 0, out, NULL);

    if (rc)
        return cluster_fail(rc, "registering memory for a peer: %s", fi_strerror(-rc));
    *address = net->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)bytes : 0;
    *key = fi_mr_key(*out);
    return 0;
}

/* ---- what comes ---- */

/* Null, or what is wrong with it. */
static const char *take_frame(struct peer *peer, const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len && peer->state == PEER_OPEN;) {
        const struct wire_head *head = (const struct wire_head *)(bytes + at);
        const char *wrong;

        if (len - at < sizeof *head || head->bytes > len - at)
            return "a message that is longer than what has come";
        wrong = wire_check(head, head->bytes);
        if (wrong)
            return wrong;
        at += ALIGNED(head->bytes);
        peer->net->calls->message(peer, head);
    }
    return NULL;
}

static void receive_frame(struct peer_op *op, size_t len)
{
    struct peer *peer = op->peer;
    const char *wrong = take_frame(peer, op->bytes, len);

    if (wrong)
        lose_peer(peer, wrong);
    if (peer->state != PEER_CLOSED && post_receive(op) == 0)
        return;
    spare_op(op);
    lose_peer(peer, "no message can be received any more");
}

static void take_completion(struct peer_op *op, size_t len, int error)
{
    struct peer *peer = op->peer;

    if (op->kind == PEER_RECEIVE && error == 0 && peer->state != PEER_CLOSED) {
        receive_frame(op, len);
        return;
    }
    spare_op(op);
    if (error)
        lose_peer(peer, "the connection has broken");
    if (op->kind == PEER_MOVE)
        peer->net->calls->moved(peer, op->arg, error ? -EIO : 0);
}

static bool poll_completions(struct peer_net *net)
{
    struct fi_cq_msg_entry entries[POLL_MOST];
    struct fi_cq_err_entry failed = {.err = 0};
    ssize_t got = fi_cq_read(net->cq, entries, POLL_MOST);

    for (ssize_t i = 0; i < got; i++)
        if (entries[i].op_context)
            take_completion(entries[i].op_context, entries[i].len, 0);
    if (got == -FI_EAVAIL && fi_cq_readerr(net->cq, &failed, 0) == 1 && failed.op_context)
        take_completion(failed.op_context, 0, failed.err);
    return got > 0 || got == -FI_EAVAIL;
}

static void accept_peer(struct peer_net *net, struct fi_info *info)
{
    struct peer *peer = net->calls->asks(net);
    int rc = peer ? make_endpoint(net, peer, info) : -FI_ENOSPC;

    rc = rc ? rc : fi_accept(peer->ep, NULL, 0);
    if (rc && peer && peer->ep)
        lose_peer(peer, "it could not be accepted");
    else if (rc && peer)
        net->calls->ended(peer);
    else if (rc)
        fi_reject(net->listens, info->handle, NULL, 0);
    fi_freeinfo(info);
}

static bool poll_events(struct peer_net *net)
{
    struct fi_eq_cm_entry entry;
    struct fi_eq_err_entry failed = {.err = 0};
    uint32_t event = 0;
    ssize_t rc = fi_eq_read(net->eq, &event, &entry, sizeof entry, 0);

    if (rc == -FI_EAVAIL) {
        if (fi_eq_readerr(net->eq, &failed, 0) > 0 && failed.fid && failed.fid->context)
            lose_peer(failed.fid->context, fi_strerror(failed.err));
        return true;
    }
    if (rc < (ssize_t)sizeof entry)
        return false;
    if (event == FI_CONNREQ) {
        accept_peer(net, entry.info);
    } else if (event == FI_CONNECTED) {
        struct peer *peer = entry.fid->context;

        peer->state = PEER_OPEN;
        net->calls->connected(peer);
    } else if (event == FI_SHUTDOWN) {
        lose_peer(entry.fid->context, "it has ended the connection");
    }
    return true;
}

bool peer_poll(struct peer_net *net)
{
    bool any = poll_completions(net);

    if (!any)
        end_dying(net);
    if (any && net->polls++ % EVENTS_EACH)
        return true;
    return poll_events(net) || any;
}

bool peer_may_sleep(struct peer_net *net)
{
    struct fid *queues[] = {&net->cq->fid, &net->eq->fid};

    return fi_trywait(net->fabric, queues, 2) == 0;
}

void peer_sleep(struct peer_net *net, int ms)
{
    struct epoll_event event;

    if (peer_may_sleep(net))
        epoll_wait(net->waits, &event, 1, ms);
}

void peer_net_close(struct peer_net *net)
{
    struct fid *const fids[] = {net->listens ? &net->listens->fid : NULL,
                                net->cq ? &net->cq->fid : NULL, net->eq ? &net->eq->fid : NULL,
                                net->domain ? &net->domain->fid : NULL,
                                net->fabric ? &net->fabric->fid : NULL};

    while (net->cq && poll_completions(net))
        continue;
    end_dying(net);
    for (size_t i = 0; i < sizeof fids / sizeof fids[0]; i++)
        if (fids[i])
            fi_close(fids[i]);
    if (net->info)
        fi_freeinfo(net->info);
    if (net->waits >= 0)
        close(net->waits);
    *net = (struct peer_net){.waits = -1};
}
