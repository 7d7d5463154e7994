/* SPDX-License-Identifier: MIT */
/*
 * Chance, time, processes and the flags they tell each other things by. Flags are plain integers
 * touched only through the functions here: stores release, loads acquire.
 */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t test_mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * UINT64_C(0x9E3779B97F4A7C15) + b + UINT64_C(0xD1B54A32D192ED03);

    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

uint64_t test_seed(void)
{
    const char *given = getenv("HF_SEED");
    uint64_t seed = 0;

    if (given && *given)
        seed = strtoull(given, NULL, 0);
    else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        seed = test_now_ns();
    else
        seed >>= 32;
    printf("seed %" PRIu64 " (again: HF_SEED=%" PRIu64 ")\n", seed, seed);
    fflush(stdout);
    return seed;
}

uint64_t test_random(struct test_rng *rng)
{
    rng->state = test_mix(rng->state, 1);
    return rng->state;
}

uint64_t test_below(struct test_rng *rng, uint64_t bound)
{
    return test_random(rng) % bound;
}

bool test_chance(struct test_rng *rng, unsigned percent)
{
    return test_below(rng, 100) < percent;
}

pid_t test_fork(void (*body)(void *arg), void *arg)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0)
        FAIL("fork: %s", strerror(errno));
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    body(arg);
    fflush(NULL);
    _exit(0);
}

int test_wait_status(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) != pid)
        if (errno != EINTR)
            FAIL("waitpid(%d): %s", (int)pid, strerror(errno));
    return status;
}

void test_join(pid_t pid)
{
    int status = test_wait_status(pid);

    if (WIFSIGNALED(status))
        FAIL("process %d was ended by signal %d (%s)", (int)pid, WTERMSIG(status),
             strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0)
        FAIL("process %d failed", (int)pid);
}

void test_stop(pid_t pid)
{
    int status = 0;

    EXPECT_EQ(kill(pid, SIGSTOP), 0);
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    EXPECT(WIFSTOPPED(status));
}

void test_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    test_wait_status(pid);
}

void *test_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        FAIL("no memory for %zu shared bytes: %s", bytes, strerror(errno));
    return memory;
}

uint32_t test_peek(const uint32_t *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

void test_raise(uint32_t *flag, uint32_t value)
{
    __atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

void test_count(uint32_t *flag)
{
    __atomic_fetch_add(flag, 1, __ATOMIC_ACQ_REL);
}

void test_count64(uint64_t *counter, uint64_t by)
{
    __atomic_fetch_add(counter, by, __ATOMIC_ACQ_REL);
}

uint64_t test_peek64(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

void test_put64(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

void test_await(const uint32_t *flag, uint32_t value)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;

    while (test_peek(flag) < value) {
        if (test_now_ns() > limit)
            FAIL("nobody raised the flag to %u in time, it is %u", value, test_peek(flag));
        usleep(100);
    }
}

uint64_t test_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void test_sleep_ms(unsigned ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

bool test_is_slow(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return getenv("HF_TEST_SLOW") != NULL;
#endif
}
