/* SPDX-License-Identifier: MIT */
/*
 * The layout-change side of the slots engines (L3 to L5), and the bias.
 *
 * Why do L3 and L4 find every pin that matters? Take a walk that read an entry of the range from
 * before the zap. Without the bias, the pin publishes, has a full fence, and walks; the change
 * zaps, has a full fence, and scans. With two such fences one side sees the other. The walk did not
 * see the zap, so the scan sees the slot. With the bias, our heavy barrier runs a full fence at
 * some point of the pinner. If that point is after the walk, or between the publish and the walk,
 * the slot is visible to the scan. If it is before the publish, the walk comes after our zap and
 * reads it.
 *
 * Why may the bias change at any time? It is cleared before the heavy barrier. A pin that read it
 * set had published before, so that barrier serves the pin, and each later scan sees it. A pin that
 * reads it clear fences itself. Setting the bias needs no lock. A change that read it clear had
 * zapped and fenced before the bias was set. All threads see stores in one order, and a pin reads
 * the bias before the entries. So a pin that reads the bias set also reads the zap. And a change
 * that waits has its gate closed, which keeps entries away whatever the bias is.
 *
 * The scan itself is in look.c.
 */
#include "sync/slots.h"

#include "sync/engine.h"
#include "sync/look.h"

/* The bias may come back when no layout change came for so long. For a file that is changed more
 * often, it is better that its changes have no barrier to pay (docs/DECISIONS.md). */
#define REBIAS_AFTER_NS (100 * HF_NS_PER_MS)

/* The two words of the last look are not stored together. A mix of two threads' looks may bring the
 * bias back early, which only costs a barrier. */
static bool changes_stay_away(struct shm_vnode *vnode)
{
    uint64_t changes = hf_load_acquire(&vnode->changes), now = hf_now_ns();

    if (changes == hf_load_acquire(&vnode->looked_changes))
        return now - hf_load_acquire(&vnode->looked_ns) >= REBIAS_AFTER_NS;
    hf_store_release(&vnode->looked_ns, now);
    hf_store_release(&vnode->looked_changes, changes);
    return false;
}

void slots_rebias(struct shm *shm, struct shm_lane *lane, struct shm_vnode *vnode)
{
    lane->fenced = 0;
    if (hf_load_acquire(&shm->run->fences_only) || !changes_stay_away(vnode))
        return;
    /* BIAS.SET/p: full fence on both sides of the store, and the pin that does it keeps its own.
     * Pairs with BIAS.SET/m in slots_zapped(). Without it: a pin reads the bias set and an entry
     * from before a zap whose change read the bias clear. */
    hf_fence_full();
    hf_store_seq_cst(&vnode->bias, 1u);
    hf_fence_full();
}

void slots_wake(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    uint32_t waiters;

    /* UNPIN.WAKE/p: as in slots_leave(), for what became free in other ways. */
    hf_fence_light();
    waiters = hf_load_acquire(&vnode->waiters);
    if (waiters & SHM_WAITS && first <= hf_load_acquire(&vnode->wait_last) &&
        last >= hf_load_acquire(&vnode->wait_first)) {
        hf_add_acq_rel(&vnode->drain_seq, 1);
        hf_futex_wake_all(&vnode->drain_seq);
    }
    if (waiters & SHM_DETACHED)
        hf_store_release(&shm->run->reclaim, 1u);
}

static uint64_t key_generation(uint64_t key)
{
    return key & ~(SHM_KEY_STEP - 1);
}

/* Counts live pins in the lane's own slots, other than this one, that came after `from` and not
 * after `to`. */
static uint64_t pins_between(const struct shm_lane *lane, size_t slot, uint64_t from, uint64_t to)
{
    uint64_t count = 0;

    for (size_t i = 0; i < SHM_SLOTS; i++) {
        uint64_t key = hf_load_relaxed(&lane->keys[i]); /* relaxed: ours, or it is not live */

        count += i != slot && slots_is_own(i) && key && key_generation(key) - from - 1 < to - from;
    }
    return count;
}

/*
 * The slot is free, and the next pin in it writes another range. That can be this very thread: a
 * signal handler between U1 and U3. So the range is read first, then the generation. If each pin
 * that the thread has made since `key` is still live in another slot, none has had this one. A
 * handler that comes after the first of the two looks is counted by none. Else, and for a slot of
 * another thread, the range is not known.
 */
void slots_pages_left(const struct shm *shm, const uint64_t *word, uint64_t key, uint64_t *first,
                      uint64_t *last)
{
    const struct shm_lane *lane = slots_lane_of(shm, word);
    size_t slot = (size_t)(word - lane->keys);
    uint64_t from = key_generation(key), to, pages;

    *first = 0;
    *last = UINT64_MAX;
    if (lane != shm_lane_fast(shm) || !slots_is_own(slot))
        return;
    pages = hf_load_acquire(&lane->pages[slot]);
    hf_fence_light();
    to = hf_load_relaxed(&lane->generation); /* relaxed: ours */
    if (pins_between(lane, slot, from, to) != (to - from) / SHM_KEY_STEP)
        return;
    *first = SHM_PAGES_FIRST(pages);
    *last = SHM_PAGES_LAST(pages);
}

void slots_wake_slot(struct shm *shm, struct shm_vnode *vnode, const uint64_t *word, uint64_t key)
{
    uint64_t first, last;

    slots_pages_left(shm, word, key, &first, &last);
    slots_wake(shm, vnode, first, last);
}

void slots_mark(const struct shm_lane *lane, struct shm_vnode *vnode)
{
    uint8_t *mark = shm_mark(vnode, lane->mark);

#ifdef HF_LAB
    if (HF_LAB_BROKEN(HF_LAB_NO_MARK))
        return;
    if (HF_LAB_BROKEN(HF_LAB_STEPS) && hf_lab_stepped) {
        uint64_t *word = &vnode->marks[lane->mark / 8];

        hf_lab_keep(word, hf_load_acquire(word) | UINT64_C(1) << lane->mark % 8 * 8);
        if (!HF_LAB_BROKEN(HF_LAB_MARK_LATE))
            HF_LAB_FENCED(true);
        return;
    }
#endif
    hf_store_release(mark, (uint8_t)1);
    /* MARK.SB/p: the mark is visible before the entries are read. Pairs with MARK.SB/m in
     * slots_zapped(). Without it: the look passes the lane by, and the walk reads an old entry. */
    hf_fence_full();
}

/* From here on pins mark their lanes, and until the caller has marked those of before, looks read
 * all lanes. */
static void clear_bias(struct shm *shm, struct shm_vnode *vnode)
{
    /* A process that is killed in here leaves the word, and the next change goes on. */
    hf_store_release(&vnode->marks_unsure, 1u);
    hf_store_seq_cst(&vnode->bias, 0u);
    if (!HF_LAB_BROKEN(HF_LAB_NO_HEAVY))
        sync_heavy_barrier(shm);
}

static int slots_zapped(struct shm *shm, struct shm_vnode *vnode, bool cleared)
{
    shm_assert_held(&vnode->mutex);
    if (!sync_zap_pending(vnode, cleared))
        return 0;
    /* PIN.SB/m: the zap must be visible before the lanes are read.
     * Pairs with PIN.SB/p in slots_order(). BIAS.SET/m: and before the bias is read; pairs with
     * BIAS.SET/p in slots_rebias(). MARK.SB/m: and before the marks are read; pairs with MARK.SB/p
     * in slots_mark(). */
    hf_fence_full();
    if (hf_load_acquire(&vnode->bias))
        clear_bias(shm, vnode);
    if (hf_load_acquire(&vnode->marks_unsure))
        look_mark_all(shm, vnode);
    sync_zap_settled(vnode);
    return 0;
}

void slots_before_wait(struct shm *shm, struct shm_vnode *vnode)
{
    (void)vnode;
    if (hf_load_acquire(&shm->run->fences_only))
        return; /* without membarrier a waiting change looks again every DAX_TICK_FENCES_NS */
    /* UNPIN.WAKE/m: waiters is set; after the barrier a pin that leaves sees it, or the scan that
     * follows sees that it has left.
     * Pairs with UNPIN.WAKE/p in slots_leave(). */
    if (!HF_LAB_BROKEN(HF_LAB_NO_WAKE_BARRIER))
        sync_heavy_barrier(shm);
}

const struct sync_engine sync_slots = {
    .name = "slots",
    .zapped = slots_zapped,
    .scan = slots_scan,
    .before_wait = slots_before_wait,
};
const struct sync_engine sync_slots_fenced = {
    .name = "slots-fenced",
    .fences_only = true,
    .zapped = slots_zapped,
    .scan = slots_scan,
    .before_wait = slots_before_wait,
};
