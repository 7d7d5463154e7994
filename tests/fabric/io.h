/* SPDX-License-Identifier: MIT */
/*
 * Peers that read and write leased memory by libfabric. Meanwhile changers (tests/device) cut,
 * punch, move and delete the files, and fill the pool to its last block. A server exposes files to
 * its peer; the peer is killed or stopped in the middle of a transfer. A byte of a peer in a
 * changer's file is seen, and so is a byte of another file in what a peer has read.
 */
#ifndef HF_TESTS_FABRIC_IO_H
#define HF_TESTS_FABRIC_IO_H

#include "../device/device.h"
#include "endpoint.h"

#include <holdfast/fabric.h>

/* To end or to stop, with a read on its way or a write. */
enum order { ORDER_NONE, KILL_AT_READ, KILL_AT_WRITE, STOP_AT_READ, STOP_AT_WRITE, ORDERS };

/* What a server and its peer tell each other; any means would do. A slot's `given` is the number of
 * the window that the peer may use. The peer answers by `done`, after all of its completions. */
struct mailbox {
    struct endpoint_name name;
    uint64_t given[DEVICE_SLOTS], revoked[DEVICE_SLOTS], done[DEVICE_SLOTS], stamp[DEVICE_SLOTS];
    struct hf_fabric_window window[DEVICE_SLOTS];
    uint32_t opened; /* how many endpoints the server has opened */
    uint32_t wanted; /* which of them the peer is to come by */
    uint32_t order;  /* enum order, obeyed with a transfer on its way */
    uint32_t gone;   /* the server has lost its peer, and waits for another */
};

struct fabric_io {
    struct device device;
    const char *provider, *server_node, *peer_node; /* addresses; null: this machine's own */
    int peer_namespace; /* with addresses: the network namespace of the peers */
    uint64_t answer_ns; /* a peer has this long to answer, servers go by it as they begin */
    uint64_t reads, writes, failed, foreign, revoked, answered, lost, exposed;
    uint64_t obeyed[ORDERS];
    struct mailbox box[DEVICE_HOLDERS];
};

#define SLOT_READS(slot) ((slot) % 2 == 0) /* the peer reads these, and writes the others */

/* Servers stay in this namespace, peers go to another; skips the test when they cannot be made. */
void fabric_namespaces(struct fabric_io *io);

void fabric_serve(struct fabric_io *io, unsigned number);
void fabric_peer(struct fabric_io *io, unsigned number);

#endif
