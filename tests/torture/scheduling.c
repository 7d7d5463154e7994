/* SPDX-License-Identifier: MIT */
/*
 * Widens windows by scheduling alone. A timer signal comes to the thread every few dozen
 * microseconds, and its handler sleeps for some. So the thread is off its processor wherever it
 * was, now and then between reading an entry and making its pin known. A busy machine does the
 * same, but rarely.
 */
#include "torture.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define RUN_NS 20000    /* at least, between two stops */
#define STOP_NS 10000   /* at least */
#define SPREAD_NS 40000 /* of both */

_Thread_local volatile unsigned torture_disturbed;

static _Thread_local timer_t timer;
static _Thread_local volatile sig_atomic_t wanted;
static _Thread_local struct test_rng rng;

static void arm(void)
{
    struct itimerspec in = {.it_value.tv_nsec =
                                wanted ? (long)(RUN_NS + test_below(&rng, SPREAD_NS)) : 0};

    timer_settime(timer, 0, &in, NULL);
}

/* Once for each arming, so that stops never pile up. */
static void stop_here(int signal)
{
    struct timespec time = {.tv_nsec = (long)(STOP_NS + test_below(&rng, SPREAD_NS))};
    int saved = errno;

    (void)signal;
    torture_disturbed++;
    nanosleep(&time, NULL);
    arm();
    errno = saved;
}

void torture_disturb_open(void)
{
    struct sigaction action = {.sa_handler = stop_here};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};

    event._sigev_un._tid = gettid();
    rng.state = test_mix((uint64_t)gettid(), 1);
    prctl(PR_SET_TIMERSLACK, 1);
    EXPECT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    EXPECT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
}

void torture_disturb(bool on)
{
    wanted = on;
    arm();
}

void torture_disturb_close(void)
{
    torture_disturb(false);
    timer_delete(timer);
}
