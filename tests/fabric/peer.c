/* SPDX-License-Identifier: MIT */
/* A peer: one transfer a slot at a time. What it reads is what the server wrote there. */
#include "io.h"

#include <rdma/fi_errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

struct transfer {
    uint64_t window; /* the number of the one that it belongs to; 0: none on its way */
    uint64_t first, pages, stamp;
    unsigned char bytes[DEVICE_PAGES * TEST_PAGE];
};

struct peer {
    struct fabric_io *io;
    struct mailbox *box;
    struct endpoint end;
    fi_addr_t server;
    struct test_rng rng;
    struct transfer slots[DEVICE_SLOTS];
};

static void check_read(const struct peer *peer, const struct transfer *transfer)
{
    test_count64(&peer->io->reads, 1);
    for (uint64_t i = 0; i < transfer->pages; i++)
        if (!test_page_is(transfer->bytes + i * TEST_PAGE, transfer->stamp, transfer->first + i))
            test_count64(&peer->io->foreign, 1);
}

static void complete(struct peer *peer)
{
    int error;
    struct transfer *transfer = endpoint_completed(&peer->end, &error);

    if (!transfer) {
        usleep(20);
        return;
    }
    if (error)
        test_count64(&peer->io->failed, 1);
    else if (SLOT_READS(transfer - peer->slots))
        check_read(peer, transfer);
    else
        test_count64(&peer->io->writes, 1);
    transfer->window = 0;
}

/* Posts a transfer of some pages that lie in one piece. False: not now. */
static bool post(struct peer *peer, unsigned slot, uint64_t number)
{
    struct transfer *transfer = &peer->slots[slot];
    const struct hf_fabric_window *window = &peer->box->window[slot];
    uint64_t pages = window->len / TEST_PAGE, address, key;
    struct iovec iov = {.iov_base = transfer->bytes};
    struct fi_rma_iov remote = {.len = 0};
    struct fi_msg_rma msg = {.msg_iov = &iov,
                             .iov_count = 1,
                             .addr = peer->server,
                             .rma_iov = &remote,
                             .rma_iov_count = 1,
                             .context = transfer};
    ssize_t len, rc;

    if (!peer->end.connected)
        return false;
    transfer->first = test_below(&peer->rng, pages);
    transfer->stamp = peer->box->stamp[slot];
    len = hf_fabric_place(window, transfer->first * TEST_PAGE,
                          (pages - transfer->first) * TEST_PAGE, &address, &key);
    EXPECT(len > 0);
    transfer->pages = (uint64_t)len / TEST_PAGE;
    iov.iov_len = (size_t)len;
    remote = (struct fi_rma_iov){.addr = address, .len = (size_t)len, .key = key};
    if (SLOT_READS(slot))
        rc = fi_readmsg(peer->end.ep, &msg, FI_COMPLETION);
    else
        rc = fi_writemsg(peer->end.ep, &msg, FI_COMPLETION | FI_DELIVERY_COMPLETE);
    if (rc == -FI_EAGAIN)
        return false;
    EXPECT_EQ(rc, 0);
    transfer->window = number;
    return true;
}

/* Continued after a stop: the server has lost it long ago. What it had begun goes on, and the
 * mailbox belongs to the next peer. */
static _Noreturn void go_on_late(struct peer *peer)
{
    for (;;)
        complete(peer);
}

static void obey(struct peer *peer, unsigned slot)
{
    uint32_t order = test_peek(&peer->box->order);

    if (order == ORDER_NONE || SLOT_READS(slot) != (order == KILL_AT_READ || order == STOP_AT_READ))
        return;
    test_raise(&peer->box->order, ORDER_NONE);
    test_count64(&peer->io->obeyed[order], 1);
    EXPECT_EQ(raise(order == KILL_AT_READ || order == KILL_AT_WRITE ? SIGKILL : SIGSTOP), 0);
    go_on_late(peer);
}

static void advance(struct peer *peer, unsigned slot)
{
    uint64_t given = test_peek64(&peer->box->given[slot]);

    if (peer->slots[slot].window || given == test_peek64(&peer->box->done[slot]))
        return;
    if (given == test_peek64(&peer->box->revoked[slot]))
        test_put64(&peer->box->done[slot], given);
    else if (post(peer, slot, given))
        obey(peer, slot);
}

void fabric_peer(struct fabric_io *io, unsigned number)
{
    static struct peer peer;

    peer.io = io;
    peer.box = &io->box[number];
    peer.rng.state = test_mix(io->device.seed + test_peek64(&io->device.killed), 200 + number);
    test_await(&peer.box->opened, peer.box->wanted);
    if (io->peer_node)
        EXPECT_EQ(setns(io->peer_namespace, CLONE_NEWNET), 0);
    endpoint_domain(&peer.end, io->provider, io->peer_node);
    endpoint_open(&peer.end);
    peer.server = endpoint_to(&peer.end, &peer.box->name);
    for (unsigned i = 0; i < DEVICE_SLOTS; i++)
        memset(peer.slots[i].bytes, (int)DEVICE_PIPE_BYTE(number), sizeof(peer.slots[i].bytes));
    while (!test_peek(&io->device.stop)) {
        for (unsigned slot = 0; slot < DEVICE_SLOTS; slot++)
            advance(&peer, slot);
        complete(&peer);
    }
    pause(); /* ended with the test */
}
