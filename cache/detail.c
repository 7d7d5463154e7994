/* SPDX-License-Identifier: MIT */
/* The sentence for the last call of this thread that failed, calls in the child of a fork, and the
 * time. */
#include "private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef HF_CACHE_LAB
unsigned cache_lab_break;
void (*cache_lab_at)(enum cache_lab_point point);
long (*cache_lab_io)(bool reading, long result);
uint32_t cache_lab_lease_ms;

__attribute__((constructor)) static void read_lease(void)
{
    const char *text = getenv("HOLDFAST_LAB_LEASE_MS");

    cache_lab_lease_ms = text ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

uint32_t cache_lab_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now); /* the same in all processes */
    return (uint32_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}
#endif

static _Thread_local char detail[512];

const char *hfc_detail(void)
{
    return detail;
}

int cache_fail(int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    return rc;
}

int cache_fail_pool(int rc)
{
    return cache_fail(rc, "%s", hf_strerror_detail());
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned long forks; /* changes only in the child, which has one thread then */
static bool told_of_forks;

static void count_fork(void)
{
    forks++;
}

static void learn_of_forks(void)
{
    told_of_forks = pthread_atfork(NULL, NULL, count_fork) == 0;
}

int cache_check(const struct hfc *cache)
{
    if (!cache)
        return cache_fail(-EINVAL, "cache is null");
    return cache->forks == forks ? 0 : cache_fail(-ECHILD, "the parent opened it before the fork");
}

int cache_forks(unsigned long *out)
{
    pthread_once(&once, learn_of_forks);
    *out = forks;
    return told_of_forks ? 0 : cache_fail(-ENOMEM, "no memory to learn of forks");
}

uint32_t cache_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (uint32_t)now.tv_sec;
}
