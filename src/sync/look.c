/* SPDX-License-Identifier: MIT */
/*
 * The scan of the slots engines (L4). It need not read every slot of every lane, since threads that
 * never pin the file would make each of its changes slower. docs/ORDERING.md 3.40 has the proof.
 *
 * Marks. A vnode has a byte for each lane. Lanes share one when there are more than SHM_MARKS. A
 * pin of a file without bias sets it, and a look reads only lanes whose byte is not 0. A look that
 * finds nothing there counts that in the byte, and at last clears it. A pin of a biased file leaves
 * the marks alone. So while the bias is set, all lanes are read. The change that takes the bias
 * away marks all lanes in which it finds pins.
 *
 * Memory. A lane that is marked may have many pins. A process remembers between which pages they
 * were, and the generations of the lane's keys at that time. While these are the same, nothing was
 * pinned in the lane since. So the lane is read again only when the look is for pages in between.
 * The memory is the process's own, so no other can make it wrong. It is only for files that many
 * threads pin.
 */
#include "sync/look.h"

#include "base/fence.h"
#include "base/lab.h"
#include "sync/engine.h"
#include "sync/slots.h"

#include <stdlib.h>
#include <string.h>

/* Of one file, what was seen in a lane. */
struct seen {
    /* Of the lane's keys, | SEEN; 0: nothing is known. */
    uint64_t generation;
    uint64_t signal_generation;
    /* The pages of all of its pins of the file, each of which lies between the two. first > last:
     * there was none. A slot may say a page of 2^32 or more for a moment. */
    uint64_t first, last;
};
#define SEEN UINT64_C(1) /* no generation has this bit */

/* Of one file. One thread has it at a time, and no other waits for it. */
struct memory {
    uint32_t taken;
    /* Number + 1; 0: of none. */
    uint32_t vnode;
    /* Lanes below this have entries; what the others say is another file's. */
    uint32_t valid;
    uint32_t looks;
    struct seen *lanes;
};

struct look {
    struct shm *shm;
    struct shm_vnode *vnode;
    uint32_t number, used;
    uint64_t first, last;
    sync_found *found;
    void *arg;
    /* Of all lanes; null: nothing is remembered. */
    struct seen *seen;
    /* What they say counts. Once in a while it does not. */
    bool knows;
    /* Marks that are to be cleared. */
    bool any_stale;
    uint64_t stale[SHM_MARKS / 64];
};

/* ---- what was seen ---- */

/* All memories of the process, made by the first that needs one; null: there is no room. */
static struct memory *memories_of(struct shm *shm)
{
    size_t lanes = shm->limits.lanes;
    struct memory *all = hf_load_acquire(&shm->seen);
    struct seen *first;

    if (all)
        return all;
    all = calloc(1, LOOK_MEMORIES * (sizeof *all + lanes * sizeof(struct seen)));
    if (!all)
        return NULL;
    first = (struct seen *)(void *)(all + LOOK_MEMORIES);
    for (unsigned i = 0; i < LOOK_MEMORIES; i++)
        all[i].lanes = first + i * lanes;
    if (hf_cas_acq_rel(&shm->seen, NULL, (void *)all))
        return all;
    free(all);
    return hf_load_acquire(&shm->seen);
}

static struct memory *use_memory(struct look *look)
{
    struct memory *all = memories_of(look->shm), *memory = all + look->number % LOOK_MEMORIES;

    if (!all || !hf_cas_acq_rel(&memory->taken, 0u, 1u))
        return NULL;
    if (memory->vnode != look->number + 1) {
        memory->vnode = look->number + 1;
        memory->valid = 0;
    }
    if (memory->valid < look->used) {
        memset(memory->lanes + memory->valid, 0,
               (look->used - memory->valid) * sizeof *memory->lanes);
        memory->valid = look->used;
    }
    look->seen = memory->lanes;
    look->knows = memory->looks++ % LOOK_AFRESH != 0;
    return memory;
}

static void leave_memory(struct memory *memory)
{
    if (memory)
        hf_store_release(&memory->taken, 0u);
}

/* ---- a lane ---- */

/* True: one of `count` keys is a pin's. Most lanes have few pins or none. */
static inline bool any_live(const uint64_t *keys, unsigned count)
{
    uint64_t any = 0;

#pragma GCC unroll 8
    for (unsigned i = 0; i < count; i++)
        any |= hf_load_acquire(&keys[i]); /* UNPIN.DONE/m */
    return any != 0;
}

static bool is_of_file(uint64_t key, uint32_t vnode)
{
    return (key & SHM_KEY_VNODE_MASK) == vnode + UINT64_C(1);
}

/* Fills `holder` if the slot is a pin of the vnode. */
static bool slot_is_of(struct shm_lane *lane, unsigned slot, uint32_t vnode,
                       struct sync_holder *holder)
{
    /* SLOT.PUB/m and UNPIN.DONE/m: acquire the key before the range; a free key acquires what its
     * last holder did. Pairs with SLOT.PUB/p and UNPIN.DONE/p in slots.h. */
    uint64_t key = hf_load_acquire(&lane->keys[slot]), pages;

    if (!is_of_file(key, vnode))
        return false;
    /* a range newer than the key is of a pin that walks after our zap */
    pages = hf_load_acquire(&lane->pages[slot]);
    holder->range.first = SHM_PAGES_FIRST(pages);
    holder->range.last = SHM_PAGES_LAST(pages);
    holder->range.who = hf_load_acquire(&lane->who) | SHM_KEY_FLAGS(key);
    holder->key = &lane->keys[slot];
    holder->value = key;
    holder->lane = lane;
    return true;
}

/* How many of the lane's slots may have pins. FAR.MARK/m: the mark is loaded after the barrier, as
 * the keys. Pairs with FAR.MARK/p in slots_pick_far(). */
static inline unsigned slots_to_read(const struct shm_lane *lane)
{
    return hf_load_acquire(&lane->keys[SHM_FAR_MARK]) ? SHM_SLOTS : SHM_NEAR_SLOTS;
}

/* Tells of the pins of the range, and sees the pages of all. */
static int read_slots(const struct look *look, struct shm_lane *lane, struct seen *now)
{
    unsigned slots = slots_to_read(lane);
    struct sync_holder holder;
    int rc = 0;

    now->first = UINT64_MAX;
    now->last = 0;
    for (unsigned slot = 0; slot < slots && rc == 0; slot++) {
        if (slot % 8 == 0 && !any_live(&lane->keys[slot], 8)) { /* a cache line */
            slot += 7;
            continue;
        }
        if (!slot_is_of(lane, slot, look->number, &holder))
            continue;
        now->first = holder.range.first < now->first ? holder.range.first : now->first;
        now->last = holder.range.last > now->last ? holder.range.last : now->last;
        if (holder.range.first <= look->last && holder.range.last >= look->first)
            rc = look->found(look->arg, &holder);
    }
    return rc;
}

static void read_generations(const struct shm_lane *lane, struct seen *now)
{
    now->generation = hf_load_acquire(&lane->generation) | SEEN;
    now->signal_generation = hf_load_acquire(&lane->signal_generation);
}

/* Nothing was pinned in the lane since it was seen, and what was there is of other pages. */
static inline bool is_known(const struct look *look, uint32_t i)
{
    const struct shm_lane *lane = &look->shm->lanes[i];
    const struct seen *seen = &look->seen[i];

    return (hf_load_acquire(&lane->generation) | SEEN) == seen->generation &&
           hf_load_acquire(&lane->signal_generation) == seen->signal_generation &&
           (seen->first > look->last || seen->last < look->first);
}

static int read_lane(const struct look *look, uint32_t i, bool *any)
{
    struct shm_lane *lane = &look->shm->lanes[i];
    struct seen now = {0};
    bool complete = false;
    int rc;

    if (look->seen) {
        /* SEEN.ALL/m: generations, then the hint, then the keys. While a pin has raised a
         * generation and its key cannot be seen yet, the hint is busy. Pairs with SEEN.ALL/p in
         * slots_key() and slots_end(). Without it: such a pin is never read. */
        read_generations(lane, &now);
        complete = hf_load_acquire(&lane->hint) < SHM_SLOTS || HF_LAB_BROKEN(HF_LAB_SEES_TOO_EARLY);
    }
    rc = read_slots(look, lane, &now);
    *any |= now.first <= now.last;
    HF_LAB_AT(HF_LAB_LOOKED);
    if (!look->seen)
        return rc;
    if (HF_LAB_BROKEN(HF_LAB_SEES_TOO_LATE))
        read_generations(lane, &now);
    look->seen[i] = complete && rc == 0 ? now : (struct seen){0};
    return rc;
}

/* *any: the lane has pins of the file, or had when it was last read. */
static inline int look_at_lane(const struct look *look, uint32_t i, bool *any)
{
    if (!look->knows || !is_known(look, i))
        return read_lane(look, i, any);
    *any |= look->seen[i].first <= look->seen[i].last;
    return 0;
}

static bool has_pins(const struct shm_lane *lane, uint32_t vnode)
{
    unsigned slots = slots_to_read(lane);
    bool any = false;

    for (unsigned slot = 0; slot < slots; slot++)
        any |= is_of_file(hf_load_acquire(&lane->keys[slot]), vnode);
    return any;
}

/* ---- marks ---- */

void look_mark_all(struct shm *shm, struct shm_vnode *vnode)
{
    uint32_t used = shm_lanes_used(shm), number = shm_vnode_number(shm, vnode);

    /* MARK.BIAS/m: the barrier has been made. So all keys of pins that read the bias set can be
     * seen. Pairs with MARK.BIAS/p in slots_order(). Without it: no look reads their lanes. */
    for (uint32_t i = 0; i < used && !HF_LAB_BROKEN(HF_LAB_NO_CENSUS); i++)
        if (has_pins(&shm->lanes[i], number))
            hf_store_release(shm_mark(vnode, i % SHM_MARKS), (uint8_t)1);
    hf_store_release(&vnode->marks_unsure, 0u);
}

/* A look has found pins in the lanes of the mark, or none. Only a look changes a mark that is not
 * 0. */
static void count_look(struct look *look, unsigned mark, bool any)
{
    uint8_t *byte = shm_mark(look->vnode, mark), age = hf_load_acquire(byte);

    if (any && age > 1)
        hf_store_release(byte, (uint8_t)1);
    if (any)
        return;
    if (age < LOOK_AGE) {
        hf_store_release(byte, (uint8_t)(age + 1));
        return;
    }
    look->any_stale = true;
    look->stale[mark / 64] |= UINT64_C(1) << mark % 64;
}

static bool is_stale(const struct look *look, unsigned mark)
{
    return look->stale[mark / 64] >> mark % 64 & 1;
}

static bool any_pins(const struct look *look, unsigned mark)
{
    for (uint32_t i = mark; i < look->used; i += SHM_MARKS)
        if (has_pins(&look->shm->lanes[i], look->number))
            return true;
    return false;
}

static void clear_marks(const struct look *look)
{
    struct shm_vnode *vnode = look->vnode;

    /* A process that is killed in here leaves the word, and looks read all lanes. */
    if (!HF_LAB_BROKEN(HF_LAB_MARKS_SURE))
        hf_store_release(&vnode->marks_unsure, 1u);
    for (unsigned mark = 0; mark < SHM_MARKS; mark++)
        if (is_stale(look, mark))
            hf_store_release(shm_mark(vnode, mark), (uint8_t)0);
    HF_LAB_AT(HF_LAB_UNMARKS);
    /* MARK.KEEP/m: the marks have gone before the lanes are read once more. A pin that has read its
     * mark before is found now. Pairs with MARK.KEEP/p in slots_order(). */
    hf_fence_full();
    for (unsigned mark = 0; mark < SHM_MARKS && !HF_LAB_BROKEN(HF_LAB_NO_SECOND_READ); mark++)
        if (is_stale(look, mark) && any_pins(look, mark))
            hf_store_release(shm_mark(vnode, mark), (uint8_t)1);
    hf_store_release(&vnode->marks_unsure, 0u);
}

/* ---- a look ---- */

static int look_at_all(const struct look *look)
{
    bool any = false;
    int rc = 0;

    for (uint32_t i = 0; i < look->used && rc == 0; i++)
        rc = look_at_lane(look, i, &any);
    return rc;
}

static inline int look_at_mark(struct look *look, unsigned mark)
{
    bool any = false;
    int rc = 0;

    for (uint32_t i = mark; i < look->used && rc == 0; i += SHM_MARKS)
        rc = look_at_lane(look, i, &any);
    if (rc == 0)
        count_look(look, mark, any);
    return rc;
}

/* The marks of 8 lanes, as a byte order of little-endian machines has them. */
static int look_at_marks(struct look *look, unsigned first, uint64_t marks)
{
    int rc = 0;

    while (marks && rc == 0) {
        unsigned i = (unsigned)__builtin_ctzll(marks) / 8;

        marks &= ~(UINT64_C(0xff) << i * 8);
        rc = look_at_mark(look, first + i);
    }
    return rc;
}

static unsigned count_marks(uint64_t word)
{
    unsigned count = 0;

    for (; word; count++)
        word &= ~(UINT64_C(0xff) << __builtin_ctzll(word) / 8 * 8);
    return count;
}

static int look_at_marked(struct look *look)
{
    uint64_t marks[SHM_MARKS / 8];
    uint32_t lanes = look->used < SHM_MARKS ? look->used : SHM_MARKS;
    struct memory *memory = NULL;
    unsigned words = (lanes + 7) / 8, count = 0;
    int rc = 0;

    for (unsigned i = 0; i < words; i++) {
        marks[i] = hf_load_acquire(&look->vnode->marks[i]);
        if (__builtin_expect(marks[i] != 0, 0))
            count += count_marks(marks[i]);
    }
    if (count > LOOK_FEW_MARKS || HF_LAB_BROKEN(HF_LAB_STEPS))
        memory = use_memory(look);
    for (unsigned i = 0; i < words && rc == 0; i++)
        if (__builtin_expect(marks[i] != 0, 0))
            rc = look_at_marks(look, i * 8, marks[i]);
    leave_memory(memory);
    if (look->any_stale)
        clear_marks(look);
    return rc;
}

int slots_scan(struct shm *shm, uint32_t vnode, uint64_t first, uint64_t last, sync_found *found,
               void *arg)
{
    struct look look = {.shm = shm,
                        .vnode = &shm->vnodes[vnode],
                        .number = vnode,
                        .first = first,
                        .last = last,
                        .found = found,
                        .arg = arg};

    if (HF_LAB_BROKEN(HF_LAB_NO_DRAIN))
        return 0;
    /* ATTACH.SB/m: read after the barrier; a lane beyond it makes its first pin after the zap. */
    look.used = shm_lanes_used(shm);
    /* Pins of a biased file have no marks. A pin that reads the bias set after this has read
     * "clear" sees our zap: the bias was given back after it (ORDERING 3.4). */
    if (hf_load_acquire(&look.vnode->bias) || hf_load_acquire(&look.vnode->marks_unsure))
        return look_at_all(&look);
    return look_at_marked(&look);
}
