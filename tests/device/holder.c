/* SPDX-License-Identifier: MIT */
/*
 * A holder: in each slot a lease, registered with the ring as fixed buffers, and one read in
 * flight. Registering pins the pages of the pool's memory in the kernel, so they stay, whatever
 * becomes of the blocks. The lease makes the blocks stay too. After a recall the holder cancels the
 * read, and releases the lease when the read's completion has come. Only that says that the device
 * has stopped. After a detach it may go on, since the memory is its own.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct slot {
    struct hf_lease lease;
    struct iovec pieces[DEVICE_PAGES];
    int count, piece; /* pieces there are, and the one that is being read into */
    size_t at;        /* bytes of that piece that have come */
    uint64_t got, stamp;
    bool held, disk, in_flight, ends;
};

struct holder {
    struct device *device;
    struct hf_pool *pool;
    struct test_rng rng;
    struct io_uring ring;
    unsigned number;
    int wake, recall_fd;
    struct slot slots[DEVICE_SLOTS];
};

static struct io_uring_sqe *next_sqe(struct holder *holder)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&holder->ring);

    EXPECT(sqe != NULL);
    return sqe;
}

static unsigned index_of(const struct holder *holder, const struct slot *slot)
{
    return (unsigned)(slot - holder->slots);
}

/* --- recall --- */

/* In the library's thread. The ring is the holder's own thread's, which looks at the states of its
 * leases. */
static void recalled(void *arg, const struct hf_recall *recall)
{
    struct holder *holder = arg;
    static const uint64_t one = 1;

    EXPECT(recall->len > 0 && recall->why != 0);
    test_count64(&holder->device->called, 1);
    test_count64(&holder->device->told_detached, recall->state == HF_LEASE_DETACHED);
    EXPECT_EQ(write(holder->wake, &one, sizeof(one)), sizeof(one));
}

static void hear(struct holder *holder)
{
    struct hf_recall recall;
    uint64_t count;

    if (read(holder->wake, &count, sizeof(count)) < 0)
        EXPECT_EQ(errno, EAGAIN);
    while (hf_recall_next(holder->pool, &recall) == 1) {
        EXPECT(recall.arg == holder && recall.len > 0 && recall.why != 0);
        test_count64(&holder->device->polled, 1);
        test_count64(&holder->device->told_detached, recall.state == HF_LEASE_DETACHED);
    }
}

/* --- one lease --- */

static void register_pieces(struct holder *holder, const struct slot *slot)
{
    for (int i = 0; i < slot->count; i++)
        EXPECT_EQ(io_uring_register_buffers_update_tag(
                      &holder->ring, index_of(holder, slot) * DEVICE_PAGES + (unsigned)i,
                      &slot->pieces[i], NULL, 1),
                  1);
}

static void unregister_pieces(struct holder *holder, const struct slot *slot)
{
    struct iovec nothing = {.iov_base = NULL};

    for (int i = 0; i < slot->count; i++)
        EXPECT_EQ(io_uring_register_buffers_update_tag(
                      &holder->ring, index_of(holder, slot) * DEVICE_PAGES + (unsigned)i, &nothing,
                      NULL, 1),
                  1);
}

static unsigned char device_byte(const struct holder *holder, const struct slot *slot)
{
    return (unsigned char)(slot->disk ? DEVICE_DISK_BYTE : DEVICE_PIPE_BYTE(holder->number));
}

static void stamp_pieces(struct slot *slot)
{
    uint64_t page = 0;

    for (int i = 0; i < slot->count; i++)
        for (size_t at = 0; at < slot->pieces[i].iov_len; at += TEST_PAGE)
            test_page_fill((char *)slot->pieces[i].iov_base + at, slot->stamp, page++);
}

/* As far as the device has written, its pattern; after that the bytes that the holder had put
 * there. Also where the blocks have left the file. */
static void expect_own(const struct holder *holder, const struct slot *slot)
{
    unsigned char want[TEST_PAGE];
    uint64_t page = 0;

    for (int i = 0; i < slot->count; i++)
        for (size_t at = 0; at < slot->pieces[i].iov_len; at += TEST_PAGE, page++) {
            uint64_t written = slot->got > page * TEST_PAGE ? slot->got - page * TEST_PAGE : 0;

            test_page_fill(want, slot->stamp, page);
            memset(want, device_byte(holder, slot), written < TEST_PAGE ? written : TEST_PAGE);
            if (memcmp(want, (char *)slot->pieces[i].iov_base + at, TEST_PAGE) == 0 ||
                device_came_late(holder->device, (char *)slot->pieces[i].iov_base + at, TEST_PAGE))
                continue;
            test_count64(&holder->device->corrupt, 1);
            if (!holder->device->broken)
                FAIL("page %" PRIu64 " of a lease in state %d is not what its holder and its "
                     "device wrote, %" PRIu64 " bytes",
                     page, hf_lease_state(&slot->lease), slot->got);
        }
}

/* The number of pieces, or why there is none now: the pool is full, or the file was cut again. */
static int take_range(struct holder *holder, struct slot *slot, struct hf_file *file)
{
    uint64_t first = test_below(&holder->rng, DEVICE_PAGES);
    uint64_t off = first * TEST_PAGE;
    uint64_t len = (1 + test_below(&holder->rng, DEVICE_PAGES - first)) * TEST_PAGE;
    struct hf_lease_options options = {
        .size = sizeof(options), .flags = HF_PIN_WRITE | HF_PIN_IO_URING, .arg = holder};
    struct hf_pin pin;
    int rc;

    if (holder->device->leased) {
        options.recall = test_chance(&holder->rng, 50) ? recalled : NULL;
        return hf_lease(file, off, len, &options, slot->pieces, DEVICE_PAGES, &slot->lease);
    }
    rc = hf_pin(file, off, len, options.flags, slot->pieces, DEVICE_PAGES, &pin);
    if (rc > 0)
        EXPECT_EQ(hf_unpin(&pin), 0);
    return rc;
}

static void begin(struct holder *holder, struct slot *slot)
{
    struct hf_file *file;
    char path[64];
    int rc;

    device_file_path(holder->number, index_of(holder, slot), path);
    rc = device_open(holder->pool, path, O_RDWR | O_CREAT, &file);
    if (rc == -ENOSPC)
        return;
    EXPECT_EQ(rc, 0);
    rc = device_truncate(file, DEVICE_PAGES * TEST_PAGE);
    EXPECT(rc == 0 || rc == -ENOSPC);
    rc = take_range(holder, slot, file);
    EXPECT(rc > 0 || rc == -ENOSPC || rc == -EFAULT || rc == -EBUSY);
    EXPECT_EQ(hf_close(file), 0);
    if (rc < 0)
        return;
    slot->count = rc;
    slot->piece = 0;
    slot->at = slot->got = 0;
    slot->stamp = test_random(&holder->rng);
    slot->held = true;
    slot->ends = false;
    slot->disk = holder->device->disk >= 0 && test_chance(&holder->rng, 30);
    if (holder->device->leased)
        stamp_pieces(slot);
    register_pieces(holder, slot);
    test_count64(&holder->device->leases, 1);
}

static void end(struct holder *holder, struct slot *slot)
{
    unregister_pieces(holder, slot);
    if (holder->device->leased) {
        expect_own(holder, slot);
        EXPECT_EQ(hf_lease_release(&slot->lease), 0);
    }
    slot->held = false;
}

static void submit_read(struct holder *holder, struct slot *slot)
{
    const struct iovec *piece = &slot->pieces[slot->piece];
    struct io_uring_sqe *sqe = next_sqe(holder);
    unsigned index = index_of(holder, slot);
    size_t len = piece->iov_len - slot->at;
    uint64_t off = slot->disk
                       ? test_below(&holder->rng, (DEVICE_DISK_BYTES - len) / TEST_PAGE) * TEST_PAGE
                       : UINT64_MAX; /* where the pipe is */

    io_uring_prep_read_fixed(
        sqe, slot->disk ? holder->device->disk : holder->device->pipes[holder->number][0],
        (char *)piece->iov_base + slot->at, (unsigned)len, off,
        (int)(index * DEVICE_PAGES + (unsigned)slot->piece));
    io_uring_sqe_set_data64(sqe, index + 1);
    slot->in_flight = true;
}

static void submit_cancel(struct holder *holder, const struct slot *slot)
{
    struct io_uring_sqe *sqe = next_sqe(holder);

    io_uring_prep_cancel64(sqe, index_of(holder, slot) + 1, 0);
    io_uring_sqe_set_data64(sqe, 0); /* the read's own completion is what counts */
}

static void completed(struct holder *holder, struct slot *slot, int res)
{
    slot->in_flight = false;
    if (res == -ECANCELED || res == -EINTR) {
        test_count64(&holder->device->cancelled, 1);
        slot->ends = true;
        return;
    }
    EXPECT(res > 0);
    test_count64(slot->disk ? &holder->device->disk_reads : &holder->device->pipe_reads, 1);
    test_count64(&holder->device->bytes, (uint64_t)res);
    slot->got += (uint64_t)res;
    slot->at += (size_t)res;
    if (slot->at == slot->pieces[slot->piece].iov_len) {
        slot->at = 0;
        slot->ends |= ++slot->piece == slot->count;
    }
}

/* What this slot does next. */
static void advance(struct holder *holder, struct slot *slot, bool stop)
{
    bool leased = slot->held && holder->device->leased;
    bool ends = slot->ends;

    if (!slot->held && !stop)
        begin(holder, slot);
    if (!slot->held)
        return;
    slot->ends |= stop || (leased && hf_lease_state(&slot->lease) == HF_LEASE_RECALLED);
    if (slot->in_flight && slot->ends && !ends)
        submit_cancel(holder, slot);
    else if (!slot->in_flight && slot->ends)
        end(holder, slot);
    else if (!slot->in_flight)
        submit_read(holder, slot);
}

static void reap_completions(struct holder *holder)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&holder->ring, &cqe) == 0) {
        uint64_t slot = io_uring_cqe_get_data64(cqe);

        if (slot)
            completed(holder, &holder->slots[slot - 1], cqe->res);
        io_uring_cqe_seen(&holder->ring, cqe);
    }
}

static bool idle(const struct holder *holder)
{
    for (unsigned i = 0; i < DEVICE_SLOTS; i++)
        if (holder->slots[i].held)
            return false;
    return true;
}

static void set_up(struct holder *holder)
{
    int rc = io_uring_queue_init(4 * DEVICE_SLOTS, &holder->ring, 0);

    if (rc == -ENOSYS || rc == -EPERM)
        test_skip("io_uring is not allowed here");
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(io_uring_register_buffers_sparse(&holder->ring, DEVICE_SLOTS * DEVICE_PAGES), 0);
    holder->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    holder->recall_fd = hf_recall_fd(holder->pool);
    EXPECT_OK(holder->wake);
    EXPECT_OK(holder->recall_fd);
}

void device_hold(struct device *device, unsigned number)
{
    static struct holder holder;

    holder.device = device;
    holder.number = number;
    holder.rng.state = test_mix(device->seed + test_peek64(&device->killed), number);
    holder.pool = device_pool_open();
    set_up(&holder);
    for (;;) {
        struct pollfd fds[] = {{.fd = holder.ring.ring_fd, .events = POLLIN},
                               {.fd = holder.wake, .events = POLLIN},
                               {.fd = holder.recall_fd, .events = POLLIN}};
        bool stop = test_peek(&device->stop);

        if (stop && idle(&holder))
            break;
        for (unsigned i = 0; i < DEVICE_SLOTS; i++)
            advance(&holder, &holder.slots[i], stop);
        EXPECT_OK(io_uring_submit(&holder.ring));
        if (poll(fds, 3, 2) < 0)
            EXPECT_EQ(errno, EINTR);
        reap_completions(&holder);
        hear(&holder);
    }
    io_uring_queue_exit(&holder.ring);
    test_pool_close(holder.pool);
}
