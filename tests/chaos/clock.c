/* SPDX-License-Identifier: MIT */
/*
 * The clock of time stamps. The library asks for one that moves with the timer's tick, so two
 * changes of a file may have the same time or not. A store of the same time changes nothing, so the
 * number of changes in a step, which a kill is counted by, would be luck. Here each call sees the
 * next microsecond.
 */
#include "chaos.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t *microseconds;

void chaos_count_time(struct chaos *chaos)
{
    microseconds = &chaos->microseconds;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, out);
    uint64_t now;

    if (clock != CLOCK_REALTIME_COARSE || !microseconds)
        return rc;
    test_count64(microseconds, 1);
    now = test_peek64(microseconds);
    out->tv_sec = CHAOS_EPOCH + (time_t)(now / 1000000);
    out->tv_nsec = (long)(now % 1000000) * 1000;
    return rc;
}
