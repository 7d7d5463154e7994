/* SPDX-License-Identifier: MIT */
/* The list of engines. A new one is its file and its line here. */
#include "sync/engine.h"

#include <string.h>

static const struct sync_engine *const engines[] = {
    &sync_slots,
    &sync_slots_fenced,
#ifdef HF_LAB
    &sync_unpatched,
#endif
};

const struct sync_engine *sync_engine_find(const char *name)
{
    for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++)
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    return NULL;
}
