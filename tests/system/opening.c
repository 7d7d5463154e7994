/* SPDX-License-Identifier: MIT */
/*
 * hf_pool_open() that cannot succeed says so, and does not try for ever. In one case the process
 * may lock no more memory. In others processes of another pid namespace or time namespace have the
 * pool open.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
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

/* AddressSanitizer makes mlockall(2) do nothing. */
static bool is_locked(void)
{
    return mmap(NULL, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static void open_locked(void *arg)
{
    const struct rlimit limit = {8 << 20, 8 << 20};

    (void)arg;
    limit_work();
    EXPECT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (geteuid() == 0) /* which may lock as much as it likes */
        EXPECT(!setgroups(0, NULL) && !setgid(60001) && !setuid(60001));
    if (mlockall(MCL_FUTURE) || !is_locked())
        return;
    EXPECT_EQ(try_open(), -EAGAIN);
    EXPECT(strlen(hf_strerror_detail()) > 0);
}

static uint32_t *opened, *leave, *left_out;

/* ---- pid namespaces ---- */

static void expect_let_in(void *arg)
{
    (void)arg;
    limit_work();
    EXPECT_EQ(try_open(), 0);
}

static void expect_refused(int flags)
{
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open(test_path("pool"), flags, &pool), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), "pid namespace"));
}

static void expect_both_refused(void *arg)
{
    (void)arg;
    expect_refused(0);
    expect_refused(HF_OPEN_RDONLY);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* Also when no number there is one of those here. */
static void expect_stranger(void *arg)
{
    (void)arg;
    limit_work();
    for (unsigned i = 0; i < 3; i++)
        test_join(test_fork(nothing, NULL));
    test_join(test_fork(expect_both_refused, NULL));
}

static void use_as_first(void *arg)
{
    struct hf_pool *pool;

    (void)arg;
    limit_work();
    EXPECT_EQ(getpid(), 1);
    pool = test_pool_open("pool");
    test_join(test_fork(expect_let_in, NULL)); /* of the same namespace */
    test_raise(opened, 1);
    test_await(leave, 1);
    test_pool_close(pool);
}

static void in_namespace(void *body)
{
    if (unshare(CLONE_NEWPID) == 0) /* its children are in it */
        test_join(test_fork(*(void (**)(void *))body, NULL));
    else
        test_raise(left_out, 1);
}

static void expect_blind(void *arg)
{
    (void)arg;
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        umount2("/proc", MNT_DETACH))
        return;
    limit_work();
    expect_refused(0);
    EXPECT(strstr(hf_strerror_detail(), "mount /proc"));
}

/* The first process decides: those of other namespaces are refused as long as it stays. */
static void pid_namespaces(void)
{
    void (*first)(void *) = use_as_first, (*stranger)(void *) = expect_stranger;
    struct hf_pool *pool;
    pid_t process;

    process = test_fork(in_namespace, &first);
    while (!test_peek(opened) && !test_peek(left_out))
        test_sleep_ms(1);
    if (test_peek(left_out)) {
        test_join(process);
        test_raise(left_out, 0);
        printf("no pid namespace can be made here: that part is left out\n");
        return;
    }
    expect_both_refused(NULL);
    test_join(test_fork(in_namespace, &stranger));
    test_raise(leave, 1);
    test_join(process);
    pool = test_pool_open("pool");
    test_join(test_fork(in_namespace, &stranger));
    test_join(test_fork(expect_blind, NULL));
    test_join(test_fork(expect_let_in, NULL));
    test_pool_close(pool);
    test_raise(opened, 0);
    test_join(test_fork(in_namespace, &first));
}

/* ---- time namespaces ---- */

/* Ahead of the others' clock by more than any quarantine lasts. */
static bool enter_time_namespace(void)
{
    static const char offset[] = "monotonic 1000000 0";
    int fd;

    if (unshare(CLONE_NEWTIME))
        return false;
    fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    EXPECT(fd >= 0);
    EXPECT_EQ(write(fd, offset, sizeof offset - 1), (ssize_t)sizeof offset - 1);
    EXPECT_EQ(close(fd), 0);
    return true;
}

static void expect_other_clock(void *arg)
{
    (void)arg;
    limit_work();
    EXPECT_EQ(try_open(), -EBUSY);
    EXPECT(strstr(hf_strerror_detail(), "time namespace"));
}

/* Alone, it may. What a dead process had given to a device stays in quarantine, whatever the clock
 * says. */
static void expect_quarantine(void *arg)
{
    struct hf_pool_info info = {.size = sizeof info};
    struct hf_pool *pool;

    (void)arg;
    pool = test_pool_open("pool");
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT(info.quarantine_left_ns > 0);
    test_pool_close(pool);
}

static void in_time_namespace(void *body)
{
    if (enter_time_namespace()) /* its children are */
        test_join(test_fork(*(void (**)(void *))body, NULL));
    else
        test_raise(left_out, 1);
}

static void hold_for_device(void *arg)
{
    struct hf_pool *pool = test_pool_open("pool");
    struct hf_file *file = test_file_filled(pool, "/device", 1, 1);
    struct iovec iov;

    (void)arg;
    test_pin(file, 0, TEST_PAGE, HF_PIN_RDMA | HF_PIN_WRITE, &iov, 1);
    test_count(opened);
    for (;;)
        pause();
}

static void other_clocks(void)
{
    void (*refused)(void *) = expect_other_clock, (*alone)(void *) = expect_quarantine;
    uint32_t before = test_peek(opened);
    pid_t holder = test_fork(hold_for_device, NULL);

    test_await(opened, before + 1);
    test_join(test_fork(in_time_namespace, &refused));
    test_kill(holder);
    if (test_peek(left_out)) {
        printf("no time namespace can be made here: that part is left out\n");
        return;
    }
    EXPECT_EQ(try_open(), 0); /* says by this clock when it ends */
    test_join(test_fork(in_time_namespace, &alone));
}

/* The process may make no file as long as the pool wants them. Its signals stay as they are. */
static void open_short_files(void *arg)
{
    const struct hf_pool_options options = {.size = sizeof options, .pool_bytes = TEST_MIB(8)};
    const struct rlimit limit = {65536, 65536};
    sigset_t mask, pending;

    (void)arg;
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    EXPECT_EQ(hf_pool_create(test_path("other"), &options), -EFBIG);
    EXPECT(strlen(hf_strerror_detail()) > 0);
    EXPECT_EQ(try_open(), -EFBIG);
    EXPECT(strlen(hf_strerror_detail()) > 0);
    EXPECT(sigpending(&pending) == 0 && !sigismember(&pending, SIGXFSZ));
    EXPECT(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && !sigismember(&mask, SIGXFSZ));
}

static uint64_t addresses_in_use(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long pages;

    EXPECT(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WANTS_ADDRESSES true /* itself, beyond any limit */
#else
#define WANTS_ADDRESSES false
#endif

/* Whatever it is that the limit is too small for, the sentence says so. */
static void open_with_few_addresses(void *arg)
{
    uint64_t bytes = addresses_in_use();
    struct rlimit limit = {0, RLIM_INFINITY};
    unsigned refused = 0;
    int rc;

    (void)arg;
    if (WANTS_ADDRESSES)
        return;
    do {
        bytes += TEST_MIB(100);
        limit.rlim_cur = bytes;
        EXPECT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
        rc = try_open();
        if (rc == -ENOMEM && strstr(hf_strerror_detail(), "ulimit -v"))
            refused++;
        else if (rc)
            FAIL("%d: %s", rc, hf_strerror_detail());
    } while (rc);
    EXPECT(refused > 3);
}

/* As real-time programs do, so that no page of theirs is missing. What is large in a pool is
 * sparse, and is to stay so. */
static void open_locked_on_fault(void *arg)
{
    struct stat st;

    (void)arg;
    if (mlockall(MCL_FUTURE | MCL_ONFAULT))
        return;
    EXPECT_EQ(try_open(), 0);
    EXPECT_EQ(stat(test_path("pool/meta/data.mdb"), &st), 0);
    EXPECT(st.st_blocks < 8 << 11 && st.st_size > 1 << 30);
}

static void opening(void)
{
    struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = TEST_MIB(8), .mode = 0666};

    opened = test_shared(sizeof *opened);
    leave = test_shared(sizeof *leave);
    left_out = test_shared(sizeof *left_out);
    EXPECT_EQ(chmod(test_folder(), 0755), 0);
    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    test_join(test_fork(open_locked, NULL));
    test_join(test_fork(open_short_files, NULL));
    test_join(test_fork(open_with_few_addresses, NULL));
    if (geteuid() == 0)
        test_join(test_fork(open_locked_on_fault, NULL));
    EXPECT_EQ(try_open(), 0);
    if (geteuid() == 0) {
        pid_namespaces();
        other_clocks();
    }
    test_pool_check("pool");
}

TEST_SCENARIO(opening)
