/* SPDX-License-Identifier: MIT */
/*
 * posix-many [OPERATIONS of each]
 *
 * Three processes on one pool. Each has names of its own, and pages of its own in one file that all
 * three share. There none may notice the pins and layout changes of the others.
 */
#include "exercise.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PROCESSES 3
#define WINDOW 48

static const char *const tops[PROCESSES] = {"/p0", "/p1", "/p2"};

static void exercise_one(void *arg)
{
    exercise_run(arg);
}

static void make_shared(const char *pool_name)
{
    struct hf_pool *pool = test_pool_new(pool_name, TEST_MIB(256));
    struct hf_file *file = test_file(pool, "/shared");

    EXPECT_EQ(hf_truncate(file, PROCESSES * WINDOW * TEST_PAGE, NULL), 0);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static int body(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : 15000, seed = test_seed();
    struct exercise_plan plans[PROCESSES];
    pid_t pids[PROCESSES];

    if (test_is_slow())
        count /= 10;
    make_shared("many");
    for (unsigned i = 0; i < PROCESSES; i++) {
        plans[i] = (struct exercise_plan){
            .seed = test_mix(seed, i),
            .count = count,
            .pool_name = "many",
            .top = tops[i],
            .shared = "/shared",
            .shared_first = i * WINDOW,
            .shared_pages = WINDOW,
            .shared_size_pages = PROCESSES * WINDOW,
        };
        pids[i] = test_fork(exercise_one, &plans[i]);
    }
    for (unsigned i = 0; i < PROCESSES; i++)
        test_join(pids[i]);
    test_pool_check("many");
    printf("%d times %" PRIu64 " operations, all as the models say\n", PROCESSES, count);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
