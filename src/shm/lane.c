/* SPDX-License-Identifier: MIT */
/*
 * Lanes: which one is this thread's. A thread keeps its lanes in a small list of its own and the
 * ones it used last in shm_my_lanes[], where the pin path and signal handlers look. When a thread
 * ends its lanes stay the process's, with any pins still in them, and go to its next new thread.
 */
#include "base/error.h"
#include "base/fence.h"
#include "shm/private.h"

#include <stdlib.h>
#include <unistd.h>

_Thread_local struct shm_lane_of_thread shm_my_lanes[SHM_LANES_CACHED];
_Thread_local struct shm_lane_of_thread shm_last_lane;

struct my_lane {
    struct my_lane *next;
    struct shm_lane_of_thread is;
    uint32_t *lane_tid; /* valid while the segment is attached */
};

/* Every thread's list, so that a segment that goes away can be taken out of all of them. */
struct my_lanes {
    struct my_lanes *next;
    struct my_lane *first;
};

static pthread_mutex_t lists_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct my_lanes *lists;
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void free_list(struct my_lanes *list)
{
    while (list->first) {
        struct my_lane *lane = list->first;

        list->first = lane->next;
        hf_store_release(lane->lane_tid, 0u);
        free(lane);
    }
    free(list);
}

static void thread_ends(void *value)
{
    struct my_lanes *list = value, **link;

    pthread_mutex_lock(&lists_mutex);
    for (link = &lists; *link && *link != list; link = &(*link)->next)
        ;
    if (*link) {
        *link = list->next;
        free_list(list);
    }
    pthread_mutex_unlock(&lists_mutex);
    for (unsigned i = 0; i < SHM_LANES_CACHED; i++)
        shm_my_lanes[i].id = 0;
    shm_last_lane.id = 0;
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

/* An idle lane of this process, else a free one. Under shm->lane_mutex, which keeps this process's
 * threads apart; other processes race for free ones by compare-and-swap. */
static struct shm_lane *take_lane(struct shm *shm)
{
    struct shm_run *run = shm->run;
    uint32_t self = shm->self + 1, used = hf_load_acquire(&run->lanes_used);

    for (uint32_t i = 0; i < used; i++)
        if (hf_load_acquire(&shm->lanes[i].owner) == self && !hf_load_acquire(&shm->lanes[i].tid))
            return &shm->lanes[i];
    for (uint32_t i = 0; i < run->limits.lanes; i++) {
        if (hf_load_relaxed(&shm->lanes[i].owner) || /* relaxed: the swap decides */
            !hf_cas_acq_rel(&shm->lanes[i].owner, 0u, self))
            continue;
        while ((used = hf_load_acquire(&run->lanes_used)) <= i &&
               !hf_cas_acq_rel(&run->lanes_used, used, i + 1))
            ;
        /* ATTACH.SB/p: likewise, the lane counts before its first pin is made.
         * Pairs with ATTACH.SB/m in slots_scan(), which reads lanes_used after the barrier. */
        hf_fence_full();
        return &shm->lanes[i];
    }
    return NULL;
}

/* The handler of a signal that comes in between sees no lane, never a wrong one. */
static void set_lane(struct shm_lane_of_thread *mine, uint64_t id, struct shm_lane *lane)
{
    mine->id = 0;
    hf_fence_light();
    mine->lane = lane;
    hf_fence_light();
    mine->id = id;
}

static struct shm_lane *remember(const struct shm_lane_of_thread *lane)
{
    set_lane(&shm_my_lanes[lane->id % SHM_LANES_CACHED], lane->id, lane->lane);
    return lane->lane;
}

void shm_lane_use(const struct shm *shm, struct shm_lane *lane)
{
    if (shm_last_lane.id != shm->id)
        set_lane(&shm_last_lane, shm->id, lane);
}

static struct shm_lane *new_lane(struct shm *shm, struct my_lanes *list)
{
    struct my_lane *mine = malloc(sizeof *mine);
    struct shm_lane *lane;

    if (!mine)
        return NULL;
    pthread_mutex_lock(&shm->lane_mutex);
    lane = take_lane(shm);
    if (lane)
        hf_store_release(&lane->tid, (uint32_t)gettid());
    pthread_mutex_unlock(&shm->lane_mutex);
    if (!lane) {
        free(mine);
        return NULL;
    }
    lane->nest = 0;
    lane->who = SHM_WHO(lane->tid, 0);
    mine->is.id = shm->id;
    mine->is.lane = lane;
    mine->lane_tid = &lane->tid;
    mine->next = list->first;
    list->first = mine;
    return remember(&mine->is);
}

struct shm_lane *shm_lane_slow(struct shm *shm)
{
    struct shm_lane *lane = shm_lane_fast(shm);
    struct my_lanes *list;

    if (lane)
        return lane;
    pthread_mutex_lock(&lists_mutex);
    list = my_list();
    for (struct my_lane *mine = list ? list->first : NULL; mine && !lane; mine = mine->next)
        if (mine->is.id == shm->id)
            lane = remember(&mine->is);
    if (list && !lane)
        lane = new_lane(shm, list);
    pthread_mutex_unlock(&lists_mutex);
    return lane;
}

/* Entries of shm_my_lanes[] in other threads die by their id, which is never used again. */
void shm_lanes_end(struct shm *shm)
{
    pthread_mutex_lock(&lists_mutex);
    for (struct my_lanes *list = lists; list; list = list->next) {
        struct my_lane **link = &list->first;

        while (*link) {
            struct my_lane *mine = *link;

            if (mine->is.id != shm->id) {
                link = &mine->next;
                continue;
            }
            *link = mine->next;
            free(mine);
        }
    }
    pthread_mutex_unlock(&lists_mutex);
}

unsigned shm_lane_pins(const struct shm_lane *lane)
{
    unsigned pins = hf_load_acquire(&lane->slow_pins);

    for (unsigned i = 0; i < SHM_SLOTS; i++)
        pins += hf_load_acquire(&lane->keys[i]) != 0;
    return pins;
}

uint64_t shm_process_pins(const struct shm *shm)
{
    uint32_t used = hf_load_acquire(&shm->run->lanes_used), self = shm->self + 1;
    uint64_t pins = 0;

    for (uint32_t i = 0; i < used; i++)
        if (hf_load_acquire(&shm->lanes[i].owner) == self)
            pins += shm_lane_pins(&shm->lanes[i]);
    return pins;
}
