/* SPDX-License-Identifier: MIT */
/*
 * A thread dies between two steps of a robust mutex (src/shm/robust.c). It has the mutex, which is
 * not in its list yet; or it still has one that has gone from the list. The kernel marks the mutex
 * all the same, since it was announced. Where that is left out, the mutex is lost.
 */
#include "base/lab.h"
#include "shm/private.h"
#include "support.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static enum hf_lab_point last;

/* The thread alone, with no handler of its end. */
static void die_there(enum hf_lab_point point)
{
    if (point == last)
        syscall(SYS_exit, 0);
}

static void *lock_and_unlock(void *arg)
{
    hf_lab_stepped = true;
    EXPECT(shm_robust_trylock(arg) == 0);
    shm_robust_unlock(arg);
    return NULL;
}

static bool is_lost(enum hf_lab_point point, bool announced)
{
    struct shm_mutex mutex = {0};
    pthread_t thread;
    int rc;

    EXPECT_OK(shm_mutex_init(&mutex));
    last = point;
    hf_lab_break = HF_LAB_STEPS | (announced ? 0 : HF_LAB_UNANNOUNCED);
    EXPECT(pthread_create(&thread, NULL, lock_and_unlock, &mutex) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    rc = shm_robust_trylock(&mutex);
    if (rc == EBUSY)
        return true;
    EXPECT(rc == EOWNERDEAD);
    shm_robust_mended(&mutex);
    shm_robust_unlock(&mutex);
    return false;
}

static int body(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    hf_lab_at = die_there;
    for (unsigned i = 0; i < 4; i++) {
        enum hf_lab_point point = i % 2 ? HF_LAB_UNLOCKS : HF_LAB_LOCKS;
        bool announced = i < 2;

        EXPECT(is_lost(point, announced) == !announced);
    }
    printf("caught: a mutex whose steps are not announced is lost with its thread\n");
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
