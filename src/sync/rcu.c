/* SPDX-License-Identifier: MIT */
/*
 * RCU, by liburcu (memb flavour): the walk counts inside a read section, the change waits after its
 * zap for a grace period. liburcu knows the threads of its own process only, so this engine is for
 * pools that no other process can attach to.
 *
 * A: synchronize_rcu returns when every section that had begun has ended, its counts made; a
 * section that begins later sees the zap.
 */
#include "base/error.h"
#include "sync/engine.h"

#include <errno.h>
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

static void rcu_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    (void)shm;
    if (!sync_zap_pending(vnode, cleared))
        return;
    urcu_memb_synchronize_rcu();
    SECTIONS_HAVE_ENDED();
    sync_zap_settled(vnode);
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
