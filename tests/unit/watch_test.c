/* SPDX-License-Identifier: MIT */
/* Reports for watchers: their ring, also when writers are late, dead, or too many. */
#include "run_segment.h"

#define OTHER 3u /* a process that makes reports */

static struct shm_vnode *vnode;
static uint32_t index_found;
static uint64_t first_found, last_found;

static bool watch(struct shm *shm, int change)
{
    bool first;

    take_mutex(&vnode->mutex);
    first = shm_watch(shm, vnode, change);
    shm_unlock(&vnode->mutex);
    return first;
}

static void ask(struct shm *shm, int change)
{
    take_mutex(&vnode->mutex);
    shm_ask(shm, vnode, change);
    shm_unlock(&vnode->mutex);
}

static int begin_to_watch(void **state)
{
    if (open_segment(state) || shm_vnode_get(*state, 7, &vnode))
        return -1;
    return watch(*state, 1) ? 0 : -1;
}

static enum shm_reports take(struct shm *shm, bool late)
{
    return shm_report_take(shm, late, &index_found, &first_found, &last_found);
}

static void flag_and_marks(void **state)
{
    struct shm *shm = *state;

    assert_true(vnode->waiters & SHM_WATCHED);
    assert_true(shm_watches(shm, vnode, shm->self));
    assert_int_equal(shm_watcher_from(shm, vnode, 0), shm->self);
    assert_int_equal(shm_watcher_from(shm, vnode, shm->self + 1), SHM_NONE);
    assert_false(watch(shm, 1));
    assert_true(vnode->waiters & SHM_WATCHED);
    watch(shm, -1);
    assert_true(shm_watches(shm, vnode, shm->self));
    vnode->waiters |= SHM_DETACHED;
    watch(shm, -1);
    assert_false(shm_watches(shm, vnode, shm->self));
    assert_int_equal(vnode->waiters, SHM_DETACHED);
}

/* Watchers that want to be told before are some of all watchers. */
static void asks_are_counted(void **state)
{
    struct shm *shm = *state;

    assert_int_equal(shm_asker_from(shm, vnode, 0), SHM_NONE);
    ask(shm, 1);
    ask(shm, 1);
    assert_int_equal(vnode->waiters, SHM_WATCHED | SHM_ASKED);
    assert_int_equal(shm_asker_from(shm, vnode, 0), shm->self);
    assert_int_equal(shm_asker_from(shm, vnode, shm->self + 1), SHM_NONE);
    ask(shm, -1);
    assert_true(vnode->waiters & SHM_ASKED);
    ask(shm, -1);
    assert_int_equal(vnode->waiters, SHM_WATCHED);
    assert_true(shm_watches(shm, vnode, shm->self));
}

static void reports_come_in_order(void **state)
{
    struct shm *shm = *state;

    assert_int_equal(take(shm, false), SHM_REPORT_NONE);
    for (uint64_t round = 0; round < 5 * SHM_REPORTS; round++) {
        shm_report(shm, vnode, round, round + 1, OTHER);
        shm_report(shm, vnode, round + 2, UINT64_MAX, OTHER);
        shm_report(shm, vnode, 0, 0, shm->self); /* not told */
        assert_int_equal(take(shm, false), SHM_REPORT_ONE);
        assert_int_equal(index_found, vnode->index);
        assert_int_equal(first_found, round);
        assert_int_equal(last_found, round + 1);
        assert_int_equal(take(shm, false), SHM_REPORT_ONE);
        assert_int_equal(first_found, round + 2);
        assert_int_equal(last_found, UINT64_MAX);
        assert_int_equal(take(shm, false), SHM_REPORT_NONE);
    }
}

static void too_many_are_lost(void **state)
{
    struct shm *shm = *state;

    for (unsigned i = 0; i < SHM_REPORTS; i++)
        shm_report(shm, vnode, i, i, OTHER);
    for (unsigned i = 0; i < SHM_REPORTS; i++)
        assert_int_equal(take(shm, false), SHM_REPORT_ONE);
    for (unsigned i = 0; i < SHM_REPORTS + 1; i++)
        shm_report(shm, vnode, i, i, OTHER);
    assert_int_equal(take(shm, false), SHM_REPORT_LOST);
    assert_int_equal(take(shm, false), SHM_REPORT_NONE);
    shm_report(shm, vnode, 5, 5, OTHER);
    assert_int_equal(take(shm, false), SHM_REPORT_ONE);
}

/* A writer draws its ticket and writes nothing, or some of it, and then all of it when nobody waits
 * for it any more. */
static void late_writers(void **state)
{
    struct shm *shm = *state;
    struct shm_watcher *watcher = &shm->watchers[shm->self];

    for (unsigned written = 0; written < 3; written++) {
        uint64_t ticket = hf_add_acq_rel(&watcher->reported, 1);
        uint64_t *words = watcher->reports[ticket % SHM_REPORTS].words;

        for (unsigned i = 0; i < written; i++)
            words[i] = (ticket + 1) << 32;
        shm_report(shm, vnode, 5, 5, OTHER);
        assert_int_equal(take(shm, false), SHM_REPORT_LATE);
        assert_int_equal(take(shm, true), SHM_REPORT_LOST);
        assert_int_equal(take(shm, false), SHM_REPORT_NONE);
        for (unsigned i = 0; i < 3; i++)
            words[i] = (ticket + 1) << 32;
        for (unsigned i = 0; i < 2 * SHM_REPORTS; i++) { /* no later one is taken for it */
            shm_report(shm, vnode, 6, 6, OTHER);
            assert_int_equal(take(shm, false), SHM_REPORT_ONE);
            assert_int_equal(first_found, 6);
        }
    }
}

/* One that is so late that its words go over those of a later report. */
static void very_late_writer(void **state)
{
    struct shm *shm = *state;
    struct shm_watcher *watcher = &shm->watchers[shm->self];
    uint64_t ticket = hf_add_acq_rel(&watcher->reported, 1);

    assert_int_equal(take(shm, true), SHM_REPORT_LOST);
    for (unsigned i = 0; i < SHM_REPORTS - 1; i++) {
        shm_report(shm, vnode, 6, 6, OTHER);
        assert_int_equal(take(shm, false), SHM_REPORT_ONE);
    }
    shm_report(shm, vnode, 7, 7, OTHER);
    watcher->reports[ticket % SHM_REPORTS].words[1] = (ticket + 1) << 32 | 99;
    assert_int_equal(take(shm, false), SHM_REPORT_LATE);
    assert_int_equal(take(shm, true), SHM_REPORT_LOST);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, begin_to_watch, close_segment)
    const struct CMUnitTest tests[] = {
        TEST(flag_and_marks),   TEST(reports_come_in_order), TEST(too_many_are_lost),
        TEST(asks_are_counted), TEST(reports_come_in_order), TEST(too_many_are_lost),
        TEST(late_writers),     TEST(very_late_writer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
