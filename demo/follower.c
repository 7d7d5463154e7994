/* SPDX-License-Identifier: MIT */
/*
 * `holdfast dedup --follow` beside the workers. It lets equal pages of all files share blocks,
 * again and again, while they are in use. It is the installed program, with the real library.
 */
#include "demo.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct following {
    const char *program, *pool;
    int said;
};

static int follow(void *arg)
{
    const struct following *following = arg;

    if (dup2(following->said, STDOUT_FILENO) < 0 || dup2(following->said, STDERR_FILENO) < 0)
        return 126;
    execlp(following->program, following->program, "dedup", following->pool, "--follow", "--pause",
           "0", "--json", (char *)NULL);
    return 127;
}

struct demo_follower demo_follower_start(const char *pool)
{
    struct demo_follower follower = {.said = memfd_create("follower", MFD_CLOEXEC)};
    struct following following = {lab_holdfast_program(), pool, follower.said};

    if (follower.said < 0)
        lab_fail("no memory for what the follower says");
    follower.pid = lab_fork(follow, &following);
    return follower;
}

/* *merged: what its summary says. False: there is none. */
static bool read_summary(int said, uint64_t *merged)
{
    static const char label[] = "\"merged_bytes\":";
    static char text[4096];
    ssize_t len = pread(said, text, sizeof text - 1, 0);
    const char *at;

    text[len > 0 ? len : 0] = '\0';
    at = strstr(text, label);
    if (!at) {
        lab_say("holdfast dedup --follow said: %s", text);
        return false;
    }
    *merged = strtoull(at + strlen(label), NULL, 10);
    return true;
}

bool demo_follower_end(struct demo_follower *follower, uint64_t *merged)
{
    bool ended;
    int status;

    kill(follower->pid, SIGTERM);
    while (waitpid(follower->pid, &status, 0) != follower->pid)
        ;
    ended = WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM; /* after its summary */
    if (!ended)
        lab_say("holdfast dedup --follow %s", lab_how_it_ended(status));
    ended = read_summary(follower->said, merged) && ended;
    close(follower->said);
    return ended;
}
