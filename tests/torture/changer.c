/* SPDX-License-Identifier: MIT */
/*
 * The changer. It owns every n-th file and always keeps one page of them a hole. A step takes the
 * block from some page and writes the hole: in a full pool that is the same block, now with another
 * owner. Two rhythms take turns. In a burst it stays on one pair of pages, and their files stay
 * unbiased. Between bursts it wanders over all files, and each has become biased again by the time
 * it is met.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>

#define RHYTHM_NS 50000000
/* A change that runs into the first is stuck. A racy engine miscounts, and its blocks may stay
 * pinned for good: it is to be seen reusing others meanwhile. */
#define DEADLINE_NS TEST_PATIENCE_NS
#define DEADLINE_RACY_NS 20000000

struct changer {
    struct torturer *self;
    struct hf_file *files[TORTURE_FILES];
    struct hf_policy in_time;
    unsigned stride;
    uint64_t hole;
    bool calm; /* leaves files in peace for longer before it changes them */
    uint64_t moves, truncates, recreations;
};

static bool owns(const struct changer *changer, unsigned file)
{
    return file % changer->stride == changer->self->number;
}

static uint64_t choose_own_place(struct changer *changer)
{
    unsigned file;

    do
        file = (unsigned)test_below(&changer->self->rng, TORTURE_FILES);
    while (!owns(changer, file));
    return torture_place(file, (unsigned)test_below(&changer->self->rng, TORTURE_PAGES));
}

/* False when no block was free. */
static bool write_mark(struct changer *changer, uint64_t place)
{
    uint64_t page[TEST_PAGE / sizeof(uint64_t)];
    ssize_t rc;

    torture_mark_page(page, place);
    rc = hf_write(changer->files[torture_place_file(place)], page, sizeof(page),
                  torture_place_off(place));
    if (rc != -ENOSPC)
        EXPECT_EQ(rc, sizeof(page));
    return rc > 0;
}

/* Whether the change went ahead. */
static bool changed(struct changer *changer, int rc)
{
    test_count64(&changer->self->torture->changes, 1);
    if (rc == -ETIMEDOUT) {
        test_count64(&changer->self->torture->stuck, 1);
        return false;
    }
    if (rc == -ENOSPC)
        return false;
    EXPECT_EQ(rc, 0);
    return true;
}

/* Tells the pinners, and gives them a moment to be there. It is short, or long enough to fill the
 * entry and pin by it, or so long that the file gets its bias back. */
static void announce(struct changer *changer, uint64_t place)
{
    struct test_rng *rng = &changer->self->rng;

    test_put64(&changer->self->torture->hot[changer->self->number],
               place | (changer->calm ? TORTURE_CALM : 0));
    torture_spin_ns(test_below(rng, changer->calm ? 1000000 : test_chance(rng, 50) ? 2000 : 40000));
}

/* The block under `place` goes to the page that is a hole now. */
static void hand_over(struct changer *changer, uint64_t place)
{
    struct hf_file *file = changer->files[torture_place_file(place)];

    announce(changer, place);
    if (!changed(changer, hf_fallocate(file, HF_FALLOC_PUNCH_HOLE, torture_place_off(place),
                                       TEST_PAGE, &changer->in_time)))
        return;
    write_mark(changer, changer->hole);
    changer->hole = place;
}

static void move(struct changer *changer, uint64_t place)
{
    struct hf_file *file = changer->files[torture_place_file(place)];

    announce(changer, place);
    if (changed(changer, hf_move(file, torture_place_off(place), TEST_PAGE, &changer->in_time)))
        changer->moves++;
}

/* Marks the pages from `page` on. There may be no block for a moment: pinners have the file's
 * predecessor open still, or have filled holes. */
static void refill(struct changer *changer, unsigned file, unsigned page)
{
    for (; page < TORTURE_PAGES; page++)
        while (!write_mark(changer, torture_place(file, page))) {
            if (test_peek(&changer->self->torture->stop))
                return;
            sched_yield();
        }
}

/* Cuts the file off at the place and writes it again from there. */
static void cut(struct changer *changer, uint64_t place)
{
    unsigned file = torture_place_file(place);

    announce(changer, place);
    if (!changed(changer,
                 hf_truncate(changer->files[file], torture_place_off(place), &changer->in_time)))
        return;
    write_mark(changer, changer->hole);
    changer->truncates++;
    refill(changer, file, place % TORTURE_PAGES);
    changer->hole = place;
    changed(changer, hf_fallocate(changer->files[file], HF_FALLOC_PUNCH_HOLE,
                                  torture_place_off(place), TEST_PAGE, &changer->in_time));
}

static void open_own(struct changer *changer, unsigned file)
{
    char name[32];

    torture_file_name(file, name);
    EXPECT_EQ(hf_open(changer->self->pool, name, O_RDWR | O_CREAT, 0600, &changer->files[file]), 0);
}

/* A new inode under the old name; pinners still hold the old one open. */
static void make_anew(struct changer *changer, uint64_t place)
{
    unsigned file = torture_place_file(place);
    char name[32];

    if (torture_place_file(changer->hole) == file)
        return;
    announce(changer, place);
    torture_file_name(file, name);
    EXPECT_EQ(hf_close(changer->files[file]), 0);
    EXPECT_EQ(hf_unlink(changer->self->pool, name, NULL), 0);
    test_count(&changer->self->torture->generation[file]);
    write_mark(changer, changer->hole);
    open_own(changer, file);
    refill(changer, file, 0);
    changer->recreations++;
    changer->hole = place;
    changed(changer, hf_fallocate(changer->files[file], HF_FALLOC_PUNCH_HOLE,
                                  torture_place_off(place), TEST_PAGE, &changer->in_time));
}

static void wander(struct changer *changer)
{
    uint64_t place = choose_own_place(changer), kind = test_below(&changer->self->rng, 1000);

    if (place == changer->hole)
        return;
    changer->calm = test_chance(&changer->self->rng, 50);
    if (kind < 2)
        make_anew(changer, place);
    else if (kind < 40)
        cut(changer, place);
    else if (kind < 150)
        move(changer, place);
    else
        hand_over(changer, place);
}

static void burst(struct changer *changer, uint64_t until)
{
    uint64_t place = choose_own_place(changer);

    changer->calm = false;
    while (place == changer->hole || torture_place_file(place) == torture_place_file(changer->hole))
        place = choose_own_place(changer);
    while (test_now_ns() < until && !test_peek(&changer->self->torture->stop)) {
        uint64_t hole = changer->hole;

        hand_over(changer, place);
        if (changer->hole != hole)
            place = hole;
    }
}

static void open_all(struct changer *changer)
{
    for (unsigned file = 0; file < TORTURE_FILES; file++)
        if (owns(changer, file))
            open_own(changer, file);
    changer->hole = torture_place(changer->self->number, 0);
    changed(changer, hf_fallocate(changer->files[changer->self->number], HF_FALLOC_PUNCH_HOLE, 0,
                                  TEST_PAGE, &changer->in_time));
}

void *torture_changer(void *torturer)
{
    struct changer changer = {.self = torturer};
    struct torture *torture = changer.self->torture;

    changer.in_time = (struct hf_policy){
        HF_POLICY_DEADLINE, 0, torture->options.engine->racy ? DEADLINE_RACY_NS : DEADLINE_NS};
    changer.stride = torture->options.processes * torture->options.changers;
    open_all(&changer);
    torture_stay_on_cpu(changer.self->number + 1);
    while (!test_peek(&torture->stop)) {
        uint64_t until = test_now_ns() + RHYTHM_NS;

        if (test_chance(&changer.self->rng, 50))
            burst(&changer, until);
        while (test_now_ns() < until && !test_peek(&torture->stop))
            wander(&changer);
    }
    for (unsigned file = 0; file < TORTURE_FILES; file++)
        if (owns(&changer, file))
            EXPECT_EQ(hf_close(changer.files[file]), 0);
    test_count64(&torture->moves, changer.moves);
    test_count64(&torture->truncates, changer.truncates);
    test_count64(&torture->recreations, changer.recreations);
    return NULL;
}
