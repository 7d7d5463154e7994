/* SPDX-License-Identifier: MIT */
/*
 * The exerciser with a rule of shared blocks taken out. It has to find bytes of another file, or a
 * pin whose page has left the file. One seed, so no luck is needed.
 *
 * usage: exercise RULE
 */
#include "base/lab.h"
#include "exercise.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static void run(void *arg)
{
    const struct exercise_plan plan = {.seed = 1, .count = 12000, .pool_name = "pool", .top = "/"};

    hf_lab_break = *(unsigned *)arg;
    test_pool_create(plan.pool_name, TEST_MIB(96));
    exercise_run(&plan);
}

static int body(int argc, char **argv)
{
    static const struct {
        const char *name;
        unsigned broken;
    } rules[] = {{"held", HF_LAB_SHARES_HELD}, {"writable", HF_LAB_SHARED_WRITABLE}};
    int status;

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]) && argc > 1; i++) {
        unsigned broken = rules[i].broken;

        if (strcmp(rules[i].name, argv[1]) != 0)
            continue;
        status = test_wait_status(test_fork(run, &broken));
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        printf("without the rule \"%s\" the exerciser finds harm\n", argv[1]);
        return 0;
    }
    return 2;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
