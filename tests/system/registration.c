/* SPDX-License-Identifier: MIT */
/*
 * The pool's memory, told to a device once: where it lies, and what has been added to it. A
 * registration is a hold: it is counted, refused where it cannot be, and gone with its process.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OLD TEST_MIB(8)
#define NEW TEST_MIB(16)
#define PURPOSES 4

static const uint32_t purposes[PURPOSES] = {HF_PIN_CPU, HF_PIN_IO_URING, HF_PIN_RDMA, HF_PIN_GPU};

struct stage {
    uint32_t registered, grow, grown, go;
};
static struct stage *stage;

static struct hf_pool_memory memory_of(struct hf_pool *pool)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};

    EXPECT_EQ(hf_pool_memory(pool, &memory), 0);
    return memory;
}

static unsigned registrations(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    return info.registrations;
}

static int take(struct hf_pool *pool, uint32_t purpose)
{
    struct hf_pool_memory memory = {.size = sizeof(memory)};
    int rc = hf_pool_register(pool, purpose, &memory);

    if (rc == 0)
        EXPECT(memory.base == memory_of(pool).base && memory.bytes == memory_of(pool).bytes);
    else
        EXPECT(memory.base == NULL);
    return rc;
}

static void check_arguments(struct hf_pool *pool)
{
    struct hf_pool_memory memory = {.size = sizeof(memory) - 1};

    EXPECT_EQ(hf_pool_memory(pool, &memory), -EINVAL);
    EXPECT_EQ(hf_pool_memory(pool, NULL), -EINVAL);
    EXPECT_EQ(hf_pool_memory(NULL, &memory), -EINVAL);
    EXPECT_EQ(hf_pool_register(pool, HF_PIN_CPU, &memory), -EINVAL);
    memory.size++;
    EXPECT_EQ(hf_pool_register(pool, HF_PIN_CPU | HF_PIN_WRITE, &memory), -EINVAL);
    EXPECT_EQ(hf_pool_register(pool, 0x40, &memory), -EINVAL);
    EXPECT_EQ(hf_pool_unregister(pool, 0x40), -EINVAL);
    EXPECT_EQ(hf_pool_memory_fd(NULL), -EINVAL);
}

static void check_counts(struct hf_pool *pool)
{
    for (unsigned i = 0; i < PURPOSES; i++) {
        EXPECT_EQ(hf_pool_unregister(pool, purposes[i]), -EINVAL);
        EXPECT_EQ(take(pool, purposes[i]), 0);
        EXPECT_EQ(take(pool, purposes[i]), 0);
        EXPECT_EQ(registrations(pool), 2 * (i + 1));
    }
    EXPECT_EQ(hf_pool_close(pool), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), "8 registrations"));
    for (unsigned i = 0; i < PURPOSES; i++) {
        EXPECT_EQ(hf_pool_unregister(pool, purposes[i]), 0);
        EXPECT_EQ(hf_pool_unregister(pool, purposes[i]), 0);
        EXPECT_EQ(hf_pool_unregister(pool, purposes[i]), -EINVAL);
    }
    EXPECT_EQ(registrations(pool), 0);
}

/* Every pin lies inside it. */
static void check_place(struct hf_pool *pool)
{
    struct hf_pool_memory memory = memory_of(pool);
    struct hf_file *file = test_file_filled(pool, "/placed", 1, 8);
    struct iovec iov[8];
    struct hf_pin pin = test_pin(file, 0, 8 * TEST_PAGE, HF_PIN_READ, iov, 8);
    char *from = iov[0].iov_base, *base = memory.base;

    EXPECT_EQ(memory.bytes, OLD);
    EXPECT_EQ(memory.limit_bytes, 64 * OLD);
    EXPECT_EQ((uintptr_t)base % HF_HUGE_BYTES, 0);
    EXPECT(from >= base && from + iov[0].iov_len <= base + memory.bytes);
    EXPECT_EQ(hf_unpin(&pin), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    return poll(&poller, 1, timeout_ms) == 1;
}

/* --- other processes --- */

static void grow(void *arg)
{
    struct hf_pool *pool = test_pool_open("registered");

    (void)arg;
    test_await(&stage->grow, 1);
    EXPECT_EQ(hf_pool_grow(pool, NEW), 0);
    test_raise(&stage->grown, 1);
    test_pool_close(pool);
}

static void check_growth(struct hf_pool *pool)
{
    struct hf_pool_memory before = memory_of(pool), after;
    int fd = hf_pool_memory_fd(pool);
    pid_t child = test_fork(grow, NULL);

    EXPECT_OK(fd);
    EXPECT_EQ(hf_pool_memory_fd(pool), fd);
    EXPECT(readable(fd, 0));
    EXPECT_EQ(memory_of(pool).bytes, OLD);
    EXPECT(!readable(fd, 0));
    test_raise(&stage->grow, 1);
    EXPECT(readable(fd, TEST_PATIENCE_MS));
    after = memory_of(pool);
    EXPECT(!readable(fd, 0));
    EXPECT(after.base == before.base);
    EXPECT_EQ(after.bytes, NEW);
    EXPECT_EQ(after.limit_bytes, before.limit_bytes);
    EXPECT(test_is_zero((char *)after.base + OLD, NEW - OLD));
    test_join(child);
}

static void hold(void *arg)
{
    struct hf_pool *pool = test_pool_open("registered");
    const struct hf_lease_options options = {.size = sizeof(options), .flags = HF_PIN_RDMA};
    struct iovec iov;

    if (*(bool *)arg)
        test_lease(test_file(pool, "/placed"), 0, TEST_PAGE, &options, &iov, 1);
    for (unsigned i = 0; i < PURPOSES; i++)
        EXPECT_EQ(take(pool, purposes[i]), 0);
    test_raise(&stage->registered, 1);
    for (;;)
        pause();
}

/* The next process that gets the dead one's entry. */
static void come_after(void *arg)
{
    struct hf_pool *pool = test_pool_open("registered");

    (void)arg;
    EXPECT_EQ(registrations(pool), 0);
    EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_RDMA), -EINVAL);
    test_pool_close(pool);
}

/* A dead process counts no more, whether its entry is free, or is kept for what it had leased. */
static void check_death(struct hf_pool *pool, bool leased)
{
    pid_t holder;

    test_raise(&stage->registered, 0);
    holder = test_fork(hold, &leased);
    test_await(&stage->registered, 1);
    EXPECT_EQ(take(pool, HF_PIN_GPU), 0);
    EXPECT_EQ(registrations(pool), PURPOSES + 1);
    test_stop(holder);
    EXPECT_EQ(registrations(pool), PURPOSES + 1);
    test_kill(holder);
    EXPECT_EQ(registrations(pool), 1);
    EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_GPU), 0);
    test_join(test_fork(come_after, NULL));
    EXPECT_EQ(registrations(pool), 0);
}

/* --- where it cannot be --- */

static void give_up_capability(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    EXPECT_EQ(syscall(SYS_capget, &head, data), 0);
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    EXPECT_EQ(syscall(SYS_capset, &head, data), 0);
}

static void be_limited(void *arg)
{
    const struct rlimit below = {NEW - 1, NEW - 1}, enough = {NEW, NEW};
    struct hf_pool *pool = test_pool_open("registered");
    struct rlimit at_first;

    (void)arg;
    EXPECT_EQ(getrlimit(RLIMIT_MEMLOCK, &at_first), 0);
    give_up_capability();
    if (at_first.rlim_max >= NEW) {
        EXPECT_EQ(setrlimit(RLIMIT_MEMLOCK, &enough), 0);
        EXPECT_EQ(take(pool, HF_PIN_IO_URING), 0);
        EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_IO_URING), 0);
        EXPECT_EQ(setrlimit(RLIMIT_MEMLOCK, &below), 0);
    }
    EXPECT_EQ(take(pool, HF_PIN_IO_URING), -EOPNOTSUPP);
    EXPECT(strstr(hf_strerror_detail(), "RLIMIT_MEMLOCK"));
    EXPECT_EQ(take(pool, HF_PIN_RDMA), -EOPNOTSUPP);
    EXPECT_EQ(registrations(pool), 0);
    EXPECT_EQ(take(pool, HF_PIN_CPU), 0);
    EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_CPU), 0);
    test_pool_close(pool);
}

static void check_disk(void)
{
    const char *folder = getenv("HOLDFAST_TEST_DIR");
    char data[256];
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = OLD, .data_path = data};
    struct hf_pool_info info = {.size = sizeof(info)};
    struct hf_pool *pool;
    int fd;

    snprintf(data, sizeof(data), "%s/holdfast-registration-XXXXXX", folder ? folder : "/var/tmp");
    fd = mkstemp(data);
    EXPECT_OK(fd);
    close(fd);
    EXPECT_EQ(hf_pool_create(test_path("disk"), &options), 0);
    pool = test_pool_open("disk");
    unlink(data); /* this process has it */
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    if (strcmp(info.media, "file") != 0) {
        printf("no disk at %s, but %s: what a pool there refuses was not seen\n", data, info.media);
    } else {
        for (unsigned i = 0; i < PURPOSES; i++)
            EXPECT_EQ(take(pool, purposes[i]), -EOPNOTSUPP);
        EXPECT(strstr(hf_strerror_detail(), "file on a disk"));
        EXPECT_EQ(memory_of(pool).bytes, OLD);
        EXPECT_EQ(registrations(pool), 0);
    }
    test_pool_close(pool);
}

static void check_read_only(void)
{
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open(test_path("registered"), HF_OPEN_RDONLY, &pool), 0);
    EXPECT_EQ(take(pool, HF_PIN_CPU), 0);
    EXPECT_EQ(registrations(pool), 1);
    EXPECT_EQ(hf_pool_unregister(pool, HF_PIN_CPU), 0);
    test_pool_close(pool);
}

static void raise_limit(void)
{
    struct rlimit limit;

    EXPECT_EQ(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    EXPECT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (geteuid() != 0 && limit.rlim_max < NEW)
        test_skip("registering memory needs root, or RLIMIT_MEMLOCK of 16 MiB (ulimit -l)");
}

static void registration(void)
{
    struct hf_pool *pool;

    raise_limit();
    stage = test_shared(sizeof(*stage));
    pool = test_pool_new("registered", OLD);
    check_arguments(pool);
    check_place(pool);
    check_counts(pool);
    check_growth(pool);
    check_death(pool, false);
    check_death(pool, true);
    test_pool_close(pool);
    test_join(test_fork(be_limited, NULL));
    check_disk();
    check_read_only();
    test_pool_check("registered");
}

TEST_SCENARIO(registration)
