/* SPDX-License-Identifier: MIT */
/* Robust mutexes that processes share (lock.c). Their order is in shm.h. */
#ifndef HF_SHM_LOCK_H
#define HF_SHM_LOCK_H

#include <pthread.h>
#include <stdbool.h>

struct shm;

int shm_mutex_init(pthread_mutex_t *mutex);
/* True: its owner died in it; mend what it protects. */
bool shm_lock(pthread_mutex_t *mutex);
/* False: somebody has it. *died: as shm_lock() says. */
bool shm_lock_now(pthread_mutex_t *mutex, bool *died);
/* After shm_lock() said true and the damage is mended. */
void shm_lock_mended(pthread_mutex_t *mutex);
void shm_unlock(pthread_mutex_t *mutex);
/* table_mutex, with the hash rebuilt when its owner died. */
void shm_lock_table(struct shm *shm);
void shm_unlock_table(struct shm *shm);

#endif
