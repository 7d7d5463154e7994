/* SPDX-License-Identifier: MIT */
/*
 * Two processes with the pool open, each in a pid namespace of its own, as a lab build lets them.
 * A thread of the first has a mutex of the pool. A thread with the same number in the other is
 * killed as it tries for that mutex. Then the kernel gives the mutex to the next thread that comes,
 * and two have it at once (src/shm/namespaces.c).
 */
#include "base/lab.h"
#include "pool/pool.h"
#include "support.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define ROUNDS 2000u

static struct {
    uint32_t held, ready, twice;
    uint32_t lives_us;
    pid_t number; /* of both threads */
} * shared;

static struct shm_mutex *mutex_of(struct hf_pool *pool)
{
    return &pool->fs.dax.shm->run->space_mutex;
}

static void wait_for_the_end(void)
{
    for (;;)
        pause();
}

static void do_nothing(void *arg)
{
    (void)arg;
}

/* The first process of a namespace starts another one, which has that number. */
static pid_t fork_as(pid_t number, void (*body)(void *arg))
{
    EXPECT_EQ(getpid(), 1);
    for (pid_t i = 2; i < number; i++)
        test_join(test_fork(do_nothing, NULL));
    return test_fork(body, NULL);
}

/* ---- the process that has the mutex ---- */

static void *hold(void *pool)
{
    bool died;

    EXPECT(shm_lock_now(mutex_of(pool), &died) && !died);
    shared->number = gettid();
    test_raise(&shared->held, 1);
    wait_for_the_end();
    return NULL;
}

static bool is_free(struct shm_mutex *mutex)
{
    return hf_load_acquire((uint32_t *)(void *)&mutex->robust) & FUTEX_OWNER_DIED;
}

/* Another thread comes, and the first still has it. */
static void hold_and_look(void *arg)
{
    struct hf_pool *pool = test_pool_open("pool");
    pthread_t thread;
    bool died;

    (void)arg;
    EXPECT_EQ(pthread_create(&thread, NULL, hold, pool), 0);
    while (!test_peek(&shared->held) || !is_free(mutex_of(pool)))
        test_sleep_ms(1);
    if (shm_lock_now(mutex_of(pool), &died))
        test_raise(&shared->twice, 1);
    wait_for_the_end();
}

static void first_of_holder(void *arg)
{
    (void)arg;
    fork_as(2, hold_and_look);
    wait_for_the_end();
}

/* ---- the process that is killed ---- */

static void try_again_and_again(void *arg)
{
    struct hf_pool *pool = test_pool_open("pool");
    bool died;

    (void)arg;
    EXPECT_EQ(gettid(), shared->number);
    test_raise(&shared->ready, 1);
    while (!shm_lock_now(mutex_of(pool), &died))
        ;
    wait_for_the_end();
}

static void first_of_victim(void *arg)
{
    pid_t pid = fork_as(shared->number, try_again_and_again);

    (void)arg;
    test_await(&shared->ready, 1);
    usleep(shared->lives_us);
    test_kill(pid);
}

/* ---- both ---- */

static void in_namespace(void *body)
{
    if (unshare(CLONE_NEWPID))
        FAIL("no pid namespace can be made");
    test_join(test_fork(*(void (**)(void *))body, NULL));
}

static int pid_namespaces(int argc, char **argv)
{
    const struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = TEST_MIB(8)};
    void (*holder)(void *) = first_of_holder, (*victim)(void *) = first_of_victim;
    struct test_rng rng = {test_seed()};
    unsigned kills = 0;
    pid_t process;

    (void)argc, (void)argv;
    if (geteuid() != 0)
        test_skip("only root can make pid namespaces");
    hf_lab_break = HF_LAB_ANY_PID_NAMESPACE;
    shared = test_shared(sizeof(*shared));
    EXPECT_EQ(hf_pool_create(test_path("pool"), &options), 0);
    process = test_fork(in_namespace, &holder);
    test_await(&shared->held, 1);
    for (; kills < ROUNDS && !test_peek(&shared->twice); kills++) {
        shared->ready = 0;
        shared->lives_us = (uint32_t)test_below(&rng, 1000);
        test_join(test_fork(in_namespace, &victim));
        test_sleep_ms(3);
    }
    EXPECT(test_peek(&shared->twice));
    test_kill(process); /* and with it what it has started */
    printf("caught: after %u kills two threads have one mutex\n", kills);
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, pid_namespaces);
}
