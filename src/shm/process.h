/* SPDX-License-Identifier: MIT */
/* The processes that are attached, and their death (reap.c). */
#ifndef HF_SHM_PROCESS_H
#define HF_SHM_PROCESS_H

#include "shm/key.h"
#include "shm/segment.h"

enum shm_process_state { SHM_PROCESS_FREE = 0, SHM_PROCESS_LIVE, SHM_PROCESS_DEAD };

#define SHM_RECALLS 32u
/* HF_PIN_CPU to HF_PIN_GPU. */
#define SHM_PURPOSES 4u

struct shm_process {
    uint32_t state;
    /* In the pid namespace that all share. */
    uint32_t pid;
    /* Raised each time the entry is taken. */
    uint32_t life;
    /* Futex: raised when a lease of it is recalled. */
    uint32_t recall_seq;
    /* Lane of the thread that is in the callback of a recall, index + 1; 0: none is. */
    uint32_t calls_back;
    uint64_t died_ns;
    /* Of a dead process: only its holds in quarantine are left. */
    uint32_t quarantined;
    char command[16];
    /* Holds (index + 1) with a recall that the process is to be told; any process fills a 0. When
     * no 0 is left, all holds are looked at. */
    uint32_t recalls[SHM_RECALLS];
    uint32_t recalls_more;
    /* Registrations of the pool's memory, by purpose; under table_mutex. They hold it as long as
     * the process lives (registered.c). */
    uint32_t registered[SHM_PURPOSES];
} SHM_LINE;

/* A process by its number in the segment, which may be wrong: then it is the first one. */
static inline struct shm_process *shm_process_at(const struct shm *shm, uint32_t process)
{
    return &shm->processes[process < shm->limits.processes ? process : 0];
}
bool shm_process_alive(struct shm *shm, uint32_t process);
/* A dead process, for which a device may still be writing. Its pins and leases for devices keep
 * their blocks off the free list for run->quarantine_ns. */
static inline bool shm_process_quarantined(const struct shm *shm, uint32_t process)
{
    return hf_load_acquire(&shm_process_at(shm, process)->state) == SHM_PROCESS_DEAD;
}

/* It is stopped by a signal or a tracer; false also where it cannot be known. */
bool shm_process_stopped(const struct shm *shm, uint32_t process);

/* One registration of the pool's memory more, or less, for this process; `purpose` is below
 * SHM_PURPOSES. The first fails as shm_lock() does, the second with -EINVAL alone: there is none to
 * give up. */
int shm_register(struct shm *shm, unsigned purpose) SHM_MAY_FAIL;
int shm_unregister(struct shm *shm, unsigned purpose);
/* Of this process; and of all that live. */
uint32_t shm_registrations_own(const struct shm *shm);
uint32_t shm_registrations(const struct shm *shm);

/* A quarantine ends then: somebody has to look at that time. */
void shm_quarantine_ends(struct shm_run *run, uint64_t ends_ns);

/* Looks at every process entry, drops what dead processes held, and wakes the threads that waited
 * for it. Lanes with blocks reserved become SHM_LANE_RESIDUE, for fs. Returns how many processes
 * were found dead. Does nothing when another thread keeps table_mutex for longer than a moment.
 * Takes no other mutex, so a layout mutex may be held. */
unsigned shm_reap(struct shm *shm);

#endif
