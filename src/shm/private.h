/* SPDX-License-Identifier: MIT */
/* What the files of src/shm share among themselves. */
#ifndef HF_SHM_PRIVATE_H
#define HF_SHM_PRIVATE_H

#include "shm/shm.h"

#define SHM_MAGIC UINT64_C(0x6e757274736f4c48) /* "HLostrun" */
#define SHM_VERSION 28u

/* Lays the tables out after the header; returns the bytes of the whole segment. */
uint64_t shm_lay_out(struct shm_run *run, const struct shm_limits *limits);
/* Whether a header found in a file of `bytes` describes tables that lie inside it. A copy of it:
 * the one in the file may change after the look. */
bool shm_laid_out_well(const struct shm_run *header, uint64_t bytes);
/* A view of a mapped segment, as a copy of its header describes it; null: no memory. */
struct shm *shm_view(struct shm_run *run, const struct shm_run *header, int lock_fd, int run_fd);
void shm_unview(struct shm *shm);

/* Locks on POOL/lock: byte 0 is for attaching and leaving, byte 1 + i for the process of entry
 * i. */
#define SHM_ATTACH_BYTE 0
#define SHM_ALONE_BYTE (INT64_C(1) << 40) /* past those of all entries */
int shm_byte_lock(int fd, int type, uint64_t byte);
/* Also true when it cannot be known. */
bool shm_byte_locked(const struct shm *shm, uint64_t byte);

/* That byte is locked through another opening of the file. */
bool shm_byte_is_locked(int fd, uint64_t byte);
/* Some process has an entry, but for that one (SHM_NONE: for none). */
bool shm_anybody_attached(int lock_fd, uint32_t but);

/* ---- lives (life.c): locks that end with this process, whatever children it has ---- */

struct shm_byte {
    int type;
    uint64_t at;
};
/* Opens the file of `fd`, which `path` leads to, once more, has `lock` take locks on it, and keeps
 * them. On failure *life is null. */
int shm_life_begin(int fd, const char *path, int (*lock)(int fd, void *arg), void *arg,
                   void **life);
/* The same for one byte; -EAGAIN: another has it. */
int shm_life_lock(int fd, const char *path, int type, uint64_t at, void **life);
void shm_life_end(void **life);

/* ---- the segment's file (run_file.c); `path` is where it is, for messages and shm->run_path
 * ---- */

/* Opens the file of the segment that is in use. -ENOENT: there is none that POOL/segment vouches
 * for. */
int shm_run_find(const struct shm_attach *at, char *path, size_t size);
/* First attacher: makes it new, in use, and puts it into the record in POOL/segment; `aside`: in
 * /dev/shm, wherever the pool is. Returns a descriptor. */
int shm_run_make(const struct shm_attach *at, const struct shm_run *header, mode_t mode, bool aside,
                 char *path, size_t size);
/* Last to detach. */
void shm_run_remove(const struct shm *shm);
void shm_boot_id(uint8_t boot[16]);
/* Those of this process. */
void shm_note_namespaces(struct shm_run *run);
/* -EBUSY: the processes that use the segment are in others. */
int shm_check_namespaces(const struct shm_run *run, const char *pool_dir);
/* The monotonic clock of the segment's processes is not this one's. Where it cannot be known, it is
 * taken for the same. */
bool shm_has_other_clock(const struct shm_run *run);
/* The number of the thread's process, and its name; 0: there is none. */
uint32_t shm_pid_of_thread(uint32_t tid, char command[16]);

/* A free process entry is taken by this process; `lock_path` is POOL/lock. */
int shm_process_take(struct shm *shm, const char *lock_path);
void shm_process_leave(struct shm *shm);
void shm_processes_recount(struct shm *shm);

/* ---- memory (reserve.c): before the first touch; 0, or -ENOSPC ---- */

int shm_no_room(void);
int shm_reserve(const void *from, uint64_t bytes);
/* An entry of a table of `count`. `mark`: entries below it have memory. */
int shm_reserve_entry(const void *table, size_t entry_bytes, uint64_t count, uint32_t *mark,
                      uint64_t at);
int shm_reserve_vnode(struct shm *shm, uint32_t at);
/* The parts that every process looks at. */
int shm_reserve_first(const void *base, const struct shm_run *header);

/* ---- the steps of robust mutexes, whatever the mutex says (robust.c) ---- */

/* -errno. */
int shm_robust_init(struct shm_mutex *mutex);
/* 0; EOWNERDEAD: taken, and to be mended; EBUSY: not taken. */
int shm_robust_trylock(struct shm_mutex *mutex);
void shm_robust_mended(struct shm_mutex *mutex);
void shm_robust_unlock(struct shm_mutex *mutex);

void shm_hash_rebuild(struct shm *shm);
/* Forgets this process's lanes of a segment that goes away. */
void shm_lanes_end(struct shm *shm);
/* In a forked child: forgets all lanes, which are the parent's. */
void shm_lanes_in_child(void);

#endif
