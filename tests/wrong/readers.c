/* SPDX-License-Identifier: MIT */
/*
 * LMDB's mutex of its readers' table, for which LMDB waits without a bound. A thread has found it
 * free, and is about to have LMDB take it. Meanwhile a thread of another process takes it, and is
 * stopped.
 */
#include "meta/env.h"
#include "meta/lmdb_file.h"
#include "pool/pool.h"
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
    uint32_t opened, looks, tried, taken;
} * shared;

static struct hf_pool *used;
static uint32_t ended;

static struct lmdb_lock *map_lock(void)
{
    int fd = open(test_path("used/meta/lock.mdb"), O_RDWR);
    struct lmdb_lock *lock = mmap(NULL, sizeof(*lock), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    EXPECT(fd >= 0 && lock != MAP_FAILED && lock->format == LMDB_LOCK_FORMAT);
    EXPECT_EQ(close(fd), 0);
    return lock;
}

/* As in a first snapshot: it asks, and LMDB would take the mutex next. */
static void take_and_stop(void *arg)
{
    struct lmdb_lock *lock = map_lock();

    (void)arg;
    used = test_pool_open("used");
    test_raise(&shared->opened, 1);
    test_await(&shared->looks, 1);
    shm_bound.patience = SHM_PATIENCE_NONE;
    if (meta_readers_begin(used->fs.dax.meta) == 0) {
        EXPECT_EQ(pthread_mutex_lock(&lock->readers_mutex), 0);
        test_raise(&shared->taken, 1);
    }
    test_raise(&shared->tried, 1);
    for (;;)
        raise(SIGSTOP);
}

static void *look(void *unused)
{
    struct stat st;

    hf_lab_stepped = true;
    EXPECT_EQ(hf_stat(used, "/", 0, &st), 0);
    hf_lab_stepped = false;
    test_raise(&ended, 1);
    return unused;
}

static bool sleeps_in_lmdb(const struct lmdb_lock *lock)
{
    const uint32_t *word = (const uint32_t *)(const void *)&lock->readers_mutex;

    return hf_load_acquire(word) & FUTEX_WAITERS;
}

void look_beside_stop(bool unused)
{
    const struct hf_pool_options options = {.size = sizeof(options), .pool_bytes = TEST_MIB(8)};
    struct lmdb_lock *lock;
    pthread_t looker;
    pid_t process;

    (void)unused;
    shared = test_shared(sizeof(*shared));
    EXPECT_EQ(hf_pool_create(test_path("used"), &options), 0);
    used = test_pool_open("used");
    lock = map_lock();
    process = test_fork(take_and_stop, NULL);
    test_await(&shared->opened, 1);
    stand_at(HF_LAB_READERS);
    EXPECT_EQ(pthread_create(&looker, NULL, look, NULL), 0);
    test_await(&walked, 1);
    test_raise(&shared->looks, 1);
    test_await(&shared->tried, 1);
    test_raise(&go, 1);
    while (!test_peek(&ended) && !sleeps_in_lmdb(lock))
        sched_yield();
    harmed = !test_peek(&ended);
    EXPECT_EQ(harmed, test_peek(&shared->taken));
    test_kill(process);
    pthread_join(looker, NULL);
    test_pool_close(used);
    test_remove_tree(test_path("used"));
}
