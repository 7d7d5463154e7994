/* SPDX-License-Identifier: MIT */
/* Reports for watchers: their ring, also when writers are late, dead, or too many. */
#include "holdfast/holdfast.h"
#include "run_segment.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#define OTHER 3u /* a process that makes reports, or has died */

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
    assert_true(shm_is_watched_by(shm, vnode, shm->self));
    assert_int_equal(shm_watcher_from(shm, vnode, 0), shm->self);
    assert_int_equal(shm_watcher_from(shm, vnode, shm->self + 1), SHM_NONE);
    assert_false(watch(shm, 1));
    assert_true(vnode->waiters & SHM_WATCHED);
    watch(shm, -1);
    assert_true(shm_is_watched_by(shm, vnode, shm->self));
    vnode->waiters |= SHM_DETACHED;
    watch(shm, -1);
    assert_false(shm_is_watched_by(shm, vnode, shm->self));
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
    assert_true(shm_is_watched_by(shm, vnode, shm->self));
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

/* --- a process that has died --- */

static struct shm *reaped;
static struct shm_lane *dead_lane;
static volatile sig_atomic_t faults, open_then, held_then; /* at the first store of a report */

static uintptr_t page_of(const void *at)
{
    return (uintptr_t)at & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);
}

static int protect_ring(int protection)
{
    return mprotect((void *)page_of(&reaped->watchers[reaped->self].reported),
                    (size_t)sysconf(_SC_PAGESIZE), protection);
}

/* A report begins. What is here now, the next reaper finds when this one is killed. */
static void report_begins(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    if (page_of(info->si_addr) != page_of(&reaped->watchers[reaped->self].reported) ||
        protect_ring(PROT_READ | PROT_WRITE))
        _exit(1);
    faults++;
    open_then = shm_vnode_is_open_by(reaped, vnode, OTHER);
    held_then = dead_lane->keys[0] != 0;
}

static void dies(struct shm *shm, bool opens, bool writes)
{
    uint64_t *open = shm->open + (vnode - shm->vnodes) * shm->open_words;

    dead_lane = &shm->lanes[1];
    hf_store_release(&dead_lane->owner, OTHER + 1);
    hf_store_release(&dead_lane->keys[0],
                     writes ? shm_key(SHM_KEY_STEP, HF_PIN_WRITE, vnode->index) : UINT64_C(0));
    hf_store_release(&shm->run->lanes_used, 2u);
    if (opens)
        hf_or_acq_rel(open, UINT64_C(1) << OTHER);
    shm->run->processes++;
    hf_store_release(&shm->processes[OTHER].state, (uint32_t)SHM_PROCESS_DEAD);
    assert_int_not_equal(page_of(open), page_of(&shm->watchers[shm->self].reported));
    assert_int_not_equal(page_of(&dead_lane->keys), page_of(&shm->watchers[shm->self].reported));
}

static void reap_watched(struct shm *shm)
{
    const struct sigaction action = {.sa_sigaction = report_begins, .sa_flags = SA_SIGINFO};
    struct sigaction before;

    reaped = shm;
    faults = 0;
    assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
    assert_int_equal(protect_ring(PROT_READ), 0);
    shm_reap(shm);
    assert_int_equal(protect_ring(PROT_READ | PROT_WRITE), 0);
    assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
    assert_int_equal(faults, 1);
    assert_int_equal(take(shm, false), SHM_REPORT_ONE);
    assert_int_equal(index_found, vnode->index);
    assert_int_equal(first_found, 0);
    assert_int_equal(last_found, UINT64_MAX);
    assert_int_equal(take(shm, false), SHM_REPORT_NONE);
    assert_int_equal(shm->processes[OTHER].state, SHM_PROCESS_FREE);
}

static void an_open_file_is_reported_first(void **state)
{
    dies(*state, true, false);
    reap_watched(*state);
    assert_true(open_then);
    assert_false(shm_vnode_is_open_by(*state, vnode, OTHER));
}

static void a_pin_is_reported_first(void **state)
{
    dies(*state, false, true);
    reap_watched(*state);
    assert_true(held_then);
    assert_int_equal(dead_lane->keys[0], 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, begin_to_watch, close_segment)
    const struct CMUnitTest tests[] = {
        TEST(flag_and_marks),
        TEST(asks_are_counted),
        TEST(reports_come_in_order),
        TEST(too_many_are_lost),
        TEST(late_writers),
        TEST(very_late_writer),
        TEST(an_open_file_is_reported_first),
        TEST(a_pin_is_reported_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
