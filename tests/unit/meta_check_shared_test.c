/* SPDX-License-Identifier: MIT */
/*
 * meta_check() of a pool whose files share blocks. Each kind of damage to the table of owners, the
 * marks, the extents and the detached records is found, and mended to the right value.
 */
#include "meta_checked.h"

#include "meta/env.h"

#include <errno.h>

enum { FILE_A = 2, FILE_B = 3, FILE_C = 4, FILE_D = 5, NEXT_INO = 6 };

/* --- a pool to damage --- */

static void add_part(struct meta_txn *txn, uint64_t ino, uint64_t page, uint64_t block,
                     uint64_t count, bool shared)
{
    must(meta_extent_insert(txn, ino, &(struct meta_extent){page, block, count, shared}));
}

static void put_owners(struct meta_txn *txn, uint64_t block, uint64_t count, uint32_t extents,
                       uint32_t records)
{
    struct meta_disk_owners disk = {count, extents, records};
    struct meta_key key;

    meta_key_number(&key, META_OWNERS, block);
    must(meta_store(txn, &key, &disk, sizeof disk));
}

static void drop_owners(struct meta_txn *txn, uint64_t block)
{
    struct meta_key key;

    meta_key_number(&key, META_OWNERS, block);
    must(meta_erase_key(txn, &key));
}

static void expect_owners(struct meta_txn *txn, uint64_t block, uint64_t count, uint32_t extents,
                          uint32_t records)
{
    struct meta_owners run;

    must(meta_owners_next(txn, block, &run));
    assert_int_equal(run.block, block);
    assert_int_equal(run.count, count);
    assert_int_equal(run.extents, extents);
    assert_int_equal(run.records, records);
}

static void set_blocks(struct meta_txn *txn, uint64_t ino, uint64_t blocks)
{
    struct meta_inode inode;

    must(meta_inode_get(txn, ino, &inode));
    inode.blocks = blocks;
    must(meta_inode_put(txn, ino, &inode));
}

/* Blocks 10-19 are a's; b has 12-15 of them, and c 14-15 and 12-13 in another order. Blocks 40-43
 * are d's alone, and 16, which is not a's any more. A pin of a held 50-51, which were b's too; one
 * of d holds 17 of a. */
static void fill(struct meta_txn *txn)
{
    struct meta_super super = small_super;

    add_file(txn, FILE_A, "a", 0, 0);
    add_part(txn, FILE_A, 0, 10, 2, false);
    add_part(txn, FILE_A, 2, 12, 4, true);
    add_part(txn, FILE_A, 6, 17, 3, true);
    add_file(txn, FILE_B, "b", 0, 0);
    add_part(txn, FILE_B, 3, 12, 4, true);
    add_file(txn, FILE_C, "c", 0, 0);
    add_part(txn, FILE_C, 0, 14, 2, true);
    add_part(txn, FILE_C, 2, 12, 2, true);
    add_file(txn, FILE_D, "d", 40, 4);
    add_part(txn, FILE_D, 9, 16, 1, true);
    set_blocks(txn, FILE_A, 9);
    set_blocks(txn, FILE_B, 4);
    set_blocks(txn, FILE_C, 4);
    set_blocks(txn, FILE_D, 5);
    put_owners(txn, 12, 4, 3, 0);
    must(meta_detached_put(txn, &(struct meta_detached){50, 2, FILE_A, 8, true}));
    must(meta_detached_put(txn, &(struct meta_detached){50, 1, FILE_B, 1, true}));
    must(meta_detached_put(txn, &(struct meta_detached){17, 1, FILE_D, 7, true}));
    put_owners(txn, 17, 1, 1, 1);
    put_owners(txn, 50, 1, 0, 2);
    put_owners(txn, 51, 1, 0, 1);
    super.inodes = 5;
    super.next_ino = NEXT_INO;
    super.fresh_block = 64;
    super.incompat = META_INCOMPAT_SHARED;
    must(meta_super_put(txn, &super));
}

static void expect_as_made(struct meta_txn *txn)
{
    static const struct {
        uint64_t ino;
        struct meta_extent extent;
    } parts[] = {{FILE_A, {0, 10, 2, false}}, {FILE_A, {2, 12, 4, true}},
                 {FILE_A, {6, 17, 3, true}},  {FILE_B, {3, 12, 4, true}},
                 {FILE_C, {0, 14, 2, true}},  {FILE_C, {2, 12, 2, true}},
                 {FILE_D, {0, 40, 4, false}}, {FILE_D, {9, 16, 1, true}}};
    struct meta_super super;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const struct meta_extent *was = &parts[i].extent;
        struct meta_extent is;

        must(meta_extent_find(txn, parts[i].ino, was->page, &is));
        assert_true(is.page == was->page && is.block == was->block && is.count == was->count);
        assert_true(is.shared == was->shared);
    }
    expect_owners(txn, 12, 4, 3, 0);
    expect_owners(txn, 17, 1, 1, 1);
    expect_owners(txn, 50, 1, 0, 2);
    expect_owners(txn, 51, 1, 0, 1);
    must(meta_super_get(txn, &super));
    assert_int_equal(super.incompat, META_INCOMPAT_SHARED);
}

/* --- one damage after the other --- */

static void put_extent(struct meta_txn *txn, uint64_t ino, uint64_t page, uint64_t block,
                       uint64_t count)
{
    struct meta_disk_extent disk = {block, count};
    struct meta_key key;

    meta_key_extent(&key, ino, page);
    must(meta_store(txn, &key, &disk, sizeof disk));
}

static void too_many(struct meta_txn *txn)
{
    put_owners(txn, 12, 4, 9, 0);
}

static void too_few(struct meta_txn *txn)
{
    put_owners(txn, 12, 4, 2, 0);
}

static void missing_run(struct meta_txn *txn)
{
    drop_owners(txn, 12);
}

static void long_run(struct meta_txn *txn)
{
    put_owners(txn, 12, 9, 3, 0); /* over another and over blocks of one extent */
}

static void wild_run(struct meta_txn *txn)
{
    put_owners(txn, 12, UINT64_MAX, 3, 0);
}

static void short_run(struct meta_txn *txn)
{
    put_owners(txn, 12, 1, 3, 0);
}

static void senseless_run(struct meta_txn *txn)
{
    put_owners(txn, 12, 4, 0, 0);
}

static void run_of_nothing(struct meta_txn *txn)
{
    put_owners(txn, 60, 4, 2, 0);
}

static void run_of_one(struct meta_txn *txn)
{
    put_owners(txn, 40, 4, 2, 0);
}

static void lost_mark(struct meta_txn *txn)
{
    put_extent(txn, FILE_B, 3, 12, 4);
}

static void lost_first_mark(struct meta_txn *txn)
{
    put_extent(txn, FILE_A, 2, 12, 4);
}

static void lost_mark_beside_record(struct meta_txn *txn)
{
    put_extent(txn, FILE_A, 6, 17, 3);
}

static void long_extent(struct meta_txn *txn)
{
    put_extent(txn, FILE_B, 3, 12, 7 | META_COUNT_SHARED);
}

static void wild_extent(struct meta_txn *txn)
{
    put_extent(txn, FILE_B, 3, 12, UINT64_C(0x350000000000004));
}

static void short_extent(struct meta_txn *txn)
{
    put_extent(txn, FILE_B, 3, 12, 2 | META_COUNT_SHARED);
}

static void wrong_blocks(struct meta_txn *txn)
{
    set_blocks(txn, FILE_B, 77);
}

static void lost_bit(struct meta_txn *txn)
{
    struct meta_super super;

    must(meta_super_get(txn, &super));
    super.incompat = 0;
    must(meta_super_put(txn, &super));
}

/* b's pages get blocks that are d's: its own are a's and c's still, and d loses nothing. */
static void wrong_block(struct meta_txn *txn)
{
    put_extent(txn, FILE_B, 3, 40, 4 | META_COUNT_SHARED);
}

static void expect_two_owners(struct meta_txn *txn)
{
    struct meta_extent extent;

    expect_owners(txn, 12, 4, 2, 0);
    must(meta_extent_find(txn, FILE_D, 0, &extent));
    assert_true(extent.page != 0); /* no copies are made here: one of both has a hole */
    must(meta_extent_find(txn, FILE_B, 3, &extent));
    assert_int_equal(extent.block, 40);
}

/* An extent that nothing calls shared, on shared blocks, is not an owner. */
static void intruder(struct meta_txn *txn)
{
    put_extent(txn, FILE_D, 0, 12, 4);
}

static void expect_no_intruder(struct meta_txn *txn)
{
    struct meta_extent extent;

    expect_owners(txn, 12, 4, 3, 0);
    must(meta_extent_find(txn, FILE_D, 0, &extent));
    assert_int_equal(extent.page, 9);
}

static void lost_extent(struct meta_txn *txn)
{
    struct meta_key key;

    meta_key_extent(&key, FILE_B, 3);
    must(meta_erase_key(txn, &key));
}

static void expect_fewer(struct meta_txn *txn)
{
    struct meta_inode inode;

    expect_owners(txn, 12, 4, 2, 0);
    must(meta_inode_get(txn, FILE_B, &inode));
    assert_int_equal(inode.blocks, 0);
}

static void lost_attributes(struct meta_txn *txn)
{
    struct meta_key key;

    meta_key_part(&key, FILE_B, META_ATTRIBUTES);
    must(meta_erase_key(txn, &key));
}

static void lost_record(struct meta_txn *txn)
{
    must(meta_detached_del(txn, &(struct meta_detached){50, 1, FILE_B, 1, true}));
}

static void expect_fewer_records(struct meta_txn *txn)
{
    expect_owners(txn, 50, 2, 0, 1);
}

static void long_record(struct meta_txn *txn)
{
    must(meta_detached_put(txn, &(struct meta_detached){50, 9, FILE_A, 8, true}));
}

static void expect_no_record(struct meta_txn *txn)
{
    struct meta_detached run = {50, 2, FILE_A, 8, true};

    assert_int_equal(meta_detached_get(txn, &run, &run), -ENOENT);
    expect_owners(txn, 50, 1, 0, 1);
}

static void record_of_another(struct meta_txn *txn)
{
    struct meta_disk_detached disk = {2, FILE_B, 8};
    struct meta_key key;

    meta_key_shared(&key, 50, FILE_A, 8);
    must(meta_store(txn, &key, &disk, sizeof disk));
}

struct damage {
    const char *name, *sentence;
    void (*apply)(struct meta_txn *txn);
    void (*expect)(struct meta_txn *txn);
    bool none; /* not to be found: it is legal */
};

static void needless_mark(struct meta_txn *txn)
{
    put_extent(txn, FILE_D, 0, 40, 4 | META_COUNT_SHARED);
}

static void expect_mark(struct meta_txn *txn)
{
    struct meta_extent extent;

    must(meta_extent_find(txn, FILE_D, 0, &extent));
    assert_true(extent.shared);
}

static const struct damage damages[] = {
    {"too many owners", "the table of owners has 4 blocks at 12", too_many, expect_as_made, false},
    {"too few owners", "the table of owners has 4 blocks at 12", too_few, expect_as_made, false},
    {"no run", "4 blocks at 12 have 3 extents", missing_run, expect_as_made, false},
    {"a run that is too long", "the table of owners has 9", long_run, expect_as_made, false},
    {"a run without an end", "out of bounds", wild_run, expect_as_made, false},
    {"a run that is too short", "the table of owners has 1", short_run, expect_as_made, false},
    {"a senseless run", "have 0 extents", senseless_run, expect_as_made, false},
    {"a run of free blocks", "blocks at 60", run_of_nothing, expect_as_made, false},
    {"a run of one extent", "blocks at 40", run_of_one, expect_as_made, false},
    {"a lost mark", "repair marks it", lost_mark, expect_as_made, false},
    {"the first mark lost", "repair marks it", lost_first_mark, expect_as_made, false},
    {"a mark lost beside a record", "repair marks it", lost_mark_beside_record, expect_as_made,
     false},
    {"a needless mark", "", needless_mark, expect_mark, true},
    {"an extent that is too long", "has 7 blocks", long_extent, expect_as_made, false},
    {"an extent of a wild length", "number of blocks says 4", wild_extent, expect_as_made, false},
    {"an extent that is too short", "has 2 blocks", short_extent, expect_as_made, false},
    {"a wrong number of blocks", "is 77", wrong_blocks, expect_as_made, false},
    {"no feature bit", "feature bit", lost_bit, expect_as_made, false},
    {"another's blocks", "nothing tells which is right", wrong_block, expect_two_owners, false},
    {"shared blocks of another", "nothing tells which is right", intruder, expect_no_intruder,
     false},
    {"a lost extent", "should be 0", lost_extent, expect_fewer, false},
    {"lost attributes", "has no attributes", lost_attributes, expect_as_made, false},
    {"a lost record", "and they have others", lost_record, expect_fewer_records, false},
    {"a record that is too long", "is not in the table", long_record, expect_no_record, false},
    {"a record with another's key", "unknown kind", record_of_another, expect_no_record, false},
};

static void one_damage(const struct damage *damage)
{
    struct meta_check looked, repaired;
    char dir[64];

    print_message("%s\n", damage->name);
    new_pool(dir);
    with_txn(dir, fill);
    expect_sound(dir);
    with_txn(dir, damage->apply);
    must(check(dir, false, &looked));
    if ((looked.problems == 0) != damage->none || !strstr(said, damage->sentence))
        fail_msg("%s: %" PRIu64 " problems:\n%s", damage->name, looked.problems, said);
    must(check(dir, true, &repaired));
    assert_int_equal(repaired.repaired, repaired.problems);
    expect_sound(dir);
    with_txn(dir, damage->expect);
    remove_pool(dir);
}

static void test_each_damage(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++)
        one_damage(&damages[i]);
}

/* Every block counts once. */
static void test_counts(void **state)
{
    struct meta_check result;
    char dir[64];

    (void)state;
    new_pool(dir);
    with_txn(dir, fill);
    must(check(dir, false, &result));
    assert_int_equal(result.problems, 0);
    assert_int_equal(result.blocks_used, 10 + 4 + 2);
    remove_pool(dir);
}

/* --- a pool that shares nothing --- */

static void fill_alone(struct meta_txn *txn)
{
    struct meta_super super = small_super;

    add_file(txn, FILE_A, "a", 10, 4);
    super.inodes = 2;
    super.next_ino = NEXT_INO;
    super.fresh_block = 64;
    must(meta_super_put(txn, &super));
}

static void mark_alone(struct meta_txn *txn)
{
    put_extent(txn, FILE_A, 0, 10, 4 | META_COUNT_SHARED);
    put_owners(txn, 10, 4, 2, 0);
}

static void expect_alone(struct meta_txn *txn)
{
    struct meta_extent extent;
    struct meta_owners run;
    struct meta_super super;

    must(meta_extent_find(txn, FILE_A, 0, &extent));
    assert_true(extent.count == 4 && !extent.shared);
    assert_int_equal(meta_owners_next(txn, 0, &run), -ENOENT);
    must(meta_super_get(txn, &super));
    assert_int_equal(super.incompat, 0);
}

/* Programs that do not know the bit would misread a mark. */
static void test_no_sharing(void **state)
{
    struct meta_check result;
    char dir[64];

    (void)state;
    new_pool(dir);
    with_txn(dir, fill_alone);
    expect_sound(dir);
    with_txn(dir, mark_alone);
    must(check(dir, true, &result));
    assert_int_equal(result.problems, 2);
    assert_int_equal(result.repaired, 2);
    expect_sound(dir);
    with_txn(dir, expect_alone);
    remove_pool(dir);
}

static void set_unknown_bit(struct meta_txn *txn)
{
    struct meta_super super;

    must(meta_super_get(txn, &super));
    super.incompat |= UINT64_C(1) << 40;
    must(meta_super_put(txn, &super));
}

static void test_unknown_feature(void **state)
{
    struct meta_check result = {.repair = true, .report = note_said};
    char dir[64];

    (void)state;
    new_pool(dir);
    with_txn(dir, fill);
    with_txn(dir, set_unknown_bit);
    assert_int_equal(meta_check(dir, &result), -EOPNOTSUPP);
    assert_int_equal(result.repaired, 0);
    remove_pool(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_damage),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_no_sharing),
        cmocka_unit_test(test_unknown_feature),
    };

    return cmocka_run_group_tests_name("meta_check_shared", tests, NULL, NULL);
}
