/* SPDX-License-Identifier: MIT */
/*
 * Detaching takes steps in proportion to what is held, times a logarithm, and not to its square.
 * This is so for dividing what leaves the file, looking again at its holders and listing them. It
 * is so too for giving the blocks back when the holders have gone, and for puts of dead processes.
 * Looks at holders and at records are counted, in a lab build.
 */
#include "support.h"

#include "base/lab.h"

#include <holdfast/put.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FEW 128u
#define TIMES 16u
#define QUARANTINE_NS UINT64_C(1000000000)
#define GROWTH (2 * TIMES) /* twice as many, times a logarithm; a square is TIMES * TIMES */

static uint64_t looks;

static void count_look(enum hf_lab_point point)
{
    looks += point == HF_LAB_COMPARES;
}

struct turn {
    struct hf_pool *pool;
    struct hf_file *file;
    struct hf_lease *leases;
    unsigned count;
};

/* Of `count` leases the i-th holds these pages. */
struct shape {
    const char *name;
    void (*range)(unsigned count, unsigned i, unsigned *page, unsigned *pages);
    bool whole; /* the file is one extent: a holder has a record for each that it holds of */
};

static void take_same(unsigned count, unsigned i, unsigned *page, unsigned *pages)
{
    (void)count;
    *page = i % 16;
    *pages = 1;
}

static void take_own(unsigned count, unsigned i, unsigned *page, unsigned *pages)
{
    (void)count;
    *page = i;
    *pages = 1;
}

static void take_chain(unsigned count, unsigned i, unsigned *page, unsigned *pages)
{
    (void)count;
    *page = i;
    *pages = 2;
}

/* Each lies inside the one before. */
static void take_nested(unsigned count, unsigned i, unsigned *page, unsigned *pages)
{
    *page = i;
    *pages = 2 * (count - i);
}

static const struct shape shapes[] = {{"the same pages", take_same, false},
                                      {"a page each", take_own, false},
                                      {"two pages each, in a chain", take_chain, false},
                                      {"nested", take_nested, true}};

/* A neighbour's pages lie between the file's, so that each of them is an extent. */
static void make_pages(struct turn *turn, bool whole)
{
    struct hf_file *neighbour = test_file(turn->pool, "/neighbour");

    turn->file = test_file(turn->pool, "/file");
    if (whole)
        test_write_pages(turn->file, 1, 0, 2 * turn->count);
    EXPECT_EQ(hf_truncate(turn->file, 2 * turn->count * TEST_PAGE, NULL), 0);
    for (unsigned i = 0; !whole && i < 2 * turn->count; i++) {
        test_write_pages(turn->file, 1, i, 1);
        test_write_pages(neighbour, 2, i, 1);
    }
    EXPECT_EQ(hf_close(neighbour), 0);
}

static void take_leases(struct turn *turn, const struct shape *shape)
{
    turn->leases = calloc(turn->count, sizeof *turn->leases);
    for (unsigned i = 0; i < turn->count; i++) {
        unsigned page, pages;
        struct iovec *iov;

        shape->range(turn->count, i, &page, &pages);
        iov = calloc(pages, sizeof *iov);
        EXPECT(hf_lease(turn->file, page * TEST_PAGE, pages * TEST_PAGE, 0, iov, (int)pages,
                        &turn->leases[i]) > 0);
        free(iov);
    }
}

static int say_nothing(void *arg, const struct hf_pin_info *info)
{
    *(unsigned *)arg += info->state == HF_PIN_DETACHED;
    return 0;
}

/* Looks of each phase. */
enum phase { COLLAPSE, DETACH, AGAIN, LIST, GIVE_BACK, PHASES };
static const char *const phase_names[PHASES] = {"collapse", "truncate", "truncate again", "list",
                                                "give back"};

static uint64_t count_looks(int rc)
{
    uint64_t counted = looks;

    EXPECT_EQ(rc, 0);
    looks = 0;
    return counted;
}

static void detach_all(unsigned count, const struct shape *shape, uint64_t *counted)
{
    const struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = TEST_MIB(64), .max_leases = 64 * count};
    const struct hf_policy detach = {.kind = HF_POLICY_DETACH};
    struct turn turn = {.count = count};
    uint64_t free_before;
    unsigned detached = 0;

    EXPECT_EQ(hf_pool_open_anonymous(&options, &turn.pool), 0);
    free_before = test_free_bytes(turn.pool);
    make_pages(&turn, shape->whole);
    take_leases(&turn, shape);
    looks = 0;
    hf_lab_stepped = true;
    counted[COLLAPSE] = count_looks(hf_fallocate(turn.file, HF_FALLOC_COLLAPSE_RANGE,
                                                 count / 2 * TEST_PAGE, TEST_PAGE, &detach));
    counted[DETACH] = count_looks(hf_truncate(turn.file, 0, &detach));
    counted[AGAIN] = count_looks(hf_truncate(turn.file, 2 * TEST_PAGE, &detach)) +
                     count_looks(hf_truncate(turn.file, 0, &detach));
    counted[LIST] = count_looks(hf_pins(turn.pool, say_nothing, &detached));
    EXPECT_EQ(detached, count);
    for (unsigned i = 0; i < count; i++)
        EXPECT_EQ(hf_lease_release(&turn.leases[i]), 0);
    looks = 0;
    test_free_bytes(turn.pool);
    counted[GIVE_BACK] = count_looks(0);
    EXPECT_EQ(hf_unlink(turn.pool, "/neighbour", NULL), 0);
    hf_lab_stepped = false;
    EXPECT_EQ(test_free_bytes(turn.pool), free_before);
    EXPECT_EQ(hf_close(turn.file), 0);
    EXPECT_EQ(hf_pool_close(turn.pool), 0);
    free(turn.leases);
}

/* ------------------------------------------------------------------------- dead puts --- */

struct putter {
    unsigned count;
    uint32_t flags;  /* what fills them */
    uint32_t *ready; /* of the processes */
};

static void begin_puts(struct hf_pool *pool, unsigned count, uint32_t flags, struct hf_put *puts)
{
    struct hf_file *file = test_file(pool, "/file");
    struct iovec iov;

    for (unsigned i = 0; i < count; i++)
        EXPECT_EQ(hf_put_begin(file, 0, TEST_PAGE, flags, &iov, 1, &puts[i]), 1);
    EXPECT_EQ(hf_close(file), 0);
}

static void hold_puts(void *arg)
{
    const struct putter *putter = arg;

    begin_puts(test_pool_open("puts"), putter->count, putter->flags,
               calloc(putter->count, sizeof(struct hf_put)));
    test_count(putter->ready);
    for (;;)
        pause();
}

static void stay(void *arg)
{
    const struct putter *putter = arg;

    test_pool_open("puts");
    test_count(putter->ready);
    for (;;)
        pause();
}

/* Looks until `kept` pages are all that is not free. */
static uint64_t await_sweep(struct hf_pool *pool, uint64_t kept)
{
    uint64_t limit = test_now_ns() + TEST_PATIENCE_NS;

    while (test_free_bytes(pool) != TEST_MIB(64) - kept * TEST_PAGE)
        EXPECT(test_now_ns() < limit);
    hf_lab_stepped = false;
    return looks;
}

/* They are found dead by a process that attaches later. */
static uint64_t sweep_dead_process(void)
{
    struct hf_pool *pool;
    uint64_t counted;

    hf_lab_stepped = true;
    pool = test_pool_open("puts");
    counted = await_sweep(pool, 0);
    test_pool_close(pool);
    return counted;
}

/* All processes have died, and records of a device's puts are left. They are swept after the
 * quarantine, beside as many puts of a living process. 0: on a machine that stood still, they went
 * before. */
static uint64_t sweep_all_dead(unsigned count)
{
    struct hf_put *puts = calloc(count, sizeof *puts);
    struct hf_pool *pool = test_pool_open("puts");
    uint64_t counted;

    begin_puts(pool, count, HF_PIN_CPU, puts);
    hf_lab_stepped = true;
    counted = await_sweep(pool, count);
    for (unsigned i = 0; i < count; i++)
        EXPECT_EQ(hf_put_abort(pool, &puts[i]), 0);
    test_pool_close(pool);
    free(puts);
    return counted;
}

static uint64_t look_at_dead_puts(unsigned count, bool all_die)
{
    const struct hf_pool_options options = {.size = sizeof options,
                                            .pool_bytes = TEST_MIB(64),
                                            .max_leases = 64 * count,
                                            .quarantine_ns = QUARANTINE_NS};
    struct putter putter = {count, all_die ? HF_PIN_RDMA : HF_PIN_CPU,
                            test_shared(sizeof *putter.ready)};
    uint64_t counted;
    pid_t other, dies;

    EXPECT_EQ(hf_pool_create(test_path("puts"), &options), 0);
    other = test_fork(stay, &putter);
    test_await(putter.ready, 1);
    dies = test_fork(hold_puts, &putter);
    test_await(putter.ready, 2);
    test_kill(dies);
    looks = 0;
    if (all_die) {
        test_kill(other);
        counted = sweep_all_dead(count);
    } else {
        counted = sweep_dead_process();
        test_kill(other);
    }
    test_pool_check("puts");
    test_remove_tree(test_path("puts"));
    return counted;
}

static uint64_t look_in_time(unsigned count, bool all_die)
{
    uint64_t counted;

    do
        counted = look_at_dead_puts(count, all_die);
    while (!counted);
    return counted;
}

static void expect_linear(const char *shape, const char *phase, uint64_t few, uint64_t many)
{
    printf("%s, %s: %" PRIu64 " looks for %u, %" PRIu64 " for %u\n", shape, phase, few, FEW, many,
           FEW * TIMES);
    EXPECT(many <= (few + FEW) * GROWTH);
}

static int body(int argc, char **argv)
{
    static const char *const deaths[] = {"a process dies", "all die"};

    (void)argc, (void)argv;
    hf_lab_at = count_look;
    hf_lab_break = HF_LAB_STEPS;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        uint64_t few[PHASES], many[PHASES];

        detach_all(FEW, &shapes[i], few);
        detach_all(FEW * TIMES, &shapes[i], many);
        for (enum phase phase = 0; phase < PHASES; phase++)
            expect_linear(shapes[i].name, phase_names[phase], few[phase], many[phase]);
    }
    for (unsigned all = 0; all < 2; all++)
        expect_linear("puts", deaths[all], look_in_time(FEW, all), look_in_time(FEW * TIMES, all));
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
