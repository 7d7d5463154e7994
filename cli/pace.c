/* SPDX-License-Identifier: MIT */
/* The pace of verbs that work beside others: pauses, and a rate that is not exceeded. */
#include "cli.h"

#include <time.h>

#define NS_PER_S UINT64_C(1000000000)

void cli_sleep(uint64_t ns)
{
    const struct timespec pause = {.tv_sec = (time_t)(ns / NS_PER_S),
                                   .tv_nsec = (long)(ns % NS_PER_S)};

    nanosleep(&pause, NULL);
}

void cli_pace_begin(struct cli_pace *pace, uint64_t rate)
{
    *pace = (struct cli_pace){.rate = rate, .begin_ns = cli_now_ns()};
}

void cli_pace_keep(struct cli_pace *pace, uint64_t bytes)
{
    uint64_t due_ns, now_ns;

    if (pace->rate == 0)
        return;
    now_ns = cli_now_ns();
    pace->bytes += bytes;
    due_ns =
        pace->begin_ns + (uint64_t)((double)pace->bytes * (double)NS_PER_S / (double)pace->rate);
    if (due_ns > now_ns)
        cli_sleep(due_ns - now_ns);
}
