/* SPDX-License-Identifier: MIT */
/*
 * hf_pool_open() that cannot succeed says so, and does not try for ever: where the process may lock
 * no more memory, and where a process of another pid namespace has the same pid.
 */
#include "support.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ends a process that tries for ever, by its work. */
static void limit_work(void)
{
    const struct rlimit seconds = {3, 3};

    EXPECT_EQ(setrlimit(RLIMIT_CPU, &seconds), 0);
}

static int try_open(void)
{
    struct hf_pool *pool;
    int rc = hf_pool_open(test_path("pool"), 0, &pool);

    if (rc == 0)
        test_pool_close(pool);
    return rc;
}

static void open_locked(void *arg)
{
    const struct rlimit limit = {8 << 20, 8 << 20};

    (void)arg;
    limit_work();
    EXPECT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (geteuid() == 0) /* which may lock as much as it likes */
        EXPECT(!setgroups(0, NULL) && !setgid(60001) && !setuid(60001));
    if (mlockall(MCL_FUTURE))
        return;
    EXPECT_EQ(try_open(), -EAGAIN);
    EXPECT(strlen(hf_strerror_detail()) > 0);
}

static uint32_t *opened, *leave;

/* Pid 1 of a namespace. */
static void open_as_first(void *arg)
{
    const int *expected = arg;
    struct hf_pool *pool;
    int rc;

    limit_work();
    EXPECT_EQ(getpid(), 1);
    rc = hf_pool_open(test_path("pool"), 0, &pool);
    EXPECT_EQ(rc, *expected);
    if (rc)
        EXPECT(strstr(hf_strerror_detail(), "pid namespace"));
    test_count(opened);
    if (rc)
        return;
    test_await(leave, 1);
    test_pool_close(pool);
}

static void in_namespace(void *arg)
{
    if (unshare(CLONE_NEWPID))
        return;
    test_join(test_fork(open_as_first, arg));
}

static void equal_pids(void)
{
    static int fine = 0, refused = -EBUSY;
    pid_t first;

    first = test_fork(in_namespace, &fine);
    test_await(opened, 1);
    test_join(test_fork(in_namespace, &refused));
    EXPECT_EQ(test_peek(opened), 2);
    EXPECT_EQ(try_open(), 0);
    test_raise(leave, 1);
    test_join(first);
}

static void opening(void)
{
    struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = TEST_MIB(8), .mode = 0666};

    opened = test_shared(sizeof *opened);
    leave = test_shared(sizeof *leave);
    EXPECT_EQ(chmod(test_folder(), 0755), 0);
    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    test_join(test_fork(open_locked, NULL));
    EXPECT_EQ(try_open(), 0);
    if (geteuid() == 0)
        equal_pids();
    test_pool_check("pool");
}

TEST_SCENARIO(opening)
