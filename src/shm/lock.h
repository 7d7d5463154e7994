/* SPDX-License-Identifier: MIT */
/* Robust mutexes that processes share (lock.c). Their order is in shm.h. */
#ifndef HF_SHM_LOCK_H
#define HF_SHM_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct shm;

/* Of a call that takes a lock: a caller that did not get it must not unlock it. */
#define SHM_MAY_FAIL __attribute__((warn_unused_result))

/* Layout mutexes of a thread at once: hf_clone_files() has those of so many files. There are five
 * other mutexes in the segment (shm.h has the order). */
#define SHM_LAYOUTS_MAX 128u
#define SHM_HELD_MAX (SHM_LAYOUTS_MAX + 5u)

struct shm_mutex {
    pthread_mutex_t robust;
    /* Futex of the threads that wait for it. Bit 0: a thread sleeps; the rest changes with each
     * unlock. */
    uint32_t turn;
    /* The process of the thread that took it last, written by that thread. It is for waiters: the
     * thread may have ended before they look for it in /proc. */
    uint32_t pid;
    /* How often it was taken, for waiters; its owner writes it. */
    uint64_t term;
};

/* How often a thread looks again before it sleeps: for some microseconds. A sleep and the wake-up
 * take as long. */
#define SHM_SPINS 200u

int shm_mutex_init(struct shm_mutex *mutex);
/* Before this process takes its first one. */
void shm_lock_as(uint32_t pid);
/* Within the bound of the calling thread (bound.h): 0, or -EBUSY, -EAGAIN, -ETIMEDOUT or -EINTR,
 * with a sentence that says which process holds `what`. *died: its owner died in it; mend what it
 * protects. */
int shm_lock(struct shm *shm, struct shm_mutex *mutex, const char *what, bool *died) SHM_MAY_FAIL;
/* Of a thread that waits for a mutex, or until another thread of its process calls it away. It lies
 * in memory of the process. */
struct shm_call_away {
    uint32_t word; /* futex: the bits below, and a number that changes when it is to look again */
    uint32_t at_mutex; /* it sleeps where other processes wake it, or is about to */
};
#define SHM_CALLED 1u
#define SHM_CALL_BITS 6u /* two for the callers; a thread that sets one wakes it */
/* As shm_lock(). SHM_CALLED: it was called, and does not have the mutex. */
int shm_lock_or(struct shm *shm, struct shm_mutex *mutex, const char *what, bool *died,
                struct shm_call_away *away) SHM_MAY_FAIL;
/* Calls a thread away that cannot get the mutex, since the caller has it. It may sleep on, until
 * the caller sets another bit. */
void shm_call_away(struct shm_mutex *mutex, struct shm_call_away *away);
/* It looks again whether the mutex is free. */
void shm_call_to_look(struct shm_call_away *away);
/* Waits a moment, and not for a process that is stopped; says nothing. */
bool shm_lock_moment(struct shm_mutex *mutex, bool *died) SHM_MAY_FAIL;
/* False: somebody has it. *died: as shm_lock() says. */
bool shm_lock_now(struct shm_mutex *mutex, bool *died) SHM_MAY_FAIL;
/* For a mutex that is not ours: waits until its word says that it is free, or its owner dead. Fails
 * as shm_lock(). shm null: hf_cancel() cannot end the wait. */
int shm_await_free(struct shm *shm, const uint32_t *word, const char *what);
/* Called after *died, when the damage is mended. */
void shm_lock_mended(struct shm_mutex *mutex);
void shm_unlock(struct shm_mutex *mutex);
/* Some thread has it, or had it when it died. A look. */
bool shm_lock_is_taken(const struct shm_mutex *mutex);
/* Somebody sleeps until it is free. */
bool shm_lock_is_wanted(const struct shm_mutex *mutex);
/* table_mutex, with the hash rebuilt when its owner died. */
int shm_lock_table(struct shm *shm) SHM_MAY_FAIL;
bool shm_lock_table_moment(struct shm *shm) SHM_MAY_FAIL;
void shm_unlock_table(struct shm *shm);

#endif
