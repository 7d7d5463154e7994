/* SPDX-License-Identifier: MIT */
/*
 * Owns the table of files in use. Entries are found by inode number through chains that hang off
 * hash[]. Chains and entries change under table_mutex only. The chains are made again from the
 * entries when the owner of the mutex died, or when a chain leads to no entry. A vnode that nobody
 * has open stays as a cache until its entry or its page-table nodes are wanted.
 */
#include "base/error.h"
#include "base/fence.h"
#include "base/fork.h"
#include "base/futex.h"
#include "shm/private.h"

#include <errno.h>
#include <string.h>

static uint32_t *chain(struct shm *shm, uint64_t ino)
{
    return &shm->hash[(ino * UINT64_C(0x9e3779b97f4a7c15) >> 32) & shm->hash_mask];
}

static uint64_t *open_bits(const struct shm *shm, const struct shm_vnode *vnode)
{
    return shm->open + (uint64_t)shm_vnode_number(shm, vnode) * shm->open_words;
}

static void link_vnode(struct shm *shm, struct shm_vnode *vnode)
{
    uint32_t *head = chain(shm, vnode->ino);

    vnode->hash_next = *head;
    *head = shm_vnode_number(shm, vnode) + 1;
}

void shm_hash_rebuild(struct shm *shm)
{
    uint64_t used = 0;

    shm_assert_held(&shm->run->table_mutex);
    memset(shm->hash, 0, (shm->hash_mask + (size_t)1) * sizeof *shm->hash);
    for (uint32_t i = 0; i < shm_vnodes_high(shm); i++) {
        if (shm->vnodes[i].state == SHM_VNODE_FREE)
            continue;
        link_vnode(shm, &shm->vnodes[i]);
        used++;
    }
    hf_store_relaxed(&shm->run->vnodes_used, used); /* relaxed: under table_mutex */
}

/* Its mutex is made once and kept by the entry's later lives. */
static struct shm_vnode *take_vnode(struct shm *shm)
{
    struct shm_run *run = shm->run;

    for (uint32_t i = 0; i < shm->limits.vnodes; i++) {
        uint32_t at = (uint32_t)((run->vnode_hint + (uint64_t)i) % shm->limits.vnodes);
        struct shm_vnode *vnode = &shm->vnodes[at];

        if (shm_reserve_vnode(shm,
                              at)) { /* later entries have no memory either: go on at entry 0 */
            i += shm->limits.vnodes - 1 - at;
            continue;
        }
        if (vnode->state != SHM_VNODE_FREE)
            continue;
        run->vnode_hint = at + 1;
        if (run->vnodes_high <= at)
            hf_store_release(&run->vnodes_high, at + 1);
        return vnode;
    }
    return NULL;
}

static int new_vnode(struct shm *shm, uint64_t ino, struct shm_vnode **out)
{
    struct shm_vnode *vnode = NULL;
    int rc;

    shm_assert_held(&shm->run->table_mutex);
    if (hf_load_relaxed(&shm->run->vnodes_used) <
        shm->limits.vnodes) /* relaxed: under table_mutex */
        vnode = take_vnode(shm);
    if (!vnode && hf_load_acquire(&shm->run->vnodes_reserved) < shm->limits.vnodes)
        return shm_no_room();
    if (!vnode)
        return hf_fail(ENFILE, "all %u files are open (mkpool --max-files)", shm->limits.vnodes);
    rc = vnode->mutex_made ? 0 : shm_mutex_init(&vnode->mutex);
    if (rc)
        return rc;
    vnode->mutex_made = 1;
    vnode->index = shm_vnode_number(shm, vnode);
    vnode->ino = ino;
    vnode->bias = 0; /* it is earned: see slots_rebias() */
    vnode->hold_root = vnode->hold_root_again = vnode->released = vnode->detached = SHM_NONE;
    hf_store_release(&vnode->state, (uint32_t)SHM_VNODE_NEW);
    link_vnode(shm, vnode);
    hf_add_relaxed(&shm->run->vnodes_used, 1); /* relaxed: under table_mutex */
    *out = vnode;
    return 0;
}

/* The link of the inode's chain that leads to its entry, or else ends the chain. Null: the chain
 * does not end, or leads outside the table. */
static uint32_t *find_link(struct shm *shm, uint64_t ino)
{
    uint32_t *link = chain(shm, ino);

    shm_assert_held(&shm->run->table_mutex);
    for (uint32_t steps = 0; steps <= shm->limits.vnodes; steps++) {
        uint32_t at = hf_load_acquire(link);

        if (at > shm->limits.vnodes)
            return NULL;
        if (at == 0 || shm->vnodes[at - 1].ino == ino)
            return link;
        link = &shm->vnodes[at - 1].hash_next;
    }
    return NULL;
}

static uint32_t *find_sound_link(struct shm *shm, uint64_t ino)
{
    uint32_t *link = find_link(shm, ino);

    if (link)
        return link;
    shm_hash_rebuild(shm);
    return find_link(shm, ino);
}

static struct shm_vnode *find_in_chain(struct shm *shm, uint64_t ino)
{
    const uint32_t *link = find_sound_link(shm, ino);
    uint32_t at = link ? hf_load_acquire(link) : 0;

    return at && at <= shm->limits.vnodes ? &shm->vnodes[at - 1] : NULL;
}

/* Atomic, since fs_vnode_only_mine() looks without a mutex. */
static void opened(struct shm *shm, const struct shm_vnode *vnode)
{
    pthread_mutex_lock(&shm->handles_mutex);
    if (hf_add_acq_rel(&shm->local_opens[shm_vnode_number(shm, vnode)], 1) == 0)
        hf_or_acq_rel(open_bits(shm, vnode) + shm->self / 64, UINT64_C(1) << shm->self % 64);
    pthread_mutex_unlock(&shm->handles_mutex);
}

int shm_vnode_get(struct shm *shm, uint64_t ino, struct shm_vnode **out)
{
    struct shm_vnode *vnode;
    int rc = shm_lock_table(shm);

    if (rc)
        return rc;
    vnode = find_in_chain(shm, ino);
    if (!vnode)
        rc = new_vnode(shm, ino, &vnode);
    if (rc == 0) {
        opened(shm, vnode);
        *out = vnode;
    }
    shm_unlock_table(shm);
    return rc;
}

int shm_vnode_find(struct shm *shm, uint64_t ino, struct shm_vnode **out)
{
    int rc = shm_lock_table(shm);

    if (rc)
        return rc;
    *out = find_in_chain(shm, ino);
    shm_unlock_table(shm);
    return 0;
}

bool shm_vnode_is_open(const struct shm *shm, const struct shm_vnode *vnode)
{
    const uint64_t *bits = open_bits(shm, vnode);
    uint64_t any = 0;

    for (uint32_t i = 0; i < shm->open_words; i++)
        any |= hf_load_acquire(&bits[i]);
    return any != 0;
}

bool shm_vnode_is_open_by(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process)
{
    return hf_load_acquire(&open_bits(shm, vnode)[process / 64]) & UINT64_C(1) << process % 64;
}

/* Without table_mutex, so that a close does not wait. An entry may be freed as soon as the bit has
 * gone. When two processes close at once, one or both find that they are the last. */
bool shm_vnode_put(struct shm *shm, struct shm_vnode *vnode)
{
    uint32_t opens;

    pthread_mutex_lock(&shm->handles_mutex);
    opens = hf_sub_acq_rel(&shm->local_opens[shm_vnode_number(shm, vnode)], 1);
    HF_BUG_ON(opens == 0);
    if (opens == 1) /* WATCH.CLOSE/m: after dax_watch(). Pairs with WATCH.CLOSE/p in await(). */
        hf_and_acq_rel(open_bits(shm, vnode) + shm->self / 64, ~(UINT64_C(1) << shm->self % 64));
    pthread_mutex_unlock(&shm->handles_mutex);
    hf_fence_full(); /* our bit has gone before we read theirs; they do the same */
    return opens == 1 && !shm_vnode_is_open(shm, vnode);
}

/* A thread that looks without a lock sees each word old or empty. A thread that comes late to the
 * mutex sees SHM_VNODE_FREE, no hold, and no record of detached blocks. */
static void wipe(struct shm_vnode *vnode)
{
    static const struct shm_vnode nothing = {.hold_root = SHM_NONE,
                                             .hold_root_again = SHM_NONE,
                                             .released = SHM_NONE,
                                             .detached = SHM_NONE};
    const uint64_t *empty = (const uint64_t *)&nothing;
    uint64_t *words = (uint64_t *)vnode;

    hf_store_release(&vnode->state, (uint32_t)SHM_VNODE_FREE);
    /* VNODE.LIFE/m: before any word changes. Pairs with VNODE.LIFE/p in look_at_vnode(). Without
     * it: a look takes the size of another life of the vnode for one of this. */
    hf_add_relaxed(&vnode->lives, 1); /* relaxed: the fence orders it, and both mutexes are held */
    hf_fence_full();
    for (size_t i = 0; i < offsetof(struct shm_vnode, mutex_made) / sizeof *words; i++)
        if (i != offsetof(struct shm_vnode, index) / sizeof *words)
            hf_store_relaxed(&words[i],
                             empty[i]); /* relaxed: after state, and under both mutexes */
}

void shm_vnode_free(struct shm *shm, struct shm_vnode *vnode)
{
    uint32_t *link = find_sound_link(shm, vnode->ino), number = shm_vnode_number(shm, vnode);
    bool linked = link && hf_load_acquire(link) == number + 1;

    shm_assert_held(&vnode->mutex);
    shm_assert_held(&shm->run->table_mutex);
    if (linked)
        *link = vnode->hash_next;
    hf_add_relaxed(&shm->run->vnodes_used, -UINT64_C(1)); /* relaxed: under table_mutex */
    shm->run->vnode_hint = number;
    shm_recent_drop(shm, vnode);
    wipe(vnode);
    if (!linked) /* its number or its chain is wrong */
        shm_hash_rebuild(shm);
}
