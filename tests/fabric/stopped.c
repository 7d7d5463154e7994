/* SPDX-License-Identifier: MIT */
/*
 * fabric-stopped [--reads] [--killed | --early]
 *
 * A peer is stopped, or killed, in the middle of an fi_write() or fi_read() of 32 MiB. That is more
 * than the sockets hold. The file is cut, and another one is to get its blocks. The peer does not
 * answer, so the region is lost: the owner closes the endpoint, and the blocks come back after the
 * quarantine, not before. Until then `holdfast pins` has the peer's address. Then a stopped peer
 * goes on. No byte of it reaches the other file, and it gets none of the other file's.
 *
 * With --early the owner takes the closed registration for the end of all transfers, and releases
 * without an answer. Then the rest of the write has to be found in the other file, or the peer has
 * to get bytes of that file.
 */
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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
#define FILE_BYTE 0x3C /* what the peer may read */
#define STAMP 7
#define QUARANTINE_NS UINT64_C(1500000000)
#define ANSWER_NS UINT64_C(200000000)

struct shared {
    struct endpoint_name name, peer;
    struct hf_fabric_window window;
    uint32_t named, exposed, begun;
    uint32_t look, looked; /* at what the peer has read: */
    uint64_t foreign;      /* bytes that are not the file's */
};

static struct {
    int reads, killed, early;
} variant;

struct owner {
    struct endpoint end;
    struct hf_pool *pool;
    struct hf_fabric *fabric;
    char peer[ENDPOINT_NAME_BYTES]; /* its address, as text */
    uint64_t lost_ns;
    uint32_t revoked, lost;
};

static struct owner owner;

static void begin_transfer(struct endpoint *end, fi_addr_t to, const struct hf_fabric_piece *piece,
                           unsigned char *bytes)
{
    ssize_t rc;
    int error;

    do {
        rc =
            variant.reads
                ? fi_read(end->ep, bytes, piece->len, NULL, to, piece->address, piece->key, bytes)
                : fi_write(end->ep, bytes, piece->len, NULL, to, piece->address, piece->key, bytes);
        if (rc == -FI_EAGAIN)
            endpoint_completed(end, &error);
    } while (rc == -FI_EAGAIN);
    EXPECT_EQ(rc, 0);
}

/* The bytes come in their order. A read that was over before it was looked at is made again. */
static void read_half(struct endpoint *end, fi_addr_t to, const struct hf_fabric_piece *piece,
                      volatile unsigned char *bytes)
{
    int error;

    do {
        memset((void *)bytes, 0, BYTES);
        begin_transfer(end, to, piece, (unsigned char *)bytes);
        while (bytes[0] != FILE_BYTE)
            endpoint_completed(end, &error);
        while (bytes[BYTES - 1] == FILE_BYTE && !endpoint_completed(end, &error))
            ;
    } while (bytes[BYTES - 1] == FILE_BYTE);
}

static void count_foreign(struct shared *shared, const unsigned char *bytes)
{
    uint64_t foreign = 0;

    for (size_t i = 0; variant.reads && i < BYTES; i++)
        foreign += bytes[i] != 0 && bytes[i] != FILE_BYTE;
    test_put64(&shared->foreign, foreign);
    test_raise(&shared->looked, 1);
}

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
    if (variant.reads)
        read_half(&end, to, piece, bytes);
    else
        begin_transfer(&end, to, piece, bytes);
    while (!variant.reads && !test_peek(&shared->begun)) /* fi_write() may send nothing by itself */
        endpoint_completed(&end, &error);
    /* with what the sockets hold on its way */
    EXPECT_EQ(raise(variant.killed ? SIGKILL : SIGSTOP), 0);
    for (;;)
        if (endpoint_completed(&end, &error) || (test_peek(&shared->look) && !shared->looked))
            count_foreign(shared, bytes);
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
static void take_half(struct shared *shared, pid_t peer, const volatile unsigned char *memory)
{
    int status = 0;
    pid_t changed = 0;

    while (variant.reads ? changed == 0 : memory[0] != PEER_BYTE) {
        move_bytes(1);
        if (variant.reads)
            changed = waitpid(peer, &status, WUNTRACED | WNOHANG);
    }
    test_raise(&shared->begun, 1);
    if (changed == 0)
        changed = waitpid(peer, &status, WUNTRACED);
    EXPECT_EQ(changed, peer);
    EXPECT(variant.killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                          : WIFSTOPPED(status));
    EXPECT(variant.reads || memory[BYTES - 1] != PEER_BYTE);
}

/* The lease is shown as that of a device, recalled, given up, and with the peer's address. */
static int is_ours(void *arg, const struct hf_pin_info *info)
{
    const struct hf_pin_info *want = arg;

    return info->pid == want->pid && info->len == BYTES && (info->flags & HF_PIN_LEASE) &&
           (info->flags & HF_PIN_RECALLED) && (info->flags & HF_PIN_GPU) == HF_PIN_RDMA &&
           info->state == HF_PIN_QUARANTINED && strcmp(info->label, owner.peer) == 0;
}

/* Whether a line of `holdfast pins` has the words and the peer's address. */
static bool command_names_peer(void)
{
    char line[1024], address[ENDPOINT_NAME_BYTES + 2];
    bool named = false;
    FILE *lines;

    snprintf(line, sizeof(line), "%s pins %s", getenv("HOLDFAST"), test_path(POOL));
    snprintf(address, sizeof(address), "[%s]", owner.peer);
    lines = popen(line, "r");
    EXPECT(lines != NULL);
    while (fgets(line, sizeof(line), lines))
        named |= strstr(line, address) && strstr(line, "quarantine") && strstr(line, "/cut");
    EXPECT_EQ(pclose(lines), 0);
    return named;
}

static bool is_late(void)
{
    return test_now_ns() >= owner.lost_ns + QUARANTINE_NS;
}

/* What is seen as long as the quarantine certainly lasts. */
static void expect_kept(struct hf_file *other)
{
    const struct hf_pin_info want = {.pid = getpid()};
    uint64_t pages = test_fill_pool(other, STAMP, 0);
    int shown = 0;
    bool named;

    EXPECT(pages < PAGES || is_late());
    while (shown == 0 && !is_late()) /* the event may not have returned yet */
        shown = hf_pins(owner.pool, is_ours, (void *)&want);
    EXPECT(shown == 1 || is_late());
    named = !getenv("HOLDFAST") || command_names_peer();
    EXPECT(named || is_late());
}

static bool late_has_come(const struct shared *shared, const volatile unsigned char *memory)
{
    return variant.reads ? test_peek(&shared->looked) : memory[BYTES - 1] == PEER_BYTE;
}

static void end_late(struct shared *shared, pid_t peer, const unsigned char *memory)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;

    EXPECT_OK(kill(peer, SIGCONT));
    while (variant.early && !late_has_come(shared, memory) && test_now_ns() < limit)
        move_bytes(1);
    if (!variant.early)
        test_sleep_ms(300);
    test_raise(&shared->look, 1);
    test_await(&shared->looked, 1);
    endpoint_kill(peer);
}

static void fill_file(struct hf_file *file)
{
    unsigned char *bytes = malloc(BYTES);

    EXPECT(bytes);
    memset(bytes, FILE_BYTE, BYTES);
    EXPECT_EQ(hf_fallocate(file, 0, 0, BYTES, NULL), 0);
    EXPECT_EQ(hf_write(file, bytes, BYTES, 0), (ssize_t)BYTES);
    free(bytes);
}

static uint64_t run(struct shared *shared)
{
    const uint64_t access = variant.reads ? FI_REMOTE_READ : FI_REMOTE_WRITE;
    bool early = variant.early;
    pid_t peer = (open_owner(shared), test_fork(be_peer, shared));
    struct hf_file *file = test_file(owner.pool, "/cut"), *other = test_file(owner.pool, "/other");
    unsigned char *memory;
    struct iovec iov;
    void *desc;
    uint64_t pages;
    unsigned wrong;

    fill_file(file);
    name_peer(shared);
    EXPECT_EQ(
        hf_fabric_expose(owner.fabric, file, 0, BYTES, access, owner.peer, NULL, &shared->window),
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
    if (variant.killed)
        endpoint_forget(peer);
    else
        end_late(shared, peer, memory);
    wrong = test_wrong_pages(other, STAMP, pages);
    printf("%" PRIu64 " pages of another file, %u with bytes of the peer, which has %" PRIu64
           " bytes of it\n",
           pages, wrong, shared->foreign);
    if (early)
        exit((variant.reads ? shared->foreign : wrong) > 0 ? 0 : 1);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_close(other), 0);
    test_pool_close(owner.pool);
    test_pool_check(POOL);
    return wrong + shared->foreign;
}

static int body(int argc, char **argv)
{
    static const struct option names[] = {{"reads", no_argument, &variant.reads, 1},
                                          {"killed", no_argument, &variant.killed, 1},
                                          {"early", no_argument, &variant.early, 1},
                                          {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
        if (option != 0)
            return 2;
    EXPECT_EQ(run(test_shared(sizeof(struct shared))), 0);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
