/* SPDX-License-Identifier: MIT */
/*
 * Owns how the robust mutexes that processes share are taken. When the owner of a mutex has died,
 * the next thread to lock it learns this, mends what the mutex protects, and declares it mended.
 *
 * The mutex says which thread has it (robust.c). The waiting is our own: no signal and no
 * cancellation ends a wait in the C library, and it cannot name the owner. A waiter says in `turn`
 * that it sleeps, tries the mutex once more, and sleeps on the word that it has stored. An unlock
 * releases the mutex and then looks at the word; when a thread sleeps, it changes the word and
 * wakes one. So either the waiter's try comes after the unlock and gets the mutex, or the unlock
 * sees that it sleeps. The wake-up may come late: some processors load the word before they unlock,
 * and the woken thread may be killed before it takes the mutex. It is never lost, since no thread
 * sleeps for more than SHM_LOOK_AGAIN_NS.
 */
#include "base/error.h"
#include "base/fence.h"
#include "base/futex.h"
#include "shm/private.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <time.h>

#define SLEEPS 1u
#define TURN 2u

static uint32_t own_pid;

void shm_lock_as(uint32_t pid)
{
    hf_store_relaxed(&own_pid, pid); /* relaxed: always the same one, but in a forked child */
}

int shm_mutex_init(struct shm_mutex *mutex)
{
    memset(mutex, 0, sizeof *mutex);
    return shm_robust_init(mutex);
}

bool shm_lock_now(struct shm_mutex *mutex, bool *died)
{
    int rc = shm_robust_trylock(mutex);

    *died = rc == EOWNERDEAD;
    if (rc == EBUSY)
        return false;
    /* relaxed: for waiters that ask which process took it last */
    hf_store_relaxed(&mutex->pid, hf_load_relaxed(&own_pid));
    shm_note_locked(mutex);
    return true;
}

/* The word on which to sleep. */
static uint32_t will_sleep(struct shm_mutex *mutex)
{
    uint32_t turn, next;

    do {
        turn = hf_load_acquire(&mutex->turn);
        next = (turn + TURN) | SLEEPS;
    } while (!hf_cas_acq_rel(&mutex->turn, turn, next));
    return next;
}

/* Where hf_cancel() finds the wait; null: the wait cannot be cancelled. Where all lanes are taken,
 * shm_lane() looks for dead processes, and so comes here again. A process that is still attaching
 * has no number yet: its lane would look free, and another process would take it too. */
static void show_in_lane(struct shm *shm, struct shm_waiting *waiting)
{
    static _Thread_local bool taking;
    struct shm_lane *lane;

    if (!shm || shm->self == SHM_NONE || taking || waiting->blocked)
        return;
    taking = true;
    lane = shm_lane(shm);
    taking = false;
    if (lane)
        waiting->blocked = &lane->blocked;
}

/* The number of the thread that has it: the kernel wants it in the first word of a robust mutex. */
static uint32_t holder_of(const struct shm_mutex *mutex)
{
    return hf_load_acquire((const uint32_t *)(const void *)&mutex->robust) & FUTEX_TID_MASK;
}

static int wait_goes_on(const struct shm_mutex *mutex, struct shm_waiting *waiting)
{
    return shm_waiting_goes_on(NULL, waiting, holder_of(mutex),
                               hf_load_relaxed(&mutex->term)); /* relaxed: see above */
}

static void sleep_on(uint32_t *word, uint32_t value, struct shm_waiting *waiting)
{
    if (hf_futex_wait(word, value, shm_waiting_tick(waiting)) == -EINTR)
        waiting->interrupted = true;
}

static int lock_slowly(struct shm *shm, struct shm_mutex *mutex, struct shm_waiting *waiting,
                       bool *died)
{
    int rc = 0;

    shm_waiting_begin(waiting, false, NULL);
    waiting->last_pid = &mutex->pid;
    while (rc == 0) {
        uint32_t turn = will_sleep(mutex);

        if (shm_lock_now(mutex, died))
            break;
        rc = wait_goes_on(mutex, waiting);
        if (rc == 0)
            sleep_on(&mutex->turn, turn, waiting);
        show_in_lane(shm, waiting);
    }
    shm_waiting_end(waiting);
    return rc;
}

/* A holder in this process calls it or has it look, and so it sleeps on a word of its own. For
 * another process's it sleeps as all do. What it believes of the holder may be old: then it looks
 * again later, as after a wake-up that was lost. */
static void sleep_or_called(struct shm_mutex *mutex, struct shm_call_away *away, uint32_t seen,
                            uint32_t turn, struct shm_waiting *waiting)
{
    if (hf_load_relaxed(&mutex->pid) == hf_load_relaxed(&own_pid)) { /* relaxed: see above */
        sleep_on(&away->word, seen, waiting);
        return;
    }
    /* Both words are changed by locked instructions on both sides. Either this one sees that it is
     * called, or the caller sees that it may sleep here. */
    (void)hf_xchg_acq_rel(&away->at_mutex, 1u);
    if (!(hf_load_acquire(&away->word) & SHM_CALLED))
        sleep_on(&mutex->turn, turn, waiting);
    hf_store_release(&away->at_mutex, 0u);
}

static int lock_or_called(struct shm *shm, struct shm_mutex *mutex, struct shm_waiting *waiting,
                          bool *died, struct shm_call_away *away)
{
    int rc = 0;

    shm_waiting_begin(waiting, false, NULL);
    waiting->last_pid = &mutex->pid;
    while (rc == 0) {
        uint32_t seen = hf_load_acquire(&away->word), turn;

        if (seen & SHM_CALLED) {
            rc = SHM_CALLED;
            break;
        }
        turn = will_sleep(mutex);
        if (shm_lock_now(mutex, died))
            break;
        rc = wait_goes_on(mutex, waiting);
        if (rc == 0)
            sleep_or_called(mutex, away, seen, turn, waiting);
        show_in_lane(shm, waiting);
    }
    shm_waiting_end(waiting);
    return rc;
}

int shm_lock_or(struct shm *shm, struct shm_mutex *mutex, const char *what, bool *died,
                struct shm_call_away *away)
{
    struct shm_waiting waiting;
    int rc = lock_or_called(shm, mutex, &waiting, died, away);

    return rc < 0 ? shm_waiting_failed(NULL, &waiting, rc, what) : rc;
}

void shm_call_away(struct shm_mutex *mutex, struct shm_call_away *away)
{
    (void)hf_or_acq_rel(&away->word, SHM_CALLED);
    if (hf_load_acquire(&away->at_mutex)) {
        (void)hf_add_acq_rel(&mutex->turn, TURN);
        hf_futex_wake_all(&mutex->turn);
    }
}

void shm_call_to_look(struct shm_call_away *away)
{
    (void)hf_add_acq_rel(&away->word, SHM_CALL_BITS + 2);
    hf_futex_wake_all(&away->word);
}

/* A holder in a pool in memory lets go sooner than a thread would sleep and wake up. */
static bool spin_for(const struct shm *shm, struct shm_mutex *mutex, bool *died)
{
    for (unsigned i = 0; shm && shm->spins && i < SHM_SPINS; i++) {
        if (!holder_of(mutex) && shm_lock_now(mutex, died))
            return true;
        hf_pause();
    }
    return false;
}

int shm_lock(struct shm *shm, struct shm_mutex *mutex, const char *what, bool *died)
{
    struct shm_waiting waiting;
    int rc;

    if (__builtin_expect(shm_lock_now(mutex, died), 1) || spin_for(shm, mutex, died))
        return 0;
    rc = lock_slowly(shm, mutex, &waiting, died);
    return rc ? shm_waiting_failed(NULL, &waiting, rc, what) : 0;
}

int shm_await_free(struct shm *shm, const uint32_t *word, const char *what)
{
    struct shm_waiting waiting;
    struct timespec pause = {0};
    uint32_t tid;
    int rc = 0;

    shm_waiting_begin(&waiting, false, NULL);
    while (rc == 0 && (tid = hf_load_acquire(word) & FUTEX_TID_MASK) &&
           !(hf_load_acquire(word) & FUTEX_OWNER_DIED)) {
        rc = shm_waiting_goes_on(NULL, &waiting, tid, 0);
        pause.tv_nsec = (long)(shm_waiting_tick(&waiting) - hf_now_ns());
        if (rc == 0 && pause.tv_nsec > 0 && nanosleep(&pause, NULL))
            waiting.interrupted = true;
        show_in_lane(shm, &waiting);
    }
    shm_waiting_end(&waiting);
    return rc ? shm_waiting_failed(NULL, &waiting, rc, what) : 0;
}

/* Such waits are not cancelled. */
bool shm_lock_moment(struct shm_mutex *mutex, bool *died)
{
    struct shm_bound before = shm_bound;
    struct shm_waiting waiting;
    int rc;

    if (__builtin_expect(shm_lock_now(mutex, died), 1))
        return true;
    shm_bound = (struct shm_bound){.patience = SHM_PATIENCE_NONE};
    rc = lock_slowly(NULL, mutex, &waiting, died);
    shm_bound = before;
    return rc == 0;
}

void shm_lock_mended(struct shm_mutex *mutex)
{
    shm_robust_mended(mutex);
}

/* No thread was asleep: the bit goes, unless a thread that is about to sleep has changed the
 * word. */
static void wake_one(struct shm_mutex *mutex)
{
    uint32_t turn = hf_add_acq_rel(&mutex->turn, TURN) + TURN;

    if (hf_futex_wake_one(&mutex->turn) == 0)
        (void)hf_cas_acq_rel(&mutex->turn, turn, turn & ~SLEEPS);
}

void shm_unlock(struct shm_mutex *mutex)
{
    shm_note_unlocked(mutex);
    shm_robust_unlock(mutex);
    if (__builtin_expect(hf_load_acquire(&mutex->turn) & SLEEPS, 0))
        wake_one(mutex);
}

bool shm_lock_is_taken(const struct shm_mutex *mutex)
{
    return holder_of(mutex) != 0;
}

bool shm_lock_is_wanted(const struct shm_mutex *mutex)
{
    return hf_load_acquire(&mutex->turn) & SLEEPS;
}

static void mend_table(struct shm *shm)
{
    shm_handing_mend(shm);
    shm_hash_rebuild(shm);
    shm_processes_recount(shm);
    hf_store_release(&shm->run->quarantine_ends_ns, UINT64_C(1)); /* a reaper may have died: reap */
    shm_lock_mended(&shm->run->table_mutex);
}

static void about_to_lock_table(const struct shm *shm)
{
    shm_assert_not_held(&shm->run->grace_mutex);
    shm_assert_not_held(&shm->run->barrier_mutex);
    (void)shm;
}

int shm_lock_table(struct shm *shm)
{
    bool died;
    int rc;

    about_to_lock_table(shm);
    rc = shm_lock(shm, &shm->run->table_mutex, "the table of open files", &died);
    if (rc == 0 && died)
        mend_table(shm);
    return rc;
}

bool shm_lock_table_moment(struct shm *shm)
{
    bool died;

    about_to_lock_table(shm);
    if (!shm_lock_moment(&shm->run->table_mutex, &died))
        return false;
    if (died)
        mend_table(shm);
    return true;
}

void shm_unlock_table(struct shm *shm)
{
    shm_unlock(&shm->run->table_mutex);
}
