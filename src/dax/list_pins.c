/* SPDX-License-Identifier: MIT */
/*
 * The list of pins, leases and waiting layout changes, with their processes. Nothing is stopped for
 * it: a slot counts when its key was the same before and after its range was read.
 */
#include "dax/private.h"

#include "base/error.h"
#include "base/lab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOUCHERS HF_PIN_GPU /* the flags that say what touches the memory */

/* One look at all of it. */
struct snapshot {
    struct dax *dax;
    int (*each)(void *arg, const struct hf_pin_info *info);
    void *arg;
    struct records *records; /* of each vnode */
    uint32_t process;        /* of the last pin: + 1, and whether it is stopped */
    bool stopped;
};

static void name_process(const struct shm *shm, uint32_t process, struct hf_pin_info *info)
{
    info->pid = (pid_t)shm_process_at(shm, process)->pid;
    memcpy(info->command, shm_process_at(shm, process)->command, sizeof info->command);
    info->command[sizeof info->command - 1] = 0;
}

static void name_holder(struct snapshot *snapshot, uint32_t process, struct hf_pin_info *info)
{
    const struct shm *shm = snapshot->dax->shm;

    name_process(shm, process, info);
    if (shm_process_quarantined(shm, process)) {
        info->state = HF_PIN_QUARANTINED;
        info->age_ns = hf_now_ns() - shm_process_at(shm, process)->died_ns;
        return;
    }
    if (snapshot->process != process + 1) {
        snapshot->process = process + 1;
        snapshot->stopped = shm_process_stopped(shm, process);
    }
    if (snapshot->stopped)
        info->flags |= HF_PIN_STOPPED;
}

static void name_range(const struct shm_vnode *vnode, uint64_t first, uint64_t last,
                       struct hf_pin_info *info)
{
    uint64_t end = last >= MM_LAST_PAGE ? HF_FILE_BYTES_MAX : (last + 1) * HF_BLOCK_BYTES;

    info->ino = hf_load_acquire(&vnode->ino);
    info->off = first * HF_BLOCK_BYTES;
    info->len = end - info->off;
}

/* The file's records of detached blocks, read when they are first wanted; null: no memory, or the
 * process that has the mutex is stopped. */
static const struct records *records_of(struct snapshot *snapshot, struct shm_vnode *vnode)
{
    struct dax *dax = snapshot->dax;
    struct records *records;

    if (!snapshot->records)
        snapshot->records = calloc(dax->shm->limits.vnodes, sizeof *records);
    if (!snapshot->records)
        return NULL;
    records = &snapshot->records[shm_vnode_number(dax->shm, vnode)];
    if (!records->ranges && dax_lock_moment(dax, vnode)) {
        records_read(dax->shm, vnode, records);
        dax_unlock(dax, vnode);
    }
    return records->ranges ? records : NULL;
}

static void drop_records(struct snapshot *snapshot)
{
    for (uint32_t i = 0; snapshot->records && i < snapshot->dax->shm->limits.vnodes; i++)
        records_drop(&snapshot->records[i]);
    free(snapshot->records);
}

/* A pin that cannot be looked up counts as held. */
static uint32_t pin_state(struct snapshot *snapshot, struct shm_vnode *vnode, const uint64_t *word,
                          uint64_t key, const struct shm_range *range)
{
    const struct records *records = NULL;

    if (hf_load_acquire(&vnode->waiters) & SHM_DETACHED)
        records = records_of(snapshot, vnode);
    if (!records ||
        records_leave(records, shm_place(snapshot->dax->shm, word), key, range->first, range->last))
        return HF_PIN_HELD;
    return HF_PIN_DETACHED;
}

/* Lists one pin, in a slot or in a hold; its range was read after its key. False: it is not there
 * any more. The last look at the key comes after the look at the process, which may be dead, and
 * reaped meanwhile. */
static bool describe_pin(struct snapshot *snapshot, uint32_t process, uint64_t *word, uint64_t key,
                         const struct shm_range *range, struct hf_pin_info *info)
{
    struct dax *dax = snapshot->dax;
    struct shm_vnode *vnode;

    if (!key || key == SHM_KEY_CLAIMED || hf_add_acq_rel(word, 0) != key)
        return false;
    vnode = shm_vnode_of_key(dax->shm, key);
    name_range(vnode, range->first, range->last, info);
    info->flags = SHM_WHO_FLAGS(range->who) & (HF_PIN_WRITE | TOUCHERS);
    info->tid = (pid_t)SHM_WHO_TID(range->who);
    info->state = pin_state(snapshot, vnode, word, key, range);
    name_holder(snapshot, process, info);
    return hf_load_acquire(word) == key;
}

/* The owner too is looked at between two looks at the key. While the list is told, a process may
 * end, and another one get the lane. */
static bool describe_slot(struct snapshot *snapshot, struct shm_lane *lane, unsigned slot,
                          struct hf_pin_info *info)
{
    uint64_t key = hf_load_acquire(&lane->keys[slot]);
    uint64_t pages = hf_load_acquire(&lane->pages[slot]);
    uint32_t owner = hf_load_acquire(&lane->owner);
    struct shm_range range = {SHM_PAGES_FIRST(pages), SHM_PAGES_LAST(pages),
                              hf_load_acquire(&lane->who) | SHM_KEY_FLAGS(key)};

    return owner && owner != SHM_LANE_RESIDUE &&
           describe_pin(snapshot, owner - 1, &lane->keys[slot], key, &range, info);
}

/* Whole, if the key is the same afterwards. */
static void read_label(const struct shm_hold *hold, struct hf_pin_info *info)
{
    for (unsigned i = 0; i < SHM_LABEL_WORDS; i++) {
        uint64_t word = hf_load_acquire(&hold->label[i]);

        memcpy(info->label + i * sizeof word, &word, sizeof word);
        if (i == 0 && !info->label[0])
            break;
    }
    info->label[sizeof info->label - 1] = 0;
}

static bool describe_hold(struct snapshot *snapshot, uint32_t process, struct shm_hold *hold,
                          struct hf_pin_info *info)
{
    uint64_t key = hf_load_acquire(&hold->key);
    struct shm_range range = {hf_load_acquire(&hold->range.first),
                              hf_load_acquire(&hold->range.last),
                              hf_load_acquire(&hold->range.who)};

    bool recalled = hf_load_acquire(&hold->recall.state) != HF_LEASE_HELD;

    read_label(hold, info);
    info->age_ns = hf_now_ns() - hf_load_acquire(&hold->since_ns);
    if (!describe_pin(snapshot, process, &hold->key, key, &range, info))
        return false;
    info->flags |= recalled ? HF_PIN_RECALLED : 0;
    return true;
}

static int lane_pins(struct snapshot *snapshot, struct shm_lane *lane)
{
    int rc = 0;

    for (unsigned i = 0; i < SHM_SLOTS && rc == 0; i++) {
        struct hf_pin_info info = {0};

        if (describe_slot(snapshot, lane, i, &info))
            rc = snapshot->each(snapshot->arg, &info);
    }
    return rc;
}

/* Its age counts from then on. */
static void show_given_up(const struct shm *shm, const struct shm_hold *hold,
                          struct hf_pin_info *info)
{
    uint64_t began_ns = hf_load_acquire(&hold->ends_ns) - shm->run->quarantine_ns;
    uint64_t now_ns = hf_now_ns();

    info->state = HF_PIN_QUARANTINED;
    info->age_ns = now_ns > began_ns ? now_ns - began_ns : 1;
}

static int hold_pins(struct snapshot *snapshot)
{
    struct shm *shm = snapshot->dax->shm;
    int rc = 0;

    for (uint32_t i = 0; i < shm_holds_high(shm) && rc == 0; i++) {
        struct shm_hold *hold = &shm->holds[i];
        uint32_t state = hf_load_acquire(&hold->state);
        struct hf_pin_info info = {0};

        if (!shm_hold_holds(state))
            continue;
        if (!describe_hold(snapshot, SHM_HOLD_OWNER(state) - 1, hold, &info) ||
            hf_load_acquire(&hold->state) != state) /* it has changed hands */
            continue;
        if (shm_hold_given_up(state))
            show_given_up(shm, hold, &info);
        if (SHM_HOLD_KIND(state) != SHM_HOLD_PIN)
            info.flags |= HF_PIN_LEASE;
        rc = snapshot->each(snapshot->arg, &info);
    }
    return rc;
}

/* One run of a put. The hold may be another put's by the end, of the same process. */
static bool describe_put(struct snapshot *snapshot, const struct shm_hold *hold, uint32_t state,
                         struct hf_pin_info *info)
{
    uint64_t key = hf_load_acquire(&hold->key);
    const struct shm_range range = {hf_load_acquire(&hold->range.first),
                                    hf_load_acquire(&hold->range.last),
                                    hf_load_acquire(&hold->range.who)};

    HF_LAB_AT(HF_LAB_COMPARES);
    info->ino = hf_load_acquire(&hold->holder);
    info->off = range.first * HF_BLOCK_BYTES;
    info->len = (range.last - range.first + 1) * HF_BLOCK_BYTES;
    info->flags = HF_PIN_PUT | HF_PIN_WRITE | (SHM_WHO_FLAGS(range.who) & TOUCHERS);
    info->state = HF_PIN_DETACHED;
    info->tid = (pid_t)SHM_WHO_TID(range.who);
    info->age_ns = hf_now_ns() - hf_load_acquire(&hold->since_ns);
    name_holder(snapshot, SHM_HOLD_OWNER(state) - 1, info);
    /* PUT.TOLD/p: the state is loaded, then the key, after all of it was read.
     * Pairs with PUT.TOLD/m in hand_over(). Without it: the range is that of one put, and the inode
     * that of another. */
    return hf_load_acquire(&hold->state) == state && hf_load_acquire(&hold->key) == key;
}

static int puts_of(struct snapshot *snapshot)
{
    struct shm *shm = snapshot->dax->shm;
    int rc = 0;

    for (uint32_t i = 0; i < shm_holds_high(shm) && rc == 0; i++) {
        uint32_t state = hf_load_acquire(&shm->holds[i].state);
        struct hf_pin_info info = {0};

        if (SHM_HOLD_KIND(state) == SHM_HOLD_PUT &&
            describe_put(snapshot, &shm->holds[i], state, &info))
            rc = snapshot->each(snapshot->arg, &info);
    }
    return rc;
}

/* The wait is on behalf of a client of a server: names the client. */
static void name_waiting_client(const struct shm_wait *wait, struct hf_pin_info *info)
{
    uint32_t tid = hf_load_acquire(&wait->tid), pid = hf_load_acquire(&wait->pid);
    uint64_t command[2] = {hf_load_acquire(&wait->command[0]), hf_load_acquire(&wait->command[1])};

    if (!tid)
        return;
    info->tid = (pid_t)tid;
    info->pid = (pid_t)(pid ? pid : tid);
    memcpy(info->command, command, sizeof info->command);
}

/* A layout change that waits, for pins or at the gate of another. */
static int lane_wait(struct snapshot *snapshot, const struct shm_lane *lane)
{
    const struct shm *shm = snapshot->dax->shm;
    const struct shm_wait *wait = &lane->wait;
    uint32_t number = hf_load_acquire(&wait->number), owner = hf_load_acquire(&lane->owner);
    struct hf_pin_info info = {.state = HF_PIN_WAITING,
                               .tid = (pid_t)hf_load_acquire(&lane->tid),
                               .age_ns = hf_now_ns() - hf_load_acquire(&wait->since_ns)};

    if (!number || !owner || owner == SHM_LANE_RESIDUE || shm_process_quarantined(shm, owner - 1))
        return 0;
    name_range(shm_vnode_at(shm, hf_load_acquire(&wait->vnode)), hf_load_acquire(&wait->first),
               hf_load_acquire(&wait->last), &info);
    name_process(shm, owner - 1, &info);
    name_waiting_client(wait, &info);
    return hf_load_acquire(&wait->number) == number ? snapshot->each(snapshot->arg, &info) : 0;
}

int dax_pins(struct dax *dax, int (*each)(void *arg, const struct hf_pin_info *info), void *arg)
{
    uint32_t lanes = shm_lanes_used(dax->shm);
    struct snapshot snapshot = {.dax = dax, .each = each, .arg = arg};
    int rc = 0;

    if (!sync_knows_holders(dax->engine))
        return hf_fail(EOPNOTSUPP, "engine %s counts pins and does not know whose they are",
                       dax->engine->name);
    shm_reap(dax->shm); /* the dead hold nothing */
    for (uint32_t i = 0; i < lanes && rc == 0; i++)
        rc = lane_pins(&snapshot, &dax->shm->lanes[i]);
    rc = rc ? rc : hold_pins(&snapshot);
    rc = rc ? rc : puts_of(&snapshot);
    for (uint32_t i = 0; i < lanes && rc == 0; i++)
        rc = lane_wait(&snapshot, &dax->shm->lanes[i]);
    drop_records(&snapshot);
    return rc;
}
