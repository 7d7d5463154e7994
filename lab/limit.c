/* SPDX-License-Identifier: MIT */
/*
 * The references of limit.h. The steps are those of docs/ORDERING.md: P1 to P3, U1 and U2 of the
 * slots, and the second look of refcount (3.15). limit_zap() is the other side, so that a test can
 * show that they pin.
 */
#include "lab/limit.h"

#include "lab/lab.h"

#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BITS 9u
#define ENTRIES 512u
#define PRESENT UINT64_C(1)
#define NODE UINT64_C(4)
#define FLAGS (LAB_PAGE - 1)
#define LINE __attribute__((aligned(64)))
#define LANES 256u
#define SLOTS 28u

struct limit_file {
    uint64_t root; /* a node's address, and how many bits of a page's number it covers */
    uint32_t bias, waiters;
    uint64_t size;
    uint64_t number;
    LINE char *memory;
    uint32_t *counts; /* 1: nobody pins it; 0: it has gone */
    _Alignas(LAB_PAGE) uint64_t node[ENTRIES];
} LINE;

struct lane {
    uint64_t generation;
    uint8_t hint;
    uint32_t owned, fenced;
    LINE uint64_t keys[SLOTS];
    uint64_t pages[SLOTS];
} LINE;

static struct lane lanes[LANES];
static _Thread_local struct lane *my_lane;

static inline uint64_t load_word(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

struct limit_file *limit_file_new(char *memory, uint64_t pages)
{
    struct limit_file *file = aligned_alloc(LAB_PAGE, sizeof *file);
    uint32_t *counts = lab_alloc(pages * sizeof *counts);

    if (!file || pages > ENTRIES)
        lab_fail("no file of %u pages", (unsigned)pages);
    *file = (struct limit_file){.root = (uint64_t)(uintptr_t)file->node | BITS,
                                .bias = 1,
                                .size = pages * LAB_PAGE,
                                .number = 1,
                                .memory = memory,
                                .counts = counts};
    for (uint64_t i = 0; i < pages; i++) {
        file->node[i] = i * LAB_PAGE | PRESENT;
        file->counts[i] = 1;
    }
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
        file->bias = 0;
    return file;
}

void limit_file_end(struct limit_file *file)
{
    free(file->counts);
    free(file);
}

void limit_thread_begin(void)
{
    for (unsigned i = 0; i < LANES && !my_lane; i++) {
        uint32_t is_free = 0;

        if (__atomic_compare_exchange_n(&lanes[i].owned, &is_free, 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            my_lane = &lanes[i];
    }
    if (!my_lane)
        lab_fail("more than %u threads", LANES);
}

void limit_thread_end(void)
{
    __atomic_store_n(&my_lane->owned, 0, __ATOMIC_RELEASE);
    my_lane = NULL;
}

/* P3: the entry of the page; 0: there is none. */
static inline uint64_t walk_entry(const struct limit_file *file, uint64_t page)
{
    uint64_t entry = load_word(&file->root), shift = entry & FLAGS;

    if (!entry || page >> shift)
        return 0;
    do {
        const uint64_t *node = (const uint64_t *)(uintptr_t)(entry & ~FLAGS);

        shift -= BITS;
        entry = load_word(&node[page >> shift & (ENTRIES - 1)]);
    } while (entry & NODE);
    return entry & PRESENT ? entry : 0;
}

/* Where another slot than the hinted one has to do. */
static __attribute__((noinline)) uint64_t *find_slot(struct lane *lane)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (load_word(&lane->keys[i]) == 0) {
            lane->hint = (uint8_t)i;
            return &lane->keys[i];
        }
    }
    return NULL;
}

char *limit_pin(struct limit_file *file, uint64_t off, uint64_t len, struct limit_pin *pin)
{
    struct lane *lane = my_lane;
    uint64_t page = off / LAB_PAGE, *word = &lane->keys[lane->hint], entry;

    if (__builtin_expect(load_word(word) != 0, 0)) {
        word = find_slot(lane);
        if (!word)
            return NULL;
    }
    /* P1 */
    lane->generation += UINT64_C(1) << 20;
    store(word + SLOTS, page);
    store(word, lane->generation | file->number);
    /* P2 */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (__builtin_expect(!__atomic_load_n(&file->bias, __ATOMIC_ACQUIRE), 0))
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    /* P3 */
    entry = walk_entry(file, page);
    if (__builtin_expect(!entry || off + len > load_word(&file->size), 0)) {
        store(word, 0); /* P4 */
        return NULL;
    }
    *pin = (struct limit_pin){word, file};
    return file->memory + (entry & ~FLAGS) + off % LAB_PAGE;
}

void limit_unpin(struct limit_pin *pin)
{
    struct limit_file *file = pin->file;

    store(pin->word, 0); /* U1 */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (__builtin_expect(__atomic_load_n(&file->waiters, __ATOMIC_ACQUIRE), 0)) /* U2 */
        lab_fail("a layout change waits, and nothing wakes it");
}

/* One more, unless it is 0. */
static inline bool raise_count(uint32_t *count)
{
    uint32_t was = __atomic_load_n(count, __ATOMIC_RELAXED);

    do {
        if (was == 0)
            return false;
    } while (!__atomic_compare_exchange_n(count, &was, was + 1, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    return true;
}

char *limit_count(struct limit_file *file, uint64_t off, uint64_t len, struct limit_pin *pin)
{
    uint64_t page = off / LAB_PAGE, entry = walk_entry(file, page);
    uint32_t *count = &file->counts[entry / LAB_PAGE];

    if (__builtin_expect(!entry || !raise_count(count), 0))
        return NULL;
    if (__builtin_expect(walk_entry(file, page) != entry || off + len > load_word(&file->size),
                         0)) {
        __atomic_fetch_sub(count, 1, __ATOMIC_RELEASE);
        return NULL;
    }
    *pin = (struct limit_pin){(uint64_t *)(uintptr_t)(entry & ~FLAGS), file};
    return file->memory + (entry & ~FLAGS) + off % LAB_PAGE;
}

void limit_uncount(struct limit_pin *pin)
{
    __atomic_fetch_sub(&pin->file->counts[(uintptr_t)pin->word / LAB_PAGE], 1, __ATOMIC_RELEASE);
}

bool limit_zap(struct limit_file *file, uint64_t page)
{
    uint64_t entry = load_word(&file->node[page]);
    uint32_t nobody = 1;

    store(&file->node[page], 0);
    __atomic_store_n(&file->bias, 0, __ATOMIC_SEQ_CST);
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < LANES; i++)
        for (unsigned slot = 0; slot < SLOTS; slot++)
            if (load_word(&lanes[i].keys[slot]) && load_word(&lanes[i].pages[slot]) == page)
                return true;
    return !__atomic_compare_exchange_n(&file->counts[entry / LAB_PAGE], &nobody, 0, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
