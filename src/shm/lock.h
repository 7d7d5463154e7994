/* SPDX-License-Identifier: MIT */
/* Robust mutexes that processes share (lock.c). Their order is in shm.h. */
#ifndef HF_SHM_LOCK_H
#define HF_SHM_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct shm;

/* A lock that could not be had is not to be let go of. */
#define SHM_MAY_FAIL __attribute__((warn_unused_result))

/* Of a thread at once. hf_clone_files() has the layout mutexes of so many files, and there are four
 * others in the segment (shm.h has the order). */
#define SHM_LAYOUTS_MAX 128u
#define SHM_HELD_MAX (SHM_LAYOUTS_MAX + 4u)

struct shm_mutex {
    pthread_mutex_t robust;
    /* Futex of those that wait for it. Bit 0: somebody sleeps; the rest changes when it is let go
     * of. */
    uint32_t turn;
    /* The process of the thread that took it last, for those that wait: that thread may have ended
     * before they look for it in /proc. Its owner writes it. */
    uint32_t pid;
    /* How often it was taken: for those that wait. Its owner writes it. */
    uint64_t term;
};

int shm_mutex_init(struct shm_mutex *mutex);
/* Before this process takes its first one. */
void shm_lock_as(uint32_t pid);
/* Within the bound of the calling thread (bound.h): 0, or -EBUSY, -EAGAIN, -ETIMEDOUT or -EINTR,
 * with a sentence that says which process holds `what`. *died: its owner died in it; mend what it
 * protects. */
int shm_lock(struct shm *shm, struct shm_mutex *mutex, const char *what, bool *died) SHM_MAY_FAIL;
/* Waits a moment, and not for a process that is stopped; says nothing. */
bool shm_lock_moment(struct shm_mutex *mutex, bool *died) SHM_MAY_FAIL;
/* False: somebody has it. *died: as shm_lock() says. */
bool shm_lock_now(struct shm_mutex *mutex, bool *died) SHM_MAY_FAIL;
/* Returns when the word of a mutex that is not ours says that nobody has it, or that its owner
 * died; else as shm_lock(). Only of threads in the same pid namespace. shm null: hf_cancel() cannot
 * end it. */
int shm_await_free(struct shm *shm, const uint32_t *word, const char *what);
/* After *died, when the damage is mended. */
void shm_lock_mended(struct shm_mutex *mutex);
void shm_unlock(struct shm_mutex *mutex);
/* table_mutex, with the hash rebuilt when its owner died. */
int shm_lock_table(struct shm *shm) SHM_MAY_FAIL;
bool shm_lock_table_moment(struct shm *shm) SHM_MAY_FAIL;
void shm_unlock_table(struct shm *shm);

#endif
