/* SPDX-License-Identifier: MIT */
/*
 * The actor filler. The pool gets a file system of its own, in a mount namespace of its own. A
 * process fills it up beside the pool, over and over.
 */
#include "storm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#define STEP TEST_MIB(1)

bool storm_own_file_system(void)
{
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return false;
    EXPECT_EQ(mount("storm", test_path("."), "tmpfs", 0, "mode=0711"), 0);
    storm_is_filled = true;
    return true;
}

/* A pool is only made where there is room for all of it. */
void storm_small_file_system(unsigned mib)
{
    char options[32];

    snprintf(options, sizeof(options), "size=%uM", mib);
    EXPECT_EQ(mount("storm", test_path("."), "tmpfs", MS_REMOUNT, options), 0);
}

/* In steps, and at the end page by page: nothing is left. */
static void fill_up(int fd, off_t from)
{
    off_t step = STEP;

    while (step >= (off_t)TEST_PAGE) {
        if (fallocate(fd, 0, from, step) == 0) {
            from += step;
            continue;
        }
        EXPECT(errno == ENOSPC || errno == EINTR);
        step /= 4;
    }
}

/* Its file has no name, so nothing stays when it is killed. */
static void fill_on(void *arg)
{
    struct storm *storm = arg;
    struct test_rng rng = {.state = storm->seed + storm->filled};
    int fd = open(test_path("."), O_RDWR | O_TMPFILE, 0600);
    off_t rest = 0;

    test_on_failure = NULL;
    EXPECT_OK(fd);
    for (;;) {
        fill_up(fd, rest);
        test_count64(&storm->filled, 1);
        usleep((useconds_t)test_below(&rng, 2000));
        rest = (off_t)(test_below(&rng, 4) * STEP);
        EXPECT_EQ(ftruncate(fd, rest), 0);
        usleep((useconds_t)test_below(&rng, 2000));
    }
}

pid_t storm_filler(struct storm *storm)
{
    return test_fork(fill_on, storm);
}
