/* SPDX-License-Identifier: MIT */
/* `holdfast dedup --follow` on a pool of a test, as a process of its own. */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int said = -1;

static void follow(void *pool)
{
    const char *program = getenv("HOLDFAST");

    if (dup2(said, STDOUT_FILENO) < 0 || dup2(said, STDERR_FILENO) < 0)
        _exit(126);
    execl(program, program, "dedup", test_path(pool), "--follow", "--pause", "0", "--json",
          (char *)NULL);
    _exit(127);
}

bool test_can_follow(void)
{
    return getenv("HOLDFAST") != NULL;
}

pid_t test_follower(const char *pool)
{
    if (said >= 0)
        close(said);
    said = memfd_create("follower", MFD_CLOEXEC);
    EXPECT_OK(said);
    return test_fork(follow, (void *)(uintptr_t)pool);
}

static const char *all_said(void)
{
    static char text[4096];
    ssize_t n = pread(said, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

void test_follower_is_killed(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    status = test_wait_status(pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        FAIL("the follower ended by itself with %#x: %s", (unsigned)status, all_said());
}

uint64_t test_follower_ends(pid_t pid)
{
    static const char label[] = "\"merged_bytes\":";
    const char *at;
    int status;

    kill(pid, SIGTERM);
    status = test_wait_status(pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM) /* after its summary */
        FAIL("the follower ended with %#x: %s", (unsigned)status, all_said());
    at = strstr(all_said(), label);
    if (!at)
        FAIL("the follower said: %s", all_said());
    return strtoull(at + strlen(label), NULL, 10);
}
