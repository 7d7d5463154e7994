/* SPDX-License-Identifier: MIT */
/*
 * A call that copies from or to the caller's memory holds no lock while that memory arrives. Here a
 * thread of this program brings it through userfaultfd(2), as a mount or a network would. Before it
 * lets a page come, this thread takes the layout mutex of the same file and the lock of the whole
 * pool. A call that held one of them would wait for itself.
 */
#include "change.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIG_BYTES (5 * TEST_MIB(1) + 123) /* more than a write takes at once */
#define MEMORY_BYTES TEST_MIB(8)

struct faults {
    struct hf_pool *pool;
    struct hf_file *file;
    int fd;
    char *memory; /* not there yet */
    uint32_t served, stop;
};

static char expected(uint64_t at)
{
    return (char)(1 + at % 251);
}

static void lock_everything(struct faults *faults)
{
    EXPECT_EQ(hf_fsync(faults->file), 0);
    EXPECT_EQ(hf_mkdir(faults->pool, "/meanwhile", 0700), 0);
    EXPECT_EQ(hf_rmdir(faults->pool, "/meanwhile"), 0);
}

static void serve_fault(struct faults *faults, uint64_t address)
{
    char page[HF_BLOCK_BYTES];
    uint64_t start = address & ~(TEST_PAGE - 1), at = start - (uintptr_t)faults->memory;
    struct uffdio_copy copy = {.dst = start, .src = (uintptr_t)page, .len = sizeof page};

    if (faults->served % 64 == 0) /* each of many pages would take long, and show no more */
        lock_everything(faults);
    for (uint64_t i = 0; i < sizeof page; i++)
        page[i] = expected(at + i);
    test_count(&faults->served);
    EXPECT_EQ(ioctl(faults->fd, UFFDIO_COPY, &copy), 0);
}

static void *serve(void *arg)
{
    struct faults *faults = arg;
    struct pollfd ready = {.fd = faults->fd, .events = POLLIN};
    struct uffd_msg message;

    while (!test_peek(&faults->stop))
        if (poll(&ready, 1, 10) == 1 &&
            read(faults->fd, &message, sizeof message) == (ssize_t)sizeof message &&
            message.event == UFFD_EVENT_PAGEFAULT)
            serve_fault(faults, message.arg.pagefault.address);
    return NULL;
}

static int open_faults(void)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

    if (fd < 0)
        test_skip("userfaultfd(2) is not to be had here");
    EXPECT_EQ(ioctl(fd, UFFDIO_API, &api), 0);
    return fd;
}

static void begin(struct faults *faults)
{
    struct uffdio_register watched = {.mode = UFFDIO_REGISTER_MODE_MISSING};

    faults->memory =
        mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(faults->memory != MAP_FAILED);
    EXPECT_EQ(madvise(faults->memory, MEMORY_BYTES, MADV_NOHUGEPAGE), 0);
    watched.range.start = (uintptr_t)faults->memory;
    watched.range.len = MEMORY_BYTES;
    EXPECT_EQ(ioctl(faults->fd, UFFDIO_REGISTER, &watched), 0);
    faults->served = 0;
    faults->stop = 0;
}

static void end(struct faults *faults)
{
    EXPECT(test_peek(&faults->served) > 0);
    EXPECT_EQ(munmap(faults->memory, MEMORY_BYTES), 0);
}

/* ---- the calls ---- */

struct call {
    const char *name;
    void (*prepare)(struct hf_file *file);
    long long (*run)(struct faults *faults);
    long long want;
};

static void expect_bytes(struct hf_file *file, uint64_t off, uint64_t len)
{
    char some[HF_BLOCK_BYTES];

    for (uint64_t at = 0; at < len; at += sizeof some) {
        uint64_t n = len - at < sizeof some ? len - at : sizeof some;

        EXPECT_EQ(hf_read(file, some, n, off + at), (long long)n);
        for (uint64_t i = 0; i < n; i++)
            EXPECT_EQ(some[i], expected(at + i));
    }
}

static long long append_little(struct faults *faults)
{
    long long done = hf_append(faults->file, faults->memory, 100, NULL);

    expect_bytes(faults->file, test_size(faults->file) - 100, 100);
    return done;
}

static long long append_much(struct faults *faults)
{
    long long done = hf_append(faults->file, faults->memory, BIG_BYTES, NULL);

    expect_bytes(faults->file, test_size(faults->file) - BIG_BYTES, BIG_BYTES);
    return done;
}

static long long write_at(struct faults *faults, uint64_t off, uint64_t len)
{
    long long done = hf_write(faults->file, faults->memory, len, off);

    expect_bytes(faults->file, off, len);
    return done;
}

static long long write_inside(struct faults *faults)
{
    return write_at(faults, 100, 3 * TEST_PAGE);
}

static long long write_hole(struct faults *faults)
{
    return write_at(faults, CHANGE_PAGES * TEST_PAGE + 5, BIG_BYTES);
}

static long long write_end(struct faults *faults)
{
    return write_at(faults, test_size(faults->file), BIG_BYTES);
}

static long long write_far(struct faults *faults)
{
    uint64_t size = test_size(faults->file);
    long long done = write_at(faults, size + TEST_MIB(1) + 7, BIG_BYTES);

    test_expect_zeros(faults->file, size, TEST_MIB(1) + 7);
    return done;
}

static long long set_attribute(struct faults *faults)
{
    char value[5000];
    int rc = hf_setxattr(faults->pool, "/file", "user.big", faults->memory, sizeof value, 0);

    EXPECT_EQ(hf_getxattr(faults->pool, "/file", "user.big", value, sizeof value), sizeof value);
    for (uint64_t i = 0; i < sizeof value; i++)
        EXPECT_EQ(value[i], expected(i));
    return rc;
}

/* While a truncate waits, what is still there is read under the mutex. */
static long long read_at_gate(struct faults *faults)
{
    struct change_thread change = {
        .pool = faults->pool, .file = faults->file, .kind = CHANGE_PUNCH};
    struct iovec iov;
    struct hf_pin pin = test_pin(faults->file, 5 * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &iov, 1);
    long long done;

    change_start(&change);
    test_await_waiting(faults->pool, 1);
    done = hf_read(faults->file, faults->memory + 100, 3 * TEST_PAGE, 4 * TEST_PAGE);
    EXPECT(test_page_is(iov.iov_base, CHANGE_STAMP, 5));
    EXPECT_EQ(memcmp(faults->memory + 100 + TEST_PAGE, iov.iov_base, TEST_PAGE), 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(change_finish(&change), 0);
    return done;
}

static void hole_behind(struct hf_file *file)
{
    EXPECT_EQ(hf_truncate(file, TEST_MIB(8), NULL), 0);
}

static void odd_end(struct hf_file *file)
{
    EXPECT_EQ(hf_truncate(file, CHANGE_PAGES * TEST_PAGE - 77, NULL), 0);
}

static void ahead(struct hf_file *file)
{
    odd_end(file);
    EXPECT_EQ(hf_fallocate(file, HF_FALLOC_KEEP_SIZE, CHANGE_PAGES * TEST_PAGE, TEST_MIB(2), NULL),
              0);
}

static const struct call calls[] = {
    {"append of 100 bytes", NULL, append_little, 100},
    {"append of 5 MiB", odd_end, append_much, BIG_BYTES},
    {"append over blocks allocated ahead", ahead, append_much, BIG_BYTES},
    {"write inside", NULL, write_inside, 3 * TEST_PAGE},
    {"write into a hole", hole_behind, write_hole, BIG_BYTES},
    {"write at the end", NULL, write_end, BIG_BYTES},
    {"write at an odd end", odd_end, write_end, BIG_BYTES},
    {"write over blocks allocated ahead", ahead, write_end, BIG_BYTES},
    {"write past the end", odd_end, write_far, BIG_BYTES},
    {"value of an attribute", NULL, set_attribute, 0},
    {"read at a gate", NULL, read_at_gate, 3 * TEST_PAGE},
};

struct running {
    struct faults *faults;
    const struct call *call;
    uint32_t done;
};

static void *run_call(void *arg)
{
    struct running *running = arg;

    EXPECT_EQ(running->call->run(running->faults), running->call->want);
    test_raise(&running->done, 1);
    return NULL;
}

static void try_call(struct faults *faults, const struct call *call)
{
    struct running running = {faults, call, 0};
    pthread_t thread, server;

    printf("%s\n", call->name);
    fflush(stdout);
    faults->file = change_prepare(faults->pool, "/file");
    if (call->prepare)
        call->prepare(faults->file);
    begin(faults);
    EXPECT_EQ(pthread_create(&server, NULL, serve, faults), 0);
    EXPECT_EQ(pthread_create(&thread, NULL, run_call, &running), 0);
    test_await(&running.done, 1);
    pthread_join(thread, NULL);
    test_raise(&faults->stop, 1);
    pthread_join(server, NULL);
    end(faults);
    EXPECT_EQ(hf_close(faults->file), 0);
    EXPECT_EQ(hf_unlink(faults->pool, "/file", NULL), 0);
}

static void caller_memory(void)
{
    struct faults faults = {.fd = open_faults()};

    faults.pool = test_pool_new("pool", TEST_MIB(64));
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
        try_call(&faults, &calls[i]);
    close(faults.fd);
    test_pool_close(faults.pool);
    test_pool_check("pool");
}

TEST_SCENARIO(caller_memory)
