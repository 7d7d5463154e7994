/* SPDX-License-Identifier: MIT */
/* Which lanes a look reads, and what it remembers of them. Wrong words do no harm. */
#include "run_segment.h"
#include "sync/engine.h"
#include "sync/look.h"
#include "sync/slots.h"

#include <string.h>

#define LANES 12u /* more than LOOK_FEW_MARKS */

static struct shm *shm;
static struct shm_vnode *vnode;
static unsigned found_count;

static int count(void *arg, const struct sync_holder *holder)
{
    (void)arg, (void)holder;
    found_count++;
    return 0;
}

static unsigned found(uint64_t first, uint64_t last)
{
    found_count = 0;
    assert_int_equal(slots_scan(shm, (uint32_t)vnode->index, first, last, count, NULL), 0);
    return found_count;
}

static unsigned marks(void)
{
    unsigned set = 0;

    for (unsigned i = 0; i < SHM_MARKS; i++)
        set += *shm_mark(vnode, i) != 0;
    return set;
}

static void pin(unsigned lane, uint32_t slot, uint64_t first, uint64_t last)
{
    struct shm_lane *at = &shm->lanes[lane];

    slots_publish(at, slot, slots_key_of(at, slot, vnode, 0), first, last);
}

static void unpin(unsigned lane, uint32_t slot)
{
    slots_leave(vnode, &shm->lanes[lane].keys[slot]);
}

/* A file that nobody has pinned, and lanes as threads have them. */
static int begin(void **state)
{
    static uint64_t ino = 20;

    shm = *state;
    assert_int_equal(shm_vnode_get(shm, ino++, &vnode), 0);
    hf_store_release(&shm->run->lanes_used, LANES);
    for (unsigned i = 0; i < LANES; i++) {
        memset(shm->lanes[i].keys, 0, SHM_SLOTS * sizeof(uint64_t));
        shm->lanes[i].hint = 0;
        shm->lanes[i].mark = (uint8_t)i;
    }
    return 0;
}

static void reads_marked_lanes(void **state)
{
    (void)state;
    pin(3, 0, 5, 5);
    assert_int_equal(found(0, UINT64_MAX), 0); /* its walk comes after our zap */
    slots_be_marked(&shm->lanes[3], vnode);
    assert_int_equal(marks(), 1);
    assert_int_equal(found(0, UINT64_MAX), 1);
    assert_int_equal(found(6, UINT64_MAX), 0);
    assert_int_equal(found(0, 4), 0);
}

static void reads_all_lanes(void **state)
{
    (void)state;
    vnode->bias = 1;
    pin(3, 0, 5, 5);
    slots_be_marked(&shm->lanes[3], vnode);
    assert_int_equal(marks(), 0);
    assert_int_equal(found(0, UINT64_MAX), 1);
    take_mutex(&vnode->mutex);
    assert_int_equal(sync_slots.zapped(shm, vnode, true), 0);
    shm_unlock(&vnode->mutex);
    assert_int_equal(vnode->bias, 0);
    assert_int_equal(vnode->marks_unsure, 0);
    assert_int_equal(marks(), 1);
    assert_int_equal(found(0, UINT64_MAX), 1);
    pin(4, 0, 5, 5);
    vnode->marks_unsure = 1; /* as a process leaves it that is killed while it clears marks */
    assert_int_equal(found(0, UINT64_MAX), 2);
    vnode->zap_pending = 1; /* as recover() leaves it */
    take_mutex(&vnode->mutex);
    assert_int_equal(sync_slots_fenced.zapped(shm, vnode, false), 0);
    shm_unlock(&vnode->mutex);
    assert_int_equal(vnode->marks_unsure, 0);
    assert_int_equal(marks(), 2);
}

static void clears_marks(void **state)
{
    (void)state;
    for (unsigned lane = 0; lane < 2; lane++) {
        pin(lane, 0, 5, 5);
        slots_be_marked(&shm->lanes[lane], vnode);
    }
    unpin(1, 0);
    for (unsigned i = 1; i < LOOK_AGE; i++)
        assert_int_equal(found(100, 200), 0);
    assert_int_equal(marks(), 2);
    found(100, 200);
    assert_int_equal(marks(), 1);
    assert_int_equal(vnode->marks_unsure, 0);
    assert_int_equal(found(5, 5), 1);
}

/* Slots for devices are read too, where their lane says that it has used them. */
static void reads_far_slots(void **state)
{
    struct shm_lane *lane = &shm->lanes[3];
    uint32_t slot;

    (void)state;
    vnode->bias = 1;
    slot = slots_pick_far(lane);
    assert_true(slot >= SHM_NEAR_SLOTS && slot < SHM_SLOTS);
    pin(3, slot, 5, 5);
    assert_int_equal(found(5, 5), 1);
    take_mutex(&vnode->mutex);
    assert_int_equal(sync_slots.zapped(shm, vnode, true), 0);
    shm_unlock(&vnode->mutex);
    assert_int_equal(marks(), 1); /* the census has found it */
    for (unsigned i = 0; i < 2 * LOOK_AGE; i++)
        assert_int_equal(found(6, 200), 0);
    assert_int_equal(marks(), 1);
    assert_int_equal(found(5, 5), 1);
}

static void pin_all(void)
{
    for (unsigned lane = 0; lane < LANES; lane++) {
        for (uint32_t slot = 0; slot < 20; slot++)
            pin(lane, slot, slot, slot);
        slots_be_marked(&shm->lanes[lane], vnode);
    }
}

/* A far slot of a lane that is remembered without. */
static void remembers_far_slots(void **state)
{
    struct shm_lane *lane = &shm->lanes[7];
    uint32_t slot;

    (void)state;
    pin_all();
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(found(100, 200), 0);
    slot = slots_pick_far(lane);
    pin(7, slot, 150, 150);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(found(100, 200), 1);
    unpin(7, slot);
    assert_int_equal(found(100, 200), 0);
}

/* What was pinned before is remembered, and what is pinned later is found. */
static void remembers(void **state)
{
    (void)state;
    pin_all();
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(found(100, 200), 0);
        assert_int_equal(found(19, 200), LANES);
    }
    pin(7, 20, 150, 150);
    assert_int_equal(found(100, 200), 1);
    assert_int_equal(found(100, 200), 1);
    unpin(7, 20);
    assert_int_equal(found(100, 200), 0);
    pin(8, SLOTS_OWN, 160, 170); /* a signal handler's */
    assert_int_equal(found(170, 200), 1);
}

/* Its generation is raised before its key is there. */
static void forgets_what_is_on_its_way(void **state)
{
    struct shm_lane *lane = &shm->lanes[7];
    uint64_t key;
    uint32_t hint;

    (void)state;
    pin_all();
    assert_int_equal(found(100, 200), 0);
    hint = slots_begin(lane);
    key = slots_key_of(lane, 20, vnode, 0);
    assert_int_equal(found(100, 200), 0);
    slots_publish(lane, 20, key, 150, 150);
    slots_end(lane, hint);
    assert_int_equal(found(100, 200), 1);
}

/* Marks of pins that have gone do not stay because they are remembered. */
static void reads_again(void **state)
{
    (void)state;
    pin_all();
    found(100, 200);
    for (unsigned lane = 0; lane < LANES; lane++)
        for (uint32_t slot = 0; slot < 20; slot++)
            unpin(lane, slot);
    for (unsigned i = 0; i < 2 * LOOK_AFRESH + LOOK_AGE; i++)
        assert_int_equal(found(100, 200), 0);
    assert_int_equal(marks(), 0);
}

/* A look of one file knows nothing of another's, whose number has the same memory. */
static void remembers_one_file(void **state)
{
    struct shm_vnode *first = vnode;

    (void)state;
    pin_all();
    assert_int_equal(found(100, 200), 0);
    do
        begin(state);
    while (vnode->index % LOOK_MEMORIES != first->index % LOOK_MEMORIES);
    pin_all();
    pin(7, 20, 150, 150);
    assert_int_equal(found(100, 200), 1);
}

/* Pages from 2^32 on, and words that another process has made wrong. */
static void bounds(void **state)
{
    (void)state;
    pin_all();
    hf_store_release(&shm->lanes[7].pages[19], UINT64_MAX);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(found(UINT64_C(1) << 32, UINT64_MAX), 1);
    assert_int_equal(found(20, 30), 0);
    memset(vnode->marks, 0xff, sizeof vnode->marks);
    vnode->marks_unsure = 0;
    shm->run->lanes_used = UINT32_MAX;
    for (unsigned i = 0; i < 16; i++) {
        shm->lanes[i].hint = 0xff;
        shm->lanes[i].mark = 0xff;
        shm->lanes[i].generation = UINT64_MAX;
        shm->lanes[i].signal_generation = UINT64_MAX;
        slots_be_marked(&shm->lanes[i], vnode);
    }
    assert_int_equal(found(0, 0), LANES);
    assert_int_equal(found(UINT64_C(1) << 32, UINT64_MAX), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reads_marked_lanes, begin),
        cmocka_unit_test_setup(reads_all_lanes, begin),
        cmocka_unit_test_setup(clears_marks, begin),
        cmocka_unit_test_setup(reads_far_slots, begin),
        cmocka_unit_test_setup(remembers_far_slots, begin),
        cmocka_unit_test_setup(remembers, begin),
        cmocka_unit_test_setup(forgets_what_is_on_its_way, begin),
        cmocka_unit_test_setup(reads_again, begin),
        cmocka_unit_test_setup(remembers_one_file, begin),
        cmocka_unit_test_setup(bounds, begin),
    };

    return cmocka_run_group_tests_name("look", tests, open_segment, close_segment);
}
