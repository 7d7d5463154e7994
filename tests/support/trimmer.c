/* SPDX-License-Identifier: MIT */
/*
 * A process that gives a pool's free memory back again and again, as `holdfast trim` does, beside
 * those that use it. And what is exact afterwards.
 */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_US 200 /* so that others get the bitmap's mutex without a queue */

static struct trimmer {
    uint32_t ready, stop;
    uint64_t given_bytes;
} * trimmer;

/* A stopped process may hold a lock. */
static void trim_on(void *name)
{
    struct hf_trim_result result = {.size = sizeof(result)};
    struct hf_pool *pool = test_pool_open(name);

    test_raise(&trimmer->ready, 1);
    while (!test_peek(&trimmer->stop)) {
        int rc = hf_pool_trim(pool, 0, &result);

        EXPECT(rc == 0 || rc == -EBUSY);
        trimmer->given_bytes += rc ? 0 : result.given_bytes;
        usleep(PAUSE_US);
    }
    test_pool_close(pool);
}

pid_t test_trimmer(const char *name)
{
    pid_t pid;

    if (!trimmer)
        trimmer = test_shared(sizeof(*trimmer));
    trimmer->ready = trimmer->stop = 0;
    pid = test_fork(trim_on, (void *)(uintptr_t)name);
    test_await(&trimmer->ready, 1);
    return pid;
}

uint64_t test_trimmer_ends(pid_t pid)
{
    test_raise(&trimmer->stop, 1);
    test_join(pid);
    EXPECT(trimmer->given_bytes > 0); /* or it has shown nothing */
    return trimmer->given_bytes;
}

void test_expect_trimmed(struct hf_pool *pool)
{
    struct hf_trim_result result = {.size = sizeof(result)};
    struct hf_pool_info info = {.size = sizeof(info)};
    uint64_t used;

    EXPECT_EQ(hf_pool_trim(pool, 0, &result), 0);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    if (strcmp(info.media, "tmpfs") != 0) /* else only whole runs go back */
        return;
    used = info.pool_bytes - info.free_bytes;
    if (info.resident_bytes != used && info.resident_bytes != used + TEST_PAGE)
        FAIL("%" PRIu64 " KiB of memory for %" PRIu64 " KiB that are not free",
             info.resident_bytes >> 10, used >> 10);
}
