/* SPDX-License-Identifier: MIT */
/*
 * Owns the process entries: taking one, and giving back what a dead process had.
 *
 * A process is alive while its byte of POOL/lock is locked. The kernel unlocks it when the last
 * thread has left user space for good. From then on the process cannot touch the pool, and no child
 * inherits the lock (life.c). No pid is compared: pids are reused and differ between namespaces. A
 * stopped process is alive.
 *
 * Reaping runs under table_mutex and can be repeated: a reaper that is killed half-way leaves the
 * entry in place for the next one.
 */
#include "base/descriptor.h"
#include "base/error.h"
#include "base/fence.h"
#include "base/futex.h"
#include "base/trace.h"
#include "holdfast/holdfast.h"
#include "shm/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool shm_process_alive(struct shm *shm, uint32_t process)
{
    if (process == shm->self || !*shm->run_path)
        return true;
    return shm_byte_locked(shm, 1 + (uint64_t)process);
}

static void fill_process(struct shm *shm, uint32_t index)
{
    struct shm_process *process = &shm->processes[index];

    process->pid = (uint32_t)getpid();
    process->life++;
    process->died_ns = 0;
    process->quarantined = 0;
    hf_store_relaxed(&process->calls_back, 0u); /* relaxed: as below */
    for (unsigned i = 0; i < SHM_RECALLS; i++)
        hf_store_relaxed(&process->recalls[i], 0u); /* relaxed: under table_mutex, of nobody yet */
    hf_store_relaxed(&process->recalls_more, 0u);   /* relaxed: likewise */
    for (unsigned i = 0; i < SHM_PURPOSES; i++)
        hf_store_relaxed(&process->registered[i], 0u); /* relaxed: likewise */
    hf_store_release(&shm->watchers[index].taken, hf_load_acquire(&shm->watchers[index].reported));
    hf_add_acq_rel(&shm->watchers[index].came_back, 1);
    snprintf(process->command, sizeof process->command, "%s", program_invocation_short_name);
    shm->self = index;
    /* Counted before and uncounted after it is live, so that a death in between errs towards the
     * barrier that reaches everybody. */
    hf_add_seq_cst(&shm->run->processes, 1);
    hf_store_release(&process->state, (uint32_t)SHM_PROCESS_LIVE);
}

/* 0; -EAGAIN: it is not free. */
static int take_process(struct shm *shm, uint32_t index, const char *lock_path)
{
    uint64_t byte = 1 + (uint64_t)index;
    int rc = 0;

    shm_assert_held(&shm->run->table_mutex);
    if (hf_load_acquire(&shm->processes[index].state) != SHM_PROCESS_FREE)
        return -EAGAIN;
    /* The byte of a free entry may be locked still by a process that is about to leave. */
    if (*shm->run_path)
        rc = shm_byte_locked(shm, byte)
                 ? -EAGAIN
                 : shm_life_lock(shm->lock_fd, lock_path, F_WRLCK, byte, &shm->life);
    if (rc == 0)
        rc = shm_reserve(&shm->watchers[index], sizeof shm->watchers[index]);
    if (rc == 0)
        fill_process(shm, index);
    return rc == -EACCES ? -EAGAIN : rc;
}

int shm_process_take(struct shm *shm, const char *lock_path)
{
    int rc = -EAGAIN;

    shm->self = SHM_NONE;
    shm_lock_as((uint32_t)getpid());
    for (int tries = 0; tries < 2 && rc == -EAGAIN; tries++) {
        int locked = shm_lock_table(shm);

        if (locked)
            return locked;
        for (uint32_t i = 0; i < shm->limits.processes && rc == -EAGAIN; i++)
            rc = take_process(shm, i, lock_path);
        shm_unlock_table(shm);
        if (rc == -EAGAIN && shm_reap(shm) == 0)
            break;
    }
    if (rc == -EAGAIN)
        return hf_fail(EBUSY, "all %u process entries are taken (mkpool --max-processes)",
                       shm->limits.processes);
    if (rc == -ENOSPC)
        return rc;
    return rc ? hf_fail_errno(-rc, "%s: cannot lock it", lock_path) : 0;
}

static void free_lane(struct shm_lane *lane)
{
    bool residue = false;

    for (unsigned i = 0; i < SHM_RESERVED; i++)
        residue |= lane->reserved[i].count != 0;
    /* relaxed: the release store of owner follows */
    hf_store_relaxed(&lane->slow_pins, 0u);
    hf_store_relaxed(&lane->counted, 0u);
    hf_store_relaxed(&lane->calls_back, 0u);
    hf_store_relaxed(&lane->served, 0u);
    hf_store_relaxed(&lane->given, 0u);
    hf_store_relaxed(&lane->given_served, 0u);
    hf_store_relaxed(&lane->sections[0], 0u);
    hf_store_relaxed(&lane->sections[1], 0u);
    hf_store_relaxed(&lane->wait.number, 0u);
    hf_store_relaxed(&lane->tid, 0u);
    hf_store_relaxed(&lane->residue, 0u);
    hf_store_release(&lane->owner, residue ? SHM_LANE_RESIDUE : 0u);
}

static void clear_bit(uint64_t *words, uint32_t bit)
{
    uint64_t *word = &words[bit / 64], mask = UINT64_C(1) << bit % 64;

    if (hf_load_relaxed(word) & mask) /* relaxed: under table_mutex */
        hf_and_acq_rel(word, ~mask);
}

/* Nobody knows which changes a dead process had made and not reported. So all of its files count as
 * changed. A file is reported before it is closed: when this process is killed in between, the next
 * reaper reports it once more. */
static void close_all(struct shm *shm, uint32_t process)
{
    shm_assert_held(&shm->run->table_mutex);
    for (uint32_t i = 0; i < shm_vnodes_high(shm); i++) {
        uint64_t at = (uint64_t)i * shm->open_words;

        clear_bit(shm->watches + at, process);
        clear_bit(shm->asks + at, process);
        if (shm_vnode_is_open_by(shm, &shm->vnodes[i], process))
            shm_report(shm, &shm->vnodes[i], 0, UINT64_MAX, process);
        clear_bit(shm->open + at, process);
    }
}

/* Only more blocks can be given out then, so no lock of the bitmap is needed. */
static void end_shrinking(struct shm *shm, uint32_t process)
{
    uint64_t word = hf_load_acquire(&shm->run->shrink_to);

    if (word >> 32 == process + UINT64_C(1))
        (void)hf_cas_acq_rel(&shm->run->shrink_to, word, UINT64_C(0));
}

static void free_entry(struct shm *shm, uint32_t process)
{
    uint32_t used = shm_lanes_used(shm);

    shm_assert_held(&shm->run->table_mutex);
    for (uint32_t i = 0; i < used; i++)
        if (hf_load_acquire(&shm->lanes[i].owner) == process + 1)
            free_lane(&shm->lanes[i]);
    close_all(shm, process);
    end_shrinking(shm, process);
    hf_store_release(&shm->processes[process].state, (uint32_t)SHM_PROCESS_FREE);
    hf_sub_acq_rel(&shm->run->processes, 1);
}

void shm_processes_recount(struct shm *shm)
{
    uint32_t count = 0;

    shm_assert_held(&shm->run->table_mutex);
    for (uint32_t i = 0; i < shm->limits.processes; i++)
        count += hf_load_acquire(&shm->processes[i].state) != SHM_PROCESS_FREE;
    hf_store_seq_cst(&shm->run->processes, count);
    hf_fence_full();
}

/* A lease of the process is in quarantine. Then the process stays in its entry, as one that has
 * died, so that the list of pins names it. */
static bool leaves_quarantine(struct shm *shm, uint32_t process)
{
    for (uint32_t i = 0; hf_load_acquire(&shm->run->given_up) && i < shm_holds_high(shm); i++)
        if (hf_load_acquire(&shm->holds[i].state) ==
            SHM_HOLD_STATE(SHM_HOLD_QUARANTINED, process + 1))
            return true;
    return false;
}

/* Where the table's mutex cannot be had, it looks as if this process had died, and another one
 * buries it. */
void shm_process_leave(struct shm *shm)
{
    if (!shm_lock_table_moment(shm))
        return;
    if (leaves_quarantine(shm, shm->self)) {
        shm->processes[shm->self].died_ns = hf_now_ns();
        hf_store_release(&shm->processes[shm->self].state, (uint32_t)SHM_PROCESS_DEAD);
    } else {
        free_entry(shm, shm->self);
    }
    shm_unlock_table(shm);
}

void shm_quarantine_ends(struct shm_run *run, uint64_t ends_ns)
{
    uint64_t first;

    do {
        first = hf_load_acquire(&run->quarantine_ends_ns);
    } while ((!first || ends_ns < first) &&
             !hf_cas_acq_rel(&run->quarantine_ends_ns, first, ends_ns));
}

/* A device may go on writing for a while into what a dead process had handed to it. */
static bool in_quarantine(struct shm_run *run, const struct shm_process *process, uint32_t flags)
{
    uint64_t ends = process->died_ns + run->quarantine_ns;

    if (!SHM_FOR_DEVICE(flags) || hf_now_ns() >= ends)
        return false;
    shm_quarantine_ends(run, ends);
    return true;
}

static void wake_vnode(struct shm *shm, struct shm_vnode *vnode)
{
    hf_add_acq_rel(&vnode->drain_seq, 1);
    hf_futex_wake_all(&vnode->drain_seq);
    hf_store_release(&shm->run->reclaim, 1u);
}

static void wake(struct shm *shm, uint64_t key)
{
    wake_vnode(shm, shm_vnode_of_key(shm, key));
}

/* Drops the pin of a dead process that has the key `was`; false: it stays for now. Its thread may
 * have been killed right after it wrote the key, so only the key is relied on. Its file is reported
 * first, as in close_all(). */
static bool drop(struct shm *shm, const struct shm_process *process, uint64_t *key, uint64_t was)
{
    if (!was)
        return true;
    if (was != SHM_KEY_CLAIMED && in_quarantine(shm->run, process, SHM_KEY_FLAGS(was)))
        return false;
    if (was != SHM_KEY_CLAIMED && SHM_KEY_FLAGS(was) & HF_PIN_WRITE)
        shm_report(shm, shm_vnode_of_key(shm, was), 0, UINT64_MAX,
                   (uint32_t)(process - shm->processes));
    if (!hf_cas_acq_rel(key, was, UINT64_C(0)))
        return true; /* a hold that was released in time, and is another's pin by now */
    hf_add_relaxed(&shm->run->stats.reaped, 1); /* relaxed: a count */
    if (was != SHM_KEY_CLAIMED) {
        HF_TRACE(reap, process->pid, shm_vnode_of_key(shm, was)->ino, SHM_KEY_FLAGS(was),
                 hf_now_ns() - process->died_ns);
        wake(shm, was);
    }
    return true;
}

/* Its quarantine has ended: what it holds, or has detached, is held no more. Whether its owner
 * lives makes no difference. */
static void drop_given_up(struct shm *shm, struct shm_hold *hold, uint32_t state)
{
    uint32_t owner = SHM_HOLD_OWNER(state);
    uint64_t key = hf_load_acquire(&hold->key);

    if (SHM_KEY_FLAGS(key) & HF_PIN_WRITE)
        shm_report(shm, shm_vnode_of_key(shm, key), 0, UINT64_MAX, owner - 1);
    hf_cas_acq_rel(&hold->key, key, UINT64_C(0));
    wake_vnode(shm, shm_vnode_at(shm, hold->vnode));
    if (hf_cas_acq_rel(&hold->state, state, SHM_HOLD_STATE(SHM_HOLD_DEAD, owner))) {
        hf_store_release(&shm_vnode_at(shm, hold->vnode)->holds_stale, 1u);
        hf_sub_acq_rel(&shm->run->given_up, 1);
    }
}

static void end_given_up(struct shm *shm)
{
    struct shm_run *run = shm->run;

    shm_assert_held(&run->table_mutex);
    for (uint32_t i = 0; hf_load_acquire(&run->given_up) && i < shm_holds_high(shm); i++) {
        struct shm_hold *hold = &shm->holds[i];
        uint32_t state = hf_load_acquire(&hold->state);
        uint64_t ends_ns = hf_load_acquire(&hold->ends_ns);

        if (!shm_hold_given_up(state))
            continue;
        if (hf_now_ns() < ends_ns)
            shm_quarantine_ends(run, ends_ns);
        else
            drop_given_up(shm, hold, state);
    }
}

/* A put of a dead process; false: it stays for now, since a device may go on filling it. */
static bool drop_put(struct shm *shm, const struct shm_process *process, struct shm_hold *hold,
                     uint32_t state)
{
    uint32_t left = SHM_HOLD_STATE(SHM_HOLD_PUT_LEFT, SHM_HOLD_OWNER(state));

    if (in_quarantine(shm->run, process, SHM_KEY_FLAGS(hf_load_acquire(&hold->key))))
        return false;
    if (hf_cas_acq_rel(&hold->state, state, left)) {
        hf_add_relaxed(&shm->run->stats.reaped, 1); /* relaxed: a count */
        hf_store_release(&shm->run->puts_left, 1u);
        hf_store_release(&shm->run->reclaim, 1u);
    }
    return true;
}

/* The next thread that has the layout mutex takes a dead pin's hold out of its file's tree. The
 * swap fails when a thread has just done so. */
static bool drop_holds(struct shm *shm, uint32_t index)
{
    const struct shm_process *process = &shm->processes[index];
    bool all = true;

    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        struct shm_hold *hold = &shm->holds[i];
        uint32_t state = hf_load_acquire(&hold->state);
        uint64_t key = hf_load_acquire(&hold->key);

        if (state == SHM_HOLD_STATE(SHM_HOLD_TAKEN, index + 1))
            shm_hold_free(shm, i);
        if (state == SHM_HOLD_STATE(SHM_HOLD_QUARANTINED, index + 1)) {
            all = false; /* end_given_up() drops it */
            continue;
        }
        if (state == SHM_HOLD_STATE(SHM_HOLD_PUT, index + 1)) {
            all &= drop_put(shm, process, hold, state);
            continue;
        }
        /* The state was the same before and after, so the key is the dead process's, or 0. */
        if (!shm_hold_holds(state) || SHM_HOLD_OWNER(state) != index + 1 ||
            hf_load_acquire(&hold->state) != state)
            continue;
        if (!drop(shm, process, &hold->key, key))
            all = false;
        else if (hf_cas_acq_rel(&hold->state, state, SHM_HOLD_STATE(SHM_HOLD_DEAD, index + 1)))
            hf_store_release(&shm_vnode_at(shm, hold->vnode)->holds_stale, 1u);
    }
    return all;
}

/* True: nothing of it is left. */
static bool bury(struct shm *shm, uint32_t index)
{
    struct shm_process *process = &shm->processes[index];
    uint32_t used = shm_lanes_used(shm);
    bool all = true;

    shm_assert_held(&shm->run->table_mutex);
    for (uint32_t i = 0; i < used; i++) {
        struct shm_lane *lane = &shm->lanes[i];

        if (hf_load_acquire(&lane->owner) != index + 1)
            continue;
        /* It does not wait any longer, nor does the next thread that gets this lane. */
        hf_store_release(&lane->wait.number, 0u);
        for (unsigned slot = 0; slot < SHM_SLOTS; slot++)
            if (slot != SHM_FAR_MARK)
                all &= drop(shm, process, &lane->keys[slot], hf_load_acquire(&lane->keys[slot]));
    }
    /* Killed as a writer: readers that may not sleep come in again; the others took the word back
     * already. */
    hf_cas_acq_rel(&shm->run->grace_writer, index + 1, 0u);
    end_shrinking(shm, index);
    all &= drop_holds(shm, index);
    close_all(shm, index); /* also of those in quarantine: their files are not open */
    if (all)
        free_entry(shm, index);
    return all;
}

static void look_for_ghosts(struct shm_run *run)
{
    if (!hf_load_acquire(&run->ghost_key))
        return;
    if (hf_now_ns() < run->ghost_ends_ns) {
        shm_quarantine_ends(run, run->ghost_ends_ns);
        return;
    }
    hf_store_release(&run->ghost_key, UINT64_C(0));
    hf_store_release(&run->ghost_gone, 1u);
    hf_store_release(&run->reclaim, 1u);
}

unsigned shm_reap(struct shm *shm)
{
    unsigned died = 0;

    if (!shm_lock_table_moment(shm))
        return 0;
    hf_store_release(&shm->run->quarantine_ends_ns, UINT64_C(0)); /* those that go on say so */
    /* GIVEUP.END/m: the time is taken back before the holds are looked at. Pairs with GIVEUP.END/p
     * in shm_give_up(). */
    hf_fence_full();
    end_given_up(shm);
    look_for_ghosts(shm->run);
    for (uint32_t i = 0; i < shm->limits.processes; i++) {
        struct shm_process *process = &shm->processes[i];
        uint32_t state = hf_load_acquire(&process->state);

        if (state == SHM_PROCESS_LIVE && !shm_process_alive(shm, i)) {
            process->died_ns = hf_now_ns();
            hf_store_release(&process->state, (uint32_t)SHM_PROCESS_DEAD);
            state = SHM_PROCESS_DEAD;
            died++;
        }
        if (state == SHM_PROCESS_DEAD &&
            !(process->quarantined && in_quarantine(shm->run, process, HF_PIN_GPU)))
            process->quarantined = !bury(shm, i);
    }
    if (died) { /* also one that was killed while it left a put, swept, or reclaimed */
        hf_store_release(&shm->run->puts_left, 1u);
        hf_store_release(&shm->run->reclaim, 1u);
    }
    shm_unlock_table(shm);
    return died;
}
