/* SPDX-License-Identifier: MIT */
/*
 * Owns nothing: futex(2) and clock_gettime(2), and nothing else; see futex.h. The futexes are not
 * private ones, since the words lie in memory that processes share.
 */
#include "base/futex.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t hf_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * HF_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

int64_t hf_wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec * (int64_t)HF_NS_PER_SEC + now.tv_nsec;
}

int hf_futex_wait(uint32_t *word, uint32_t value, uint64_t until_ns)
{
    struct timespec until = {(time_t)(until_ns / HF_NS_PER_SEC), (long)(until_ns % HF_NS_PER_SEC)};
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value,
                      until_ns == HF_NEVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);

    if (rc == 0 || errno == EAGAIN)
        return 0;
    return -errno;
}

int hf_futex_wake_one(uint32_t *word)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);

    return woken > 0;
}

void hf_futex_wake_all(uint32_t *word)
{
    int kept = errno;

    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    errno = kept;
}
