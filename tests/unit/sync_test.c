/* SPDX-License-Identifier: MIT */
/* The engine contract, guarantee by guarantee, on the engines that are in every build. */
#include "run_segment.h"
#include "sync/engine.h"
#include "sync/slots.h"
#include "holdfast/holdfast.h"

#include <string.h>

static struct shm_vnode *vnode_of(struct shm *shm)
{
    struct shm_vnode *vnode;

    assert_int_equal(shm_vnode_get(shm, 11, &vnode), 0);
    return vnode;
}

static uint64_t publish(struct shm_lane *lane, uint32_t slot, const struct shm_vnode *vnode,
                        uint64_t first, uint64_t last, uint32_t flags)
{
    uint64_t key = slots_key_of(lane, slot, vnode, flags);

    slots_publish(lane, slot, key, first, last);
    return key;
}

static void leave(struct shm *shm, struct shm_vnode *vnode, struct shm_lane *lane, uint32_t slot)
{
    uint64_t key = lane->keys[slot];

    if (slots_leave(vnode, &lane->keys[slot]))
        slots_wake_slot(shm, vnode, &lane->keys[slot], key);
}

static int keep(void *arg, const struct sync_holder *holder)
{
    *(struct sync_holder *)arg = *holder;
    return 1;
}

static bool finds(const struct sync_engine *engine, struct shm *shm, struct shm_vnode *vnode,
                  uint64_t first, uint64_t last, struct sync_holder *holder)
{
    return engine->scan(shm, vnode->index, first, last, keep, holder) == 1;
}

static void zapped(const struct sync_engine *engine, struct shm *shm, struct shm_vnode *vnode,
                   bool cleared)
{
    take_mutex(&vnode->mutex);
    assert_int_equal(engine->zapped(shm, vnode, cleared), 0);
    shm_unlock(&vnode->mutex);
}

static void finds_what_overlaps(void **state)
{
    static const char *const names[] = {"slots", "slots-fenced"};
    struct shm *shm = *state;
    struct shm_vnode *vnode = vnode_of(shm);
    struct shm_lane *lane = shm_lane(shm);

    for (unsigned i = 0; i < 2; i++) {
        const struct sync_engine *engine = sync_engine_find(names[i]);
        struct sync_holder holder;
        uint32_t slot = slots_pick(lane, 0);
        uint64_t key = publish(lane, slot, vnode, 5, 9, HF_PIN_WRITE);

        slots_be_marked(lane, vnode);
        zapped(engine, shm, vnode, true);
        assert_true(finds(engine, shm, vnode, 9, 20, &holder));
        assert_ptr_equal(holder.key, &lane->keys[slot]);
        assert_int_equal(holder.value, key);
        assert_int_equal(holder.range.first, 5);
        assert_int_equal(SHM_WHO_FLAGS(holder.range.who), HF_PIN_WRITE);
        assert_true(finds(engine, shm, vnode, 0, 5, &holder));
        assert_false(finds(engine, shm, vnode, 0, 4, &holder));
        assert_false(finds(engine, shm, vnode, 10, UINT64_MAX, &holder));
        leave(shm, vnode, lane, slot);
        assert_false(finds(engine, shm, vnode, 0, UINT64_MAX, &holder));
    }
}

static void zap_takes_the_bias(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = vnode_of(shm);
    uint64_t barriers = shm->run->stats.barriers;

    vnode->bias = 1;
    vnode->zap_pending = 0;
    zapped(&sync_slots, shm, vnode, false);
    assert_int_equal(vnode->bias, 1); /* nothing was cleared: nobody can have walked it */
    zapped(&sync_slots, shm, vnode, true);
    assert_int_equal(vnode->bias, 0);
    assert_int_equal(shm->run->stats.barriers, barriers + 1);
    zapped(&sync_slots, shm, vnode, true);
    assert_int_equal(shm->run->stats.barriers, barriers + 1); /* unbiased: no barrier */
    vnode->bias = 1;
    vnode->zap_pending = 1; /* as a change leaves it that was killed between zap and barrier */
    zapped(&sync_slots, shm, vnode, false);
    assert_int_equal(shm->run->stats.barriers, barriers + 2);
    assert_int_equal(vnode->zap_pending, 0);
}

static void bias_comes_back(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = vnode_of(shm);
    struct shm_lane *lane = shm_lane(shm);

    vnode->bias = 0;
    vnode->changes = 1;
    lane->fenced = 0;
    slots_be_marked(lane, vnode);
    for (unsigned i = 0; i < SLOTS_REBIAS_LOOK; i++) {
        publish(lane, 0, vnode, 0, 0, 0);
        assert_int_equal(slots_order(lane, vnode), i == SLOTS_REBIAS_LOOK - 1);
        leave(shm, vnode, lane, 0);
    }
    slots_rebias(shm, lane, vnode);
    assert_int_equal(lane->fenced, 0);
    assert_int_equal(vnode->bias, 0); /* layout changes were here since the last look */
    slots_rebias(shm, lane, vnode);
    assert_int_equal(vnode->bias, 0); /* and it is not long ago */
    vnode->looked_ns -= 10 * HF_NS_PER_SEC;
    slots_rebias(shm, lane, vnode);
    assert_int_equal(vnode->bias, 1);
}

static void signal_slots_are_apart(void **state)
{
    struct shm *shm = *state;
    struct shm_lane *lane = shm_lane(shm);
    uint64_t kept[SHM_SLOTS];

    memcpy(kept, lane->keys, sizeof kept);
    for (unsigned i = 0; i < SHM_SIGNAL_SLOTS; i++)
        assert_true(slots_pick(lane, SHM_SLOTS) >=
                    SLOTS_OWN); /* what an interrupted pick cannot return */
    assert_int_equal(slots_pick(lane, SHM_SLOTS), SHM_SLOTS);
    assert_true(slots_pick(lane, 0) < SLOTS_OWN);
    memcpy(lane->keys, kept, sizeof kept);
}

/* Beyond its own slots a thread has some for devices, which are looked at where they were used. */
static void device_slots_are_marked(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = vnode_of(shm);
    struct shm_lane *lane = shm_lane(shm);
    struct sync_holder holder;
    uint32_t slot;

    for (uint32_t i = 0; i < SLOTS_OWN; i++)
        publish(lane, i, vnode, 1, 1, 0);
    assert_int_equal(slots_pick_for(lane, 0, HF_PIN_WRITE), SHM_SLOTS);
    assert_true(slots_pick_for(lane, SHM_SLOTS, HF_PIN_RDMA) < SHM_FAR_MARK); /* a handler's */
    lane->keys[SLOTS_OWN] = 0;
    assert_int_equal(lane->keys[SHM_FAR_MARK], 0);
    slot = slots_pick_for(lane, 0, HF_PIN_RDMA);
    assert_true(slot >= SHM_NEAR_SLOTS && slot < SHM_SLOTS);
    assert_int_equal(slots_next_hint(0, slot), slot);
    publish(lane, slot, vnode, 5, 9, HF_PIN_RDMA);
    assert_int_equal(shm_lane_pins(lane), SLOTS_OWN + 1);
    for (uint32_t i = 0; i < SLOTS_OWN; i++)
        leave(shm, vnode, lane, i);
    assert_true(finds(&sync_slots, shm, vnode, 9, 20, &holder));
    assert_ptr_equal(holder.key, &lane->keys[slot]);
    shm_lane_unmark(lane); /* not yet */
    assert_true(finds(&sync_slots, shm, vnode, 9, 20, &holder));
    leave(shm, vnode, lane, slot);
    assert_false(finds(&sync_slots, shm, vnode, 0, UINT64_MAX, &holder));
    assert_int_not_equal(lane->keys[SHM_FAR_MARK], 0);
    shm_lane_unmark(lane);
    assert_int_equal(lane->keys[SHM_FAR_MARK], 0);
}

static void hint_is_led_to_a_free_slot(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = vnode_of(shm);
    struct shm_lane *lane = shm_lane(shm);

    lane->hint = 3;
    slots_seek(lane, 0);
    assert_int_equal(lane->hint, 3);
    publish(lane, 3, vnode, 0, 0, 0);
    publish(lane, 4, vnode, 0, 0, 0);
    slots_seek(lane, 0);
    assert_int_equal(lane->hint, 5);
    lane->hint = SHM_SLOTS; /* as a handler finds it */
    slots_seek(lane, HF_PIN_GPU);
    assert_int_equal(lane->hint, SHM_SLOTS);
    for (uint32_t i = 0; i < SLOTS_OWN; i++)
        if (i != 3 && i != 4)
            publish(lane, i, vnode, 0, 0, 0);
    lane->hint = 5;
    slots_seek(lane, HF_PIN_WRITE);
    assert_int_equal(lane->hint, 5); /* there is none */
    slots_seek(lane, HF_PIN_GPU);
    assert_int_equal(lane->hint, SHM_NEAR_SLOTS);
    for (uint32_t i = 0; i < SLOTS_OWN; i++)
        leave(shm, vnode, lane, i);
    lane->hint = 0;
    shm_lane_unmark(lane);
}

static void unpin_wakes(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = vnode_of(shm);
    struct shm_lane *lane = shm_lane(shm);
    uint32_t seq = vnode->drain_seq;

    publish(lane, 1, vnode, 0, 0, 0);
    vnode->waiters = SHM_WAITS;
    vnode->wait_first = vnode->wait_last = 0;
    sync_slots.before_wait(shm, vnode);
    leave(shm, vnode, lane, 1);
    assert_int_equal(vnode->drain_seq, seq + 1);
    publish(lane, 1, vnode, 1, 9, 0); /* other pages than are waited for */
    leave(shm, vnode, lane, 1);
    assert_int_equal(vnode->drain_seq, seq + 1);
    vnode->waiters = SHM_DETACHED;
    shm->run->reclaim = 0;
    publish(lane, 1, vnode, 0, 0, 0);
    leave(shm, vnode, lane, 1);
    assert_int_equal(vnode->drain_seq, seq + 1);
    assert_int_equal(shm->run->reclaim, 1);
    vnode->waiters = 0;
}

/* The range of a slot that went is known while no later pin of the thread can have had the slot. */
static void range_that_went(void **state)
{
    struct shm *shm = *state;
    struct shm_vnode *vnode = vnode_of(shm);
    struct shm_lane *lane = shm_lane(shm);
    uint64_t keys[3], first, last;

    for (uint32_t slot = 0; slot < 3; slot++)
        keys[slot] = publish(lane, slot, vnode, 10 * slot, 10 * slot + slot, 0);
    for (uint32_t slot = 0; slot < 2; slot++) { /* the oldest first */
        slots_leave(vnode, &lane->keys[slot]);
        slots_pages_left(shm, &lane->keys[slot], keys[slot], &first, &last);
        assert_int_equal(first, 10 * slot);
        assert_int_equal(last, 10 * slot + slot);
    }
    slots_leave(vnode, &lane->keys[2]);
    publish(lane, 2, vnode, 99, 99, 0); /* as a signal handler may, before U3 */
    slots_pages_left(shm, &lane->keys[2], keys[2], &first, &last);
    assert_int_equal(first, 0);
    assert_true(last == UINT64_MAX);
    slots_leave(vnode, &lane->keys[2]);
    slots_pages_left(shm, &lane->keys[2], keys[2], &first, &last);
    assert_int_equal(first, 0);
    assert_true(last == UINT64_MAX);
}

static void names(void **state)
{
    (void)state;
    assert_ptr_equal(sync_engine_find("slots"), &sync_slots);
    assert_true(sync_engine_find("slots-fenced")->fences_only);
    assert_null(sync_engine_find("unpatched")); /* in lab builds only */
    assert_null(sync_engine_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_overlaps),
        cmocka_unit_test(zap_takes_the_bias),
        cmocka_unit_test(bias_comes_back),
        cmocka_unit_test(signal_slots_are_apart),
        cmocka_unit_test(device_slots_are_marked),
        cmocka_unit_test(hint_is_led_to_a_free_slot),
        cmocka_unit_test(unpin_wakes),
        cmocka_unit_test(range_that_went),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests_name("sync", tests, open_segment, close_segment);
}
