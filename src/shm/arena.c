/* SPDX-License-Identifier: MIT */
/*
 * Owns which page-table nodes and holds are free. Both are fixed arrays with an owner or state word
 * in each entry. A search for a free entry begins at a shared hint. An entry is taken by a
 * compare-and-swap on its word, and given back by a store. No lock is needed. So a process that is
 * killed in here leaves at most one entry taken, and its vnode or the reaper finds that by its
 * word.
 */
#include "shm/private.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>

/* Raised before the entry is taken, so that a search for a dead process's entries goes far
 * enough. */
static void raise_high(uint32_t *word, uint32_t high)
{
    uint32_t was;

    while ((was = hf_load_acquire(word)) < high && !hf_cas_acq_rel(word, was, high))
        ;
}

/* Entries of one kind, and their state words, which lie `stride` uint32_t apart. */
struct arena {
    void *entries;
    size_t entry_bytes;
    uint32_t *words;
    size_t stride;
    uint64_t count;
    uint32_t *hint, *high, *reserved;
    uint64_t *used;
};

static int reserve_word(const struct arena *arena, uint64_t at)
{
    int rc;

    if (at < hf_load_acquire(arena->reserved))
        return 0;
    rc = shm_reserve(&arena->words[at * arena->stride], sizeof *arena->words);
    return rc ? rc
              : shm_reserve_entry(arena->entries, arena->entry_bytes, arena->count, arena->reserved,
                                  at);
}

/* The index taken; SHM_NONE when all have been tried. When an entry gets no memory, those after it
 * do not either. */
static uint32_t take_place(const struct arena *arena, uint32_t value)
{
    uint64_t count = arena->count;
    uint64_t start = hf_load_relaxed(arena->hint); /* relaxed: only where to look first */

    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = (start + i) % count;
        uint32_t *word = arena->words + at * arena->stride;

        if (reserve_word(arena, at)) {
            i += count - 1 - at;
            continue;
        }
        if (hf_load_relaxed(word)) /* relaxed: the swap decides */
            continue;
        raise_high(arena->high, (uint32_t)at + 1);
        if (hf_cas_acq_rel(word, 0u, value)) {
            /* relaxed: as above */
            hf_store_relaxed(arena->hint, (uint32_t)((at + 1) % count));
            return (uint32_t)at;
        }
    }
    return SHM_NONE;
}

/* A count is raised before and lowered after, so that a death in between only makes it too high. So
 * only the search says whether an entry is free, not the count. */
static uint32_t take_counted(const struct arena *arena, uint32_t value)
{
    uint32_t index;

    hf_add_relaxed(arena->used, 1); /* relaxed: a count */
    index = take_place(arena, value);
    if (index == SHM_NONE)
        hf_add_relaxed(arena->used, -UINT64_C(1)); /* relaxed: a count */
    return index;
}

uint32_t shm_node_alloc(struct shm *shm, uint32_t vnode)
{
    struct shm_run *run = shm->run;
    const struct arena nodes = {.entries = shm->nodes,
                                .entry_bytes = sizeof *shm->nodes,
                                .words = shm->owners,
                                .stride = 1,
                                .count = shm->limits.nodes,
                                .hint = &run->node_hint,
                                .high = &run->nodes_high,
                                .reserved = &run->nodes_reserved,
                                .used = &run->nodes_used};
    uint32_t node = take_counted(&nodes, vnode + 1);

    if (node == SHM_NONE)
        return node;
    if (!shm->counts) {
        memset(shm->nodes[node], 0, sizeof shm->nodes[node]);
        return node;
    }
    /* relaxed: a late walk may read it, see look_up() in src/dax/pin_counted.c */
    for (unsigned i = 0; i < SHM_NODE_ENTRIES; i++)
        hf_store_relaxed(&shm->nodes[node][i], 0);
    return node;
}

void shm_node_free(struct shm *shm, uint32_t node)
{
    if (node >= shm->limits.nodes)
        return;
    hf_store_relaxed(&shm->run->node_hint, node); /* relaxed: reuse what is warm */
    hf_store_release(&shm->owners[node], 0u);
    hf_add_relaxed(&shm->run->nodes_used, -UINT64_C(1)); /* relaxed: a count */
}

uint32_t shm_hold_alloc(struct shm *shm)
{
    struct shm_run *run = shm->run;
    const struct arena holds = {.entries = shm->holds,
                                .entry_bytes = sizeof *shm->holds,
                                .words = &shm->holds[0].state,
                                .stride = sizeof *shm->holds / sizeof(uint32_t),
                                .count = shm->limits.holds,
                                .hint = &run->hold_hint,
                                .high = &run->holds_high,
                                .reserved = &run->holds_reserved,
                                .used = &run->holds_used};

    return take_counted(&holds, SHM_HOLD_STATE(SHM_HOLD_TAKEN, shm->self + 1));
}

uint64_t shm_hold_next_key(const struct shm *shm, struct shm_hold *hold, uint32_t flags,
                           uint32_t vnode)
{
    uint64_t before = hold->generation ? hold->generation : shm->run->hold_generations;

    hold->generation = (before + SHM_KEY_STEP) & ~(SHM_KEY_STEP - 1);
    return shm_key(hold->generation, flags, vnode);
}

static bool hold_in_use(const struct shm_hold *hold)
{
    uint32_t state = hf_load_acquire(&hold->state);

    if (SHM_HOLD_KIND(state) == SHM_HOLD_FREE || SHM_HOLD_KIND(state) == SHM_HOLD_DEAD)
        return false;
    return !shm_hold_holds(state) || hf_load_acquire(&hold->key) != 0;
}

uint32_t shm_holds_in_use(const struct shm *shm)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < shm_holds_high(shm); i++)
        count += hold_in_use(&shm->holds[i]);
    return count;
}

int shm_no_hold(const struct shm *shm)
{
    if (shm_holds_in_use(shm) < shm->limits.holds && shm_holds_high(shm) < shm->limits.holds)
        return shm_no_room();
    return hf_fail(ENOLCK, "all %u leases are taken (mkpool --max-leases)", shm->limits.holds);
}

void shm_hold_free(struct shm *shm, uint32_t hold)
{
    uint32_t *hint = &shm->run->hold_hint;

    if (hf_load_relaxed(hint) == hold + 1) /* relaxed: only where to look first; */
        hf_store_relaxed(hint, hold);      /* so that holds_high stays low where few are held */
    hf_store_release(&shm->holds[hold].state, (uint32_t)SHM_HOLD_FREE);
    hf_add_relaxed(&shm->run->holds_used, -UINT64_C(1)); /* relaxed: a count */
}
