/* SPDX-License-Identifier: MIT */
/*
 * A process that is killed after a chosen change of what it shares with others. While armed, the
 * run segment and LMDB's maps are write-protected in this process. Each store to them faults and is
 * let through alone; it counts as an event when it has changed something. So does each system call
 * that changes a file, a lock or a name. After event number `kill_at` the process is killed.
 *
 * The blocks of files are not protected. It does not matter how much of them is written at a kill,
 * since what names them is written later, and that is an event.
 */
#ifndef HF_TESTS_KILL_TRAP_H
#define HF_TESTS_KILL_TRAP_H

#include <stdbool.h>
#include <stdint.h>

enum trap_class {
    TRAP_SEGMENT = 1, /* a store to the run segment */
    TRAP_META,        /* to a meta page of LMDB */
    TRAP_LMDB,        /* to another page of data.mdb: nothing leads to it yet */
    TRAP_READERS,     /* to lock.mdb */
    TRAP_CALL         /* a system call */
};

#define TRAP_NEVER UINT64_MAX
#define TRAP_LOG 1000000u

/* What a run without a kill has met, in memory that processes share. */
struct trap_log {
    uint64_t count;
    uint8_t classes[TRAP_LOG]; /* enum trap_class */
};

/* False: not on this machine, or not under a sanitizer. */
bool trap_possible(void);

/* From now on, for the calling thread, which is the only one of its process. `show`: prints the
 * stack before the kill. */
void trap_arm(const char *pool_dir, uint64_t kill_at, struct trap_log *log, bool show);
/* From now on the process is stopped (SIGSTOP) instead of killed, and disarmed. */
void trap_stops(void);
void trap_disarm(void);

#endif
