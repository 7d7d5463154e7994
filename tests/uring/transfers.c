/* SPDX-License-Identifier: MIT */
/*
 * Bytes go where they should: between files and a disk with O_DIRECT, a pipe, a socket of each
 * kind, with and without zero copy. Each with files in one piece and in many. And each with the
 * pool's memory in one buffer of the ring, and in several that ranges cross.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES 12u       /* less than a pipe holds */
#define LARGE_PAGES 768 /* 3 MiB: over the end of a buffer of 2 MiB, wherever it lies */

static void copy_by(struct rig *rig, uint32_t out, struct hf_file *from, int to_fd, uint32_t in,
                    struct hf_file *to, int from_fd, uint32_t flags)
{
    struct hf_uring_io sent = rig_io(out, from, 0, PAGES, to_fd, 1);
    struct hf_uring_io got = rig_io(in, to, 0, PAGES, from_fd, 2);
    int result = 0;

    sent.flags = flags;
    got.op_flags = in == HF_URING_RECV ? MSG_WAITALL : 0;
    rig_prep(rig, &sent);
    rig_submit(rig);
    while (rig_take(rig, 1).flags & HF_URING_MORE)
        ;
    rig_prep(rig, &got);
    rig_submit(rig);
    result = rig_take(rig, 2).result;
    EXPECT_EQ(result, PAGES * TEST_PAGE);
    EXPECT_EQ(rig_held(rig->pool), 0);
}

/* From `from`, and into `to`, which holds something else at first. */
static void copy_all_ways(struct rig *rig, struct hf_file *from, struct hf_file *to, uint64_t stamp)
{
    int pipes[2], pair[2], tcp[2];

    EXPECT_EQ(pipe2(pipes, O_CLOEXEC), 0);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    rig_tcp(tcp);
    for (unsigned way = 0; way < 5; way++) {
        test_write_pages(to, stamp + 1, 0, PAGES);
        if (way == 0)
            copy_by(rig, HF_URING_WRITE, from, pipes[1], HF_URING_READ, to, pipes[0], 0);
        else if (way == 1)
            copy_by(rig, HF_URING_SEND, from, pair[0], HF_URING_RECV, to, pair[1], 0);
        else if (way == 2)
            copy_by(rig, HF_URING_SEND, from, tcp[0], HF_URING_RECV, to, tcp[1], 0);
        else if (way == 3)
            copy_by(rig, HF_URING_SEND, from, tcp[0], HF_URING_RECV, to, tcp[1],
                    HF_URING_ZERO_COPY);
        else
            copy_by(rig, HF_URING_SEND, from, tcp[1], HF_URING_RECV, to, tcp[0], HF_URING_RECALL);
        test_expect_pages(to, stamp, 0, PAGES);
    }
    for (unsigned i = 0; i < 2; i++) {
        close(pipes[i]);
        close(pair[i]);
        close(tcp[i]);
    }
}

/* Out to the disk, and back into another file. */
static void copy_by_disk(struct rig *rig, int disk, struct hf_file *from, struct hf_file *to,
                         uint64_t stamp, uint64_t pages)
{
    struct hf_uring_io out = rig_io(HF_URING_WRITE, from, 0, pages, disk, 1);
    struct hf_uring_io in = rig_io(HF_URING_READ, to, 0, pages, disk, 2);
    unsigned char *page;

    if (disk < 0)
        return;
    EXPECT_EQ(posix_memalign((void **)&page, TEST_PAGE, TEST_PAGE), 0);
    test_write_pages(to, stamp + 1, 0, pages);
    out.fd_off = in.fd_off = 3 * TEST_PAGE;
    out.sqe_flags = IOSQE_IO_LINK;
    rig_prep(rig, &out);
    rig_prep(rig, &in);
    rig_submit(rig);
    rig_expect(rig, 1, (int)(pages * TEST_PAGE));
    rig_expect(rig, 2, (int)(pages * TEST_PAGE));
    test_expect_pages(to, stamp, 0, pages);
    for (uint64_t i = 0; i < pages; i++) {
        EXPECT_EQ(pread(disk, page, TEST_PAGE, (off_t)((3 + i) * TEST_PAGE)), TEST_PAGE);
        EXPECT(test_page_is(page, stamp, i));
    }
    free(page);
    EXPECT_EQ(rig_held(rig->pool), 0);
}

/* Some bytes in the middle of pages, to some place of the descriptor. */
static void copy_odd_bytes(struct rig *rig, struct hf_file *from, struct hf_file *to)
{
    enum { BYTES = 5000 };
    struct hf_uring_io out = rig_io(HF_URING_WRITE, from, 0, 1, 0, 1);
    struct hf_uring_io in = rig_io(HF_URING_READ, to, 0, 1, 0, 2);
    unsigned char want[BYTES], before[BYTES + 2], after[BYTES + 2];
    int fd = memfd_create("odd", MFD_CLOEXEC);

    EXPECT_OK(fd);
    out.fd = in.fd = fd;
    out.len = in.len = BYTES;
    out.off = 777;
    in.off = 4000;
    out.fd_off = in.fd_off = 31;
    EXPECT_EQ(hf_read(from, want, BYTES, out.off), BYTES);
    EXPECT_EQ(hf_read(to, before, BYTES + 2, in.off - 1), BYTES + 2);
    rig_prep(rig, &out);
    rig_submit(rig);
    rig_expect(rig, 1, BYTES);
    rig_prep(rig, &in);
    rig_submit(rig);
    rig_expect(rig, 2, BYTES);
    EXPECT_EQ(hf_read(to, after, BYTES + 2, in.off - 1), BYTES + 2);
    EXPECT_EQ(memcmp(after + 1, want, BYTES), 0);
    EXPECT(before[0] == after[0] && before[BYTES + 1] == after[BYTES + 1]);
    close(fd);
}

static void with_buffers(struct hf_pool *pool, uint64_t buffer_bytes, unsigned ring_flags)
{
    const struct hf_uring_options options = {.size = sizeof(options), .buffer_bytes = buffer_bytes};
    struct hf_file *whole = test_file_filled(pool, "/whole", 5, LARGE_PAGES);
    struct hf_file *into = test_file_filled(pool, "/into", 6, LARGE_PAGES);
    struct hf_file *pieces = rig_scattered(pool, "/pieces", 7, 200);
    struct hf_file *back = rig_scattered(pool, "/back", 8, 200);
    int disk = rig_disk();
    struct rig rig;

    if (disk < 0)
        printf("no disk with O_DIRECT here: that part is skipped\n");
    rig_open(&rig, pool, 16, ring_flags, &options);
    copy_all_ways(&rig, whole, into, 5);
    copy_all_ways(&rig, pieces, back, 7);
    copy_all_ways(&rig, whole, back, 5);
    copy_by_disk(&rig, disk, whole, into, 5, LARGE_PAGES);
    copy_by_disk(&rig, disk, pieces, back, 7, 200);
    copy_by_disk(&rig, disk, pieces, into, 7, 200);
    copy_odd_bytes(&rig, whole, into);
    copy_odd_bytes(&rig, pieces, back);
    rig_close(&rig);
    if (disk >= 0)
        close(disk);
    EXPECT_EQ(hf_close(whole), 0);
    EXPECT_EQ(hf_close(into), 0);
    EXPECT_EQ(hf_close(pieces), 0);
    EXPECT_EQ(hf_close(back), 0);
    EXPECT_EQ(hf_unlink(pool, "/between", NULL), 0);
    EXPECT_EQ(hf_unlink(pool, "/pieces", NULL), 0);
    EXPECT_EQ(hf_unlink(pool, "/back", NULL), 0);
}

static void scenario(void)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(16));

    with_buffers(pool, 0, 0);
    with_buffers(pool, HF_HUGE_BYTES, 0);
    with_buffers(pool, HF_HUGE_BYTES, IORING_SETUP_SQPOLL);
    with_buffers(pool, 0, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    test_pool_close(pool);
    test_pool_check("pool");
}

TEST_SCENARIO(scenario)
