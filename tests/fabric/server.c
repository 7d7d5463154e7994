/* SPDX-License-Identifier: MIT */
/*
 * A server: exposes a file a slot to its peer, and hands its answers on. When the peer is lost it
 * closes the endpoint in the event, and comes back with another one for the next peer.
 *
 * Without leases it registers the addresses and forgets them: the wrong variant.
 */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

struct slot {
    uint64_t region;   /* 0: none */
    struct fid_mr *mr; /* without leases */
};

struct server {
    struct fabric_io *io;
    struct mailbox *box;
    struct hf_pool *pool;
    struct hf_fabric *fabric;
    struct endpoint end;
    pthread_mutex_t mutex; /* of the endpoint and `lost`; nothing waits for pins under it */
    struct test_rng rng;
    struct slot slots[DEVICE_SLOTS];
    unsigned number;
    bool lost;
};

static struct server server;

/* --------------------------------------------------------------------------- events ------- */

static void on_event(void *arg, const struct hf_fabric_event *event)
{
    const unsigned slot = (unsigned)(uintptr_t)arg;

    if (event->kind == HF_FABRIC_REVOKE) {
        test_count64(&server.io->revoked, 1);
        test_put64(&server.box->revoked[slot], event->region);
        return;
    }
    test_count64(&server.io->lost, 1);
    pthread_mutex_lock(&server.mutex);
    if (server.end.cq)
        endpoint_close(&server.end);
    server.lost = true;
    pthread_mutex_unlock(&server.mutex);
}

/* --------------------------------------------------------------------------- slots -------- */

static struct hf_file *open_slot(unsigned slot, uint64_t len)
{
    struct hf_file *file;
    char path[64];
    int rc;

    device_file_path(server.number, slot, path);
    EXPECT_EQ(hf_open(server.pool, path, O_RDWR | O_CREAT | O_TRUNC, 0600, &file), 0);
    rc = hf_truncate(file, len, NULL);
    if (rc == 0)
        return file;
    EXPECT_EQ(rc, -ENOSPC);
    EXPECT_EQ(hf_close(file), 0);
    return NULL;
}

/* What peers are to read, written where nobody else can write any more. */
static void stamp_pages(const struct iovec *iov, int pieces, uint64_t stamp)
{
    uint64_t page = 0;

    for (int i = 0; i < pieces; i++)
        for (size_t at = 0; at < iov[i].iov_len; at += TEST_PAGE)
            test_page_fill((char *)iov[i].iov_base + at, stamp, page++);
}

/* What is there without a lease: the addresses of a moment ago. */
static int expose_raw(unsigned slot, struct hf_file *file, uint64_t len,
                      struct hf_fabric_window *window, uint64_t stamp)
{
    struct iovec iov;
    struct hf_pin pin;
    int rc = hf_pin(file, 0, len, HF_PIN_WRITE, &iov, 1, &pin);
    bool by_address = server.end.info->domain_attr->mr_mode & FI_MR_VIRT_ADDR;

    if (rc < 0)
        return rc;
    stamp_pages(&iov, 1, stamp);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(fi_mr_reg(server.end.domain, iov.iov_base, iov.iov_len,
                        FI_REMOTE_READ | FI_REMOTE_WRITE, 0, 1000 + slot, 0, &server.slots[slot].mr,
                        NULL),
              0);
    *window = (struct hf_fabric_window){.region = slot + 1, .len = len, .pieces = 1};
    window->piece[0] = (struct hf_fabric_piece){by_address ? (uintptr_t)iov.iov_base : 0,
                                                fi_mr_key(server.slots[slot].mr), len};
    return 0;
}

static int expose(unsigned slot, struct hf_file *file, uint64_t len,
                  struct hf_fabric_window *window, uint64_t stamp)
{
    uint64_t access = SLOT_READS(slot) ? FI_REMOTE_READ | FI_RECV : FI_REMOTE_WRITE;
    struct iovec iov[DEVICE_PAGES];
    void *desc[DEVICE_PAGES];
    int rc;

    if (!server.io->device.leased)
        return expose_raw(slot, file, len, window, stamp);
    rc = hf_fabric_expose(server.fabric, file, 0, len, access, NULL, (void *)(uintptr_t)slot,
                          window);
    if (rc)
        return rc;
    rc = hf_fabric_local(server.fabric, window->region, iov, desc, DEVICE_PAGES);
    if (rc == -ENOENT) /* asked for at once, and lost: this thread was slow */
        return -EBUSY;
    EXPECT(rc > 0);
    stamp_pages(iov, rc, stamp);
    return 0;
}

static void begin(unsigned slot)
{
    uint64_t pages = 1 + test_below(&server.rng, DEVICE_PAGES), stamp = test_random(&server.rng);
    struct hf_file *file = open_slot(slot, pages * TEST_PAGE);
    int rc;

    if (!file)
        return;
    rc = expose(slot, file, pages * TEST_PAGE, &server.box->window[slot], stamp);
    EXPECT_EQ(hf_close(file), 0);
    if (rc == -EFAULT || rc == -ENOSPC || rc == -E2BIG || rc == -EBUSY)
        return; /* cut before it was leased, or full */
    EXPECT_EQ(rc, 0);
    test_count64(&server.io->exposed, 1);
    server.box->stamp[slot] = stamp;
    server.slots[slot].region = server.box->window[slot].region;
    test_put64(&server.box->given[slot], server.slots[slot].region);
}

static void end(unsigned slot)
{
    int rc = hf_fabric_acknowledge(server.fabric, server.slots[slot].region);

    server.slots[slot].region = 0;
    if (rc == 0)
        test_count64(&server.io->answered, 1);
    else
        EXPECT(rc == -ESTALE || rc == -ENOENT); /* the answer was late */
}

static void advance(unsigned slot)
{
    uint64_t region = server.slots[slot].region;

    if (!region)
        begin(slot);
    else if (server.io->device.leased && test_peek64(&server.box->done[slot]) == region)
        end(slot);
    else if (server.io->device.leased && test_below(&server.rng, 20000) == 0)
        hf_fabric_withdraw(server.fabric, region);
}

/* --------------------------------------------------------------------------- endpoints ---- */

static void open_end(void)
{
    endpoint_open(&server.end);
    server.box->name = endpoint_name(&server.end);
    for (unsigned slot = 0; slot < DEVICE_SLOTS; slot++)
        test_put64(&server.box->given[slot], test_peek64(&server.box->done[slot]));
    test_raise(&server.box->opened, server.box->wanted);
}

/* The peer is gone with all that it had: what was not told yet is abandoned. Then another comes. */
static void come_back(void)
{
    for (unsigned slot = 0; slot < DEVICE_SLOTS; slot++) {
        if (server.slots[slot].region)
            hf_fabric_abandon(server.fabric, server.slots[slot].region);
        server.slots[slot].region = 0;
    }
    test_raise(&server.box->gone, 1);
    while (test_peek(&server.box->wanted) == server.box->opened &&
           !test_peek(&server.io->device.stop))
        test_sleep_ms(1);
    pthread_mutex_lock(&server.mutex);
    server.lost = false;
    if (!test_peek(&server.io->device.stop))
        open_end();
    pthread_mutex_unlock(&server.mutex);
}

static bool is_lost(void)
{
    bool lost;

    pthread_mutex_lock(&server.mutex);
    lost = server.lost;
    pthread_mutex_unlock(&server.mutex);
    return lost;
}

static void move_bytes(void)
{
    int error;

    pthread_mutex_lock(&server.mutex);
    if (server.end.cq)
        endpoint_completed(&server.end, &error);
    pthread_mutex_unlock(&server.mutex);
    usleep(20);
}

static void end_all(void)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;
    int rc;

    pthread_mutex_lock(&server.mutex);
    if (server.end.cq)
        endpoint_close(&server.end);
    pthread_mutex_unlock(&server.mutex);
    for (unsigned slot = 0; slot < DEVICE_SLOTS; slot++) {
        if (server.slots[slot].mr)
            EXPECT_EQ(fi_close(&server.slots[slot].mr->fid), 0);
        else if (server.slots[slot].region)
            end(slot);
    }
    while ((rc = hf_fabric_close(server.fabric)) == -EBUSY && test_now_ns() < limit)
        test_sleep_ms(1);
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(fi_close(&server.end.domain->fid), 0);
    EXPECT_EQ(fi_close(&server.end.fabric->fid), 0);
    test_pool_close(server.pool);
}

void fabric_serve(struct fabric_io *io, unsigned number)
{
    struct hf_fabric_options options = {
        .size = sizeof(options), .event = on_event, .answer_ns = io->answer_ns};

    server = (struct server){.io = io, .box = &io->box[number], .number = number};
    pthread_mutex_init(&server.mutex, NULL);
    server.rng.state = test_mix(io->device.seed + test_peek64(&io->device.killed), number);
    server.pool = test_pool_open(DEVICE_POOL);
    endpoint_domain(&server.end, io->provider, io->server_node);
    options.domain = server.end.domain;
    options.info = server.end.info;
    EXPECT_EQ(hf_fabric_open(server.pool, &options, &server.fabric), 0);
    open_end();
    while (!test_peek(&io->device.stop)) {
        if (is_lost())
            come_back();
        for (unsigned slot = 0; slot < DEVICE_SLOTS; slot++)
            advance(slot);
        move_bytes();
    }
    end_all();
}
