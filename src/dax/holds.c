/* SPDX-License-Identifier: MIT */
/*
 * Holds: leases, and pins that found no slot in their thread's lane. Each file has a tree of them,
 * by first page, with the largest last page of each subtree. Those that overlap a range are found
 * in O(log n + hits). The tree is a treap, with a hash of the index for priority. It stores no
 * balance, and can be rebuilt from the table after a death.
 *
 * Any process may have made a word of the tree wrong. So each hold has a checksum (`sum`) of the
 * words by which a look goes on. These are its range, its links, and the largest last page below
 * it. A look that meets a wrong word goes through the table instead, which has no links. The tree
 * is then rebuilt.
 *
 * A release must not wait for a lock. It clears the key and pushes the hold on a stack, which the
 * next holder of the layout mutex empties. Only that thread frees a hold: it is from the stack, or
 * it is SHM_HOLD_DEAD and not on the stack. The reaper marks the holds of a dead process as
 * SHM_HOLD_DEAD, since that process pushes nothing any more. A thread that empties the stack marks
 * all of it before it cuts it off. If it is killed then, the next one frees the marked holds.
 *
 * A wrong link in the stack loses what is below it. So the vnode counts the holds that are released
 * and those that were taken from the stack (`let_go`). Some may be missing while no thread is on
 * its way to the stack. Then the table tells which they are: those with an empty key (free_lost()).
 * A process that is killed on that way leaves two of the counts unequal for as long as the segment
 * lives. From then on, lost holds of the file stay until the process that owned them ends. They
 * hold nothing.
 */
#include "dax/handle.h"
#include "dax/private.h"

#include <string.h>

static uint32_t priority(uint32_t hold)
{
    uint32_t x = hold * UINT32_C(2654435769);

    return x ^ x >> 15;
}

/* One walk, or change, of the tree of a file. */
struct tree {
    struct shm *shm;
    uint32_t vnode;
    bool wrong;     /* it met a link that cannot be */
    uint64_t links; /* that it may still follow: as many as there can be */
};

static uint64_t most_links(const struct shm *shm)
{
    return 2 * (uint64_t)shm->limits.holds;
}

static struct tree tree_of(struct shm *shm, const struct shm_vnode *vnode)
{
    return (struct tree){shm, shm_vnode_number(shm, vnode), false, most_links(shm)};
}

/* A sum of the words that refresh_hold() and a look go by. A wrong word leaves it the same once in
 * 2^32. */
static uint32_t hold_sum(const struct shm_hold *h)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t sum = (h->range.first + 1) * odd ^ h->range.last;

    sum = (sum ^ sum >> 32) * odd ^ h->max_last;
    sum = (sum ^ sum >> 32) * odd ^ ((uint64_t)h->left << 32 | h->right);
    sum = (sum ^ sum >> 32) * odd;
    return (uint32_t)(sum >> 32);
}

/* Follows a link of `parent`; SHM_NONE: of the vnode, to the root. Any process may have made it
 * wrong. So it leads to a hold of this file with a lower priority (no two have the same), or
 * nowhere. Then each way down ends. */
static uint32_t child_of(struct tree *tree, uint32_t parent, const uint32_t *link)
{
    uint32_t hold = hf_load_acquire(link);

    if (hold == SHM_NONE)
        return hold;
    if (tree->links && hold < tree->shm->limits.holds &&
        hf_load_acquire(&tree->shm->holds[hold].vnode) == tree->vnode &&
        (parent == SHM_NONE || priority(hold) < priority(parent))) {
        tree->links--;
        return hold;
    }
    tree->wrong = true;
    return SHM_NONE;
}

static void check_sum(struct tree *tree, uint32_t hold)
{
    const struct shm_hold *h = &tree->shm->holds[hold];

    tree->wrong |= h->sum != hold_sum(h);
}

static uint32_t left_of(struct tree *tree, uint32_t hold)
{
    check_sum(tree, hold);
    return child_of(tree, hold, &tree->shm->holds[hold].left);
}

static uint32_t right_of(struct tree *tree, uint32_t hold)
{
    check_sum(tree, hold);
    return child_of(tree, hold, &tree->shm->holds[hold].right);
}

static uint32_t root_of(struct tree *tree, const struct shm_vnode *vnode)
{
    tree->wrong |= vnode->hold_root != vnode->hold_root_again;
    return child_of(tree, SHM_NONE, &vnode->hold_root);
}

static void set_root(struct shm_vnode *vnode, uint32_t root)
{
    vnode->hold_root = vnode->hold_root_again = root;
}

static bool is_before(const struct shm *shm, uint32_t a, uint32_t b)
{
    uint64_t fa = shm->holds[a].range.first, fb = shm->holds[b].range.first;

    return fa != fb ? fa < fb : a < b;
}

static void raise_last(struct tree *tree, struct shm_hold *h, const uint32_t *link)
{
    uint32_t child = shm_hold_at(tree->shm, link);

    if (child == SHM_NONE)
        return;
    check_sum(tree, child); /* else what is wrong there would be right here */
    if (tree->shm->holds[child].max_last > h->max_last)
        h->max_last = tree->shm->holds[child].max_last;
}

/* Called after the hold's links were changed, which were checked before. */
static void refresh_hold(struct tree *tree, uint32_t hold)
{
    struct shm_hold *h = &tree->shm->holds[hold];

    h->max_last = h->range.last;
    raise_last(tree, h, &h->left);
    raise_last(tree, h, &h->right);
    h->sum = hold_sum(h);
}

/* Splits `root` into what comes before `at` and the rest. */
static void split_tree(struct tree *tree, uint32_t root, uint32_t at, uint32_t *less,
                       uint32_t *more)
{
    struct shm *shm = tree->shm;

    if (root == SHM_NONE) {
        *less = *more = SHM_NONE;
    } else if (is_before(shm, root, at)) {
        split_tree(tree, right_of(tree, root), at, &shm->holds[root].right, more);
        *less = root;
        refresh_hold(tree, root);
    } else {
        split_tree(tree, left_of(tree, root), at, less, &shm->holds[root].left);
        *more = root;
        refresh_hold(tree, root);
    }
}

static uint32_t merge_trees(struct tree *tree, uint32_t less, uint32_t more)
{
    struct shm *shm = tree->shm;

    if (less == SHM_NONE || more == SHM_NONE)
        return less == SHM_NONE ? more : less;
    if (priority(less) > priority(more)) {
        shm->holds[less].right = merge_trees(tree, right_of(tree, less), more);
        refresh_hold(tree, less);
        return less;
    }
    shm->holds[more].left = merge_trees(tree, less, left_of(tree, more));
    refresh_hold(tree, more);
    return more;
}

static uint32_t insert_hold(struct tree *tree, uint32_t root, uint32_t hold)
{
    struct shm *shm = tree->shm;
    struct shm_hold *h = &shm->holds[hold];

    if (root == SHM_NONE || priority(hold) > priority(root)) {
        split_tree(tree, root, hold, &h->left, &h->right);
        refresh_hold(tree, hold);
        return hold;
    }
    if (is_before(shm, hold, root))
        shm->holds[root].left = insert_hold(tree, left_of(tree, root), hold);
    else
        shm->holds[root].right = insert_hold(tree, right_of(tree, root), hold);
    refresh_hold(tree, root);
    return root;
}

static uint32_t take_hold_out(struct tree *tree, uint32_t root, uint32_t hold)
{
    struct shm *shm = tree->shm;

    if (root == SHM_NONE) { /* a first page is wrong, or a link */
        tree->wrong = true;
        return root;
    }
    if (root == hold)
        return merge_trees(tree, left_of(tree, root), right_of(tree, root));
    if (is_before(shm, hold, root))
        shm->holds[root].left = take_hold_out(tree, left_of(tree, root), hold);
    else
        shm->holds[root].right = take_hold_out(tree, right_of(tree, root), hold);
    refresh_hold(tree, root);
    return root;
}

static void put_in_tree(struct tree *tree, struct shm_vnode *vnode, uint32_t hold)
{
    struct shm *shm = tree->shm;

    shm->holds[hold].left = shm->holds[hold].right = SHM_NONE;
    set_root(vnode, insert_hold(tree, root_of(tree, vnode), hold));
}

/* Rebuilds the tree from the table alone. A hold that its owner has released stays while it may be
 * on the stack, or on its way there. */
static void rebuild_tree(struct shm *shm, struct shm_vnode *vnode)
{
    struct tree tree = tree_of(shm, vnode);
    bool again = false;

    set_root(vnode, SHM_NONE);
    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        uint32_t state = hf_load_acquire(&shm->holds[i].state);
        bool dead = SHM_HOLD_KIND(state) == SHM_HOLD_DEAD;

        if (hf_load_acquire(&shm->holds[i].vnode) != tree.vnode)
            continue;
        /* its owner pushes it no more, so it is on no stack that comes after this look */
        if (dead && hf_load_acquire(&vnode->released) == SHM_NONE) {
            shm_hold_free(shm, i);
        } else if (dead || shm_hold_holds(state)) {
            tree.links = most_links(shm);
            put_in_tree(&tree, vnode, i);
            again |= dead;
        }
    }
    if (again || tree.wrong)
        hf_store_release(&vnode->holds_stale, 1u);
}

void holds_insert(struct shm *shm, struct shm_vnode *vnode, uint32_t hold)
{
    struct tree tree = tree_of(shm, vnode);

    shm_assert_held(&vnode->mutex);
    put_in_tree(&tree, vnode, hold);
    if (tree.wrong)
        rebuild_tree(shm, vnode);
}

/* The hold may be on the stack of released ones, so the link that led to it may be right. A freed
 * hold is not on it, so a ring ends. */
static bool was_released(const struct shm *shm, const struct shm_vnode *vnode, uint32_t hold)
{
    uint32_t state;

    if (hold >= shm->limits.holds)
        return false;
    state = hf_load_acquire(&shm->holds[hold].state);
    return (shm_hold_holds(state) || SHM_HOLD_KIND(state) == SHM_HOLD_DEAD) &&
           hf_load_acquire(&shm->holds[hold].key) == 0 &&
           hf_load_acquire(&shm->holds[hold].vnode) == shm_vnode_number(shm, vnode);
}

/* Marks the holds of the stack from `top` down to the marked one, or to a wrong link. */
static void mark_released(struct shm *shm, const struct shm_vnode *vnode, uint32_t top,
                          uint32_t marked)
{
    uint32_t at = top;

    for (uint32_t steps = 0; at != marked && steps < shm->limits.holds; steps++) {
        uint32_t owner;

        if (!was_released(shm, vnode, at))
            return;
        owner = SHM_HOLD_OWNER(hf_load_acquire(&shm->holds[at].state));
        hf_store_release(&shm->holds[at].state, SHM_HOLD_STATE(SHM_HOLD_DEAD, owner));
        at = hf_load_acquire(&shm->holds[at].link);
    }
}

/* Returns the first hold of the stack, and leaves the stack empty. More holds may come while it
 * marks them. */
static uint32_t take_released(struct shm *shm, struct shm_vnode *vnode)
{
    uint32_t marked = SHM_NONE, top;

    do {
        top = hf_load_acquire(&vnode->released);
        mark_released(shm, vnode, top, marked);
        marked = top;
    } while (top != SHM_NONE && !hf_cas_acq_rel(&vnode->released, top, SHM_NONE));
    return top;
}

/* The stack has holds, or should have. */
static bool any_released(const struct shm_vnode *vnode)
{
    uint32_t ended = hf_load_acquire(&vnode->let_go.ended);
    uint32_t taken = hf_load_relaxed(&vnode->let_go.taken); /* relaxed: under the mutex it counts */

    return hf_load_acquire(&vnode->released) != SHM_NONE || (int32_t)(ended - taken) > 0;
}

bool holds_unsettled(const struct shm_vnode *vnode)
{
    return hf_load_acquire(&vnode->holds_stale) || any_released(vnode);
}

static void count_taken(struct shm_let_go *counts, uint32_t taken)
{
    hf_store_relaxed(&counts->taken, taken); /* relaxed: as above */
}

/* True: the tree is to be rebuilt. */
static bool free_released(struct shm *shm, struct shm_vnode *vnode, bool stale)
{
    uint32_t hold = take_released(shm, vnode);

    for (uint32_t steps = 0; hold != SHM_NONE && steps < shm->limits.holds; steps++) {
        struct tree tree = tree_of(shm, vnode);
        uint32_t next;

        if (!was_released(shm, vnode, hold))
            return true;
        next = hf_load_acquire(&shm->holds[hold].link);
        if (!stale) /* else the tree may be half changed, and is rebuilt */
            set_root(vnode, take_hold_out(&tree, root_of(&tree, vnode), hold));
        stale |= tree.wrong;
        shm_hold_free(shm, hold);
        count_taken(&vnode->let_go, vnode->let_go.taken + 1);
        hold = next;
    }
    return stale;
}

/* Frees released holds that are on no stack, since a link to them was wrong. LETGO.COUNT/m: `ended`
 * is loaded first, then `begun` and the stack, then each key before `begun` again. While `begun`
 * stays what `ended` was, each hold whose key is seen empty was pushed before the stack was seen
 * empty. Pairs with LETGO.COUNT/p in holds_release(). Without it: a hold is freed that its owner is
 * about to push, and it is on two stacks later. True: the tree is to be rebuilt. */
static bool free_lost(struct shm *shm, struct shm_vnode *vnode)
{
    struct shm_let_go *counts = &vnode->let_go;
    uint32_t ended = hf_load_acquire(&counts->ended), self = shm_vnode_number(shm, vnode);
    bool any = false;

    if (ended == counts->taken || hf_load_acquire(&counts->begun) != ended ||
        hf_load_acquire(&vnode->released) != SHM_NONE)
        return false;
    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        struct shm_hold *hold = &shm->holds[i];

        if (!shm_hold_holds(hf_load_acquire(&hold->state)) ||
            hf_load_acquire(&hold->vnode) != self || hf_load_acquire(&hold->key) != 0)
            continue;
        if (hf_load_acquire(&counts->begun) != ended)
            return any;
        shm_hold_free(shm, i);
        any = true;
    }
    count_taken(counts, ended);
    return any;
}

void holds_settle(struct shm *shm, struct shm_vnode *vnode)
{
    bool stale = hf_load_acquire(&vnode->holds_stale);

    shm_assert_held(&vnode->mutex);
    if (!stale && !any_released(vnode))
        return;
    hf_xchg_acq_rel(&vnode->holds_stale, 0u); /* before what the reaper marks is looked at */
    stale = free_released(shm, vnode, stale);
    stale |= free_lost(shm, vnode);
    if (stale)
        rebuild_tree(shm, vnode);
}

struct look {
    struct tree tree;
    uint64_t first, last;
    int (*found)(void *arg, uint32_t hold);
    void *arg;
};

/* Ends where the tree is wrong. */
static int scan_tree(struct look *look, uint32_t root)
{
    const struct shm_hold *h;
    int rc;

    if (root == SHM_NONE)
        return look->tree.wrong;
    h = &look->tree.shm->holds[root];
    check_sum(&look->tree, root);
    if (look->tree.wrong || h->max_last < look->first)
        return look->tree.wrong;
    rc = scan_tree(look, child_of(&look->tree, root, &h->left));
    if (rc || h->range.first > look->last)
        return rc;
    if (h->range.last >= look->first) {
        rc = look->found(look->arg, root);
        if (rc)
            return rc;
    }
    return scan_tree(look, child_of(&look->tree, root, &h->right));
}

static int scan_table(const struct look *look)
{
    const struct shm *shm = look->tree.shm;
    int rc = 0;

    for (uint32_t i = 0; i < shm_holds_high(shm) && rc == 0; i++) {
        const struct shm_hold *h = &shm->holds[i];

        if (shm_hold_holds(hf_load_acquire(&h->state)) &&
            hf_load_acquire(&h->vnode) == look->tree.vnode && h->range.first <= look->last &&
            h->range.last >= look->first)
            rc = look->found(look->arg, i);
    }
    return rc;
}

int holds_scan(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last,
               int (*found)(void *arg, uint32_t hold), void *arg)
{
    struct look look = {tree_of(shm, vnode), first, last, found, arg};
    int rc;

    shm_assert_held(&vnode->mutex);
    look.tree.wrong = hf_load_acquire(&vnode->holds_stale); /* still, or again */
    rc = scan_tree(&look, root_of(&look.tree, vnode));
    if (!look.tree.wrong)
        return rc;
    hf_store_release(&vnode->holds_stale, 1u);
    return scan_table(&look);
}

/* hf_pins() reads it between two looks at the key, as the range. The stores release, so that a
 * reader that sees one of them sees that the key before it has gone. */
static void store_label(struct shm_hold *hold, const char *label)
{
    char text[HF_LABEL_BYTES] = "";
    uint64_t words[SHM_LABEL_WORDS];

    if (label)
        memcpy(text, label, strnlen(label, sizeof text - 1));
    memcpy(words, text, sizeof words);
    for (unsigned i = 0; i < (label ? SHM_LABEL_WORDS : 1); i++)
        hf_store_release(&hold->label[i], words[i]);
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
    key = shm_hold_next_key(shm, hold, SHM_WHO_FLAGS(range->who), shm_vnode_number(shm, vnode));
    /* notify.c looks before it locks */
    hf_store_release(&hold->vnode, shm_vnode_number(shm, vnode));
    hold->lane = shm_lane_index(shm, lane);
    hold->since_ns = hf_now_ns();
    hold->recall = (struct shm_recall){.served = lease && lease->recall};
    store_label(hold, lease ? lease->label : NULL);
    hf_add_acq_rel(&lane->slow_pins, 1);
    if (hold->recall.served)
        hf_add_acq_rel(&lane->served, 1);
    hf_store_release(&hold->key, key);
    hf_store_release(&hold->state,
                     SHM_HOLD_STATE(lease ? SHM_HOLD_LEASE : SHM_HOLD_PIN, shm->self + 1));
    holds_insert(shm, vnode, index);
    dax_fill_held_pin(pin, shm, hold, key);
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
    struct shm_lane *lane = shm_lane_at(shm, hold->lane);
    uint32_t index = (uint32_t)(hold - shm->holds), head;
    bool served = hold->recall.served;

    if (hf_load_acquire(&hold->key) != key)
        return false;
    /* LETGO.COUNT/p: `begun` is raised before the key goes, `ended` after the hold is on the stack.
     * Pairs with LETGO.COUNT/m in free_lost(). */
    hf_add_acq_rel(&vnode->let_go.begun, 1);
    if (!hf_cas_acq_rel(&hold->key, key, UINT64_C(0))) { /* UNPIN.DONE/p, as in slots_leave() */
        hf_sub_acq_rel(&vnode->let_go.begun, 1);
        return false;
    }
    if (served)
        hf_sub_acq_rel(&lane->served, 1);
    hf_sub_acq_rel(&lane->slow_pins, 1);
    do {
        head = hf_load_acquire(&vnode->released);
        hold->link = head;
    } while (!hf_cas_acq_rel(&vnode->released, head, index));
    hf_add_acq_rel(&vnode->let_go.ended, 1);
    return true;
}
