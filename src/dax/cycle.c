/* SPDX-License-Identifier: MIT */
/*
 * Cycles of layout changes that wait for each other's pins. Each waiting thread says in its lane
 * what it waits for. A thread that has waited for a while follows these marks. It goes from a wait
 * to the threads that own the pins or the gate, and on to what those wait for. It goes only to
 * threads that have waited longer than itself. So the youngest member of a cycle finds it, and
 * gives up.
 *
 * The search is not a snapshot, so what it finds is read once more. When all threads are still in
 * the same waits and all pins are still there, all of it was true between the two readings.
 */
#include "dax/private.h"

#include <errno.h>
#include <string.h>

#define DEPTH_MAX 64u
#define SEEN_MAX 256u
#define SERVING_MAX 256u
#define HOLDERS_MAX                                                                                \
    64u /* of one wait that wait themselves: a cycle behind more is found by a later look */

/* The thread of a lane, and the pin by which it holds up the one before it; no word: its gate
 * does. */
struct link {
    uint32_t lane, number;
    uint64_t *word, key;
};

struct search {
    struct dax *dax;
    uint32_t self;
    uint64_t since_ns;
    struct link path[DEPTH_MAX];
    unsigned depth;
    uint32_t seen[SEEN_MAX];
    unsigned seen_count;
    uint32_t serving[SERVING_MAX]; /* lanes that waited for somebody else when it began */
    unsigned serving_count;
};

struct holders {
    const struct search *search;
    struct link links[HOLDERS_MAX];
    unsigned count;
};

static bool read_wait(const struct shm *shm, uint32_t lane, struct shm_wait *out)
{
    const struct shm_wait *wait = &shm_lane_at(shm, lane)->wait;
    /* WAIT.PUB/p: the number is acquired before the rest and read again after it.
     * Pairs with WAIT.PUB/m in wait_begins(). Without it: a search follows half of one wait and
     * half of the next. */
    uint32_t number = hf_load_acquire(&wait->number);

    out->number = number;
    out->gate_lane = hf_load_acquire(&wait->gate_lane);
    out->vnode = hf_load_acquire(&wait->vnode);
    out->first = hf_load_acquire(&wait->first);
    out->last = hf_load_acquire(&wait->last);
    out->since_ns = hf_load_acquire(&wait->since_ns);
    out->ends = hf_load_acquire(&wait->ends);
    out->pid = hf_load_acquire(&wait->pid);
    out->tid = hf_load_acquire(&wait->tid);
    return number && !out->ends && lane < shm->limits.lanes && out->vnode < shm->limits.vnodes &&
           hf_load_acquire(&wait->number) == number;
}

/* Lane `serving` waits on behalf of the thread of `lane`, which stays in its call until that wait
 * has ended. */
static bool waits_for_thread(const struct shm *shm, const struct shm_wait *wait, uint32_t serving,
                             uint32_t lane)
{
    uint32_t server = hf_load_acquire(&shm->lanes[serving].owner) - 1;

    return wait->tid && server < shm->limits.processes &&
           dax_lane_is(shm, lane, (pid_t)wait->pid, (pid_t)wait->tid);
}

static void find_serving(struct search *search)
{
    const struct shm *shm = search->dax->shm;
    uint32_t used = shm_lanes_used(shm);

    for (uint32_t i = 0; i < used && search->serving_count < SERVING_MAX; i++)
        if (hf_load_acquire(&shm->lanes[i].wait.number) && hf_load_acquire(&shm->lanes[i].wait.tid))
            search->serving[search->serving_count++] = i;
}

/* This thread itself, or one that has waited longer and was not seen yet. */
static bool worth_following(const struct search *search, uint32_t lane, const struct shm_wait *wait)
{
    if (lane == search->self)
        return true;
    if (wait->since_ns > search->since_ns ||
        (wait->since_ns == search->since_ns && lane > search->self))
        return false;
    for (unsigned i = 0; i < search->seen_count; i++)
        if (search->seen[i] == lane)
            return false;
    return true;
}

static void follow_link(struct holders *holders, const struct link *link,
                        const struct shm_wait *wait)
{
    for (unsigned i = 0; i < holders->count; i++)
        if (holders->links[i].lane == link->lane)
            return;
    if (holders->count < HOLDERS_MAX && worth_following(holders->search, link->lane, wait)) {
        holders->links[holders->count] = *link;
        holders->links[holders->count++].number = wait->number;
    }
}

/* The thread of the pin waits itself, or a server waits on its behalf. A thread that waits itself
 * is in no other call. */
static int holder_found(void *arg, const struct held *held)
{
    struct holders *holders = arg;
    const struct search *search = holders->search;
    const struct shm *shm = search->dax->shm;
    struct link link = {.lane = held->lane, .word = held->word, .key = held->key};
    struct shm_wait wait;

    if (!held_by_thread(held, shm, held->lane))
        return 0;
    if (read_wait(shm, held->lane, &wait))
        follow_link(holders, &link, &wait);
    for (unsigned i = 0; i < search->serving_count; i++) {
        link.lane = search->serving[i];
        if (read_wait(shm, link.lane, &wait) && waits_for_thread(shm, &wait, link.lane, held->lane))
            follow_link(holders, &link, &wait);
    }
    return holders->count == HOLDERS_MAX;
}

/* A thread that waits at a gate may not have noticed yet that it is open, and that its owner waits
 * for something else. Or its owner is dead, and another thread has that lane; or the owner has left
 * the gate to others. The threads that wait there open it, so it holds up nobody. */
static bool has_gate(struct dax *dax, struct shm_vnode *vnode, uint32_t lane)
{
    bool has = false;

    if (!dax_lock_moment(dax, vnode))
        return false;
    for (unsigned i = 0; i < SHM_GATES; i++)
        has |= vnode->gates[i].lane == lane + 1 && !gate_owner_died(dax, &vnode->gates[i]);
    dax_unlock(dax, vnode);
    return has;
}

static void find_waiting_holders(const struct search *search, const struct shm_wait *wait,
                                 struct holders *holders)
{
    struct dax *dax = search->dax;
    struct shm_vnode *vnode = &dax->shm->vnodes[wait->vnode];
    struct link gate = {.lane = wait->gate_lane - 1};
    struct shm_wait its_wait;

    holders->search = search;
    holders->count = 0;
    if (wait->gate_lane) {
        if (read_wait(dax->shm, gate.lane, &its_wait) && has_gate(dax, vnode, gate.lane))
            follow_link(holders, &gate, &its_wait);
        return;
    }
    if (!dax_lock_moment(dax, vnode))
        return;
    scan_held(dax, vnode, wait->first, wait->last, holder_found, holders);
    dax_unlock(dax, vnode);
}

/* A path from the thread of `lane`, which waits, back to this one. */
static bool leads_back(struct search *search, uint32_t lane)
{
    struct holders holders;
    struct shm_wait wait;

    if (search->depth == DEPTH_MAX || search->seen_count == SEEN_MAX ||
        !read_wait(search->dax->shm, lane, &wait))
        return false;
    search->seen[search->seen_count++] = lane;
    find_waiting_holders(search, &wait, &holders);
    for (unsigned i = 0; i < holders.count; i++) {
        search->path[search->depth++] = holders.links[i];
        if (holders.links[i].lane == search->self || leads_back(search, holders.links[i].lane))
            return true;
        search->depth--;
    }
    return false;
}

static bool still_so(const struct search *search)
{
    for (unsigned i = 0; i < search->depth; i++) {
        const struct link *link = &search->path[i];
        const struct shm_wait *wait = &search->dax->shm->lanes[link->lane].wait;

        if (hf_load_acquire(&wait->number) != link->number ||
            (link->word && hf_load_acquire(link->word) != link->key))
            return false;
    }
    return true;
}

bool wait_in_cycle(struct dax_change *change)
{
    struct search search = {.dax = change->dax,
                            .self = shm_lane_index(change->dax->shm, change->lane),
                            .since_ns = change->lane->wait.since_ns};

    shm_assert_none_held();
    find_serving(&search);
    return leads_back(&search, search.self) && still_so(&search);
}

/* Reads the name once for each change. */
static void record_client(struct shm_wait *wait)
{
    uint64_t words[2] = {0};
    pid_t pid = 0;

    if (dax_client.tid)
        dax_client_process(&pid, (char *)words);
    hf_store_release(&wait->pid, (uint32_t)pid);
    hf_store_release(&wait->tid, (uint32_t)dax_client.tid);
    hf_store_release(&wait->command[0], words[0]);
    hf_store_release(&wait->command[1], words[1]);
}

void wait_begins(struct dax_change *change, uint32_t gate_lane)
{
    struct shm_wait *wait = &change->lane->wait;

    wait_ends(change);
    if (!change->waits_since_ns) {
        change->waits_since_ns = hf_now_ns();
        record_client(wait);
    }
    hf_store_release(&wait->gate_lane, gate_lane);
    hf_store_release(&wait->vnode, shm_vnode_number(change->dax->shm, change->vnode));
    hf_store_release(&wait->first, change->first);
    hf_store_release(&wait->last, change->last);
    hf_store_release(&wait->since_ns, change->waits_since_ns);
    hf_store_release(&wait->ends, (uint32_t)(change->policy.kind == HF_POLICY_DEADLINE_DETACH));
    if (++wait->used == 0)
        wait->used = 1;
    /* WAIT.PUB/m: 0 before the rest is changed, the new number after.
     * Pairs with WAIT.PUB/p in read_wait(). */
    hf_store_release(&wait->number, wait->used);
    shm_call_waits(&change->lane->blocked);
}

void wait_ends(struct dax_change *change)
{
    hf_store_release(&change->lane->wait.number, 0u);
    shm_call_waits_no_more(&change->lane->blocked);
}

bool wait_cancelled(const struct dax_change *change)
{
    return dax_client_cancelled() || shm_call_cancelled(&change->lane->blocked);
}

/* Woken wherever it sleeps; on a count it looks by itself at the next tick. */
static void wake_waiter(struct shm *shm, const struct shm_wait *wait)
{
    struct shm_vnode *vnode = shm_vnode_at(shm, hf_load_acquire(&wait->vnode));

    hf_add_acq_rel(&vnode->drain_seq, 1);
    hf_futex_wake_all(&vnode->drain_seq);
    hf_add_acq_rel(&vnode->gate_seq, 1);
    hf_futex_wake_all(&vnode->gate_seq);
}

int dax_cancel(struct dax *dax, pid_t tid)
{
    struct shm *shm = dax->shm;
    uint32_t used = shm_lanes_used(shm);

    for (uint32_t i = 0; i < used; i++) {
        struct shm_lane *lane = &shm->lanes[i];

        if (hf_load_acquire(&lane->owner) != shm->self + 1 ||
            hf_load_acquire(&lane->tid) != (uint32_t)tid)
            continue;
        if (!shm_call_cancel(&lane->blocked))
            return -ESRCH;
        if (hf_load_acquire(&lane->wait.number))
            wake_waiter(shm, &lane->wait);
        return 0;
    }
    return -ESRCH;
}
