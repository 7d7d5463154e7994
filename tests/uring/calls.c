/* SPDX-License-Identifier: MIT */
/* What each call of holdfast/uring.h refuses, and that nothing is held then. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void refuses_options(struct hf_pool *pool)
{
    struct hf_uring_options good = {.size = sizeof(good)}, bad;
    struct io_uring ring;
    struct hf_uring *uring = NULL, *again;

    rig_ring(&ring, 4, 0);
    bad = good, bad.size--;
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    bad = good, bad.flags = 2;
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    bad = good, bad.reserved = 1;
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    bad = good, bad.buffer_bytes = HF_HUGE_BYTES + 4096;
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    bad = good, bad.buffer_bytes = 3 * HF_HUGE_BYTES;
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    bad = good, bad.buffer_bytes = HF_BLOCK_BYTES;
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    bad = good, bad.buffer_bytes = 2 * HF_URING_BUFFER_BYTES_MAX;
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    bad = good, bad.requests = UINT32_MAX;
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    EXPECT_EQ(hf_uring_open(NULL, &ring, NULL, &uring), -EINVAL);
    EXPECT_EQ(hf_uring_open(pool, NULL, NULL, &uring), -EINVAL);
    EXPECT_EQ(hf_uring_open(pool, &ring, NULL, NULL), -EINVAL);
    bad = good, bad.flags = HF_URING_HAS_TABLE; /* it has none */
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    EXPECT_EQ(io_uring_register_buffers_sparse(&ring, 2), 0);
    bad.first_buffer = 2; /* it is too small */
    EXPECT_EQ(hf_uring_open(pool, &ring, &bad, &uring), -EINVAL);
    EXPECT(strstr(hf_uring_detail(), "no entry 2") != NULL);
    EXPECT_EQ(hf_uring_open(pool, &ring, &good, &uring), -EBUSY);
    EXPECT(uring == NULL);
    EXPECT_EQ(io_uring_unregister_buffers(&ring), 0);
    EXPECT_EQ(hf_uring_open(pool, &ring, &good, &uring), 0);
    EXPECT_EQ(hf_uring_open(pool, &ring, NULL, &again), -EBUSY);
    EXPECT_EQ(hf_pool_close(pool), -EBUSY); /* the registration */
    EXPECT_EQ(hf_uring_close(uring), 0);
    EXPECT_EQ(hf_uring_open(pool, &ring, NULL, &uring), 0); /* as at first */
    EXPECT_EQ(hf_uring_close(uring), 0);
    io_uring_queue_exit(&ring);
}

static void refuses_requests(struct rig *rig, struct hf_file *file)
{
    const struct hf_uring_io good = rig_io(HF_URING_READ, file, 0, 1, 0, 1);
    struct hf_uring_io bad;

#define REFUSED(change, rc)                                                                        \
    do {                                                                                           \
        bad = good;                                                                                \
        change;                                                                                    \
        EXPECT_EQ(hf_uring_prep(rig->uring, &bad), rc);                                            \
        EXPECT_EQ(rig_held(rig->pool), 0);                                                         \
    } while (0)
    REFUSED(bad.size--, -EINVAL);
    REFUSED(bad.op = 0, -EINVAL);
    REFUSED(bad.op = HF_URING_SEND + 1, -EINVAL);
    REFUSED(bad.flags = 8, -EINVAL);
    REFUSED(bad.flags = HF_URING_ZERO_COPY, -EINVAL);
    REFUSED(bad.file = NULL, -EINVAL);
    REFUSED(bad.len = 0, -EINVAL);
    REFUSED(bad.len = (uint64_t)HF_URING_LEN_MAX + 1, -EINVAL);
    REFUSED(bad.sqe_flags = IOSQE_CQE_SKIP_SUCCESS, -EINVAL);
    REFUSED(bad.sqe_flags = IOSQE_BUFFER_SELECT, -EINVAL);
    REFUSED(bad.reserved = 1, -EINVAL);
    REFUSED((bad.op = HF_URING_SEND, bad.op_flags = MSG_ZEROCOPY), -EINVAL);
    REFUSED(
        (bad.op = HF_URING_SEND, bad.flags = HF_URING_ZERO_COPY, bad.sqe_flags = IOSQE_IO_DRAIN),
        -EINVAL);
    REFUSED(bad.off = 100 * TEST_PAGE, -EFAULT);
    EXPECT(strstr(hf_uring_detail(), "file ends") != NULL);
#undef REFUSED
    EXPECT_EQ(hf_uring_prep(rig->uring, NULL), -EINVAL);
    EXPECT_EQ(io_uring_sq_ready(&rig->ring), 0);
}

static void refuses_what_the_file_is_not_open_for(struct rig *rig)
{
    struct hf_uring_io io;
    struct hf_file *file;

    EXPECT_EQ(hf_open(rig->pool, "/file", O_RDONLY, 0, &file), 0);
    io = rig_io(HF_URING_READ, file, 0, 1, 0, 1);
    EXPECT_EQ(hf_uring_prep(rig->uring, &io), -EBADF);
    io.op = HF_URING_RECV;
    EXPECT_EQ(hf_uring_prep(rig->uring, &io), -EBADF);
    EXPECT_EQ(hf_close(file), 0);
}

static void refuses_too_many_pieces(struct rig *rig)
{
    struct hf_file *file = rig_scattered(rig->pool, "/scattered", 1, 1025);
    struct hf_uring_io io = rig_io(HF_URING_WRITE, file, 0, 1025, 0, 1);

    EXPECT_EQ(hf_uring_prep(rig->uring, &io), -E2BIG);
    EXPECT_EQ(rig_held(rig->pool), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void refuses_a_file_of_another_pool(struct rig *rig)
{
    struct hf_pool *other = test_pool_new("other", TEST_MIB(16));
    struct hf_file *file = test_file_filled(other, "/file", 1, 8);
    struct hf_uring_io io = rig_io(HF_URING_WRITE, file, 0, 1, 0, 1);

    EXPECT_EQ(hf_uring_prep(rig->uring, &io), -EINVAL);
    EXPECT(strstr(hf_uring_detail(), "not of the pool") != NULL);
    EXPECT_EQ(rig_held(other), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(other);
}

/* A pool that was opened read-only takes requests that take bytes out of it. */
static void only_read(void *arg)
{
    struct hf_uring_io io;
    struct hf_file *file;
    struct hf_pool *pool;
    unsigned char page[TEST_PAGE];
    struct rig rig;
    int pipes[2];

    (void)arg;
    EXPECT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    EXPECT_EQ(hf_pool_open(test_path("pool"), HF_OPEN_RDONLY, &pool), 0);
    EXPECT_EQ(hf_open(pool, "/file", O_RDONLY, 0, &file), 0);
    rig_open(&rig, pool, 4, 0, NULL);
    io = rig_io(HF_URING_WRITE, file, 3, 1, pipes[1], 1);
    rig_prep(&rig, &io);
    rig_submit(&rig);
    rig_expect(&rig, 1, TEST_PAGE);
    EXPECT_EQ(read(pipes[0], page, sizeof(page)), sizeof(page));
    EXPECT(test_page_is(page, 1, 3));
    rig_close(&rig);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

/* The queue has four entries. The ring goes on when they are submitted. */
static void refuses_when_full(struct rig *rig, struct hf_file *file)
{
    struct hf_uring_io io = rig_io(HF_URING_READ, file, 0, 1, -1, 1);

    for (unsigned i = 0; i < 4; i++)
        rig_prep(rig, &io);
    EXPECT_EQ(hf_uring_prep(rig->uring, &io), -EBUSY);
    EXPECT(strstr(hf_uring_detail(), "submit") != NULL);
    EXPECT_EQ(hf_uring_cancel(rig->uring, 1), -EBUSY);
    EXPECT_EQ(rig_held(rig->pool), 4);
    EXPECT_EQ(hf_uring_close(rig->uring), -EBUSY);
    EXPECT(strstr(hf_uring_detail(), "4 requests") != NULL);
    rig_submit(rig);
    for (unsigned i = 0; i < 4; i++)
        rig_expect(rig, 1, -EBADF);
}

static void refuses_null(struct rig *rig, struct hf_file *file)
{
    struct hf_uring_io io = rig_io(HF_URING_READ, file, 0, 1, 0, 1);
    struct io_uring_cqe cqe = {.user_data = 1};
    struct hf_uring_done done;
    struct hf_recall recall = {.arg = NULL};
    uint64_t user_data;

    EXPECT_EQ(hf_uring_prep(NULL, &io), -EINVAL);
    EXPECT_EQ(hf_uring_complete(NULL, &cqe, &done), -EINVAL);
    EXPECT_EQ(hf_uring_complete(rig->uring, NULL, &done), -EINVAL);
    EXPECT_EQ(hf_uring_complete(rig->uring, &cqe, NULL), -EINVAL);
    EXPECT(strstr(hf_uring_detail(), "null") != NULL);
    EXPECT_EQ(hf_uring_cancel(NULL, 1), -EINVAL);
    EXPECT_EQ(hf_uring_recalled(NULL, &recall, &user_data), -EINVAL);
    EXPECT_EQ(hf_uring_recalled(rig->uring, NULL, &user_data), -EINVAL);
    EXPECT_EQ(hf_uring_close(NULL), -EINVAL);
    EXPECT_EQ(hf_uring_exit(NULL), -EINVAL);
}

/* None that was never set up, and none whose queues may be otherwise. */
static void refuses_rings(struct hf_pool *pool)
{
    struct io_uring ring = {.ring_fd = -1}, newer;
    struct hf_uring *uring;

    EXPECT_EQ(hf_uring_open(pool, &ring, NULL, &uring), -EINVAL);
    EXPECT(strstr(hf_uring_detail(), "set up") != NULL);
    rig_ring(&ring, 4, 0);
    newer = ring;
    newer.flags |= 1u << 18; /* of Linux 6.18: entries of two sizes */
    EXPECT_EQ(hf_uring_open(pool, &newer, NULL, &uring), -EOPNOTSUPP);
    EXPECT(strstr(hf_uring_detail(), "0x40000") != NULL);
    io_uring_queue_exit(&ring);
}

/* The new memory is refused, and nothing is held. What was there goes on. */
static void outgrows(const struct hf_uring_options *options, int rc, const char *sentence)
{
    const struct hf_pool_options small = {.size = sizeof(small), .pool_bytes = TEST_MIB(8)};
    struct hf_pool *pool;
    struct hf_uring_io io;
    struct hf_file *file;
    struct rig rig;
    uint64_t pages;

    EXPECT_EQ(hf_pool_open_anonymous(&small, &pool), 0);
    file = test_file(pool, "/file");
    rig.pool = pool;
    rig_ring(&rig.ring, 4, 0);
    if (options->flags & HF_URING_HAS_TABLE)
        EXPECT_EQ(io_uring_register_buffers_sparse(&rig.ring, 4), 0);
    EXPECT_EQ(hf_uring_open(pool, &rig.ring, options, &rig.uring), 0);
    pages = test_fill_pool(file, 1, 0);
    EXPECT_EQ(hf_pool_grow(pool, TEST_MIB(16)), 0);
    pages = test_fill_pool(file, 1, pages);
    io = rig_io(HF_URING_WRITE, file, pages - 1, 1, -1, 1);
    EXPECT_EQ(hf_uring_prep(rig.uring, &io), rc);
    EXPECT(strstr(hf_uring_detail(), sentence) != NULL);
    EXPECT_EQ(rig_held(pool), 0);
    io = rig_io(HF_URING_WRITE, file, 0, 1, -1, 2);
    rig_prep(&rig, &io);
    rig_submit(&rig);
    rig_expect(&rig, 2, -EBADF);
    rig_close(&rig);
    EXPECT_EQ(hf_close(file), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
}

static void outgrows_its_table(void)
{
    const struct hf_uring_options options = {
        .size = sizeof(options), .flags = HF_URING_HAS_TABLE, .buffer_bytes = HF_HUGE_BYTES};

    outgrows(&options, -EINVAL, "no entry 4");
}

/* Which is enough for the pool as it was, and for the ring. */
static void outgrows_the_limit(void *arg)
{
    const struct hf_uring_options options = {.size = sizeof(options)};
    const struct rlimit limit = {TEST_MIB(12), TEST_MIB(12)};

    (void)arg;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(65534, 65534, 65534)) {
        printf("RLIMIT_MEMLOCK cannot be set to 12 MiB: that part is skipped\n");
        return;
    }
    outgrows(&options, -ENOMEM, "RLIMIT_MEMLOCK");
}

static void *open_elsewhere(void *arg)
{
    struct rig *rig = arg;
    struct hf_uring *uring;

    EXPECT_EQ(hf_uring_open(rig->pool, &rig->ring, NULL, &uring), -EEXIST);
    EXPECT_EQ(hf_uring_exit(rig->uring), -EEXIST);
    return NULL;
}

static void refuses_another_thread(struct hf_pool *pool)
{
    struct rig rig;
    pthread_t thread;

    rig_open(&rig, pool, 4, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, NULL);
    EXPECT_EQ(pthread_create(&thread, NULL, open_elsewhere, &rig), 0);
    pthread_join(thread, NULL);
    rig_close(&rig);
}

static void has_no_descriptor_left(struct hf_pool *pool)
{
    struct rlimit limit, none;
    struct io_uring ring;
    struct hf_uring *uring;

    rig_ring(&ring, 4, 0);
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 4;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    EXPECT_EQ(hf_uring_open(pool, &ring, NULL, &uring), -EMFILE);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    io_uring_queue_exit(&ring);
}

static void scenario(void)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(16));
    struct hf_file *file = test_file_filled(pool, "/file", 1, 8);
    struct rig rig;

    rig_open(&rig, pool, 4, 0, NULL); /* or all of it is skipped */
    refuses_requests(&rig, file);
    refuses_null(&rig, file);
    refuses_what_the_file_is_not_open_for(&rig);
    refuses_too_many_pieces(&rig);
    refuses_a_file_of_another_pool(&rig);
    refuses_when_full(&rig, file);
    rig_close(&rig);
    refuses_options(pool);
    refuses_rings(pool);
    refuses_another_thread(pool);
    test_join(test_fork(only_read, NULL));
    outgrows_its_table();
    test_join(test_fork(outgrows_the_limit, NULL));
    has_no_descriptor_left(pool);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

TEST_SCENARIO(scenario)
