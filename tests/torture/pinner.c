/* SPDX-License-Identifier: MIT */
/*
 * The pinner. It pins where a changer is about to be, looks at the memory several times, and lets
 * go. Two spells take turns. In a steady one it stores to cold memory before most pins. The slot's
 * store then waits after those in the store buffer, which widens the window in which an unfenced
 * walk reads old entries. In a hasty one it pins without a pause, and is stopped again and again
 * wherever it is. It looks at what it got when a stop came in between. Both are the caller's
 * behaviour, not the protocol's.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define COLD_LINE 64
#define COLD_LINES (UINT64_C(1) << 20)
#define COLD_STORES 50
#define COLD_STRIDE 5003
#define SPELL_NS 50000000
#define SPELL_PINS 64 /* and then a look at the clock */
#define HASTY_PINS 200

struct pinner {
    struct torturer *self;
    struct hf_file *files[TORTURE_FILES];
    uint32_t generation[TORTURE_FILES];
    unsigned char *cold;
    bool hasty;
    uint64_t pins, refused, looks;
};

/* Closes the file when another one was made under its name. */
static void drop_stale_file(struct pinner *pinner, unsigned number)
{
    uint32_t generation = test_peek(&pinner->self->torture->generation[number]);

    if (pinner->files[number] && pinner->generation[number] != generation) {
        EXPECT_EQ(hf_close(pinner->files[number]), 0);
        pinner->files[number] = NULL;
    }
    pinner->generation[number] = generation;
}

/* The file that has the name now; null while there is none. */
static struct hf_file *current_file(struct pinner *pinner, unsigned number)
{
    char name[32];

    drop_stale_file(pinner, number);
    if (!pinner->files[number]) {
        torture_file_name(number, name);
        if (hf_open(pinner->self->pool, name, O_RDONLY, 0, &pinner->files[number]) != 0)
            pinner->files[number] = NULL;
    }
    return pinner->files[number];
}

/* Only stores, back to back, to lines that are in no near cache. They leave the store buffer slowly
 * and in order, so what hf_pin() stores next leaves it after them. */
static void fill_store_buffer(struct pinner *pinner)
{
    volatile unsigned char *cold = pinner->cold;
    size_t at = test_random(&pinner->self->rng) % COLD_LINES;
    unsigned stores = (unsigned)test_below(&pinner->self->rng, COLD_STORES);

    for (unsigned i = 0; i < stores; i++, at = (at + COLD_STRIDE) % COLD_LINES)
        cold[at * COLD_LINE] = 1;
}

/* Looks until the time is over; what it saw is counted, the worst ends it. After a stop it takes
 * its time: if the block was freed meanwhile, it is about to be reused. */
static void look_in_place(struct pinner *pinner, const void *memory, uint64_t place)
{
    struct torture *torture = pinner->self->torture;
    uint64_t hold_ns = pinner->hasty || test_chance(&pinner->self->rng, 5) ? 60000 : 8000;
    uint64_t until = test_now_ns() + 2000 + test_below(&pinner->self->rng, hold_ns);
    bool marked = false;

    do {
        enum torture_look look = torture_look(memory, place);

        pinner->looks++;
        if (look == TORTURE_FOREIGN || (look == TORTURE_ZERO && marked)) {
            test_count64(look == TORTURE_FOREIGN ? &torture->foreign : &torture->vanished, 1);
            return;
        }
        marked |= look == TORTURE_MARKED;
        if (test_chance(&pinner->self->rng, 1))
            sched_yield();
    } while (test_now_ns() < until);
}

/* With TORTURE_CALM where a changer says so. */
static uint64_t choose_place(struct pinner *pinner)
{
    struct torturer *self = pinner->self;
    const struct torture_options *options = &self->torture->options;

    if (test_chance(&self->rng, 10))
        return test_below(&self->rng, TORTURE_FILES * TORTURE_PAGES);
    return test_peek64(
        &self->torture->hot[test_below(&self->rng, options->processes * options->changers)]);
}

static bool refused(int rc)
{
    return rc == -EAGAIN || rc == -EFAULT || rc == -ENOSPC || rc == -EINTR;
}

/* False when it was refused. `look`: also when no stop came in between. */
/* By turns with hf_pin() and hf_pin_at(). */
static int pin_either_way(const struct pinner *pinner, struct hf_file *file, uint64_t off,
                          uint32_t flags, struct iovec *iov, struct hf_pin *pin)
{
    intptr_t at;

    if (pinner->pins % 2)
        return hf_pin(file, off, TEST_PAGE, flags, iov, 1, pin);
    at = hf_pin_at(file, off, TEST_PAGE, flags, pin);
    *iov = (struct iovec){(void *)at, TEST_PAGE};
    return at < 0 ? (int)at : 1;
}

static bool pin_place(struct pinner *pinner, struct hf_file *file, uint64_t place, uint32_t flags,
                      bool look)
{
    unsigned disturbed = torture_disturbed;
    struct iovec iov;
    struct hf_pin pin;
    int rc = pin_either_way(pinner, file, torture_place_off(place), flags, &iov, &pin);

    if (refused(rc)) {
        pinner->refused++;
        return false;
    }
    EXPECT_EQ(rc, 1);
    if (look || torture_disturbed != disturbed)
        look_in_place(pinner, iov.iov_base, place);
    EXPECT_EQ(hf_unpin(&pin), 0);
    pinner->pins++;
    return true;
}

/* The first pin fills the entry; then nothing but the fast path, until it is taken away. */
static void pin_hastily(struct pinner *pinner, struct hf_file *file, uint64_t place)
{
    unsigned disturbed = torture_disturbed;
    uint32_t flags = 0;

    for (unsigned i = 0; i < HASTY_PINS && torture_disturbed == disturbed; i++) {
        if (!pin_place(pinner, file, place, flags, false))
            return;
        flags = HF_PIN_NOWAIT;
    }
}

static void pin_steadily(struct pinner *pinner, struct hf_file *file, uint64_t place, bool calm)
{
    struct test_rng *rng = &pinner->self->rng;
    uint32_t flags = test_chance(rng, 60) ? HF_PIN_NOWAIT : 0;
    bool hurried = calm && test_chance(rng, 85); /* a file gets its bias by being pinned */

    if (!hurried && test_chance(rng, 80))
        fill_store_buffer(pinner);
    pin_place(pinner, file, place, flags, !hurried);
}

static void pin_once(struct pinner *pinner)
{
    uint64_t chosen = choose_place(pinner), place = chosen & ~TORTURE_CALM;
    struct hf_file *file;

    drop_stale_file(pinner, (unsigned)(pinner->pins % TORTURE_FILES));
    file = current_file(pinner, torture_place_file(place));
    if (file && pinner->hasty)
        pin_hastily(pinner, file, place);
    else if (file)
        pin_steadily(pinner, file, place, chosen != place);
}

static void pin_for_a_spell(struct pinner *pinner)
{
    const struct torture *torture = pinner->self->torture;
    uint64_t until = test_now_ns() + SPELL_NS;

    pinner->hasty = test_chance(&pinner->self->rng, torture->options.stops);
    torture_disturb(pinner->hasty);
    do {
        for (unsigned i = 0; i < SPELL_PINS && !test_peek(&torture->stop); i++)
            pin_once(pinner);
    } while (test_now_ns() < until && !test_peek(&torture->stop));
    torture_disturb(false);
}

void *torture_pinner(void *torturer)
{
    struct pinner *pinner = calloc(1, sizeof(*pinner));
    struct torture *torture;

    pinner->self = torturer;
    pinner->cold = malloc(COLD_LINES * COLD_LINE);
    memset(pinner->cold, 1, COLD_LINES * COLD_LINE);
    torture = pinner->self->torture;
    torture_stay_on_cpu(pinner->self->number);
    torture_disturb_open();
    while (!test_peek(&torture->stop))
        pin_for_a_spell(pinner);
    torture_disturb_close();
    for (unsigned i = 0; i < TORTURE_FILES; i++)
        if (pinner->files[i])
            EXPECT_EQ(hf_close(pinner->files[i]), 0);
    test_count64(&torture->pins, pinner->pins);
    test_count64(&torture->refused, pinner->refused);
    test_count64(&torture->looks, pinner->looks);
    free(pinner->cold);
    free(pinner);
    return NULL;
}
