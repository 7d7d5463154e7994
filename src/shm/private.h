/* SPDX-License-Identifier: MIT */
/* What the files of src/shm share among themselves. */
#ifndef HF_SHM_PRIVATE_H
#define HF_SHM_PRIVATE_H

#include "shm/shm.h"

#define SHM_MAGIC UINT64_C(0x6e757274736f4c48) /* "HLostrun" */
#define SHM_VERSION 4u

/* Lays the tables out behind the header; returns the bytes of the whole segment. */
uint64_t shm_lay_out(struct shm_run *run, const struct shm_limits *limits);
/* Whether a header found in a file of `bytes` describes tables that lie inside it. */
bool shm_laid_out_well(const struct shm_run *run, uint64_t bytes);
/* A view of a mapped segment; null: no memory. */
struct shm *shm_view(struct shm_run *run, int lock_fd);
void shm_unview(struct shm *shm);

/* OFD locks on POOL/lock: byte 0 for being attached, byte 1 + i for process entry i. */
#define SHM_ATTACH_BYTE 0
int shm_byte_lock(int fd, int type, uint64_t byte, bool wait);
/* Also true when it cannot be known. */
bool shm_byte_locked(const struct shm *shm, uint64_t byte);

/* A free process entry is taken by this process. */
int shm_process_take(struct shm *shm);
void shm_process_leave(struct shm *shm);
void shm_processes_recount(struct shm *shm);

void shm_hash_rebuild(struct shm *shm);
/* Forgets this process's lanes of a segment that goes away. */
void shm_lanes_end(struct shm *shm);
/* In a forked child: forgets all lanes, which are the parent's. */
void shm_lanes_in_child(void);

#endif
