/* SPDX-License-Identifier: MIT */
/*
 * Owns how a thread leaves its work to another one of its process, in a pool in memory. Calls
 * space.c, txn.c and meta.
 *
 * A transaction of a pool in memory takes less time than a thread's sleep and wake-up. It takes no
 * more than the way of its memory from one processor's cache to another's. So two threads that take
 * turns at space_mutex get less done than one. Here a thread that finds the mutex taken puts its
 * task into a place where the holder looks, and spins. The holder, the host, does what it finds
 * there: reservations at once, and changes inside its own transaction. One commit serves all, and
 * the pages of the metadata stay in one cache.
 *
 * LMDB has no nested transactions here. Where a change fails that may be half done, the host gives
 * the whole transaction up. So it does where the commit fails. All are alone then: each does
 * its work by itself, as if there were no tasks, and fails for itself. So does a task that finds
 * what only its own thread can deal with. Nothing that an aborted transaction has shown is acted
 * on.
 *
 * A task lies in the memory of a thread that spins. While it stands in its place it is the
 * thread's. The thread takes it out by a compare-and-swap, the host by an exchange, and only one of
 * them gets it. The host takes tasks under space_mutex alone, and has told their threads when it
 * unlocks that. So a thread that gets the mutex, and finds its task gone, has been told. A thread
 * spins for some microseconds. Then it takes its task out, and waits for the mutex as all do. Only
 * a task that the host has is waited for without a bound: for the instructions of one transaction.
 *
 * Nothing of this is in shared memory, but for what the work itself stores. A process whose change
 * another process made would have to trust that one's transaction, and its death (docs/DECISIONS).
 * docs/ORDERING.md 3.31b has the argument, model/task.pml the model.
 */
#include "fs/task.h"
#include "fs/space.h"

#include "base/fence.h"
#include "base/futex.h"
#include "base/lab.h"

#include <errno.h>

/* In the word of a task. */
#define TOLD 1u
#define SLEEPS 2u

/* How often the host looks for the change of a thread whose blocks it has just reserved. So both
 * change in one transaction from then on, and not by turns. */
#define FOLLOW_SPINS 40u

static void say_to(struct fs_task *task, int result)
{
    task->result = result;
    if (hf_xchg_acq_rel(&task->word, TOLD) & SLEEPS)
        hf_futex_wake_all(&task->word); /* the task may have gone: then it does no harm */
}

/* ---- the host ---- */

/* What a host has taken, and has not told. */
struct hosted {
    struct fs *fs;
    struct meta_txn *meta;    /* null: no transaction is open */
    struct fs_task *changes;  /* that are still to be made */
    struct fs_task *made;     /* that are in the transaction */
    struct fs_task *reserves; /* that wait for its end */
    bool reserved;            /* for another thread */
};

static void push(struct fs_task **list, struct fs_task *task)
{
    task->next = *list;
    *list = task;
}

static struct fs_task *pop(struct fs_task **list)
{
    struct fs_task *task = *list;

    if (task)
        *list = task->next;
    return task;
}

static void tell_all(struct fs_task **list, int result)
{
    struct fs_task *task;

    while ((task = pop(list)))
        say_to(task, result);
}

/* To give out blocks that nobody has ever had takes a transaction (space.c): after this one. */
static void reserve_for(struct hosted *of, struct fs_task *task)
{
    int rc;

    of->fs->host_in_txn = of->meta != NULL;
    rc = task->work(task);
    of->fs->host_in_txn = false;
    if (rc && of->meta) {
        push(&of->reserves, task);
        return;
    }
    of->reserved = true;
    say_to(task, rc);
}

static struct fs_task *take_from_place(struct fs *fs, unsigned place)
{
    struct fs_task *task = hf_load_acquire(&fs->tasks[place]);

    if (task)
        task = hf_xchg_acq_rel(&fs->tasks[place], NULL);
    if (task)
        (void)hf_sub_acq_rel(&fs->tasks_waiting, 1u);
    return task;
}

/* A task that comes just now is found at the next look, or by the next host. */
static void look_for_tasks(struct hosted *of)
{
    if (__builtin_expect(!hf_load_acquire(&of->fs->tasks_waiting), 1))
        return;
    for (unsigned i = 0; i < FS_TASKS; i++) {
        struct fs_task *task = take_from_place(of->fs, i);

        if (task && task->txn)
            push(&of->changes, task);
        else if (task)
            reserve_for(of, task);
    }
}

static void look_for_followers(struct hosted *of)
{
    for (unsigned i = 0; i < FOLLOW_SPINS && of->reserved && !of->changes; i++) {
        hf_pause();
        look_for_tasks(of);
    }
}

static int make_change(struct hosted *of, struct fs_task *task)
{
    if (!of->meta && meta_begin_write(of->fs->dax.meta, &of->meta))
        return FS_ALONE;
    task->txn->meta = of->meta;
    meta_txn_next_part(of->meta);
    return task->work(task);
}

static int make_for(struct hosted *of, struct fs_task *task)
{
    int rc;

    shm_note_locked(task->mutex);
    rc = make_change(of, task);
    shm_note_unlocked(task->mutex);
    return rc == 0 && HF_LAB_BROKEN(HF_LAB_TASK_FAILS) ? -EIO : rc;
}

/* An error: the transaction has a part of a change. */
static int make_changes(struct hosted *of)
{
    struct fs_task *task;
    int rc = 0;

    while (rc >= 0 && (task = pop(&of->changes))) {
        rc = make_for(of, task);
        if (rc == 0)
            push(&of->made, task);
        else
            say_to(task, FS_ALONE);
        if (HF_LAB_BROKEN(HF_LAB_PART_KEPT))
            rc = 0;
        look_for_tasks(of);
    }
    return rc < 0 ? rc : 0;
}

static int commit_changes(struct hosted *of)
{
    int rc;

    if (HF_LAB_BROKEN(HF_LAB_TOLD_FIRST))
        tell_all(&of->made, 0);
    HF_LAB_AT(HF_LAB_JOINED);
    rc = of->meta ? meta_commit(of->meta) : 0;
    of->meta = NULL;
    HF_LAB_AT(HF_LAB_SETTLES);
    return rc;
}

/* Own and others' changes: all of them come to be, or none. */
static int change_all(struct hosted *of, struct fs_task *own)
{
    int rc = own->txn ? make_change(of, own) : own->work(own);

    if (rc)
        return rc;
    HF_LAB_AT(HF_LAB_JOINS);
    look_for_tasks(of);
    if (own->txn)
        look_for_followers(of);
    rc = make_changes(of);
    return rc ? rc : commit_changes(of);
}

static void settle_changes(struct hosted *of, struct fs_task *own)
{
    if (own->txn)
        fs_txn_settle(own->txn);
    for (struct fs_task *task = of->made; task; task = task->next)
        fs_txn_settle(task->txn);
    tell_all(&of->made, 0);
}

static void leave_changes_alone(struct hosted *of)
{
    if (of->meta)
        meta_abort(of->meta);
    of->meta = NULL;
    tell_all(&of->made, FS_ALONE);
    tell_all(&of->changes, FS_ALONE);
}

/* With space_mutex. */
static int host(struct fs *fs, struct fs_task *own)
{
    struct hosted of = {.fs = fs};
    struct fs_task *task;
    int rc;

    look_for_tasks(&of);
    rc = change_all(&of, own);
    if (rc == 0)
        settle_changes(&of, own);
    else
        leave_changes_alone(&of);
    while ((task = pop(&of.reserves)))
        reserve_for(&of, task);
    fs_space_unlock(fs);
    return rc ? FS_ALONE : 0;
}

/* ---- the thread of a task ---- */

static bool is_told(const struct fs_task *task)
{
    return hf_load_acquire(&task->word) & TOLD;
}

/* A host has the task. */
static int await_told(struct fs_task *task)
{
    for (unsigned i = 0; i < SHM_SPINS && !is_told(task); i++)
        hf_pause();
    while (!is_told(task)) {
        (void)hf_cas_acq_rel(&task->word, 0, SLEEPS);
        hf_futex_wait(&task->word, SLEEPS, HF_NEVER);
    }
    return task->result;
}

static struct fs_task **put_into_place(struct fs *fs, struct fs_task *task)
{
    for (unsigned i = 0; i < FS_TASKS; i++)
        if (!hf_load_acquire(&fs->tasks[i]) && hf_cas_acq_rel(&fs->tasks[i], NULL, task)) {
            (void)hf_add_acq_rel(&fs->tasks_waiting, 1u);
            return &fs->tasks[i];
        }
    return NULL;
}

/* False: a host has it. */
static bool take_task_back(struct fs *fs, struct fs_task **place, struct fs_task *task)
{
    if (!hf_cas_acq_rel(place, task, NULL))
        return false;
    (void)hf_sub_acq_rel(&fs->tasks_waiting, 1u);
    return true;
}

/* With space_mutex, unless `rc`. */
static int host_or_told(struct fs *fs, struct fs_task *task, struct fs_task **place, int rc)
{
    if (take_task_back(fs, place, task))
        return rc ? FS_ALONE : host(fs, task);
    if (rc == 0)
        fs_space_unlock(fs);
    return await_told(task);
}

static int spin(struct fs *fs, struct fs_task *task)
{
    const struct shm_mutex *mutex = &fs->dax.shm->run->space_mutex;
    struct fs_task **place = put_into_place(fs, task);
    int rc;

    if (!place)
        return FS_ALONE;
    for (unsigned i = 0; i < SHM_SPINS || HF_LAB_BROKEN(HF_LAB_TASKS_STAY); i++) {
        if (is_told(task))
            return task->result;
        if (!shm_lock_is_taken(mutex) && fs_space_lock_now(fs, &rc))
            return host_or_told(fs, task, place, rc);
        hf_pause();
    }
    return take_task_back(fs, place, task) ? FS_ALONE : await_told(task);
}

int fs_task(struct fs *fs, struct fs_task *task)
{
    int rc;

    if (fs->durable || fs->dax.readonly)
        return FS_ALONE;
    task->word = 0;
    if (fs_space_lock_now(fs, &rc))
        return rc ? FS_ALONE : host(fs, task);
    return fs->dax.shm->spins ? spin(fs, task) : FS_ALONE;
}
