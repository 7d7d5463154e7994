/* SPDX-License-Identifier: MIT */
/*
 * Waiting for another process that holds a lock or a gate. That process may be stopped, by a signal
 * or a debugger, for any time. So no call waits for it without a bound of its own, or a way to end
 * it: docs/ORDERING.md 3.32 says which call has which.
 *
 * A lock is held for so short a time that no caller wants an error because of it. So for the first
 * moment, of 100 ms, only hf_cancel() ends a wait for a holder that runs. HF_POLICY_NOWAIT counts
 * as a deadline that has passed. A server's client waits for a second. It may be any program on a
 * mount that has set a timer, and no other file system ends such a call for a signal.
 */
#include "base/error.h"
#include "base/futex.h"
#include "shm/private.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>

#define FIRST_LOOK_NS HF_NS_PER_MS
#define CLIENT_WAITS_NS HF_NS_PER_SEC

_Thread_local struct shm_bound shm_bound;
_Thread_local uint64_t shm_call;

void shm_waiting_begin(struct shm_waiting *waiting, bool for_long, struct shm_blocked *blocked)
{
    *waiting = (struct shm_waiting){.for_long = for_long, .blocked = blocked};
}

void shm_call_waits(struct shm_blocked *blocked)
{
    static uint64_t calls;

    if (!shm_call)
        shm_call = hf_add_relaxed(&calls, 1) + 1; /* relaxed: only its being unique */
    hf_store_release(&blocked->call, shm_call);
}

void shm_call_waits_no_more(struct shm_blocked *blocked)
{
    hf_store_release(&blocked->call, UINT64_C(0));
}

bool shm_call_cancelled(const struct shm_blocked *blocked)
{
    return shm_call && hf_load_acquire(&blocked->cancelled) == shm_call;
}

/* It is only raised, so that a thread that comes late does not undo another's. */
bool shm_call_cancel(struct shm_blocked *blocked)
{
    uint64_t call = hf_load_acquire(&blocked->call), before;

    while ((before = hf_load_acquire(&blocked->cancelled)) < call &&
           !hf_cas_acq_rel(&blocked->cancelled, before, call))
        ;
    return call;
}

/* Says that it waits, so that it can be cancelled. */
static void say(struct shm_waiting *waiting)
{
    if (!waiting->blocked || waiting->said)
        return;
    waiting->said = true;
    waiting->outer = waiting->blocked->call;
    shm_call_waits(waiting->blocked);
}

void shm_waiting_end(struct shm_waiting *waiting)
{
    if (waiting->said)
        hf_store_release(&waiting->blocked->call, waiting->outer);
    waiting->said = false;
}

/* The holder was stopped all the time, as far as can be known: it is stopped now, and has released
 * nothing. */
static bool is_stopped(const struct shm *shm, struct shm_waiting *waiting)
{
    if (!shm)
        return waiting->stopped = shm_thread_stopped(waiting->holder);
    waiting->stopped = waiting->holder && waiting->holder <= shm->limits.processes &&
                       waiting->holder != shm->self + 1 &&
                       shm_process_stopped(shm, waiting->holder - 1);
    return waiting->stopped;
}

static bool cancelled(const struct shm *shm, struct shm_waiting *waiting, uint64_t now)
{
    if (waiting->blocked && shm_call_cancelled(waiting->blocked))
        return true;
    if (!shm_bound.cancelled || !hf_load_acquire(shm_bound.cancelled))
        return false;
    return waiting->for_long || now - waiting->since_ns >= CLIENT_WAITS_NS ||
           is_stopped(shm, waiting);
}

int shm_waiting_goes_on(struct shm *shm, struct shm_waiting *waiting, uint32_t holder,
                        uint64_t term)
{
    uint64_t now = hf_now_ns();
    bool moment, none = shm_bound.patience == SHM_PATIENCE_NONE;
    bool same = waiting->same_ns && waiting->holder == holder && waiting->term == term;

    if (!waiting->since_ns)
        waiting->since_ns = now;
    moment = waiting->for_long || now - waiting->since_ns >= SHM_MOMENT_NS;
    if (!same) {
        waiting->holder = holder;
        waiting->term = term;
        waiting->same_ns = now;
        waiting->stopped = false;
    }
    if (same)
        say(waiting);
    if (cancelled(shm, waiting, now) || (moment && waiting->interrupted))
        return -EINTR;
    if ((none || (shm_bound.until_ns && now >= shm_bound.until_ns)) &&
        ((same && is_stopped(shm, waiting)) || moment))
        return none ? -EBUSY : -ETIMEDOUT;
    if (shm_bound.puts_off && moment)
        return -EAGAIN;
    if (shm_bound.patience == SHM_PATIENCE_CALL && now - waiting->same_ns >= SHM_MOMENT_NS &&
        is_stopped(shm, waiting))
        return -EBUSY;
    return 0;
}

uint64_t shm_waiting_tick(const struct shm_waiting *waiting)
{
    uint64_t now = hf_now_ns();
    uint64_t tick =
        now + (now - waiting->since_ns < FIRST_LOOK_NS ? FIRST_LOOK_NS : SHM_LOOK_AGAIN_NS);

    return shm_bound.until_ns > now && shm_bound.until_ns < tick ? shm_bound.until_ns : tick;
}

int shm_waiting_failed(const struct shm *shm, const struct shm_waiting *waiting, int err,
                       const char *what)
{
    const char *why = err == -EINTR       ? "interrupted by a signal, or cancelled: "
                      : err == -ETIMEDOUT ? "past the deadline: "
                                          : "";
    char name[16] = "";
    uint32_t pid = 0;

    if (!shm) {
        pid = shm_pid_of_thread(waiting->holder, name);
        if (!pid && waiting->last_pid) /* relaxed: a thread that has ended had noted it before */
            pid = shm_pid_of_thread(hf_load_relaxed(waiting->last_pid), name);
    } else if (waiting->holder && waiting->holder <= shm->limits.processes) {
        pid = shm->processes[waiting->holder - 1].pid;
        memcpy(name, shm->processes[waiting->holder - 1].command, sizeof name - 1);
    }
    if (!pid)
        return hf_fail(-err, "%s%s is held by another process", why, what);
    return hf_fail(-err, "%s%s is held by process %u (%.15s)%s", why, what, pid, name,
                   waiting->stopped ? ", which is stopped: continue it or end it" : "");
}
