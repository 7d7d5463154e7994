/* SPDX-License-Identifier: MIT */
/* Free space: what is reserved, laid where, given back, and found again after a death. */
#include "anonymous_pool.h"
#include "fs/space.h"
#include "fs/txn.h"
#include "pool/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define POOL_BLOCKS UINT64_C(4096) /* 16 MiB: 8 groups */

/* A thread that has the pool's metadata. */
struct held {
    struct fs *fs;
    uint32_t has, ends;
};

static int open_pool(void **state)
{
    return open_pool_of(state, POOL_BLOCKS * HF_BLOCK_BYTES);
}

static struct fs *fs_of(void **state)
{
    return &((struct hf_pool *)*state)->fs;
}

static uint64_t free_now(struct fs *fs)
{
    return fs->dax.shm->run->free_blocks;
}

/* Counts that must say what the bits say. */
static void assert_counts_agree(struct fs *fs)
{
    struct shm *shm = fs->dax.shm;
    uint64_t taken = 0;

    for (uint64_t group = 0; group < POOL_BLOCKS / SHM_GROUP_BLOCKS; group++) {
        unsigned here = 0;

        for (unsigned word = 0; word < SHM_GROUP_BLOCKS / 64; word++)
            here += (unsigned)__builtin_popcountll(
                shm->block_bits[group * SHM_GROUP_BLOCKS / 64 + word]);
        assert_int_equal(shm->group_free[group], SHM_GROUP_BLOCKS - here);
        if (here < SHM_GROUP_BLOCKS)
            assert_true(shm->run->first_free_group <= group);
        taken += here;
    }
    assert_int_equal(free_now(fs), POOL_BLOCKS - taken);
}

static struct fs_reservation reserve(struct fs *fs, uint64_t page, uint64_t goal, uint64_t count)
{
    struct fs_reservation reservation;

    fs_reservation_init(&reservation);
    assert_int_equal(fs_reserve(fs, page, goal, count, &reservation), 0);
    return reservation;
}

/* Makes the blocks of a reservation somebody's for good: no lane has them any more. */
static void keep(struct fs *fs, struct fs_reservation *reservation)
{
    struct fs_reserved_run run;

    while (fs_reservation_take(reservation, UINT64_MAX, &run))
        ;
    assert_int_equal(fs_space_lock(fs), 0);
    fs_reservation_settle(fs, reservation);
    fs_space_unlock(fs);
}

static void free_run(struct fs *fs, uint64_t block, uint64_t count)
{
    assert_int_equal(fs_space_lock(fs), 0);
    fs_space_free(fs, block, count);
    fs_space_unlock(fs);
}

static void small_requests_take_the_lowest(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation first = reserve(fs, 0, SPACE_NO_GOAL, 3), second;

    assert_int_equal(first.count, 1);
    assert_int_equal(first.runs[0].block, 0);
    assert_int_equal(first.runs[0].count, 3);
    keep(fs, &first);
    second = reserve(fs, 0, SPACE_NO_GOAL, 1);
    assert_int_equal(second.runs[0].block, 3);
    fs_reservation_drop(fs, &second);
    free_run(fs, 1, 1);
    second = reserve(fs, 9, SPACE_NO_GOAL, 2); /* too many for the freed one */
    assert_int_equal(second.count, 1);
    assert_int_equal(second.runs[0].block, 3);
    assert_counts_agree(fs);
    fs_reservation_drop(fs, &second);
    second = reserve(fs, 9, SPACE_NO_GOAL, 1);
    assert_int_equal(second.runs[0].block, 1);
    fs_reservation_drop(fs, &second);
    assert_int_equal(free_now(fs), POOL_BLOCKS - 2);
    assert_counts_agree(fs);
}

static void without_a_piece_the_lowest_are_taken(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation reservation = reserve(fs, 0, 0, POOL_BLOCKS);

    keep(fs, &reservation);
    free_run(fs, 1, 1);
    free_run(fs, 700, 1);
    free_run(fs, 800, 2);
    reservation = reserve(fs, 0, SPACE_NO_GOAL, 2);
    assert_int_equal(reservation.count, 1);
    assert_int_equal(reservation.runs[0].block, 800);
    fs_reservation_drop(fs, &reservation);
    reservation = reserve(fs, 0, SPACE_NO_GOAL, 3);
    assert_int_equal(reservation.count, 3);
    assert_int_equal(reservation.runs[0].block, 1);
    assert_int_equal(reservation.runs[1].block, 700);
    assert_int_equal(reservation.runs[2].block, 800);
    assert_counts_agree(fs);
    fs_reservation_drop(fs, &reservation);
}

static void a_goal_is_met(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation reservation = reserve(fs, 0, 700, 10);

    assert_int_equal(reservation.runs[0].block, 700);
    assert_int_equal(reservation.runs[0].count, 10);
    keep(fs, &reservation);
    reservation = reserve(fs, 0, 705, 2); /* taken: the lowest instead */
    assert_int_equal(reservation.runs[0].block, 0);
    fs_reservation_drop(fs, &reservation);
    reservation = reserve(fs, 0, POOL_BLOCKS + 5, 2); /* not in the pool */
    assert_int_equal(reservation.runs[0].block, 0);
    fs_reservation_drop(fs, &reservation);
}

static void large_requests_suit_huge_entries(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation one = reserve(fs, 0, SPACE_NO_GOAL, 1), large;

    keep(fs, &one); /* group 0 is no longer whole */
    large = reserve(fs, 0, SPACE_NO_GOAL, 1024);
    assert_int_equal(large.count, 1);
    assert_int_equal(large.runs[0].block, SHM_GROUP_BLOCKS);
    fs_reservation_drop(fs, &large);
    large = reserve(fs, 100, SPACE_NO_GOAL, 600); /* page and block agree modulo 512 */
    assert_int_equal(large.runs[0].block, SHM_GROUP_BLOCKS + 100);
    assert_int_equal(large.blocks, 600);
    assert_counts_agree(fs);
    fs_reservation_drop(fs, &large);
}

static void zeros_are_known(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation reservation = reserve(fs, 0, SPACE_NO_GOAL, 8);
    struct fs_reserved_run run;

    assert_int_equal(reservation.runs[0].used_before, 0);
    fs_reservation_drop(fs, &reservation);
    reservation = reserve(fs, 0, SPACE_NO_GOAL, 20); /* 8 of them have been given out */
    assert_int_equal(reservation.runs[0].used_before, 8);
    assert_true(fs_reservation_take(&reservation, 5, &run));
    assert_int_equal(run.used_before, 5);
    assert_true(fs_reservation_take(&reservation, 15, &run));
    assert_int_equal(run.count, 15);
    assert_int_equal(run.used_before, 3);
    assert_false(fs_reservation_take(&reservation, 1, &run));
    fs_reservation_drop(fs, &reservation);
    assert_true(fs->dax.shm->run->fresh_saved >= fs->dax.shm->run->fresh_block);
}

static void a_full_pool_says_so(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation all = reserve(fs, 0, SPACE_NO_GOAL, POOL_BLOCKS + 1), none;

    assert_int_equal(all.blocks, POOL_BLOCKS);
    keep(fs, &all);
    fs_reservation_init(&none);
    assert_int_equal(fs_reserve(fs, 0, SPACE_NO_GOAL, 1, &none), -ENOSPC);
    assert_int_equal(fs_reserve_hard(fs, 0, SPACE_NO_GOAL, 1, &none), -ENOSPC);
    free_run(fs, 77, 1);
    assert_int_equal(fs_reserve(fs, 0, SPACE_NO_GOAL, 5, &none), 0);
    assert_int_equal(none.blocks, 1);
    assert_int_equal(none.runs[0].block, 77);
    fs_reservation_drop(fs, &none);
    assert_counts_agree(fs);
}

static void runs_are_limited(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation all = reserve(fs, 0, SPACE_NO_GOAL, POOL_BLOCKS), some;

    keep(fs, &all);
    for (uint64_t block = 0; block < 200; block += 2)
        free_run(fs, block, 1);
    some = reserve(fs, 0, SPACE_NO_GOAL, 100);
    assert_int_equal(some.count, SHM_RESERVED);
    assert_int_equal(some.blocks, SHM_RESERVED);
    assert_int_equal(fs_reserve(fs, 0, SPACE_NO_GOAL, 1, &some), -ENOSPC);
    assert_int_equal(free_now(fs), 100 - SHM_RESERVED);
    fs_reservation_drop(fs, &some);
    assert_int_equal(free_now(fs), 100);
    assert_counts_agree(fs);
}

static void a_reservation_is_used_in_parts(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation reservation = reserve(fs, 0, SPACE_NO_GOAL, 10);
    struct fs_reserved_run run;

    assert_true(fs_reservation_take(&reservation, 4, &run));
    assert_int_equal(fs_space_lock(fs), 0);
    fs_reservation_settle(fs, &reservation);
    fs_space_unlock(fs);
    assert_int_equal(free_now(fs), POOL_BLOCKS - 4);
    assert_false(fs_reservation_take(&reservation, 1, &run));
    assert_counts_agree(fs);
}

/* What more is reserved lands in the run that is being taken from. */
static void a_reservation_grows_while_it_is_used(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation reservation = reserve(fs, 0, SPACE_NO_GOAL, 1);
    struct fs_reserved_run run;

    assert_true(fs_reservation_take(&reservation, 1, &run));
    assert_int_equal(fs_reserve(fs, 1, SPACE_NO_GOAL, 1, &reservation), 0);
    assert_int_equal(reservation.count, 1);
    assert_true(fs_reservation_take(&reservation, 1, &run));
    assert_int_equal(run.block, 1);
    fs_reservation_drop(fs, &reservation);
    assert_int_equal(free_now(fs), POOL_BLOCKS);
}

/* A thread forgets its reservation, as a killed one does. The next use of its lane frees it, and so
 * does a sweep once the process is known to be dead. */
static void leftovers_come_back(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation lost = reserve(fs, 0, SPACE_NO_GOAL, 10), next;
    struct shm_lane *lane = lost.lane;
    uint32_t owner = lane->owner;

    next = reserve(fs, 0, SPACE_NO_GOAL, 1);
    assert_int_equal(free_now(fs), POOL_BLOCKS - 1);
    assert_int_equal(next.runs[0].block, 0);
    lane->owner = SHM_LANE_RESIDUE;
    assert_int_equal(fs_space_lock(fs), 0);
    fs_space_sweep(fs);
    fs_space_unlock(fs);
    assert_int_equal(lane->owner, 0);
    lane->owner = owner;
    assert_int_equal(free_now(fs), POOL_BLOCKS);
    assert_counts_agree(fs);
}

static void *hold_metadata(void *arg)
{
    struct held *held = arg;

    assert_int_equal(fs_space_lock(held->fs), 0);
    hf_store_release(&held->has, 1u);
    while (!hf_load_acquire(&held->ends))
        sched_yield();
    fs_space_unlock(held->fs);
    return NULL;
}

/* What could not be given back is swept by somebody else, and another's by the second try. */
static void what_is_left_is_dropped_once(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation left = reserve(fs, 0, SPACE_NO_GOAL, 10), next;
    struct held held = {.fs = fs};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, hold_metadata, &held), 0);
    while (!hf_load_acquire(&held.has))
        sched_yield();
    fs_reservation_drop(fs, &left);
    hf_store_release(&held.ends, 1u);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(free_now(fs), POOL_BLOCKS - 10);
    assert_int_equal(fs_space_lock(fs), 0);
    fs_space_sweep(fs);
    fs_space_unlock(fs);
    assert_int_equal(free_now(fs), POOL_BLOCKS);
    next = reserve(fs, 0, SPACE_NO_GOAL, 10);
    keep(fs, &next);
    fs_reservation_drop(fs, &left);
    assert_int_equal(free_now(fs), POOL_BLOCKS - 10);
    assert_counts_agree(fs);
}

static struct hf_file *file_of_pages(void **state, const char *path, uint64_t pages)
{
    struct hf_file *file;

    assert_int_equal(hf_open(*state, path, 2 | 0100, 0600, &file), 0); /* O_RDWR | O_CREAT */
    assert_int_equal(hf_fallocate(file, 0, 0, pages * HF_BLOCK_BYTES, NULL), 0);
    return file;
}

static void build_again(struct fs *fs)
{
    struct meta_txn *txn;

    assert_int_equal(fs_space_lock(fs), 0);
    assert_int_equal(meta_begin_read(fs->dax.meta, &txn), 0);
    assert_int_equal(fs_space_build(fs, txn), 0);
    meta_end_read(txn);
    fs_space_unlock(fs);
}

/* As after the death of space_mutex's owner: from the extents and the reservations of the
 * living. */
static void it_is_made_anew(void **state)
{
    struct fs *fs = fs_of(state);
    struct hf_file *file = file_of_pages(state, "/a", 20);
    struct fs_reservation reservation = reserve(fs, 0, SPACE_NO_GOAL, 5);
    uint64_t before = free_now(fs);

    memset(fs->dax.shm->block_bits, 0xff, POOL_BLOCKS / 8);
    build_again(fs);
    assert_int_equal(free_now(fs), before);
    assert_counts_agree(fs);
    fs_reservation_drop(fs, &reservation);
    assert_int_equal(free_now(fs), before + 5);
    assert_int_equal(hf_close(file), 0);
}

/* A reservation that a transaction has given to a file; its process died before it said so. */
static void a_used_reservation_is_no_reservation(void **state)
{
    struct fs *fs = fs_of(state);
    struct hf_file *file = file_of_pages(state, "/a", 20);
    struct shm_lane *lane = shm_lane(fs->dax.shm);
    uint64_t before = free_now(fs);

    lane->reserved[3] = (struct shm_run_of_blocks){19, 4}; /* one of them is the file's */
    build_again(fs);
    assert_int_equal(lane->reserved[3].count, 0);
    assert_int_equal(free_now(fs), before);
    assert_int_equal(hf_close(file), 0);
}

static void growth_is_free_space(void **state)
{
    struct fs *fs = fs_of(state);
    struct fs_reservation all = reserve(fs, 0, SPACE_NO_GOAL, POOL_BLOCKS), more;

    keep(fs, &all);
    assert_int_equal(hf_pool_grow(*state, (POOL_BLOCKS + 512) * HF_BLOCK_BYTES), 0);
    assert_int_equal(free_now(fs), 512);
    more = reserve(fs, 0, SPACE_NO_GOAL, 512);
    assert_int_equal(more.runs[0].block, POOL_BLOCKS);
    assert_int_equal(more.runs[0].used_before, 0);
    fs_reservation_drop(fs, &more);
}

static void damage_is_told(void **state)
{
    struct fs *fs = fs_of(state);
    char *memory;

    assert_int_equal(fs_memory(fs, POOL_BLOCKS - 1, 1, &memory), 0);
    assert_int_equal(fs_memory(fs, POOL_BLOCKS - 1, 2, &memory), -EUCLEAN);
    assert_int_equal(fs_memory(fs, UINT64_MAX, 1, &memory), -EUCLEAN);
    free_run(fs, POOL_BLOCKS + 7, 3); /* not ours: nothing happens */
    free_run(fs, 5, 3);               /* free already: counted once */
    assert_int_equal(free_now(fs), POOL_BLOCKS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pool, close_pool)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(small_requests_take_the_lowest),
        TEST(without_a_piece_the_lowest_are_taken),
        TEST(a_goal_is_met),
        TEST(large_requests_suit_huge_entries),
        TEST(zeros_are_known),
        TEST(a_full_pool_says_so),
        TEST(runs_are_limited),
        TEST(a_reservation_is_used_in_parts),
        TEST(a_reservation_grows_while_it_is_used),
        TEST(leftovers_come_back),
        TEST(what_is_left_is_dropped_once),
        TEST(it_is_made_anew),
        TEST(a_used_reservation_is_no_reservation),
        TEST(growth_is_free_space),
        TEST(damage_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
