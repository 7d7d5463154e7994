/* SPDX-License-Identifier: MIT */
/* The clock, chance, and the sentence for the last call that failed. */
#include "private.h"

#include <sys/random.h>
#include <time.h>

uint64_t cluster_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void cluster_random(void *out, size_t len)
{
    while (getrandom(out, len, 0) != (ssize_t)len) /* a signal came: len is below 256 */
        continue;
}

const char *hfx_detail(void)
{
    return cluster_detail();
}

#ifdef HF_CLUSTER_LAB
enum cluster_lab_fate (*cluster_lab_fate)(const struct wire_head *head);
bool cluster_lab_serves_twice, cluster_lab_keeps_link;
#endif
