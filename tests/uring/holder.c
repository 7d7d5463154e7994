/* SPDX-License-Identifier: MIT */
/*
 * A holder of tests/device that has its device I/O done by libholdfast-uring. Each slot has one
 * request, in a file of its own, from a pipe or socket that trickles, or with O_DIRECT from a disk.
 * Every second one is held by a lease, whose recall comes by the same ring. One holder's ring has a
 * thread of the kernel (IORING_SETUP_SQPOLL). When a read has ended, and before its range is
 * released, the memory has the device's bytes and no others. Without `leased` it reads into the
 * same registered memory, at addresses that it does not hold.
 */
#include "../device/device.h"
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define RECALL_DATA (DEVICE_SLOTS + 1)

struct slot {
    bool busy, disk;
    uint64_t data; /* of the submission entry */
    struct iovec pieces[DEVICE_PAGES];
    unsigned count;
};

struct holder {
    struct device *device;
    struct rig rig;
    struct test_rng rng;
    unsigned number;
    struct slot slots[DEVICE_SLOTS];
};

static struct io_uring_sqe *next_sqe(struct holder *holder)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&holder->rig.ring);

    while (!sqe) { /* the kernel's thread has not looked yet */
        EXPECT_OK(io_uring_submit(&holder->rig.ring));
        sqe = io_uring_get_sqe(&holder->rig.ring);
    }
    return sqe;
}

/* As a program would do that knows nothing of pins. */
static int read_unheld(struct holder *holder, const struct hf_uring_io *io)
{
    struct iovec iov[DEVICE_PAGES];
    struct io_uring_sqe *sqe;
    struct hf_pin pin;
    int rc = hf_pin(io->file, io->off, io->len, HF_PIN_WRITE, iov, DEVICE_PAGES, &pin);

    if (rc < 0)
        return rc;
    EXPECT_EQ(hf_unpin(&pin), 0);
    sqe = next_sqe(holder);
    io_uring_prep_read_fixed(sqe, io->fd, iov[0].iov_base, (unsigned)iov[0].iov_len, io->fd_off, 0);
    io_uring_sqe_set_data64(sqe, io->user_data);
    return 0;
}

/* Where the entry that was prepared last has bytes put. */
static void note_pieces(struct holder *holder, struct slot *slot)
{
    const struct io_uring_sq *sq = &holder->rig.ring.sq;
    const struct io_uring_sqe *sqe = &sq->sqes[(sq->sqe_tail - 1) & *sq->kring_mask];
    const void *at = (const void *)(uintptr_t)sqe->addr;
    const struct msghdr *message = at;

    slot->data = sqe->user_data;
    slot->count = sqe->len;
    if (sqe->opcode == IORING_OP_RECVMSG) {
        slot->count = (unsigned)message->msg_iovlen;
        at = message->msg_iov;
    } else if (sqe->opcode == IORING_OP_READ || sqe->opcode == IORING_OP_READ_FIXED ||
               sqe->opcode == IORING_OP_RECV) {
        slot->pieces[0] = (struct iovec){(void *)(uintptr_t)sqe->addr, sqe->len};
        slot->count = 1;
        return;
    }
    EXPECT(slot->count > 1 && slot->count <= DEVICE_PAGES);
    memcpy(slot->pieces, at, slot->count * sizeof(slot->pieces[0]));
}

/* The range is still held. */
static void expect_landed(const struct holder *holder, const struct slot *slot, uint64_t bytes)
{
    unsigned char want =
        (unsigned char)(slot->disk ? DEVICE_DISK_BYTE : DEVICE_PIPE_BYTE(holder->number));

    for (unsigned i = 0; i < slot->count; i++) {
        const unsigned char *at = slot->pieces[i].iov_base;

        for (size_t byte = 0; byte < slot->pieces[i].iov_len && bytes > 0; byte++, bytes--)
            if (at[byte] != want && !device_came_late(holder->device, &at[byte], 1))
                FAIL("byte %zu of a piece is 0x%02x, and the device wrote 0x%02x", byte, at[byte],
                     want);
        test_count64(&holder->device->landed, slot->pieces[i].iov_len / TEST_PAGE);
    }
    EXPECT_EQ(bytes, 0);
}

static void look_in_place(const struct holder *holder, const struct io_uring_cqe *cqe)
{
    for (unsigned i = 0; holder->device->leased && cqe->res > 0 && i < DEVICE_SLOTS; i++)
        if (holder->slots[i].busy && holder->slots[i].data == cqe->user_data)
            expect_landed(holder, &holder->slots[i], (uint64_t)cqe->res);
}

/* -EAGAIN and the like: another time. */
static int start_request(struct holder *holder, unsigned slot, struct hf_file *file)
{
    const struct device *device = holder->device;
    struct slot *mine = &holder->slots[slot];
    uint64_t first = test_below(&holder->rng, DEVICE_PAGES);
    uint64_t pages = 1 + test_below(&holder->rng, DEVICE_PAGES - first);
    struct hf_uring_io io =
        rig_io(HF_URING_READ, file, first, pages, device->pipes[holder->number][0], slot + 1);
    int rc;

    mine->disk = device->disk >= 0 && test_chance(&holder->rng, 30);
    if (holder->number == DEVICE_SOCKET)
        io.op = HF_URING_RECV;
    if (mine->disk) {
        io.op = HF_URING_READ;
        io.fd = device->disk;
        io.fd_off = test_below(&holder->rng, DEVICE_DISK_BYTES / TEST_PAGE - pages) * TEST_PAGE;
    }
    io.flags = test_chance(&holder->rng, 50) ? HF_URING_RECALL : 0;
    if (!device->leased)
        return read_unheld(holder, &io);
    rc = hf_uring_prep(holder->rig.uring, &io);
    if (rc == 0)
        note_pieces(holder, mine);
    return rc;
}

static void begin(struct holder *holder, unsigned slot)
{
    struct hf_file *file;
    char path[64];
    int rc;

    device_file_path(holder->number, slot, path);
    rc = device_open(holder->rig.pool, path, O_RDWR | O_CREAT, &file);
    if (rc == -ENOSPC)
        return;
    EXPECT_EQ(rc, 0);
    rc = device_truncate(file, DEVICE_PAGES * TEST_PAGE);
    EXPECT(rc == 0 || rc == -ENOSPC);
    rc = start_request(holder, slot, file);
    EXPECT_EQ(hf_close(file), 0);
    holder->slots[slot].busy = rc == 0;
    if (rc == 0)
        test_count64(&holder->device->leases, 1);
    else if (rc != -EAGAIN && rc != -ENOSPC && rc != -EFAULT && rc != -EBUSY)
        FAIL("a request gave %d: %s", rc, hf_uring_detail());
}

static void cancel(struct holder *holder, uint64_t user_data)
{
    int rc;

    while ((rc = hf_uring_cancel(holder->rig.uring, user_data)) == -EBUSY)
        EXPECT_OK(io_uring_submit(&holder->rig.ring));
    EXPECT(rc == 0 || rc == -ENOENT);
}

static void poll_recalls(struct holder *holder)
{
    struct io_uring_sqe *sqe = next_sqe(holder);

    io_uring_prep_poll_add(sqe, hf_recall_fd(holder->rig.pool), POLLIN);
    io_uring_sqe_set_data64(sqe, RECALL_DATA);
}

static void hear(struct holder *holder)
{
    struct hf_recall recall;
    uint64_t user_data;

    while (hf_recall_next(holder->rig.pool, &recall) == 1) {
        test_count64(&holder->device->polled, 1);
        test_count64(&holder->device->told_detached, recall.state == HF_LEASE_DETACHED);
        if (hf_uring_recalled(holder->rig.uring, &recall, &user_data) == 1 &&
            recall.state == HF_LEASE_RECALLED)
            cancel(holder, user_data);
    }
    poll_recalls(holder);
}

static void ended(struct holder *holder, uint64_t user_data, int result)
{
    struct device *device = holder->device;
    unsigned slot = (unsigned)user_data - 1;

    EXPECT(slot < DEVICE_SLOTS && holder->slots[slot].busy);
    holder->slots[slot].busy = false;
    if (result == -ECANCELED || result == -EINTR) {
        test_count64(&device->cancelled, 1);
        return;
    }
    EXPECT(result > 0);
    test_count64(holder->slots[slot].disk ? &device->disk_reads : &device->pipe_reads, 1);
    test_count64(&device->bytes, (uint64_t)result);
}

static void reap(struct holder *holder)
{
    struct __kernel_timespec little = {.tv_nsec = 2000000};
    struct hf_uring_done done;
    struct io_uring_cqe *cqe;
    int rc = io_uring_wait_cqe_timeout(&holder->rig.ring, &cqe, &little);

    EXPECT(rc == 0 || rc == -ETIME || rc == -EINTR);
    while (io_uring_peek_cqe(&holder->rig.ring, &cqe) == 0) {
        uint64_t user_data = cqe->user_data;
        int result = cqe->res;

        look_in_place(holder, cqe);
        rc = hf_uring_complete(holder->rig.uring, cqe, &done);
        io_uring_cqe_seen(&holder->rig.ring, cqe);
        if (rc == 1)
            ended(holder, done.user_data, done.result);
        else if (rc == -ENOENT && user_data == RECALL_DATA)
            hear(holder);
        else if (rc == -ENOENT && user_data != LIBURING_UDATA_TIMEOUT)
            ended(holder, user_data, result);
    }
}

void device_hold(struct device *device, unsigned number)
{
    static struct holder holder;

    holder.device = device;
    holder.number = number;
    holder.rng.state = test_mix(device->seed + test_peek64(&device->killed), number);
    rig_open(&holder.rig, device_pool_open(), 8 * DEVICE_SLOTS,
             number == 0 ? IORING_SETUP_SQPOLL : 0, NULL);
    poll_recalls(&holder);
    while (!test_peek(&device->stop)) {
        for (unsigned slot = 0; slot < DEVICE_SLOTS; slot++) {
            if (!holder.slots[slot].busy)
                begin(&holder, slot);
            else if (device->leased && test_chance(&holder.rng, 2))
                cancel(&holder, slot + 1);
        }
        EXPECT_OK(io_uring_submit(&holder.rig.ring));
        reap(&holder);
    }
    EXPECT_EQ(hf_uring_exit(holder.rig.uring), 0);
    io_uring_queue_exit(&holder.rig.ring);
    test_pool_close(holder.rig.pool);
}
