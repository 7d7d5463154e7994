/* SPDX-License-Identifier: MIT */
/*
 * Detaching takes steps in proportion to what is held, times a logarithm, and not to its square.
 * This is so for dividing what leaves the file, looking again at its holders and listing them. It
 * is so too for giving the blocks back when the holders have gone. Looks at holders and at records
 * are counted, in a lab build. No clock is read.
 */
#include "support.h"

#include "base/lab.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define FEW 128u
#define TIMES 16u
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

static const struct shape shapes[] = {{"the same pages", take_same},
                                      {"a page each", take_own},
                                      {"two pages each, in a chain", take_chain}};

/* A neighbour's pages lie between the file's, so that each of them is an extent. */
static void make_pages(struct turn *turn)
{
    struct hf_file *neighbour = test_file(turn->pool, "/neighbour");

    turn->file = test_file(turn->pool, "/file");
    EXPECT_EQ(hf_truncate(turn->file, 2 * turn->count * TEST_PAGE, NULL), 0);
    for (unsigned i = 0; i < 2 * turn->count; i++) {
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
    make_pages(&turn);
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

static int body(int argc, char **argv)
{
    (void)argc, (void)argv;
    hf_lab_at = count_look;
    hf_lab_break = HF_LAB_STEPS;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        uint64_t few[PHASES], many[PHASES];

        detach_all(FEW, &shapes[i], few);
        detach_all(FEW * TIMES, &shapes[i], many);
        for (enum phase phase = 0; phase < PHASES; phase++) {
            printf("%s, %s: %" PRIu64 " looks for %u, %" PRIu64 " for %u\n", shapes[i].name,
                   phase_names[phase], few[phase], FEW, many[phase], FEW * TIMES);
            EXPECT(many[phase] <= (few[phase] + FEW) * GROWTH);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    return test_main(argc, argv, body);
}
