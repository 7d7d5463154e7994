/* SPDX-License-Identifier: MIT */
/*
 * The exerciser where every layout change of more than two extents goes in steps. So the model of
 * POSIX judges each kind of step, beside clones, merges, compactions, and pools that are full.
 */
#include "exercise.h"
#include "short_steps.h"

#include <stdio.h>

static int body(int argc, char **argv)
{
    struct exercise_plan plan = {.count = 15000, .pool_name = "pool", .top = "/"};

    (void)argv;
    test_shorten_steps();
    plan.seed = test_seed();
    test_pool_create(plan.pool_name, TEST_MIB(argc > 1 ? 8 : 96));
    exercise_run(&plan);
    test_pool_check(plan.pool_name);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
