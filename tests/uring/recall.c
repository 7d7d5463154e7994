/* SPDX-License-Identifier: MIT */
/*
 * Requests that are held by leases: a layout change asks for them. The recall comes by the
 * descriptor of hf_recall_fd(), which the same ring polls, and the program cancels the request.
 * What is detached may go on.
 */
#include "change.h"
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#define RECALL_DATA UINT64_MAX

static int pipes[2];

static void poll_recalls(struct rig *rig)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&rig->ring);
    int fd = hf_recall_fd(rig->pool);

    EXPECT_OK(fd);
    io_uring_prep_poll_add(sqe, fd, POLLIN);
    io_uring_sqe_set_data64(sqe, RECALL_DATA);
    rig_submit(rig);
}

static void start_read(struct rig *rig, struct hf_file *file, uint64_t user_data)
{
    struct hf_uring_io io = rig_io(HF_URING_READ, file, 5, 1, pipes[0], user_data);

    io.flags = HF_URING_RECALL;
    rig_prep(rig, &io);
    rig_submit(rig);
}

/* The next completion is that of the poll. */
static void await_recall(struct rig *rig, struct hf_recall *recall)
{
    struct io_uring_cqe *cqe;
    struct hf_uring_done done;

    EXPECT_EQ(io_uring_wait_cqe(&rig->ring, &cqe), 0);
    EXPECT_EQ(hf_uring_complete(rig->uring, cqe, &done), -ENOENT);
    EXPECT_EQ(cqe->user_data, RECALL_DATA);
    io_uring_cqe_seen(&rig->ring, cqe);
    EXPECT_EQ(hf_recall_next(rig->pool, recall), 1);
}

static void cancelled_when_asked(struct rig *rig, struct rig *other, struct hf_file *file)
{
    struct change_thread change = {.pool = rig->pool, .file = file, .kind = CHANGE_PUNCH};
    struct hf_uring_done done;
    struct hf_recall recall;
    uint64_t user_data = 0;

    poll_recalls(rig);
    start_read(rig, file, 41);
    change_start(&change);
    await_recall(rig, &recall);
    EXPECT_EQ(hf_uring_recalled(other->uring, &recall, &user_data), 0);
    EXPECT_EQ(user_data, 0);
    EXPECT_EQ(hf_uring_recalled(rig->uring, &recall, &user_data), 1);
    EXPECT_EQ(user_data, 41);
    EXPECT_EQ(test_peek(&change.done), 0);
    EXPECT_EQ(hf_uring_cancel(rig->uring, user_data), 0);
    rig_submit(rig);
    done = rig_take(rig, 41);
    EXPECT_EQ(done.result, -ECANCELED);
    EXPECT_EQ(done.flags, HF_URING_RECALLED);
    EXPECT_EQ(change_finish(&change), 0);
    /* It has ended, and its slot may be another's. */
    EXPECT_EQ(hf_uring_recalled(rig->uring, &recall, &user_data), 0);
    start_read(rig, file, 42);
    EXPECT_EQ(hf_uring_recalled(rig->uring, &recall, &user_data), 0);
    EXPECT_EQ(write(pipes[1], "x", 1), 1);
    done = rig_take(rig, 42);
    EXPECT_EQ(done.result, 1);
    EXPECT_EQ(done.flags, 0);
}

static void detached_goes_on(struct rig *rig, struct hf_file *file)
{
    struct hf_uring_done done;
    struct hf_recall recall;
    uint64_t user_data;

    poll_recalls(rig);
    start_read(rig, file, 43);
    EXPECT_EQ(hf_truncate(file, 0, &test_detach), 0);
    await_recall(rig, &recall);
    EXPECT_EQ(recall.state, HF_LEASE_DETACHED);
    EXPECT_EQ(hf_uring_recalled(rig->uring, &recall, &user_data), 1);
    EXPECT_EQ(write(pipes[1], "abc", 3), 3);
    done = rig_take(rig, 43);
    EXPECT_EQ(done.result, 3);
    EXPECT_EQ(done.flags, HF_URING_RECALLED | HF_URING_DETACHED);
}

/* A lease of the program's own is not taken for a request. */
static void others_are_left_alone(struct rig *rig, struct hf_file *file)
{
    struct hf_lease_options options = {.size = sizeof(options), .arg = rig};
    uint64_t user_data;
    struct hf_recall recall;
    struct hf_lease lease;
    struct iovec iov;

    test_write_pages(file, 1, 0, 1);
    lease = test_lease(file, 0, 1, &options, &iov, 1);
    EXPECT_EQ(hf_truncate(file, 0, &test_nowait), -EBUSY);
    while (hf_recall_next(rig->pool, &recall) == 0) /* the library's thread may be reading it */
        usleep(100);
    EXPECT_EQ(hf_uring_recalled(rig->uring, &recall, &user_data), 0);
    EXPECT_EQ(hf_lease_release(&lease), 0);
}

static void scenario(void)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(16));
    struct hf_file *file = change_prepare(pool, "/file");
    struct rig rig, other;

    EXPECT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    rig_open(&rig, pool, 16, 0, NULL);
    rig_open(&other, pool, 16, 0, NULL);
    cancelled_when_asked(&rig, &other, file);
    detached_goes_on(&rig, file);
    others_are_left_alone(&rig, file);
    EXPECT_EQ(rig_held(pool), 0);
    rig_close(&other);
    EXPECT_EQ(hf_uring_exit(rig.uring), 0);
    io_uring_queue_exit(&rig.ring);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(scenario)
