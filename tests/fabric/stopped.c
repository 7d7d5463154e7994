/* SPDX-License-Identifier: MIT */
/*
 * fabric-stopped [--early]: a peer that is stopped in the middle of an fi_write() of 32 MiB, more
 * than the sockets hold. The file is cut, and another one is to get its blocks. The peer does not
 * answer, so the region is lost: the owner closes the endpoint, and the blocks come back after the
 * quarantine, not before. Then the peer goes on, and no byte of it reaches the other file.
 *
 * With --early the owner takes the closed registration for the end of all transfers, and releases
 * without an answer. Then the rest of the write has to be found in the other file.
 */
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/fabric.h>
#include <inttypes.h>
#include <rdma/fi_errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROVIDER "tcp;ofi_rxm"
#define POOL "stopped"
#define BYTES TEST_MIB(32)
#define PAGES (BYTES / TEST_PAGE)
#define PEER_BYTE 0xEE
#define STAMP 7
#define QUARANTINE_NS UINT64_C(1500000000)
#define ANSWER_NS UINT64_C(200000000)

struct shared {
    struct endpoint_name name, peer;
    struct hf_fabric_window window;
    uint32_t named, exposed, begun;
};

struct owner {
    struct endpoint end;
    struct hf_pool *pool;
    struct hf_fabric *fabric;
    char peer[ENDPOINT_NAME_BYTES]; /* its address, as text */
    uint64_t lost_ns;
    uint32_t revoked, lost;
};

static struct owner owner;

static void be_peer(void *arg)
{
    struct shared *shared = arg;
    const struct hf_fabric_piece *piece = shared->window.piece;
    unsigned char *bytes = malloc(BYTES);
    struct endpoint end;
    fi_addr_t to;
    int error;

    EXPECT(bytes);
    memset(bytes, PEER_BYTE, BYTES);
    endpoint_domain(&end, PROVIDER, NULL);
    endpoint_open(&end);
    to = endpoint_to(&end, &shared->name);
    shared->peer = endpoint_name(&end);
    test_raise(&shared->named, 1);
    test_await(&shared->exposed, 1);
    while (fi_write(end.ep, bytes, piece->len, NULL, to, piece->address, piece->key, bytes) ==
           -FI_EAGAIN)
        endpoint_completed(&end, &error);
    while (!test_peek(&shared->begun)) /* fi_write() may send nothing by itself */
        endpoint_completed(&end, &error);
    EXPECT_EQ(raise(SIGSTOP), 0); /* with what the sockets hold on its way */
    for (;;)
        endpoint_completed(&end, &error);
}

static void on_event(void *arg, const struct hf_fabric_event *event)
{
    (void)arg;
    if (event->kind == HF_FABRIC_REVOKE) {
        test_raise(&owner.revoked, 1);
        return;
    }
    endpoint_close(&owner.end); /* the main thread does not use it from the revoke on */
    owner.lost_ns = test_now_ns();
    test_raise(&owner.lost, 1);
}

static void move_bytes(unsigned times)
{
    int error;

    for (unsigned i = 0; i < times; i++)
        endpoint_completed(&owner.end, &error);
}

static void open_owner(struct shared *shared)
{
    const struct hf_pool_options pool = {
        .size = sizeof(pool), .pool_bytes = BYTES + TEST_MIB(8), .quarantine_ns = QUARANTINE_NS};
    struct hf_fabric_options options = {
        .size = sizeof(options), .event = on_event, .answer_ns = ANSWER_NS};

    EXPECT_EQ(hf_pool_create(test_path(POOL), &pool), 0);
    owner.pool = test_pool_open(POOL);
    endpoint_domain(&owner.end, PROVIDER, NULL);
    endpoint_open(&owner.end);
    options.domain = owner.end.domain;
    options.info = owner.end.info;
    EXPECT_EQ(hf_fabric_open(owner.pool, &options, &owner.fabric), 0);
    shared->name = endpoint_name(&owner.end);
}

static void name_peer(struct shared *shared)
{
    size_t len = sizeof(owner.peer);

    test_await(&shared->named, 1);
    fi_av_straddr(owner.end.av, shared->peer.bytes, owner.peer, &len);
    EXPECT(strstr(owner.peer, "127.0.0.1:") && strlen(owner.peer) < HF_LABEL_BYTES);
}

/* Some of it has come; the peer is stopped before the rest. */
static void take_half(struct shared *shared, pid_t peer, const unsigned char *memory)
{
    while (memory[0] != PEER_BYTE)
        move_bytes(1);
    test_raise(&shared->begun, 1);
    EXPECT_EQ(waitpid(peer, &(int){0}, WUNTRACED), peer);
    EXPECT(memory[BYTES - 1] != PEER_BYTE);
}

/* `holdfast pins` shows the lease, as that of a device, recalled, and with the peer's address. */
static int is_ours(void *arg, const struct hf_pin_info *info)
{
    const struct hf_pin_info *want = arg;

    return info->pid == want->pid && info->len == BYTES && (info->flags & HF_PIN_LEASE) &&
           (info->flags & HF_PIN_RECALLED) && (info->flags & HF_PIN_GPU) == HF_PIN_RDMA &&
           strcmp(info->label, owner.peer) == 0;
}

static void expect_kept(struct hf_file *other)
{
    const struct hf_pin_info want = {.pid = getpid()};
    uint64_t pages = test_fill_pool(other, STAMP, 0);
    int shown = hf_pins(owner.pool, is_ours, (void *)&want);

    if (test_now_ns() >= owner.lost_ns + QUARANTINE_NS)
        return; /* too late to say */
    EXPECT(pages < PAGES);
    EXPECT_EQ(shown, 1);
}

static void end_late(pid_t peer, const unsigned char *memory, bool early)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;

    EXPECT_OK(kill(peer, SIGCONT));
    while (early && memory[BYTES - 1] != PEER_BYTE && test_now_ns() < limit)
        move_bytes(1);
    if (!early)
        test_sleep_ms(300);
    endpoint_kill(peer);
}

static unsigned run(struct shared *shared, bool early)
{
    pid_t peer = (open_owner(shared), test_fork(be_peer, shared));
    struct hf_file *file = test_file(owner.pool, "/cut"), *other = test_file(owner.pool, "/other");
    unsigned char *memory;
    struct iovec iov;
    void *desc;
    uint64_t pages;
    unsigned wrong;

    EXPECT_EQ(hf_fallocate(file, 0, 0, BYTES, NULL), 0);
    name_peer(shared);
    EXPECT_EQ(hf_fabric_expose(owner.fabric, file, 0, BYTES, FI_REMOTE_WRITE, owner.peer, NULL,
                               &shared->window),
              0);
    EXPECT_EQ(hf_fabric_local(owner.fabric, shared->window.region, &iov, &desc, 1), 1);
    memory = iov.iov_base;
    test_raise(&shared->exposed, 1);
    take_half(shared, peer, memory);
    if (early)
        EXPECT_EQ(hf_fabric_acknowledge(owner.fabric, shared->window.region), 0);
    else
        EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
    if (!early) {
        test_await(&owner.lost, 1);
        EXPECT_EQ(owner.revoked, 1);
        EXPECT_EQ(hf_fabric_acknowledge(owner.fabric, shared->window.region), -ESTALE);
        EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
        expect_kept(other);
    } else {
        EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    }
    while (!early && hf_fabric_close(owner.fabric) == -EBUSY)
        test_sleep_ms(1);
    if (!early)
        EXPECT(test_now_ns() >= owner.lost_ns + QUARANTINE_NS);
    pages = test_fill_pool(other, STAMP, test_size(other) / TEST_PAGE);
    EXPECT(pages >= PAGES);
    end_late(peer, memory, early);
    wrong = test_wrong_pages(other, STAMP, pages);
    printf("%" PRIu64 " pages of another file, %u with bytes of the peer\n", pages, wrong);
    if (early)
        exit(wrong > 0 ? 0 : 1);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(other), 0);
    test_pool_close(owner.pool);
    test_pool_check(POOL);
    return wrong;
}

static int body(int argc, char **argv)
{
    bool early = argc > 1 && strcmp(argv[1], "--early") == 0;

    EXPECT_EQ(run(test_shared(sizeof(struct shared)), early), 0);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
