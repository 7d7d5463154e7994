/* SPDX-License-Identifier: MIT */
/*
 * The death of a process is seen at once, whatever children it has left behind. They are made by
 * fork(3), _Fork(3) or a bare clone(2) after it opened the pool, or by fork(3) while another thread
 * of it did. A child that shares its memory keeps it alive.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHILDREN_MAX 64
#define STACK_BYTES (64u << 10)

struct state {
    uint32_t pinned, opens, opened, children;
    pid_t child[CHILDREN_MAX];
};
static struct state *state;

/* ---- children that do nothing ---- */

static pid_t by_fork(void)
{
    return fork();
}

static pid_t by_bare_fork(void)
{
    return _Fork();
}

static pid_t by_clone(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* With the descriptors of its parent, shared. */
static pid_t by_clone_with_files(void)
{
    return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
}

static pid_t (*const ways[])(void) = {by_fork, by_bare_fork, by_clone, by_clone_with_files};
#define WAYS (sizeof ways / sizeof *ways)

static void make_child(unsigned way)
{
    uint32_t n = test_peek(&state->children);
    pid_t pid;

    if (n == CHILDREN_MAX)
        return;
    pid = ways[way]();
    EXPECT(pid >= 0);
    if (pid == 0)
        for (;;)
            pause();
    state->child[n] = pid;
    test_count(&state->children);
}

static void end_children(void)
{
    for (uint32_t i = 0; i < test_peek(&state->children); i++)
        kill(state->child[i], SIGKILL);
    test_raise(&state->children, 0);
}

static void pin_it(void)
{
    struct hf_pool *pool = test_pool_open("pool");
    struct hf_file *file = test_file(pool, "/file");
    struct iovec iov;

    test_pin(file, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
}

/* ---- after the opening ---- */

static void leave_children(void *arg)
{
    pin_it();
    make_child(*(const unsigned *)arg);
    test_raise(&state->pinned, 1);
    pause();
}

static int cut(void)
{
    struct hf_pool *pool = test_pool_open("pool");
    struct hf_file *file = test_file(pool, "/file");
    int rc = hf_truncate(file, 0, &test_nowait);

    test_write_pages(file, 1, 0, 1);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
    return rc;
}

static void expect_death_seen(pid_t pid, bool alone)
{
    test_await(&state->pinned, 1);
    EXPECT_EQ(cut(), -EBUSY);
    test_kill(pid);
    EXPECT_EQ(cut(), 0);
    test_raise(&state->pinned, 0);
    if (alone)
        test_pool_check("pool"); /* nobody is in it */
    end_children();
}

static void after_opening(void)
{
    for (unsigned way = 0; way < WAYS; way++)
        expect_death_seen(test_fork(leave_children, &way), true);
}

/* ---- while another thread opens it ---- */

static void *open_again(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 20; i++)
        test_pool_close(test_pool_open("pool"));
    pin_it();
    test_raise(&state->opened, 1);
    return NULL;
}

static void fork_meanwhile(void *arg)
{
    pthread_t thread;

    (void)arg;
    test_raise(&state->opened, 0);
    EXPECT_EQ(pthread_create(&thread, NULL, open_again, NULL), 0);
    while (!test_peek(&state->opened))
        make_child(0);
    test_raise(&state->pinned, 1);
    pause();
}

/* The one that dies is the first to attach; and it is not. */
static void while_opening(void)
{
    struct hf_pool *pool;

    expect_death_seen(test_fork(fork_meanwhile, NULL), true);
    pool = test_pool_open("pool");
    expect_death_seen(test_fork(fork_meanwhile, NULL), false);
    test_pool_close(pool);
}

/* ---- a child that shares the memory ---- */

static int share_memory(void *arg)
{
    (void)arg;
    while (pause())
        ;
    return 0;
}

static void leave_sharer(void *arg)
{
    char *stack = malloc(STACK_BYTES);

    (void)arg;
    pin_it();
    state->child[0] = clone(share_memory, stack + STACK_BYTES, CLONE_VM, NULL);
    EXPECT(state->child[0] > 0);
    test_raise(&state->children, 1);
    test_raise(&state->pinned, 1);
    pause();
}

static void shared_memory(void)
{
    pid_t pid = test_fork(leave_sharer, NULL);

    test_await(&state->pinned, 1);
    test_kill(pid);
    EXPECT_EQ(cut(), -EBUSY);
    end_children();
    while (cut() == -EBUSY) /* it ends a little after kill(2) has returned */
        sched_yield();
    test_raise(&state->pinned, 0);
}

static void life(void)
{
    struct hf_pool *pool = test_pool_new("pool", TEST_MIB(8));

    state = test_shared(sizeof *state);
    EXPECT_EQ(hf_close(test_file_filled(pool, "/file", 1, 1)), 0);
    test_pool_close(pool);
    after_opening();
    while_opening();
#ifndef __SANITIZE_THREAD__ /* it does not know a child that runs in its process's memory */
    shared_memory();
#endif
    test_pool_check("pool");
}

TEST_SCENARIO(life)
