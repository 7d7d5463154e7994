/* SPDX-License-Identifier: MIT */
/*
 * hf_held(): whether anybody still holds a range. It serves a program that keeps in a word of its
 * own which ranges are in use. The program takes a range out of use by a store to that word, then
 * asks here. A reader pins the range, and reads the word after that. So the call is L3 and L4 of a
 * layout change, with the program's store in the place of the zap (docs/ORDERING.md, 3.37). It does
 * nothing else of a layout change: entries stay, no gate is closed, and it waits for no holder and
 * asks none.
 */
#include "dax/private.h"

#include "base/error.h"
#include "sync/engine.h"

#include <errno.h>

struct look {
    struct shm *shm;
    bool dead; /* a pin of a dead process was passed by, which the reaper has not dropped yet */
};

static int note_living(void *arg, const struct held *held)
{
    struct look *look = arg;

    if (!held_in_quarantine(look->shm, held) && !shm_process_alive(look->shm, held->process)) {
        look->dead = true;
        return 0;
    }
    return 1;
}

static int look_for_holders(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    struct look look = {.shm = dax->shm};
    int rc = scan_held(dax, vnode, first, last, note_living, &look);

    if (rc || !look.dead)
        return rc;
    /* A device pin of that process may become quarantined now. */
    shm_reap(dax->shm);
    look.dead = false;
    rc = scan_held(dax, vnode, first, last, note_living, &look);
    return rc ? rc : look.dead;
}

int dax_held(struct dax *dax, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    int rc;

    shm_assert_none_held();
    if (!sync_knows_holders(dax->engine))
        return hf_fail(EOPNOTSUPP, "engine %s does not know who holds a range", dax->engine->name);
    if (!shm_lane(dax->shm))
        return shm_no_lane(dax->shm);
    rc = dax_lock_any(dax, vnode);
    if (rc)
        return rc;
    hf_store_release(&vnode->changes, vnode->changes + 1); /* keeps the bias away */
    /* PIN.SB/m, as if entries had been cleared: the caller's store was made before. */
    rc = dax->engine->zapped(dax->shm, vnode, true);
    /* Not 0: a device may still write for a process that died before this segment was made. */
    if (rc == 0)
        rc = hf_load_acquire(&dax->shm->run->ghost_key) != 0;
    if (rc == 0)
        rc = look_for_holders(dax, vnode, first, last);
    dax_unlock(dax, vnode);
    return rc;
}
