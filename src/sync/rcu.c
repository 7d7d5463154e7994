/* SPDX-License-Identifier: MIT */
/*
 * RCU, by liburcu (memb flavour). The walk counts inside a read section, and the change waits after
 * its zap for a grace period. It knows the threads of its own process only, so this engine is for
 * pools to which no other process can attach.
 *
 * synchronize_rcu has no bound, and a thread may stand in a section for long. A debugger may have
 * stopped it, or it may be in a signal handler of the program that does not return. So a separate
 * thread makes the call, and changes wait for that thread within their bound. The separate thread
 * is made when a change asks, and ends when nobody has asked since.
 *
 * A: synchronize_rcu returns when every section that had begun has ended, its counts made; a
 * section that begins later sees the zap.
 */
#include "base/error.h"
#include "base/fence.h"
#include "base/fork.h"
#include "base/futex.h"
#include "base/lab.h"
#include "sync/engine.h"
#include "sync/sections.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <urcu/urcu-memb.h>

static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static _Thread_local bool registered;

#ifdef __SANITIZE_THREAD__
/* liburcu is not instrumented: a section that has ended happens before the grace period has. */
void __tsan_acquire(void *at);
void __tsan_release(void *at);
static char ended;
#define SECTION_ENDS() __tsan_release(&ended)
#define SECTIONS_HAVE_ENDED() __tsan_acquire(&ended)
#else
#define SECTION_ENDS() ((void)0)
#define SECTIONS_HAVE_ENDED() ((void)0)
#endif

static void leave_rcu(void *value)
{
    (void)value;
    registered = false;
    urcu_memb_unregister_thread();
}

static void make_thread_key(void)
{
    HF_BUG_ON(pthread_key_create(&key, leave_rcu) != 0);
}

static void rcu_join(void)
{
    pthread_once(&key_once, make_thread_key);
    if (registered || pthread_setspecific(key, &registered))
        return;
    urcu_memb_register_thread();
    registered = true;
}

static int rcu_enter(struct shm *shm, struct shm_lane *lane, bool nowait)
{
    (void)shm, (void)lane, (void)nowait;
    if (__builtin_expect(!registered, 0))
        return -EAGAIN;
    urcu_memb_read_lock();
    return 0;
}

static void rcu_leave(struct shm *shm, struct shm_lane *lane, int section)
{
    (void)shm, (void)lane, (void)section;
    SECTION_ENDS();
    urcu_memb_read_unlock();
}

/* Grace periods are numbered. One that began when number n had been asked for is over: `done`. */
static struct {
    /* The fork count, + 1, of the process that has the thread; 0: there is none. */
    uint32_t running;
    uint32_t asked, done;
} periods;

/* True: the thread ends. A change raises `asked`, then looks whether the thread runs. So either the
 * change sees that it does not, or the thread sees the number. */
static bool nobody_asks(uint32_t done, uint32_t mine)
{
    if (hf_load_acquire(&periods.asked) != done)
        return false;
    hf_store_seq_cst(&periods.running, 0u);
    hf_fence_full();
    return hf_load_acquire(&periods.asked) == done || !hf_cas_acq_rel(&periods.running, 0u, mine);
}

static void *make_periods(void *unused)
{
    uint32_t mine = (uint32_t)hf_fork_count + 1, number;

    do {
        number = hf_load_acquire(&periods.asked);
        urcu_memb_synchronize_rcu();
        hf_store_release(&periods.done, number);
        hf_futex_wake_all(&periods.done);
    } while (!nobody_asks(number, mine));
    return unused;
}

/* Takes no signals: they are the program's. */
static int make_thread(void)
{
    sigset_t all, before;
    pthread_t thread;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, NULL, make_periods, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        pthread_detach(thread);
    return rc;
}

/* A child has no thread of its parent's. */
static int ask_for_period(uint32_t *number)
{
    uint32_t mine = (uint32_t)hf_fork_count + 1, was;

    *number = hf_add_seq_cst(&periods.asked, 1) + 1;
    hf_fence_full();
    was = hf_load_acquire(&periods.running);
    if (was == mine || !hf_cas_acq_rel(&periods.running, was, mine) || make_thread() == 0)
        return 0;
    hf_store_release(&periods.running, 0u);
    return hf_fail(EBUSY, "no thread could be made that waits for read sections");
}

static bool is_over(uint32_t number, uint32_t *done)
{
    *done = hf_load_acquire(&periods.done);
    return (int32_t)(*done - number) >= 0;
}

static int await_period(struct shm *shm, uint32_t number)
{
    struct shm_lane *lane = shm_lane_fast(shm);
    struct shm_waiting waiting;
    uint32_t done;
    int rc = 0;

    shm_waiting_begin(&waiting, false, lane ? &lane->blocked : NULL);
    while (rc == 0 && !is_over(number, &done)) {
        if (hf_futex_wait(&periods.done, done, shm_waiting_tick(&waiting)) == -EINTR)
            waiting.interrupted = true;
        if (!is_over(number, &done))
            rc = sections_wait_goes_on(shm, &waiting, shm->self + 1, 0);
    }
    shm_waiting_end(&waiting);
    return rc ? shm_waiting_failed(shm, &waiting, rc, "a read section") : 0;
}

static int rcu_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    uint32_t number;
    int rc;

    if (!sync_zap_pending(vnode, cleared))
        return 0;
    rc = ask_for_period(&number);
    rc = rc ? rc : await_period(shm, number);
    if (rc == 0)
        SECTIONS_HAVE_ENDED();
    if (rc == 0 || HF_LAB_BROKEN(HF_LAB_NO_GRACE_KEPT)) /* GRACE.KEEP/m */
        sync_zap_settled(vnode);
    return rc;
}

const struct sync_engine sync_rcu = {
    .name = "rcu",
    .one_process = true,
    .join = rcu_join,
    .enter = rcu_enter,
    .leave = rcu_leave,
    .zapped = rcu_zapped,
    .scan = counts_scan,
    .freeze = counts_freeze,
    .before_wait = slots_before_wait,
};
