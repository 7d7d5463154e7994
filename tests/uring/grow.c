/* SPDX-License-Identifier: MIT */
/*
 * What another process adds to the pool is registered when a request comes to it. Other requests
 * run meanwhile, with the entry of the table that grows. And a pool has more than the 1 GiB that a
 * buffer may have.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SMALL TEST_MIB(8)
#define LARGE TEST_MIB(24)
#define GIB TEST_MIB(1024)

static void grow(void *arg)
{
    struct hf_pool *pool = test_pool_open("pool");

    (void)arg;
    EXPECT_EQ(hf_pool_grow(pool, LARGE), 0);
    test_pool_close(pool);
}

/* Page `page` of the file comes from fd. */
static void read_page(struct rig *rig, struct hf_file *file, uint64_t page, int fd)
{
    struct hf_uring_io io = rig_io(HF_URING_READ, file, page, 1, fd, page);

    io.fd_off = 0;
    rig_prep(rig, &io);
    rig_submit(rig);
    rig_expect(rig, page, TEST_PAGE);
}

static int stamped_page(uint64_t stamp)
{
    unsigned char bytes[TEST_PAGE];
    int fd = memfd_create("page", MFD_CLOEXEC);

    EXPECT_OK(fd);
    test_page_fill(bytes, stamp, 0);
    EXPECT_EQ(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    return fd;
}

static void expect_stamped(struct hf_file *file, uint64_t page, uint64_t stamp)
{
    unsigned char bytes[TEST_PAGE];

    EXPECT_EQ(hf_read(file, bytes, sizeof(bytes), page * TEST_PAGE), sizeof(bytes));
    EXPECT(test_page_is(bytes, stamp, 0));
}

static uint64_t limit_entries(struct hf_pool *pool, uint64_t buffer_bytes)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};

    EXPECT_EQ(hf_pool_memory(pool, &memory), 0);
    return (memory.limit_bytes + buffer_bytes - 1) / buffer_bytes;
}

static void grows(uint64_t buffer_bytes, bool own_table)
{
    struct hf_uring_options options = {.size = sizeof(options), .buffer_bytes = buffer_bytes};
    struct hf_pool *pool = test_pool_new("pool", SMALL);
    struct hf_file *file = test_file(pool, "/file");
    int fd = stamped_page(9), pipes[2];
    struct hf_uring_io io;
    struct rig rig;
    uint64_t before, after;

    EXPECT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    rig.pool = pool;
    rig_ring(&rig.ring, 8, 0);
    if (own_table) {
        options.flags = HF_URING_HAS_TABLE;
        options.first_buffer = 3;
        EXPECT_EQ(io_uring_register_buffers_sparse(&rig.ring,
                                                   3 + (unsigned)limit_entries(pool, buffer_bytes)),
                  0);
    }
    {
        int rc = hf_uring_open(pool, &rig.ring, &options, &rig.uring);

        if (rc == -EOPNOTSUPP)
            test_skip(hf_uring_detail());
        EXPECT_EQ(rc, 0);
    }
    before = test_fill_pool(file, 1, 0);
    io = rig_io(HF_URING_READ, file, 0, 1, pipes[0], 1); /* in the entry that grows */
    rig_prep(&rig, &io);
    rig_submit(&rig);
    test_join(test_fork(grow, NULL));
    after = test_fill_pool(file, 1, before);
    EXPECT(after > before);
    read_page(&rig, file, before, fd);
    read_page(&rig, file, after - 1, fd);
    read_page(&rig, file, before / 2, fd);
    EXPECT_EQ(write(pipes[1], "x", 1), 1);
    rig_expect(&rig, 1, 1);
    expect_stamped(file, before, 9);
    expect_stamped(file, after - 1, 9);
    expect_stamped(file, before / 2, 9);
    rig_close(&rig);
    close(fd);
    close(pipes[0]);
    close(pipes[1]);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    test_pool_check("pool");
    test_remove_tree(test_path("pool"));
}

static uint64_t memory_available(void)
{
    FILE *info = fopen("/proc/meminfo", "re");
    unsigned long long kib = 0;
    char line[128];

    EXPECT(info != NULL);
    while (kib == 0 && fgets(line, sizeof(line), info))
        if (sscanf(line, "MemAvailable: %llu", &kib) != 1)
            kib = 0;
    fclose(info);
    return kib * 1024;
}

/* The file lies across the place where the second buffer begins. */
static void more_than_a_buffer(void)
{
    const struct hf_pool_options options = {.size = sizeof(options),
                                            .pool_bytes = GIB + TEST_MIB(64)};
    uint64_t last = GIB / TEST_PAGE + 1000;
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    struct hf_pool *pool;
    struct hf_file *file;
    struct hf_uring_io io;
    struct iovec iov;
    struct hf_pin pin;
    struct rig rig;
    int fd = stamped_page(9), out = memfd_create("out", MFD_CLOEXEC);
    uint64_t crossing;

    EXPECT_EQ(hf_pool_open_anonymous(&options, &pool), 0);
    EXPECT_EQ(hf_pool_memory(pool, &memory), 0);
    file = test_file(pool, "/file");
    EXPECT_EQ(hf_fallocate(file, 0, 0, GIB + TEST_MIB(32), NULL), 0);
    rig_open(&rig, pool, 8, 0, NULL);
    read_page(&rig, file, last, fd);
    expect_stamped(file, last, 9);
    /* The page of the file that lies before the boundary, if the next one follows it there. */
    pin = test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    crossing = (GIB - (uint64_t)((char *)iov.iov_base - (char *)memory.base)) / TEST_PAGE - 1;
    EXPECT_EQ(hf_unpin(&pin), 0);
    pin = test_pin(file, crossing * TEST_PAGE, 2 * TEST_PAGE, HF_PIN_READ, &iov, 1);
    EXPECT_EQ((char *)iov.iov_base - (char *)memory.base, GIB - TEST_PAGE);
    EXPECT_EQ(hf_unpin(&pin), 0);
    test_write_pages(file, 4, crossing, 2);
    io = rig_io(HF_URING_WRITE, file, crossing, 2, out, 1);
    io.fd_off = 0;
    rig_prep(&rig, &io);
    rig_submit(&rig);
    rig_expect(&rig, 1, 2 * TEST_PAGE);
    for (unsigned i = 0; i < 2; i++) {
        unsigned char bytes[TEST_PAGE];

        EXPECT_EQ(pread(out, bytes, sizeof(bytes), (off_t)(i * TEST_PAGE)), sizeof(bytes));
        EXPECT(test_page_is(bytes, 4, crossing + i));
    }
    rig_close(&rig);
    close(fd);
    close(out);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void scenario(void)
{
    grows(0, false);
    grows(HF_HUGE_BYTES, false);
    grows(TEST_MIB(4), true);
    if (memory_available() < 4 * GIB)
        test_skip("less than 4 GiB are available: a pool of more than 1 GiB is not tried");
    more_than_a_buffer();
}

TEST_SCENARIO(scenario)
