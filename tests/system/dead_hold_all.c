/* SPDX-License-Identifier: MIT */
/*
 * A process takes all thread entries, or all holds, and is killed. It is in the way of no call,
 * since a thread that finds none left looks which processes have died. Both tables are small here.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#define THREADS 4u /* max_threads */
#define HOLDS 64u  /* max_leases */
#define PINS (28u + HOLDS)

struct taker {
    const char *name;
    uint32_t *ready;
    unsigned threads, pins; /* a thread */
};

static struct hf_file *file;

static unsigned pin_many(unsigned count, struct hf_pin *pins)
{
    struct iovec iov;
    unsigned pinned = 0;

    while (pinned < count && hf_pin(file, 0, 1, HF_PIN_READ, &iov, 1, &pins[pinned]) == 1)
        pinned++;
    return pinned;
}

static void *take(void *arg)
{
    const struct taker *taker = arg;
    struct hf_pin pins[PINS];

    EXPECT_EQ(pin_many(taker->pins, pins), taker->pins);
    test_count(taker->ready);
    pause();
    return NULL;
}

static void take_all(void *arg)
{
    const struct taker *taker = arg;
    struct hf_pool *pool = test_pool_open(taker->name);
    pthread_t thread;

    file = test_file(pool, "/file");
    for (unsigned i = 1; i < taker->threads; i++)
        EXPECT_EQ(pthread_create(&thread, NULL, take, arg), 0);
    take(arg);
}

struct pinned {
    unsigned count;
    struct hf_pin pins[PINS];
};

static void *pin_one(void *arg)
{
    struct pinned *pinned = arg;

    pinned->count = pin_many(1, pinned->pins);
    return NULL;
}

/* In this thread, which has had an entry all along, or in one that needs one. */
static void pin_in(bool new_thread, struct pinned *pinned)
{
    pthread_t thread;

    if (!new_thread) {
        pinned->count = pin_many(PINS, pinned->pins);
        return;
    }
    EXPECT_EQ(pthread_create(&thread, NULL, pin_one, pinned), 0);
    pthread_join(thread, NULL);
}

static void unpin_all(struct pinned *pinned)
{
    for (unsigned i = 0; i < pinned->count; i++)
        EXPECT_EQ(hf_unpin(&pinned->pins[i]), 0);
}

static void check(const char *name, unsigned threads, unsigned pins, bool new_thread,
                  unsigned before, unsigned after)
{
    const struct hf_pool_options options = {.size = sizeof options,
                                            .pool_bytes = TEST_MIB(8),
                                            .max_threads = THREADS,
                                            .max_leases = HOLDS};
    struct taker taker = {name, test_shared(sizeof(uint32_t)), threads, pins};
    struct pinned first, second;
    struct hf_pool *pool;
    pid_t child;

    EXPECT_EQ(hf_pool_create(test_path(name), &options), 0);
    pool = test_pool_open(name);
    file = test_file_filled(pool, "/file", 1, 1);
    child = test_fork(take_all, &taker);
    test_await(taker.ready, threads);
    pin_in(new_thread, &first);
    EXPECT_EQ(first.count, before);
    test_kill(child);
    pin_in(new_thread, &second);
    EXPECT_EQ(second.count, after);
    unpin_all(&first);
    unpin_all(&second);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static void dead_hold_all(void)
{
    check("threads", THREADS - 1, 1, true, 0, 1);
    check("holds", 1, PINS, false, 28, HOLDS);
}

TEST_SCENARIO(dead_hold_all)
