/* SPDX-License-Identifier: MIT */
/*
 * A process that opens a pool first has it for itself while it makes what processes share. It can
 * be stopped there, or be slow. When it is stopped, hf_pool_open() of others fails with a sentence
 * that names it, and a signal ends the wait. When that process goes on, or is killed, the pool
 * opens. The same of a process that has only just got the pool for itself, to open or to close it.
 */
#include "shm/shm.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint32_t *alone, *opened;
static bool stops_with_byte;

/* Stops the process at once after it has got byte 0 of POOL/lock for itself. */
int fcntl(int fd, int command, ...)
{
    va_list list;
    void *arg;
    long rc;

    va_start(list, command);
    arg = va_arg(list, void *);
    va_end(list);
    rc = syscall(SYS_fcntl, fd, command, arg);
    if (rc == 0 && command == F_OFD_SETLK && stops_with_byte) {
        const struct flock *lock = arg;

        if (lock->l_type == F_WRLCK && lock->l_start == 0)
            kill(getpid(), SIGSTOP);
    }
    return (int)rc;
}

static void open_and_close(void *stops_closing)
{
    struct hf_pool *pool;

    stops_with_byte = !*(const bool *)stops_closing;
    pool = test_pool_open("pool");
    stops_with_byte = true;
    test_pool_close(pool);
}

static void open_alone(void *stops)
{
    struct shm_attach at;

    EXPECT_EQ(shm_attach_begin(test_path("pool"), false, &at), 0);
    EXPECT(at.first);
    test_raise(alone, 1);
    if (*(const bool *)stops)
        raise(SIGSTOP);
    else
        test_await(opened, 1);
    shm_attach_cancel(&at);
}

static pid_t start(bool stops)
{
    pid_t pid;
    int status;

    *alone = *opened = 0;
    pid = test_fork(open_alone, &stops);
    test_await(alone, 1);
    if (stops) {
        EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
        EXPECT(WIFSTOPPED(status));
    }
    return pid;
}

static void expect_opens(void)
{
    struct hf_pool *pool = test_pool_open("pool");

    test_pool_close(pool);
}

static void expect_named(pid_t first)
{
    char name[32];
    struct hf_pool *pool;

    EXPECT_EQ(hf_pool_open(test_path("pool"), 0, &pool), -EBUSY);
    snprintf(name, sizeof(name), "process %d ", (int)first);
    if (!strstr(hf_strerror_detail(), name) || !strstr(hf_strerror_detail(), "stopped"))
        FAIL("it names no stopped process: %s", hf_strerror_detail());
}

static void stopped_goes_on(void)
{
    pid_t first = start(true);
    int status;

    expect_named(first);
    EXPECT_EQ(kill(first, SIGCONT), 0);
    EXPECT_EQ(waitpid(first, &status, 0), first);
    EXPECT_EQ(status, 0);
    expect_opens();
}

static void stopped_is_killed(void)
{
    pid_t first = start(true);
    int status;

    expect_named(first);
    EXPECT_EQ(kill(first, SIGKILL), 0);
    EXPECT_EQ(waitpid(first, &status, 0), first);
    expect_opens();
}

static void stopped_with_byte(bool closing)
{
    pid_t first = test_fork(open_and_close, &closing);
    int status;

    for (int stops = closing ? 1 : 2; stops > 0; stops--) {
        EXPECT_EQ(waitpid(first, &status, WUNTRACED), first);
        EXPECT(WIFSTOPPED(status));
        expect_named(first);
        EXPECT_EQ(kill(first, SIGCONT), 0);
    }
    EXPECT_EQ(waitpid(first, &status, 0), first);
    EXPECT_EQ(status, 0);
    expect_opens();
}

static void on_signal(int signal)
{
    (void)signal;
}

static void *open_beside(void *rc)
{
    struct hf_pool *pool;

    *(int *)rc = hf_pool_open(test_path("pool"), 0, &pool);
    test_raise(opened, 1);
    return NULL;
}

static void signal_ends_the_wait(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    pid_t first = start(false);
    pthread_t thread;
    int rc, status;

    EXPECT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    EXPECT_EQ(pthread_create(&thread, NULL, open_beside, &rc), 0);
    while (!test_peek(opened)) { /* it may be a step away from its sleep still */
        pthread_kill(thread, SIGUSR1);
        test_sleep_ms(10);
    }
    pthread_join(thread, NULL);
    EXPECT_EQ(rc, -EINTR);
    EXPECT_EQ(waitpid(first, &status, 0), first);
    EXPECT_EQ(status, 0);
    expect_opens();
}

static void stopped_opener(void)
{
    test_pool_create("pool", TEST_MIB(8));
    alone = test_shared(sizeof(uint32_t));
    opened = test_shared(sizeof(uint32_t));
    stopped_goes_on();
    stopped_is_killed();
    stopped_with_byte(false);
    stopped_with_byte(true);
    signal_ends_the_wait();
    test_pool_check("pool");
}

TEST_SCENARIO(stopped_opener)
