/* SPDX-License-Identifier: MIT */
/*
 * HOLDFAST_DEBUG=pins: where each live pin and lease of this process was made. Owns a record for
 * each key word that there can be, in memory of this process alone that costs nothing until it is
 * used. A record belongs to the pin with its key. An unpin leaves it behind, and the next pin in
 * that word overwrites it. So an unpin need not come here, but a pin has to. While stacks are kept,
 * dax_pin_fast() therefore leaves shm_last_lane alone, so that the inline path of hf_pin() never
 * finds this pool's lane.
 *
 * The run segment, not the records, says which pins are live, so a pin without a kept stack is
 * listed too.
 */
#include "dax/pin_fast.h"
#include "dax/private.h"

#include "base/descriptor.h"
#include "base/error.h"

#include <execinfo.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAMES 12
#define LIBRARY_FRAMES 8 /* above those of the program; more than there are */

struct record {
    uint64_t key, made_ns, tid;
    void *frames[FRAMES]; /* null: there are no more */
};

struct dax_stacks {
    pthread_mutex_t mutex;
    struct record records[]; /* of the slots of all lanes, then of the holds */
};

static size_t stacks_bytes(const struct shm *shm)
{
    const struct shm_limits *limits = &shm->limits;

    return sizeof(struct dax_stacks) +
           ((uint64_t)limits->lanes * SHM_SLOTS + limits->holds) * sizeof(struct record);
}

/* A wrong hint leads past a lane's slots: such a pin has the record of its last one. */
static struct record *record_of(const struct dax *dax, const uint64_t *word)
{
    const struct shm *shm = dax->shm;
    size_t at = (size_t)((const char *)word - (const char *)shm->lanes), slot;
    size_t lane = at / sizeof *shm->lanes, lanes = shm->limits.lanes;

    if ((const char *)word >= (const char *)shm->lanes && lane < lanes) {
        slot = (size_t)(word - shm->lanes[lane].keys);
        return &dax->stacks->records[lane * SHM_SLOTS + (slot < SHM_SLOTS ? slot : SHM_SLOTS - 1)];
    }
    return &dax->stacks
                ->records[lanes * SHM_SLOTS + (size_t)((const struct shm_hold *)word - shm->holds)];
}

void dax_stacks_begin(struct dax *dax)
{
    const char *debug = secure_getenv("HOLDFAST_DEBUG");
    void *frame, *memory;

    dax->stacks = NULL;
    if (!debug || strcmp(debug, "pins") != 0)
        return;
    memory = mmap(NULL, stacks_bytes(dax->shm), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        dprintf(STDERR_FILENO, "holdfast: HOLDFAST_DEBUG=pins: no memory for stacks\n");
        return;
    }
    dax->stacks = memory;
    dax->stacks->mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    hf_fd_guard_begin();
    backtrace(&frame, 1); /* the first one loads the unwinder */
    hf_fd_guard_end();
}

void dax_stacks_end(struct dax *dax)
{
    if (dax->stacks)
        munmap(dax->stacks, stacks_bytes(dax->shm));
    dax->stacks = NULL;
}

void dax_stacks_keep(struct dax *dax, const uint64_t opaque[3], const void *caller)
{
    void *frames[LIBRARY_FRAMES + FRAMES];
    int count, first = 0;
    struct record *record;

    if (opaque[0] & DAX_PIN_COUNTED)
        return;
    count = backtrace(frames, LIBRARY_FRAMES + FRAMES);
    while (first < count && frames[first] != caller)
        first++;
    if (first == count)
        first = 0;
    count = count - first < FRAMES ? count - first : FRAMES;
    record = record_of(dax, (const uint64_t *)(uintptr_t)(opaque[0] & ~DAX_PIN_HOLD));
    pthread_mutex_lock(&dax->stacks->mutex);
    *record =
        (struct record){.key = opaque[1], .made_ns = hf_now_ns(), .tid = shm_lane(dax->shm)->tid};
    memcpy(record->frames, &frames[first], (size_t)count * sizeof *frames);
    pthread_mutex_unlock(&dax->stacks->mutex);
}

struct printing {
    struct dax *dax;
    const char *pool;
    unsigned count;
};

/* Before the first pin: names the process and the pool. */
static void begin_line(struct printing *printing)
{
    if (printing->count++ == 0)
        dprintf(STDERR_FILENO, "holdfast: process %d still holds in pool %s:\n", getpid(),
                *printing->pool ? printing->pool : "(anonymous)");
}

static void print_record(const struct record *record)
{
    int count = 0;

    while (count < FRAMES && record->frames[count])
        count++;
    dprintf(STDERR_FILENO, " of thread %" PRIu64 ", made %" PRIu64 " ms ago by\n", record->tid,
            (hf_now_ns() - record->made_ns) / HF_NS_PER_MS);
    backtrace_symbols_fd(record->frames, count, STDERR_FILENO);
}

static void print_pin(struct printing *printing, const uint64_t *word, uint64_t first,
                      uint64_t last, const char *what)
{
    uint64_t key = hf_load_acquire(word);
    const struct record *record = record_of(printing->dax, word);

    if (!key || key == SHM_KEY_CLAIMED)
        return;
    begin_line(printing);
    dprintf(STDERR_FILENO,
            "holdfast: %s on inode %" PRIu64 ", bytes %" PRIu64 " to %" PRIu64 ", for %s,", what,
            shm_vnode_of_key(printing->dax->shm, key)->ino, first * HF_BLOCK_BYTES,
            (last + 1) * HF_BLOCK_BYTES - 1,
            SHM_KEY_FLAGS(key) & HF_PIN_WRITE ? "writing" : "reading");
    if (record->key == key)
        print_record(record);
    else /* with HF_PIN_NOWAIT, which is async-signal-safe */
        dprintf(STDERR_FILENO, " made where no stack is kept\n");
}

static void print_lanes(struct printing *printing)
{
    struct shm *shm = printing->dax->shm;
    uint32_t used = shm_lanes_used(shm);

    for (uint32_t i = 0; i < used; i++) {
        const struct shm_lane *lane = &shm->lanes[i];

        if (hf_load_acquire(&lane->owner) != shm->self + 1)
            continue;
        for (unsigned slot = 0; slot < SHM_SLOTS; slot++) {
            uint64_t pages = hf_load_acquire(&lane->pages[slot]);

            print_pin(printing, &lane->keys[slot], SHM_PAGES_FIRST(pages), SHM_PAGES_LAST(pages),
                      "pin");
        }
    }
}

static void print_holds(struct printing *printing)
{
    struct shm *shm = printing->dax->shm;

    if (!hf_load_acquire(&shm->run->holds_used))
        return;
    for (uint32_t i = 0; i < shm_holds_high(shm); i++) {
        const struct shm_hold *hold = &shm->holds[i];
        uint32_t state = hf_load_acquire(&hold->state);

        if (shm_hold_holds(state) && !shm_hold_given_up(state) &&
            SHM_HOLD_OWNER(state) == shm->self + 1)
            print_pin(printing, &hold->key, hold->range.first, hold->range.last,
                      SHM_HOLD_KIND(state) == SHM_HOLD_PIN ? "pin" : "lease");
    }
}

void dax_stacks_print(struct dax *dax, const char *pool)
{
    struct printing printing = {dax, pool, 0};

    if (!dax->stacks)
        return;
    pthread_mutex_lock(&dax->stacks->mutex);
    print_lanes(&printing);
    print_holds(&printing);
    pthread_mutex_unlock(&dax->stacks->mutex);
    if (sync_knows_holders(dax->engine) || shm_process_pins(dax->shm) <= printing.count)
        return;
    begin_line(&printing);
    dprintf(STDERR_FILENO, "holdfast: pins of which engine %s knows only that they are there\n",
            dax->engine->name);
}
