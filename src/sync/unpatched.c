/* SPDX-License-Identifier: MIT */
/* The engine that does not look: what stores do that trust time-outs. Wrong on purpose, in lab builds
 * only: the demo shows the corruption, the benchmark what looking costs. */
#ifdef HF_LAB
#include "base/lab.h"
#include "sync/engine.h"

unsigned hf_lab_break;

static void unpatched_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    (void)shm, (void)vnode, (void)cleared;
}

static int unpatched_scan(struct shm *shm, uint32_t vnode, uint64_t first, uint64_t last,
                          int (*found)(void *arg, const struct sync_holder *holder), void *arg)
{
    (void)shm, (void)vnode, (void)first, (void)last, (void)found, (void)arg;
    return 0;
}

static void unpatched_before_wait(struct shm *shm, struct shm_vnode *vnode)
{
    (void)shm, (void)vnode;
}

const struct sync_engine sync_unpatched = {"unpatched", false, unpatched_zapped, unpatched_scan,
                                           unpatched_before_wait};
#else
typedef int hf_lab_only; /* a translation unit may not be empty */
#endif
