/* SPDX-License-Identifier: MIT */
/*
 * posix-one [OPERATIONS [MIB of the pool]]
 *
 * One process alone on a pool: thousands of random operations, the pool closed and reopened in
 * between, fsck clean at the end. A small pool is full most of the time. Then a call that cannot be
 * done must be refused whole, and nothing may be lost or leak.
 */
#include "exercise.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

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
    test_pool_create(plan.pool_name, TEST_MIB(mib));
    exercise_run(&plan);
    test_pool_check(plan.pool_name);
    printf("%" PRIu64 " operations in %" PRIu64 " MiB, all as the model says\n", plan.count, mib);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
