/* SPDX-License-Identifier: MIT */
/*
 * posix-one [OPERATIONS [MIB of the pool [trim]]]
 *
 * One process alone on a pool: thousands of random operations, the pool closed and reopened in
 * between, fsck clean at the end. A small pool is full most of the time. Then a call that cannot be
 * done must be refused whole, and nothing may be lost or leak. With trim, the pool gives memory
 * back by itself, and a process beside gives back all that is free.
 */
#include "exercise.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void run_trimmed(const struct exercise_plan *plan, uint64_t pool_bytes)
{
    const struct hf_pool_options options = {
        .size = sizeof(options), .pool_bytes = pool_bytes, .trim_above_bytes = HF_HUGE_BYTES};
    struct hf_pool *pool;
    pid_t trimmer;

    EXPECT_EQ(hf_pool_create(test_path(plan->pool_name), &options), 0);
    trimmer = test_trimmer(plan->pool_name);
    exercise_run(plan);
    printf("%" PRIu64 " bytes were given back\n", test_trimmer_ends(trimmer));
    pool = test_pool_open(plan->pool_name);
    test_expect_trimmed(pool);
    test_pool_close(pool);
}

static int body(int argc, char **argv)
{
    struct exercise_plan plan = {.count = 40000, .pool_name = "pool", .top = "/"};
    uint64_t mib = 96;

    if (argc > 1)
        plan.count = strtoull(argv[1], NULL, 0);
    if (argc > 2)
        mib = strtoull(argv[2], NULL, 0);
    plan.seed = test_seed();
    if (test_is_slow())
        plan.count /= 10;
    if (argc > 3 && strcmp(argv[3], "trim") == 0) {
        plan.accompanied = true;
        run_trimmed(&plan, TEST_MIB(mib));
    } else {
        test_pool_create(plan.pool_name, TEST_MIB(mib));
        exercise_run(&plan);
    }
    test_pool_check(plan.pool_name);
    printf("%" PRIu64 " operations in %" PRIu64 " MiB, all as the model says\n", plan.count, mib);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
