/* SPDX-License-Identifier: MIT */
/*
 * Intents: whatever step a change has come to, a look at the file finds it as it is after the whole
 * change. Each damage to the record is found, and one repair is enough.
 */
#include "meta_checked.h"

#include "meta/env.h"

#include <errno.h>

enum { FILE_A = 2, EXTENTS = 40, PAGES = 200 };

/* Extent i is of 2 pages, or now and then of 3 or 1. */
static struct meta_extent made(unsigned i)
{
    return (struct meta_extent){i * 4 + 1, 100 + i * 5, 1 + i % 3, false};
}

static uint64_t block_made(uint64_t page)
{
    struct meta_extent extent = made((unsigned)(page / 4));

    if (page / 4 >= EXTENTS || page < extent.page || page >= extent.page + extent.count)
        return 0;
    return extent.block + (page - extent.page);
}

static uint64_t block_after(const struct meta_intent *intent, uint64_t page)
{
    if (page < intent->page)
        return block_made(page);
    if (intent->kind == META_INTENT_COLLAPSE)
        return block_made(page + intent->count);
    if (page < intent->page + intent->count)
        return 0;
    return block_made(intent->kind == META_INTENT_INSERT ? page - intent->count : page);
}

static void fill(struct meta_txn *txn)
{
    struct meta_super super = small_super;
    struct meta_inode inode;
    uint64_t blocks = 0;

    add_file(txn, FILE_A, "a", 0, 0);
    for (unsigned i = 0; i < EXTENTS; i++) {
        struct meta_extent extent = made(i);

        must(meta_extent_insert(txn, FILE_A, &extent));
        blocks += extent.count;
    }
    must(meta_inode_get(txn, FILE_A, &inode));
    inode.blocks = blocks;
    must(meta_inode_put(txn, FILE_A, &inode));
    super.inodes = 2;
    super.next_ino = FILE_A + 1;
    super.fresh_block = 1000;
    must(meta_super_put(txn, &super));
}

/* --- looking --- */

static void expect_after(struct meta_txn *txn, const struct meta_intent *intent)
{
    struct meta_extent found;
    uint64_t last = 0;

    for (uint64_t page = 0; page < PAGES; page++) {
        uint64_t block = block_after(intent, page);
        int rc = meta_extent_find(txn, FILE_A, page, &found);

        if (block) {
            must(rc);
            assert_true(found.page <= page && page < found.page + found.count);
            assert_int_equal(found.block + (page - found.page), block);
        } else if (rc == 0) {
            assert_true(found.page > page);
            assert_int_equal(found.block, block_after(intent, found.page));
        } else {
            assert_int_equal(rc, -ENOENT);
        }
        rc = meta_extent_before(txn, FILE_A, page, &found);
        assert_int_equal(rc, last ? 0 : -ENOENT);
        if (last)
            assert_int_equal(found.page + found.count >= last, 1);
        last = block ? page + 1 : last;
    }
}

static int count_freed(void *arg, const struct meta_extent *run)
{
    *(uint64_t *)arg += run->count;
    return 0;
}

static void put_intent(struct meta_txn *txn, struct meta_intent intent)
{
    if (intent.kind == META_INTENT_INSERT) {
        intent.cursor = META_FILE_PAGES;
        must(meta_extent_split(txn, FILE_A, intent.page));
    } else {
        intent.cursor = intent.kind == META_INTENT_COLLAPSE ? intent.page : 0;
    }
    must(meta_intent_put(txn, &intent));
}

static void take_all_steps(struct meta_txn *txn, const struct meta_intent *intent, unsigned most)
{
    uint64_t freed = 0, gone = 0;
    struct meta_inode inode = {.blocks = 1000};
    struct meta_super super;
    int more;

    for (uint64_t page = intent->page; page < intent->page + intent->count; page++)
        gone += intent->kind != META_INTENT_INSERT && block_made(page);
    expect_after(txn, intent);
    while ((more = meta_intent_step(txn, FILE_A, most, &inode, count_freed, &freed)) == 1)
        expect_after(txn, intent);
    must(more);
    expect_after(txn, intent);
    assert_int_equal(freed, gone);
    assert_int_equal(inode.blocks, 1000 - gone);
    assert_int_equal(meta_intent_step(txn, FILE_A, most, &inode, count_freed, &freed), -ENOENT);
    must(meta_super_get(txn, &super));
    assert_int_equal(super.incompat, 0);
}

static void test_each_step(void **state)
{
    struct meta_txn *txn;
    struct meta *meta;
    char dir[64];

    (void)state;
    new_pool(dir);
    with_txn(dir, fill);
    must(meta_open(dir, false, &meta));
    for (unsigned kind = META_INTENT_FREE; kind <= META_INTENT_INSERT; kind++)
        for (uint64_t page = 0; page < 30; page++)
            for (uint64_t count = 1; count < 60; count += 7) {
                const struct meta_intent intent = {FILE_A, kind, page, count, 0};

                must(meta_begin_write(meta, &txn));
                put_intent(txn, intent);
                take_all_steps(txn, &intent, 1 + (unsigned)page % 4);
                meta_abort(txn);
            }
    meta_close(meta);
    remove_pool(dir);
}

/* --- damage --- */

static void store_record(struct meta_txn *txn, uint64_t ino, struct meta_disk_intent disk)
{
    struct meta_key key;

    meta_key_number(&key, META_INTENT, ino);
    must(meta_store(txn, &key, &disk, sizeof disk));
}

static void set_bit(struct meta_txn *txn, uint64_t bit)
{
    struct meta_super super;

    must(meta_super_get(txn, &super));
    super.incompat = bit;
    must(meta_super_put(txn, &super));
}

static void of_no_kind(struct meta_txn *txn)
{
    store_record(txn, FILE_A, (struct meta_disk_intent){9, 4, 8, 0});
}

static void of_no_inode(struct meta_txn *txn)
{
    store_record(txn, 77, (struct meta_disk_intent){META_INTENT_FREE, 4, 8, 0});
}

static void of_a_directory(struct meta_txn *txn)
{
    store_record(txn, META_ROOT_INO, (struct meta_disk_intent){META_INTENT_FREE, 4, 8, 0});
}

static void beyond_the_end(struct meta_txn *txn)
{
    store_record(txn, FILE_A,
                 (struct meta_disk_intent){META_INTENT_COLLAPSE, 4, 8, META_FILE_PAGES});
}

static void straddled(struct meta_txn *txn)
{
    store_record(txn, FILE_A,
                 (struct meta_disk_intent){META_INTENT_INSERT, 10, 8, META_FILE_PAGES});
}

static void in_the_way(struct meta_txn *txn)
{
    store_record(txn, FILE_A, (struct meta_disk_intent){META_INTENT_INSERT, 4, 8, 40});
}

static void too_short(struct meta_txn *txn)
{
    struct meta_key key;

    meta_key_number(&key, META_INTENT, FILE_A);
    must(meta_store(txn, &key, "short", 5));
}

static void bit_alone(struct meta_txn *txn)
{
    set_bit(txn, META_INCOMPAT_INTENTS);
}

static void without_bit(struct meta_txn *txn)
{
    put_intent(txn, (struct meta_intent){FILE_A, META_INTENT_COLLAPSE, 4, 8, 0});
    set_bit(txn, 0);
}

static void test_damage(void **state)
{
    void (*const damages[])(struct meta_txn *) = {
        of_no_kind, of_no_inode, of_a_directory, beyond_the_end, straddled,
        in_the_way, too_short,   bit_alone,      without_bit,
    };
    struct meta_check result;
    char dir[64];

    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        new_pool(dir);
        with_txn(dir, fill);
        expect_sound(dir);
        with_txn(dir, damages[i]);
        must(check(dir, false, &result));
        assert_int_equal(result.problems != 0, 1);
        must(check(dir, true, &result));
        assert_int_equal(result.repaired, result.problems);
        expect_sound(dir);
        remove_pool(dir);
    }
}

static void is_left_alone(struct meta_txn *txn)
{
    struct meta_inode inode = {0};

    put_intent(txn, (struct meta_intent){FILE_A, META_INTENT_INSERT, 4, 8, 0});
    assert_int_equal(meta_intent_step(txn, FILE_A, 3, &inode, count_freed, &(uint64_t){0}), 1);
}

static void test_sound(void **state)
{
    char dir[64];

    (void)state;
    new_pool(dir);
    with_txn(dir, fill);
    with_txn(dir, is_left_alone);
    expect_sound(dir);
    remove_pool(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_step),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_sound),
    };

    return cmocka_run_group_tests_name("meta_intent", tests, NULL, NULL);
}
