/* SPDX-License-Identifier: MIT */
/*
 * Owns the question which thread has which lane. A thread keeps its lanes in a small list of its
 * own. Those that it used last are also in shm_my_lanes[], where the pin path and signal handlers
 * look. When a thread ends, its lanes stay the process's, with any pins still in them, and go to
 * the next new thread.
 *
 * The list is under lists_mutex, because a segment that goes away is taken out of the lists of all
 * threads. The cache (shm_my_lanes[]) is not under it. An entry is never freed, since the handles
 * of pins lead to it. A null pointer in it says that its segment has gone. Entries of ended threads
 * are in `left`, for the next thread that takes the lane, or for any thread when the segment has
 * gone.
 */
#include "base/error.h"
#include "base/fence.h"
#include "base/futex.h"
#include "shm/private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static const struct shm_lane_of_thread no_lane; /* no pin leads to it */

_Thread_local const struct shm_lane_of_thread *shm_my_lanes[SHM_LANES_CACHED];
_Thread_local const struct shm_lane_of_thread *shm_last_lane = &no_lane;

struct my_lane {
    struct my_lane *next;
    struct shm_lane_of_thread is;
};

/* Every thread's list, so that a segment that goes away can be taken out of all of them. */
struct my_lanes {
    struct my_lanes *next;
    struct my_lane *first;
};

static pthread_mutex_t lists_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct my_lanes *lists;
static struct my_lane *left; /* of threads that have ended */
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void free_list(struct my_lanes *list)
{
    while (list->first) {
        struct my_lane *lane = list->first;

        list->first = lane->next;
        lane->next = left;
        left = lane;
        if (lane->is.shm)
            hf_store_release(&lane->is.lane->tid, 0u);
    }
    free(list);
}

static void forget_mine(void)
{
    shm_last_lane = &no_lane;
    for (unsigned i = 0; i < SHM_LANES_CACHED; i++)
        shm_my_lanes[i] = NULL;
}

static void thread_ends(void *value)
{
    struct my_lanes *list = value, **link;

    forget_mine();
    pthread_mutex_lock(&lists_mutex);
    for (link = &lists; *link && *link != list; link = &(*link)->next)
        ;
    if (*link) {
        *link = list->next;
        free_list(list);
    }
    pthread_mutex_unlock(&lists_mutex);
}

static void make_key(void)
{
    HF_BUG_ON(pthread_key_create(&key, thread_ends) != 0);
}

static struct my_lanes *my_list(void)
{
    struct my_lanes *list;

    pthread_once(&key_once, make_key);
    list = pthread_getspecific(key);
    if (list)
        return list;
    list = calloc(1, sizeof *list);
    if (!list || pthread_setspecific(key, list)) {
        free(list);
        return NULL;
    }
    list->next = lists;
    lists = list;
    return list;
}

static struct shm_lane *take_owned_by(struct shm *shm, uint32_t owner)
{
    struct shm_run *run = shm->run;
    uint32_t self = shm->self + 1, used;

    HF_BUG_ON(shm->self == SHM_NONE);
    for (uint32_t i = 0; i < shm->limits.lanes; i++) {
        if (shm_reserve_entry(shm->lanes, sizeof *shm->lanes, shm->limits.lanes,
                              &run->lanes_reserved, i))
            break;
        if (hf_load_relaxed(&shm->lanes[i].owner) != owner || /* relaxed: the swap decides */
            !hf_cas_acq_rel(&shm->lanes[i].owner, owner, self))
            continue;
        while ((used = hf_load_acquire(&run->lanes_used)) <= i &&
               !hf_cas_acq_rel(&run->lanes_used, used, i + 1))
            ;
        /* Of another process's calls: they count from one too. */
        hf_store_release(&shm->lanes[i].blocked.call, UINT64_C(0));
        hf_store_release(&shm->lanes[i].blocked.cancelled, UINT64_C(0));
        hf_store_release(&shm->lanes[i].residue, (uint32_t)(owner == SHM_LANE_RESIDUE));
        /* ATTACH.SB/p: likewise, the lane counts before its first pin is made.
         * Pairs with ATTACH.SB/m in slots_scan(), which reads lanes_used after the barrier. */
        hf_fence_full();
        return &shm->lanes[i];
    }
    return NULL;
}

/* Takes an idle lane of this process, else a free lane, else a lane that a dead thread has left
 * with reserved blocks. The last choice is a lane in which pins of an ended thread live on. Under
 * shm->lane_mutex, which keeps this process's threads apart; other processes race for lanes by
 * compare-and-swap. */
static struct shm_lane *take_lane(struct shm *shm)
{
    struct shm_lane *idle = NULL, *lane;
    uint32_t self = shm->self + 1, used = shm_lanes_used(shm);

    for (uint32_t i = 0; i < used; i++) {
        struct shm_lane *lane = &shm->lanes[i];

        if (hf_load_acquire(&lane->owner) != self || hf_load_acquire(&lane->tid))
            continue;
        if (!shm_lane_pins(lane))
            return lane;
        idle = lane;
    }
    lane = take_owned_by(shm, 0);
    lane = lane ? lane : take_owned_by(shm, SHM_LANE_RESIDUE);
    return lane ? lane : idle;
}

static struct shm_lane *remember(const struct shm *shm, const struct shm_lane_of_thread *lane)
{
    shm_my_lanes[shm->id % SHM_LANES_CACHED] = lane;
    return lane->lane;
}

void shm_lane_use(const struct shm *shm)
{
    shm_last_lane = shm_my_lanes[shm->id % SHM_LANES_CACHED];
}

/* Takes the entry of that lane, or of a segment that has gone (both null), out of a list. */
static struct my_lane *take_entry(struct my_lane **link, const struct shm *shm,
                                  const struct shm_lane *lane)
{
    struct my_lane *mine;

    while (*link && ((*link)->is.shm != shm || (shm && (*link)->is.lane != lane)))
        link = &(*link)->next;
    mine = *link;
    if (mine)
        *link = mine->next;
    return mine;
}

/* An entry in no list, for a lane that may have none yet. */
static struct my_lane *idle_entry(struct my_lanes *list)
{
    struct my_lane *mine = take_entry(&list->first, NULL, NULL);

    mine = mine ? mine : take_entry(&left, NULL, NULL);
    return mine ? mine : calloc(1, sizeof *mine);
}

static void keep_entry(struct my_lane **list, struct my_lane *mine)
{
    mine->next = *list;
    *list = mine;
}

/* The lane's entry, which is `fresh` unless the lane was another thread's. In that case `fresh`
 * stays in this thread's list, since it may be in its cache. */
static struct my_lane *entry_of_lane(struct shm *shm, struct my_lanes *list, struct shm_lane *lane,
                                     struct my_lane *fresh)
{
    struct my_lane *mine = take_entry(&left, shm, lane);

    if (mine) {
        keep_entry(&list->first, fresh);
        return mine;
    }
    fresh->is.lane = lane;
    fresh->is.vnodes = shm->vnodes;
    fresh->is.key_mask = shm->key_mask;
    /* A signal handler that finds the entry in the cache looks at the segment first. */
    hf_fence_light();
    fresh->is.shm = shm;
    return fresh;
}

static struct shm_lane *new_lane(struct shm *shm, struct my_lanes *list)
{
    struct my_lane *mine = idle_entry(list);
    struct shm_lane *lane;

    if (!mine)
        return NULL;
    pthread_mutex_lock(&shm->lane_mutex);
    lane = take_lane(shm);
    if (lane) {
        hf_store_release(&lane->hint, (uint8_t)0);
        shm_lane_unmark(lane);
        hf_store_release(&lane->mark, (uint8_t)(shm_lane_index(shm, lane) % SHM_MARKS));
        for (unsigned i = SHM_SLOTS; i < sizeof lane->keys / sizeof *lane->keys; i++)
            hf_store_release(&lane->keys[i], UINT64_MAX);
        hf_store_release(&lane->who, SHM_WHO(gettid(), 0));
        hf_store_release(&lane->tid, (uint32_t)gettid());
    }
    pthread_mutex_unlock(&shm->lane_mutex);
    if (!lane) {
        keep_entry(&list->first, mine);
        return NULL;
    }
    shm_last_lane =
        &no_lane; /* which may be this entry, from a segment before: shm_lane_use() says */
    mine = entry_of_lane(shm, list, lane, mine);
    keep_entry(&list->first, mine);
    return remember(shm, &mine->is);
}

int shm_no_lane(const struct shm *shm)
{
    if (hf_load_acquire(&shm->run->lanes_reserved) < shm->limits.lanes)
        return shm_no_room();
    return hf_fail(ENOLCK, "all %u thread entries are taken (mkpool --max-threads)",
                   shm->limits.lanes);
}

static struct shm_lane *find_or_take(struct shm *shm)
{
    struct shm_lane *lane = NULL;
    struct my_lanes *list;

    pthread_mutex_lock(&lists_mutex);
    list = my_list();
    for (struct my_lane *mine = list ? list->first : NULL; mine && !lane; mine = mine->next)
        if (mine->is.shm == shm)
            lane = remember(shm, &mine->is);
    if (list && !lane)
        lane = new_lane(shm, list);
    pthread_mutex_unlock(&lists_mutex);
    return lane;
}

struct shm_lane *shm_lane_slow(struct shm *shm)
{
    struct shm_lane *lane = shm_lane_fast(shm);

    lane = lane ? lane : find_or_take(shm);
    if (lane)
        return lane;
    shm_reap(shm); /* the dead may have some */
    return find_or_take(shm);
}

void shm_lanes_in_child(void)
{
    lists_mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    if (lists)
        pthread_setspecific(key, NULL); /* the lanes in it are the parent's */
    lists = NULL;
    left = NULL; /* the parent's pins lead to some of them */
    forget_mine();
}

void shm_lanes_end(struct shm *shm)
{
    pthread_mutex_lock(&lists_mutex);
    for (struct my_lanes *list = lists; list; list = list->next)
        for (struct my_lane *mine = list->first; mine; mine = mine->next)
            if (mine->is.shm == shm)
                mine->is.shm = NULL;
    for (struct my_lane *mine = left; mine; mine = mine->next)
        if (mine->is.shm == shm)
            mine->is.shm = NULL;
    pthread_mutex_unlock(&lists_mutex);
}

void shm_lane_unmark(struct shm_lane *lane)
{
    uint64_t any = 0;

    for (unsigned i = SHM_NEAR_SLOTS; i < SHM_SLOTS; i++)
        any |= hf_load_acquire(&lane->keys[i]);
    if (!any)
        hf_store_release(&lane->keys[SHM_FAR_MARK], UINT64_C(0));
}

static unsigned slots_in_use(const struct shm_lane *lane)
{
    unsigned pins = 0;

    for (unsigned i = 0; i < SHM_SLOTS; i++)
        pins += i != SHM_FAR_MARK && hf_load_acquire(&lane->keys[i]) != 0;
    return pins;
}

unsigned shm_lane_pins(const struct shm_lane *lane)
{
    return hf_load_acquire(&lane->slow_pins) - hf_load_acquire(&lane->given) +
           hf_load_acquire(&lane->counted) + slots_in_use(lane);
}

unsigned shm_lane_served(const struct shm_lane *lane)
{
    return hf_load_acquire(&lane->served) - hf_load_acquire(&lane->given_served);
}

/* Once more does no harm: the counts are set, not raised. */
static void leaves_lane(struct shm *shm, const struct shm_handing *handing)
{
    struct shm_lane *giver = shm_lane_at(shm, handing->lane);

    hf_store_release(&giver->given_served, handing->given_served);
    hf_store_release(&giver->given, handing->given);
}

void shm_handing_mend(struct shm *shm)
{
    struct shm_handing *handing = &shm->run->handing;
    uint32_t hold = hf_load_acquire(&handing->hold);

    shm_assert_held(&shm->run->table_mutex);
    if (!hold)
        return;
    if (hold <= shm->limits.holds && hf_load_acquire(&shm->holds[hold - 1].state) != handing->state)
        leaves_lane(shm, handing);
    hf_store_release(&handing->hold, 0u);
}

bool shm_hand_over(struct shm *shm, struct shm_hold *hold, uint32_t was, struct shm_lane *lane)
{
    struct shm_handing *handing = &shm->run->handing;
    const struct shm_lane *giver = shm_lane_at(shm, hold->lane);
    bool taken;

    shm_assert_held(&shm->run->table_mutex);
    handing->state = was;
    handing->lane = hold->lane;
    handing->given = hf_load_acquire(&giver->given) + 1;
    handing->given_served = hf_load_acquire(&giver->given_served) + hold->recall.served;
    hf_store_release(&handing->hold, (uint32_t)(hold - shm->holds) + 1);
    taken = hf_cas_acq_rel(&hold->state, was, SHM_HOLD_STATE(SHM_HOLD_LEASE, shm->self + 1));
    if (taken) {
        leaves_lane(shm, handing);
        hf_add_acq_rel(&lane->slow_pins, 1);
        hold->lane = shm_lane_index(shm, lane);
    }
    hf_store_release(&handing->hold, 0u);
    return taken;
}

/* The lease comes off the counts of its lane, as in holds_release(). The hold stays. So does its
 * key, by which detached blocks name it. */
bool shm_give_up(struct shm *shm, struct shm_hold *hold, uint64_t key)
{
    uint32_t leased = SHM_HOLD_STATE(SHM_HOLD_LEASE, shm->self + 1);
    uint32_t given_up = SHM_HOLD_STATE(SHM_HOLD_QUARANTINED, shm->self + 1);
    uint64_t ends_ns = hf_now_ns() + shm->run->quarantine_ns;
    struct shm_lane *lane = shm_lane_at(shm, hold->lane);
    bool served = hold->recall.served, ours;

    hf_add_acq_rel(&shm->run->given_up, 1);
    hf_store_release(&hold->ends_ns, ends_ns);
    ours = hf_cas_acq_rel(&hold->state, leased, given_up);
    if (ours && hf_load_acquire(&hold->key) != key) { /* another lease by now: called twice */
        hf_cas_acq_rel(&hold->state, given_up, leased);
        ours = false;
    }
    if (!ours) {
        hf_sub_acq_rel(&shm->run->given_up, 1);
        return false;
    }
    /* GIVEUP.END/p: the state comes before the time at which somebody has to look.
     * Pairs with GIVEUP.END/m in shm_reap(). Without it: a reaper misses the hold, and then takes
     * back the time, and the blocks stay away for longer. */
    hf_fence_full();
    shm_quarantine_ends(shm->run, ends_ns);
    if (served)
        hf_sub_acq_rel(&lane->served, 1);
    hf_sub_acq_rel(&lane->slow_pins, 1);
    return true;
}

static uint64_t holds_of_process(const struct shm *shm)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        uint32_t state = hf_load_acquire(&shm->holds[i].state);

        count += shm_hold_holds(state) && !shm_hold_given_up(state) &&
                 SHM_HOLD_OWNER(state) == shm->self + 1 && hf_load_acquire(&shm->holds[i].key) != 0;
    }
    return count;
}

uint64_t shm_process_puts(const struct shm *shm)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        const struct shm_hold *hold = &shm->holds[i];

        count += hf_load_acquire(&hold->state) == SHM_HOLD_STATE(SHM_HOLD_PUT, shm->self + 1) &&
                 hf_load_acquire(&hold->key) == hf_load_acquire(&hold->holder_key);
    }
    return count;
}

uint64_t shm_process_pins(const struct shm *shm)
{
    uint32_t used = shm_lanes_used(shm), self = shm->self + 1;
    uint64_t pins = shm->counts ? 0 : holds_of_process(shm);

    for (uint32_t i = 0; i < used; i++)
        if (hf_load_acquire(&shm->lanes[i].owner) == self)
            pins += shm->counts ? shm_lane_pins(&shm->lanes[i]) : slots_in_use(&shm->lanes[i]);
    return pins;
}
