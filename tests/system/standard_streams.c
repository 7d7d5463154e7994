/* SPDX-License-Identifier: MIT */
/*
 * A process is started with some of descriptors 0 to 2 closed, in each way in which that can be.
 * Nothing that the library opens gets one of these numbers, not for a moment. All of it is closed
 * by exec, and in the end the numbers are free as before.
 *
 * The calls of open(2) and its like that the library and LMDB make come here first.
 */
#include "interpose.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOW 3
#define WAYS (1u << LOW) /* bits: which are closed */

static unsigned opened; /* of this process, since it was told to look */

/* ---- what the library calls ---- */

static void look_at_new(struct interposed *call)
{
    int fd = (int)call->rc;

    if ((call->what != INTERPOSED_OPEN && call->what != INTERPOSED_MAKE_FD) || fd < 0)
        return;
    if (fd < LOW && !(fcntl(fd, F_GETFL) & O_PATH))
        FAIL("a file has descriptor %d", fd);
    opened += fd >= LOW;
}

/* ---- what the library is asked for ---- */

static void use(struct hf_pool *pool)
{
    struct hf_file *file = test_file_filled(pool, "/file", 1, 4);
    struct hf_lease_options options = {.size = sizeof(options), .flags = HF_PIN_WRITE};
    struct iovec iov[4];
    struct hf_lease lease;

    EXPECT(hf_recall_fd(pool) >= LOW);
    lease = test_lease(file, 0, TEST_PAGE, &options, iov, 4);
    EXPECT_EQ(hf_lease_release(&lease), 0);
    test_expect_pages(file, 1, 0, 4);
    EXPECT_EQ(hf_truncate(file, 0, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
}

static void expect_all_closed_by_exec(void)
{
    for (int fd = LOW; fd < 200; fd++) {
        char path[32], to[200];
        ssize_t len;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        len = readlink(path, to, sizeof(to) - 1);
        to[len > 0 ? len : 0] = '\0';
        if (len > 0 && (strstr(to, test_folder()) || strstr(to, "holdfast")) &&
            !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
            FAIL("%s stays open in a program that this one starts", to);
    }
}

static void make_and_use(const char *name, uint32_t flags)
{
    struct hf_pool_options options = {
        .size = sizeof(options), .flags = flags, .pool_bytes = TEST_MIB(8)};
    struct hf_check_result result = {.size = sizeof(result)};
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_create(test_path(name), &options), 0);
    EXPECT_EQ(hf_pool_open(test_path(name), 0, &pool), 0);
    use(pool);
    EXPECT_EQ(hf_pool_grow(pool, TEST_MIB(16)), 0);
    expect_all_closed_by_exec();
    EXPECT_EQ(hf_pool_close(pool), 0);
    EXPECT_EQ(hf_pool_open(test_path(name), HF_OPEN_RDONLY, &pool), 0);
    EXPECT_EQ(hf_pool_close(pool), 0);
    EXPECT_EQ(hf_pool_check(test_path(name), HF_CHECK_REPAIR, NULL, NULL, NULL, &result), 0);
    EXPECT_EQ(hf_pool_create(test_path(name), &options), -EEXIST);
    EXPECT_EQ(hf_pool_open(test_path("nowhere"), 0, &pool), -ENOENT);
}

/* ---- what another thread prints meanwhile ---- */

static uint32_t ends, printed;

static void *print(void *arg)
{
    unsigned closed = *(unsigned *)arg;

    while (!test_peek(&ends))
        for (int fd = 0; fd < LOW; fd++)
            /* By its number: ThreadSanitizer takes a descriptor that two threads use for a race. */
            if (closed & 1u << fd && syscall(SYS_write, fd, "text", 4) >= 0)
                test_count(&printed);
    return NULL;
}

static void one_way(void *arg)
{
    unsigned closed = *(unsigned *)arg;
    struct hf_pool *pool;
    pthread_t thread;
    char name[32];

    for (int fd = 0; fd < LOW; fd++)
        if (closed & 1u << fd)
            close(fd);
    opened = 0;
    EXPECT_EQ(pthread_create(&thread, NULL, print, arg), 0);
    snprintf(name, sizeof(name), "memory%u", closed);
    make_and_use(name, 0);
    snprintf(name, sizeof(name), "durable%u", closed);
    make_and_use(name, HF_POOL_DURABLE);
    EXPECT_EQ(
        hf_pool_open_anonymous(&(struct hf_pool_options){.size = sizeof(struct hf_pool_options),
                                                         .pool_bytes = TEST_MIB(8)},
                               &pool),
        0);
    use(pool);
    expect_all_closed_by_exec();
    EXPECT_EQ(hf_pool_close(pool), 0);
    test_raise(&ends, 1);
    pthread_join(thread, NULL);
    EXPECT_EQ(test_peek(&printed), 0);
    for (int fd = 0; fd < LOW; fd++)
        EXPECT_EQ(fcntl(fd, F_GETFD) < 0, (closed & 1u << fd) != 0);
    EXPECT(opened > 20); /* else they did not come here */
}

/* A child of a process of which another thread was opening something has no descriptors that hold a
 * number. */
static void *open_often(void *arg)
{
    while (!test_peek(&ends)) {
        struct hf_pool *pool;

        EXPECT_EQ(hf_pool_open(arg, HF_OPEN_RDONLY, &pool), 0);
        EXPECT_EQ(hf_pool_close(pool), 0);
    }
    return NULL;
}

static void look_at_child(void *arg)
{
    (void)arg;
    for (int fd = 0; fd < LOW; fd++)
        if (fd != STDERR_FILENO && fcntl(fd, F_GETFD) >= 0)
            _exit(1);
    _exit(0);
}

static void fork_meanwhile(void *arg)
{
    pthread_t thread;

    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    EXPECT_EQ(pthread_create(&thread, NULL, open_often, arg), 0);
    for (unsigned i = 0; i < 200; i++)
        test_join(test_fork(look_at_child, NULL));
    test_raise(&ends, 1);
    pthread_join(thread, NULL);
}

static void standard_streams(void)
{
    interpose_after = look_at_new;
    for (unsigned closed = 0; closed < WAYS; closed++)
        test_join(test_fork(one_way, &closed));
    test_join(test_fork(fork_meanwhile, (void *)test_path("memory0")));
}

TEST_SCENARIO(standard_streams)
