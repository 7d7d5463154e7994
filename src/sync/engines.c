/* SPDX-License-Identifier: MIT */
/* The list of engines. CONTRIBUTING.md says what a new one needs. */
#include "sync/engine.h"

#include <string.h>

static const struct sync_engine *const engines[] = {
    &sync_slots,
    &sync_slots_fenced,
    &sync_refcount,
    &sync_srcu,
    &sync_percpu_rwsem,
#ifdef HF_HAVE_RCU
    &sync_rcu,
#endif
#ifdef HF_LAB
    &sync_slots_membarrier,
    &sync_unpatched,
    &sync_blind,
#endif
};

const struct sync_engine *sync_engine_find(const char *name)
{
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++)
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    return NULL;
}
