/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

void rig_ring(struct io_uring *ring, unsigned entries, unsigned flags)
{
    int rc = io_uring_queue_init(entries, ring, flags);

    if (rc == -ENOSYS || rc == -EPERM)
        test_skip("io_uring is not allowed here");
    EXPECT_EQ(rc, 0);
}

void rig_open(struct rig *rig, struct hf_pool *pool, unsigned entries, unsigned flags,
              const struct hf_uring_options *options)
{
    int rc;

    rig->pool = pool;
    rig_ring(&rig->ring, entries, flags);
    rc = hf_uring_open(pool, &rig->ring, options, &rig->uring);
    if (rc == -EOPNOTSUPP)
        test_skip(hf_uring_detail());
    if (rc)
        FAIL("hf_uring_open gave %d: %s", rc, hf_uring_detail());
}

void rig_close(struct rig *rig)
{
    EXPECT_EQ(hf_uring_close(rig->uring), 0);
    io_uring_queue_exit(&rig->ring);
}

struct hf_uring_io rig_io(uint32_t op, struct hf_file *file, uint64_t page, uint64_t pages, int fd,
                          uint64_t user_data)
{
    return (struct hf_uring_io){.size = sizeof(struct hf_uring_io),
                                .op = op,
                                .file = file,
                                .off = page * TEST_PAGE,
                                .len = pages * TEST_PAGE,
                                .fd = fd,
                                .fd_off = op <= HF_URING_WRITE ? UINT64_MAX : 0,
                                .user_data = user_data};
}

void rig_prep(struct rig *rig, const struct hf_uring_io *io)
{
    int rc = hf_uring_prep(rig->uring, io);

    if (rc)
        FAIL("hf_uring_prep gave %d: %s", rc, hf_uring_detail());
}

void rig_submit(struct rig *rig)
{
    EXPECT_OK(io_uring_submit(&rig->ring));
}

struct hf_uring_done rig_take(struct rig *rig, uint64_t user_data)
{
    struct hf_uring_done done;
    struct io_uring_cqe *cqe;
    int rc;

    do {
        do
            rc = io_uring_wait_cqe(&rig->ring, &cqe);
        while (rc == -EINTR);
        EXPECT_EQ(rc, 0);
        rc = hf_uring_complete(rig->uring, cqe, &done);
        if (rc == 1 && !(done.flags & HF_URING_MORE))
            EXPECT(hf_uring_complete(rig->uring, cqe, &done) != 1); /* it has ended */
        io_uring_cqe_seen(&rig->ring, cqe);
    } while (rc == 0);
    EXPECT_EQ(rc, 1);
    EXPECT_EQ(done.user_data, user_data);
    return done;
}

void rig_expect(struct rig *rig, uint64_t user_data, int result)
{
    struct hf_uring_done done = rig_take(rig, user_data);

    EXPECT_EQ(done.result, result);
    EXPECT_EQ(done.flags & HF_URING_MORE, 0);
}

static int count_device_pin(void *arg, const struct hf_pin_info *info)
{
    unsigned *count = arg;

    *count += (info->flags & HF_PIN_GPU) == HF_PIN_IO_URING && info->state != HF_PIN_WAITING;
    return 0;
}

unsigned rig_held(struct hf_pool *pool)
{
    unsigned count = 0;

    EXPECT_EQ(hf_pins(pool, count_device_pin, &count), 0);
    return count;
}

struct hf_file *rig_scattered(struct hf_pool *pool, const char *path, uint64_t stamp,
                              uint64_t pages)
{
    struct hf_file *file = test_file(pool, path), *between = test_file(pool, "/between");
    uint64_t at = test_size(between) / TEST_PAGE;
    struct iovec *iov = calloc(pages, sizeof(*iov));
    struct hf_pin pin;

    EXPECT(iov != NULL);
    for (uint64_t page = 0; page < pages; page++) {
        test_write_pages(file, stamp, page, 1);
        test_write_pages(between, 1, at + page, 1);
    }
    EXPECT_EQ(hf_pin(file, 0, pages * TEST_PAGE, HF_PIN_READ, iov, (int)pages, &pin), pages);
    EXPECT_EQ(hf_unpin(&pin), 0);
    free(iov);
    EXPECT_EQ(hf_close(between), 0);
    return file;
}

int rig_disk(void)
{
    static const char *const folders[] = {"/var/tmp", "."};
    struct statfs fs;

    for (unsigned i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        int fd = open(folders[i], O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

        if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type != TMPFS_MAGIC)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

void rig_tcp(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    EXPECT_OK(listener);
    EXPECT_EQ(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    EXPECT_EQ(listen(listener, 1), 0);
    EXPECT_EQ(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_OK(ends[0]);
    EXPECT_EQ(connect(ends[0], (struct sockaddr *)&address, sizeof(address)), 0);
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    EXPECT_OK(ends[1]);
    close(listener);
}
