/* SPDX-License-Identifier: MIT */
/*
 * How long a call waits for another process that holds a lock or a gate (bound.c). Each thread has
 * a bound of its own. The caller of a layout change sets it by the policy, and every wait inside
 * that call obeys it.
 */
#ifndef HF_SHM_BOUND_H
#define HF_SHM_BOUND_H

#include <stdbool.h>
#include <stdint.h>

struct shm;

/* How long a process that runs holds a lock, but for rare cases. Every thread waits for so long,
 * past a deadline too, and with NOWAIT. */
#define SHM_MOMENT_NS UINT64_C(100000000)
/* How long at most a thread sleeps before it looks again. */
#define SHM_LOOK_AGAIN_NS UINT64_C(10000000)

enum shm_patience {
    /* As long as the holder runs. A holder that is stopped is waited for a moment: -EBUSY. */
    SHM_PATIENCE_CALL = 0,
    /* As long as it takes, or until until_ns: -ETIMEDOUT. */
    SHM_PATIENCE_LONG,
    /* The deadline is past from the beginning: -EBUSY. */
    SHM_PATIENCE_NONE,
};

struct shm_bound {
    enum shm_patience patience;
    /* -EAGAIN after a moment: the thread serves a client, and is not to wait. */
    bool puts_off;
    /* 0: none. */
    uint64_t until_ns;
    /* Not null: -EINTR, soon after it is not zero; after a second for a lock whose holder runs. */
    const uint32_t *cancelled;
};
extern __attribute__((visibility("hidden"))) _Thread_local struct shm_bound shm_bound;

/* In a lane: its thread waits. */
struct shm_blocked {
    /* Of the call that waits; 0: it does not wait. */
    uint64_t call;
    /* The last call whose waits are to end; any thread of the process raises it. */
    uint64_t cancelled;
};

/* The number of the call that the thread is in. A call gets it at its first wait, and no two calls
 * of a process have the same. 0: it has not waited. */
extern __attribute__((visibility("hidden"))) _Thread_local uint64_t shm_call;

static inline void shm_call_begins(void)
{
    shm_call = 0;
}

/* The thread is about to wait, and can be cancelled; until it waits no more. */
void shm_call_waits(struct shm_blocked *blocked);
void shm_call_waits_no_more(struct shm_blocked *blocked);
/* It was cancelled in one of its waits, this one or an earlier one. */
bool shm_call_cancelled(const struct shm_blocked *blocked);
/* Ends the waits of the call that the thread is in. False: it does not wait. */
bool shm_call_cancel(struct shm_blocked *blocked);

/* One wait for a holder of something. */
struct shm_waiting {
    /* Of the first look, since most do not wait, and a clock costs more than the lock. */
    uint64_t since_ns;
    /* The holder: of a gate its process, index + 1; of a lock its thread's number; 0: not known.
     * Then which of its holdings it is, and since when it is known to have it. */
    uint32_t holder;
    uint64_t term;
    uint64_t same_ns;
    /* Of a lock: where its holders note their process. Null: they do not. */
    const uint32_t *last_pid;
    /* The wait is not for a lock, but for something that may be held for long. */
    bool for_long;
    /* A signal handler has run. */
    bool interrupted;
    /* The holder was found to be stopped. */
    bool stopped;
    /* The mark of its thread; null: hf_cancel() cannot end the wait. */
    struct shm_blocked *blocked;
    /* It is written there, and what was there before: the thread is in another wait already. */
    bool said;
    uint64_t outer;
};

void shm_waiting_begin(struct shm_waiting *waiting, bool for_long, struct shm_blocked *blocked);
void shm_waiting_end(struct shm_waiting *waiting);
/* Whether the wait for `holder` goes on (shm null: a thread's number): 0, or -EBUSY, -EAGAIN,
 * -ETIMEDOUT, -EINTR. */
int shm_waiting_goes_on(struct shm *shm, struct shm_waiting *waiting, uint32_t holder,
                        uint64_t term);
/* When to look again, of a lock. */
uint64_t shm_waiting_tick(const struct shm_waiting *waiting);
/* Sets the sentence for the end of a wait: which process holds `what`, and whether it is stopped.
 * Returns err. */
int shm_waiting_failed(const struct shm *shm, const struct shm_waiting *waiting, int err,
                       const char *what);
/* It is stopped by a signal or a tracer; false also where that cannot be known. */
bool shm_thread_stopped(uint32_t tid);

#endif
