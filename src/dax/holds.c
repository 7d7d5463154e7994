/* SPDX-License-Identifier: MIT */
/*
 * Holds: leases, and pins that found no slot in their thread's lane. Each file has a tree of them,
 * by first page, with the largest last page of each subtree. Those that overlap a range are found
 * in O(log n + hits). The tree is a treap, with a hash of the index for priority: it stores no
 * balance, and can be rebuilt from the table after a death.
 *
 * Letting go must not wait for a lock. It clears the key and pushes the hold on a stack, which the
 * next holder of the layout mutex empties. A hold is freed only from there, or when the reaper has
 * marked it as a dead process's: such a process pushes nothing any more.
 */
#include "dax/handle.h"
#include "dax/private.h"

static uint32_t priority(uint32_t hold)
{
    uint32_t x = hold * UINT32_C(2654435769);

    return x ^ x >> 15;
}

static bool is_before(const struct shm *shm, uint32_t a, uint32_t b)
{
    uint64_t fa = shm->holds[a].range.first, fb = shm->holds[b].range.first;

    return fa != fb ? fa < fb : a < b;
}

static void refresh_last(struct shm *shm, uint32_t hold)
{
    struct shm_hold *h = &shm->holds[hold];

    h->max_last = h->range.last;
    if (h->left != SHM_NONE && shm->holds[h->left].max_last > h->max_last)
        h->max_last = shm->holds[h->left].max_last;
    if (h->right != SHM_NONE && shm->holds[h->right].max_last > h->max_last)
        h->max_last = shm->holds[h->right].max_last;
}

/* Splits `root` into what comes before `at` and the rest. */
static void split_tree(struct shm *shm, uint32_t root, uint32_t at, uint32_t *less, uint32_t *more)
{
    if (root == SHM_NONE) {
        *less = *more = SHM_NONE;
    } else if (is_before(shm, root, at)) {
        split_tree(shm, shm->holds[root].right, at, &shm->holds[root].right, more);
        *less = root;
        refresh_last(shm, root);
    } else {
        split_tree(shm, shm->holds[root].left, at, less, &shm->holds[root].left);
        *more = root;
        refresh_last(shm, root);
    }
}

static uint32_t merge_trees(struct shm *shm, uint32_t less, uint32_t more)
{
    if (less == SHM_NONE || more == SHM_NONE)
        return less == SHM_NONE ? more : less;
    if (priority(less) > priority(more)) {
        shm->holds[less].right = merge_trees(shm, shm->holds[less].right, more);
        refresh_last(shm, less);
        return less;
    }
    shm->holds[more].left = merge_trees(shm, less, shm->holds[more].left);
    refresh_last(shm, more);
    return more;
}

static uint32_t insert_hold(struct shm *shm, uint32_t root, uint32_t hold)
{
    struct shm_hold *h = &shm->holds[hold];

    if (root == SHM_NONE || priority(hold) > priority(root)) {
        split_tree(shm, root, hold, &h->left, &h->right);
        refresh_last(shm, hold);
        return hold;
    }
    if (is_before(shm, hold, root))
        shm->holds[root].left = insert_hold(shm, shm->holds[root].left, hold);
    else
        shm->holds[root].right = insert_hold(shm, shm->holds[root].right, hold);
    refresh_last(shm, root);
    return root;
}

static uint32_t take_hold_out(struct shm *shm, uint32_t root, uint32_t hold)
{
    if (root == hold)
        return merge_trees(shm, shm->holds[root].left, shm->holds[root].right);
    if (is_before(shm, hold, root))
        shm->holds[root].left = take_hold_out(shm, shm->holds[root].left, hold);
    else
        shm->holds[root].right = take_hold_out(shm, shm->holds[root].right, hold);
    refresh_last(shm, root);
    return root;
}

void holds_insert(struct shm *shm, struct shm_vnode *vnode, uint32_t hold)
{
    shm_assert_held(&vnode->mutex);
    shm->holds[hold].left = shm->holds[hold].right = SHM_NONE;
    vnode->hold_root = insert_hold(shm, vnode->hold_root, hold);
}

/* From the table alone. A hold that its living owner has let go of stays: it is on the way to the
 * stack. */
static void rebuild_tree(struct shm *shm, struct shm_vnode *vnode)
{
    vnode->hold_root = SHM_NONE;
    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        uint32_t state = hf_load_acquire(&shm->holds[i].state);

        if (shm->holds[i].vnode != vnode->index)
            continue;
        if (shm_hold_holds(state))
            holds_insert(shm, vnode, i);
        else if (SHM_HOLD_KIND(state) == SHM_HOLD_DEAD)
            shm_hold_free(shm, i);
    }
}

void holds_settle(struct shm *shm, struct shm_vnode *vnode)
{
    bool stale = hf_load_acquire(&vnode->holds_stale);
    uint32_t hold;

    shm_assert_held(&vnode->mutex);
    if (!stale && hf_load_acquire(&vnode->released) == SHM_NONE)
        return;
    hf_store_release(&vnode->holds_stale, 0u);
    hold = hf_xchg_acq_rel(&vnode->released, SHM_NONE);
    while (hold != SHM_NONE) {
        uint32_t next = shm->holds[hold].link;

        if (!stale) /* else the tree may be half changed, and is rebuilt */
            vnode->hold_root = take_hold_out(shm, vnode->hold_root, hold);
        shm_hold_free(shm, hold);
        hold = next;
    }
    if (stale)
        rebuild_tree(shm, vnode);
}

static int scan_tree(struct shm *shm, uint32_t root, uint64_t first, uint64_t last,
                     int (*found)(void *arg, uint32_t hold), void *arg)
{
    const struct shm_hold *h;
    int rc;

    if (root == SHM_NONE || shm->holds[root].max_last < first)
        return 0;
    h = &shm->holds[root];
    rc = scan_tree(shm, h->left, first, last, found, arg);
    if (rc || h->range.first > last)
        return rc;
    if (h->range.last >= first) {
        rc = found(arg, root);
        if (rc)
            return rc;
    }
    return scan_tree(shm, h->right, first, last, found, arg);
}

int holds_scan(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last,
               int (*found)(void *arg, uint32_t hold), void *arg)
{
    shm_assert_held(&vnode->mutex);
    return scan_tree(shm, vnode->hold_root, first, last, found, arg);
}

int holds_publish(struct shm *shm, struct shm_lane *lane, struct shm_vnode *vnode,
                  const struct shm_range *range, const struct hf_lease_options *lease,
                  struct hf_pin *pin)
{
    uint32_t index = shm_hold_alloc(shm);
    struct shm_hold *hold;
    uint64_t key;

    shm_assert_held(&vnode->mutex);
    if (index == SHM_NONE)
        return shm_no_hold(shm);
    holds_settle(shm, vnode);
    hold = &shm->holds[index];
    hold->range = *range;
    hold->generation =
        (hold->generation ? hold->generation : shm->run->hold_generations) + SHM_KEY_STEP;
    key = shm_key(hold->generation, SHM_WHO_FLAGS(range->who), vnode->index);
    hf_store_release(&hold->vnode, (uint32_t)vnode->index); /* notify.c looks before it locks */
    hold->lane = shm_lane_index(shm, lane);
    hold->since_ns = hf_now_ns();
    hold->recall = (struct shm_recall){.served = lease && lease->recall};
    hf_add_acq_rel(&lane->slow_pins, 1);
    if (hold->recall.served)
        hf_add_acq_rel(&lane->served, 1);
    hf_store_release(&hold->key, key);
    hf_store_release(&hold->state,
                     SHM_HOLD_STATE(lease ? SHM_HOLD_LEASE : SHM_HOLD_PIN, shm->self + 1));
    holds_insert(shm, vnode, index);
    dax_fill_pin(pin, shm, &hold->key, key, DAX_PIN_HOLD);
    return 0;
}

bool hold_is_lease(const struct shm_hold *hold)
{
    uint32_t kind = hold ? SHM_HOLD_KIND(hf_load_acquire(&hold->state)) : SHM_HOLD_FREE;

    return kind == SHM_HOLD_LEASE || kind == SHM_HOLD_GIVEN;
}

bool holds_release(struct shm *shm, uint64_t *key_word, uint64_t key)
{
    struct shm_hold *hold = (struct shm_hold *)key_word; /* the key is its first member */
    struct shm_vnode *vnode = shm_vnode_of_key(shm, key);
    uint32_t index = (uint32_t)(hold - shm->holds), head, lane = hold->lane;
    bool served = hold->recall.served;

    if (!hf_cas_acq_rel(&hold->key, key, UINT64_C(0)))
        return false;
    if (served)
        hf_sub_acq_rel(&shm->lanes[lane].served, 1);
    hf_sub_acq_rel(&shm->lanes[lane].slow_pins, 1);
    do {
        head = hf_load_acquire(&vnode->released);
        hold->link = head;
    } while (!hf_cas_acq_rel(&vnode->released, head, index));
    return true;
}
