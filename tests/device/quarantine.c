/* SPDX-License-Identifier: MIT */
/*
 * A device that goes on writing after the process that set it up was killed. A child of the holder
 * has the holder's ring, with its registered buffers, and submits reads to it. The file is cut, and
 * the pool filled to the last block. As long as the quarantine lasts, what the device writes is in
 * no file. The same is done again with a quarantine of a nanosecond, and then a file has to show
 * what the device writes.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 4
#define BYTE 0xDE
#define STAMP 7
#define QUARANTINE_NS UINT64_C(3000000000)
#define READS 20

struct shared {
    uint64_t quarantine_ns, killed_ns; /* when the holder was, or is about to be */
    uint32_t reads, stop, stopped;
    int pipe[2];
};

static void trickle(void *arg)
{
    struct shared *shared = arg;

    device_trickle(shared->pipe[1], BYTE);
}

/* Half of the quarantine is as long as this device writes, if there is one to speak of. */
static bool goes_on(const struct shared *shared)
{
    uint64_t killed = test_peek64(&shared->killed_ns);

    return !test_peek(&shared->stop) && (!killed || shared->quarantine_ns < QUARANTINE_NS ||
                                         test_now_ns() < killed + shared->quarantine_ns / 2);
}

static void be_device(struct shared *shared, struct io_uring *ring, const struct iovec *to)
{
    struct test_rng rng = {.state = 1};
    struct io_uring_cqe *cqe;

    while (goes_on(shared)) {
        uint64_t page = test_below(&rng, to->iov_len / TEST_PAGE);

        io_uring_prep_read_fixed(io_uring_get_sqe(ring), shared->pipe[0],
                                 (char *)to->iov_base + page * TEST_PAGE, TEST_PAGE, UINT64_MAX, 0);
        EXPECT_EQ(io_uring_submit(ring), 1);
        EXPECT_EQ(io_uring_wait_cqe(ring, &cqe), 0);
        EXPECT(cqe->res > 0);
        io_uring_cqe_seen(ring, cqe);
        test_count(&shared->reads);
    }
    test_raise(&shared->stopped, 1);
}

/* Not test_fork(): the device is to outlive its parent. It is ended with the whole test, if by
 * nothing else. */
static void start_device(struct shared *shared, struct io_uring *ring, const struct iovec *to)
{
    pid_t pid = fork();

    EXPECT_OK(pid);
    if (pid > 0)
        return;
    be_device(shared, ring, to);
    _exit(0);
}

static void hold(void *arg)
{
    struct hf_lease_options options = {.size = sizeof(options),
                                       .flags = HF_PIN_WRITE | HF_PIN_IO_URING};
    struct hf_pool *pool = test_pool_open(DEVICE_POOL);
    struct io_uring ring;
    struct hf_lease lease;
    struct iovec iov;
    int rc = io_uring_queue_init(4, &ring, 0);

    if (rc == -ENOSYS || rc == -EPERM)
        test_skip("io_uring is not allowed here");
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(hf_lease(test_file(pool, "/cut"), 0, PAGES * TEST_PAGE, &options, &iov, 1, &lease),
              1);
    EXPECT_EQ(io_uring_register_buffers(&ring, &iov, 1), 0);
    start_device(arg, &ring, &iov);
    pause();
}

static uint64_t detached_bytes(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.detached_bytes;
}

/* What is seen as long as the quarantine certainly lasts. */
static void expect_quarantined(const struct shared *shared, struct hf_pool *pool)
{
    uint64_t detached = detached_bytes(pool);
    unsigned shown = test_pins_in_state(pool, HF_PIN_QUARANTINED);

    if (test_now_ns() >= shared->killed_ns + shared->quarantine_ns)
        return;
    EXPECT_EQ(detached, PAGES * TEST_PAGE);
    EXPECT_EQ(shown, 1);
}

static void await_reads(const struct shared *shared, uint32_t more)
{
    uint32_t before = test_peek(&shared->reads);

    while (test_peek(&shared->reads) < before + more && !test_peek(&shared->stopped))
        test_sleep_ms(1);
}

/* The blocks come back to be allocated. */
static uint64_t fill_rest(struct hf_file *file, uint64_t pages)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS, all = pages + PAGES;

    while ((pages = test_fill_pool(file, STAMP, pages)) < all && test_now_ns() < limit)
        test_sleep_ms(20);
    EXPECT_EQ(pages, all);
    return pages;
}

static unsigned run(struct shared *shared)
{
    struct hf_pool *pool = device_pool_new(shared->quarantine_ns);
    struct hf_file *cut = test_file_filled(pool, "/cut", STAMP + 1, PAGES);
    struct hf_file *other = test_file(pool, "/other");
    bool quarantined = shared->quarantine_ns == QUARANTINE_NS;
    pid_t feeder = test_fork(trickle, shared), holder = test_fork(hold, shared);
    uint64_t pages;
    unsigned wrong;

    while (test_peek(&shared->reads) < READS) {
        int status;

        if (waitpid(holder, &status, WNOHANG) != 0)
            exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
        test_sleep_ms(1);
    }
    EXPECT_EQ(hf_truncate(cut, 0, &test_nowait), -EBUSY);
    test_put64(&shared->killed_ns, test_now_ns());
    test_kill(holder);
    EXPECT_EQ(hf_truncate(cut, 0, &test_nowait), 0);
    if (quarantined)
        expect_quarantined(shared, pool);
    pages = test_fill_pool(other, STAMP, 0);
    await_reads(shared, READS);
    test_raise(&shared->stop, 1);
    test_await(&shared->stopped, 1);
    wrong = test_wrong_pages(other, STAMP, pages);
    if (quarantined) {
        expect_quarantined(shared, pool);
        pages = fill_rest(other, pages);
        EXPECT_EQ(test_wrong_pages(other, STAMP, pages), 0);
    }
    EXPECT_EQ(detached_bytes(pool), 0);
    printf("quarantine of %" PRIu64
           " ns: %u reads of the device, %u pages of another file were hit\n",
           shared->quarantine_ns, shared->reads, wrong);
    test_kill(feeder);
    EXPECT_EQ(hf_close(cut), 0);
    EXPECT_EQ(hf_close(other), 0);
    test_pool_close(pool);
    test_pool_check(DEVICE_POOL);
    return wrong;
}

static struct shared *new_run(uint64_t quarantine_ns)
{
    struct shared *shared = test_shared(sizeof(*shared));

    shared->quarantine_ns = quarantine_ns;
    EXPECT_EQ(pipe2(shared->pipe, O_CLOEXEC), 0);
    return shared;
}

static void scenario(void)
{
    EXPECT_EQ(run(new_run(QUARANTINE_NS)), 0);
    EXPECT_EQ(rename(test_path(DEVICE_POOL), test_path("before")), 0);
    EXPECT(run(new_run(1)) > 0);
}

TEST_SCENARIO(scenario)
