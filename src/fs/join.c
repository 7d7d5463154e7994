/* SPDX-License-Identifier: MIT */
/*
 * Owns transactions of durable pools that threads of one process share, so that one commit, with
 * its syncs, serves all that wait. Calls queue.c, space.c and meta.
 *
 * A thread with a change of one file finds space_mutex taken. It stands in a queue of its process,
 * and waits for the mutex as every thread does. Meanwhile the holder may be a thread of the same
 * process, which has made a change of the same kind and is about to commit. That one, the host,
 * lets the queue in. The others, its guests, have their turns one after another. Each makes its
 * change in a transaction of its own inside the host's (meta_begin_inside()), in its own thread,
 * and waits. When the last has passed the turn on, the host commits all. Then it frees what they
 * have freed, and tells them what came of it. At last it unlocks the mutex. The guests come with
 * their next changes before that, and so find a host again.
 *
 * So LMDB, the bitmap and other processes see one transaction, which one thread has begun and
 * ended under space_mutex. What a guest has changed is on the medium before its call returns. A
 * guest that fails has changed nothing: LMDB undoes its part. When the commit fails, nobody has.
 *
 * A guest may give up its wait until it is let in. The mutex of the queue decides between the two
 * (queue.c). Once it has been let in, it goes on. It waits for the host, and the host for it: for
 * the instructions of one change, as others wait for a holder of space_mutex.
 *
 * When the process dies, all of them die. There is one transaction, and each file's version says
 * on which side of its commit the death was, as ever. Nothing of this file is in shared memory. The
 * child of a fork finds no queue: it may not use the pool.
 *
 * docs/ORDERING.md 3.31a has the argument, model/join.pml the model.
 */
#include "fs/join.h"
#include "fs/queue.h"

#include "base/error.h"
#include "base/futex.h"
#include "base/lab.h"

#include <errno.h>

#define GUESTS_MOST 31u /* of one commit; others wait for its end */

/* In the word of a guest, or of a host, beside those of shm_lock_or(). */
#define HAS_TURN 2u
#define IS_TOLD 4u
_Static_assert((HAS_TURN | IS_TOLD) == SHM_CALL_BITS, "bits for callers");

static void await_bit(struct fs_txn *txn, uint32_t bit)
{
    uint32_t *word = &txn->away.word, now;

    while (!((now = hf_load_acquire(word)) & bit))
        hf_futex_wait(word, now, HF_NEVER);
}

/* The other thread may end its call at once. Then the wake-up meets whatever is there by then, and
 * does no harm: nothing is stored. */
static void let_go_on(struct fs_txn *txn, uint32_t bit)
{
    (void)hf_or_acq_rel(&txn->away.word, bit);
    hf_futex_wake_all(&txn->away.word);
}

/* ---- guests ---- */

int fs_join(struct fs *fs, struct fs_txn *txn)
{
    int rc;

    if (fs_space_lock_now(fs, &rc))
        return rc;
    fs_queue_enter(&fs->joint, txn);
    rc = fs_space_lock_or(fs, &txn->away);
    if (fs_queue_leave(&fs->joint, txn))
        return rc;
    if (rc == 0) /* two have the mutex at once: its words are damaged */
        fs_space_unlock(fs);
    await_bit(txn, HAS_TURN);
    return 0;
}

void fs_join_pass_on(struct fs_txn *txn)
{
    let_go_on(txn->next ? txn->next : txn->host, HAS_TURN);
}

int fs_join_await(struct fs_txn *txn)
{
    struct fs_txn *host = txn->host;
    int rc;

    txn->committed = host->committed;
    host->committed = txn;
    fs_join_pass_on(txn);
    await_bit(txn, IS_TOLD);
    if (txn->outcome == 0)
        return 0;
    rc = meta_refused(txn->fs->dax.meta);
    return rc ? rc
              : hf_fail_errno(-txn->outcome, "the metadata, in one commit with other threads' "
                                             "changes");
}

/* ---- the host ---- */

void fs_join_tell(struct fs_txn *host, int outcome)
{
    struct fs_txn *next;

    for (struct fs_txn *guest = host->committed; guest; guest = next) {
        next = guest->committed;
        guest->outcome = outcome;
        let_go_on(guest, IS_TOLD);
    }
}

void fs_join_let_in(struct fs_txn *host)
{
    struct fs_txn *first;
    unsigned count = 0;

    HF_LAB_AT(HF_LAB_JOINS);
    host->away.word = 0;
    while ((first = fs_queue_take(&host->fs->joint, host, GUESTS_MOST, &count))) {
        meta_lend(host->meta);
        let_go_on(first, HAS_TURN);
        await_bit(host, HAS_TURN);
        host->away.word = 0; /* no guest has a turn now */
    }
    if (HF_LAB_BROKEN(HF_LAB_TOLD_FIRST))
        fs_join_tell(host, 0);
    HF_LAB_AT(HF_LAB_JOINED);
}
