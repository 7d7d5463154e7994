/* SPDX-License-Identifier: MIT */
/* Blocks with several owners, against arrays: the table of owners, the marks of extents, and
 * detached records of one block. */
#include "meta_pool.h"

#include <errno.h>

#define BLOCKS 96u
#define FIRST 500u /* of the blocks */

struct counts {
    uint32_t extents, records;
};

struct model {
    struct meta_txn *txn;
    struct counts now[BLOCKS];
    struct counts told[BLOCKS]; /* what the last change has said */
};

static bool exclusive(const struct counts *counts)
{
    return counts->extents == 1 && counts->records == 0;
}

static bool alike(const struct counts *a, const struct counts *b)
{
    return a->extents == b->extents && a->records == b->records;
}

static int changed(void *arg, const struct meta_owners *before, const struct meta_owners *after)
{
    struct model *model = arg;

    assert_int_equal(before->block, after->block);
    assert_int_equal(before->count, after->count);
    for (uint64_t i = 0; i < before->count; i++) {
        const struct counts *was = &model->now[before->block - FIRST + i];

        assert_true(before->extents == was->extents && before->records == was->records);
        model->told[before->block - FIRST + i] = (struct counts){after->extents, after->records};
    }
    return 0;
}

/* What nothing names is taken by a new extent at once. */
static void change(struct model *model, uint64_t at, uint64_t count, int extents, int records)
{
    bool lacks = false;
    int rc;

    memcpy(model->told, model->now, sizeof model->told);
    for (uint64_t i = at; i < at + count; i++)
        lacks |= (extents < 0 && model->now[i].extents == 0) ||
                 (records < 0 && model->now[i].records == 0);
    if (lacks)
        return;
    rc = meta_owners_change(model->txn, FIRST + at, count, extents, records, changed, model);
    must(rc);
    for (uint64_t i = at; i < at + count; i++) {
        struct counts *now = &model->now[i];

        now->extents += (uint32_t)extents;
        now->records += (uint32_t)records;
        assert_true(alike(now, &model->told[i]));
        if (now->extents + now->records == 0)
            now->extents = 1;
    }
}

static void expect_table(struct model *model)
{
    struct meta_owners run;
    uint64_t at = 0;

    while (at < BLOCKS) {
        uint64_t end = at + 1;

        while (end < BLOCKS && alike(&model->now[end], &model->now[at]))
            end++;
        must(meta_owners_find(model->txn, FIRST + at, BLOCKS - at, &run));
        assert_int_equal(run.count, end - at);
        assert_true(run.extents == model->now[at].extents && run.records == model->now[at].records);
        if (!exclusive(&model->now[at])) {
            must(meta_owners_next(model->txn, FIRST + at, &run));
            assert_int_equal(run.block, FIRST + at);
            assert_int_equal(run.count, end - at);
        }
        at = end;
    }
}

static void test_owners(void **state)
{
    unsigned seed = test_seed();
    struct model model = {0};
    struct meta *meta;
    char dir[64];

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &model.txn));
    for (unsigned i = 0; i < BLOCKS; i++)
        model.now[i].extents = 1;
    for (int i = 0; i < 20000; i++) {
        uint64_t at = (uint64_t)random() % BLOCKS, count = 1 + (uint64_t)random() % 20;

        count = count < BLOCKS - at ? count : BLOCKS - at;
        change(&model, at, count, (int)(random() % 3) - 1, (int)(random() % 3) - 1);
        if (i % 4 == 0)
            expect_table(&model);
        if (i % 50 == 0) {
            must(meta_commit(model.txn));
            must(meta_begin_write(meta, &model.txn));
        }
    }
    must(meta_commit(model.txn));
    meta_close(meta);
    must(meta_verify(dir, NULL, NULL));
    remove_pool(dir);
}

static void test_lost_name(void **state)
{
    struct model model = {.now = {{1, 0}}};
    struct meta *meta;
    char dir[64];

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &model.txn));
    assert_int_equal(meta_owners_change(model.txn, FIRST, 1, 0, -1, changed, &model), -EUCLEAN);
    must(meta_owners_change(model.txn, FIRST, 1, -1, 0, changed, &model));
    assert_int_equal(model.told[0].extents, 0);
    meta_abort(model.txn);
    meta_close(meta);
    remove_pool(dir);
}

/* ---- marks ---- */

#define PAGES 64u

static void expect_marks(struct meta_txn *txn, const bool *shared)
{
    struct meta_extent extent;
    uint64_t page = 0;

    while (page < PAGES) {
        uint64_t end = page + 1;

        while (end < PAGES && shared[end] == shared[page])
            end++;
        must(meta_extent_find(txn, 2, page, &extent));
        assert_int_equal(extent.page, page);
        assert_int_equal(extent.block, FIRST + page);
        assert_int_equal(extent.count, end - page);
        assert_int_equal(extent.shared, shared[page]);
        page = end;
    }
}

static void test_marks(void **state)
{
    bool shared[PAGES] = {false};
    struct meta_txn *txn;
    struct meta *meta;
    char dir[64];

    (void)state;
    srandom(test_seed());
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    add_file(txn, 2, "it", FIRST, PAGES);
    for (int i = 0; i < 2000; i++) {
        uint64_t page = (uint64_t)random() % PAGES, count = 1 + (uint64_t)random() % PAGES;
        bool to = random() % 2;

        must(meta_extent_mark(txn, 2, page, count, to)); /* what has no blocks stays a hole */
        for (uint64_t at = page; at < PAGES && at < page + count; at++)
            shared[at] = to;
        expect_marks(txn, shared);
    }
    must(meta_commit(txn));
    meta_close(meta);
    must(meta_verify(dir, NULL, NULL));
    remove_pool(dir);
}

/* ---- detached records ---- */

static void test_records_of_one_block(void **state)
{
    struct meta_detached runs[] = {{70, 3, 0, 12, false},
                                   {80, 3, 5, 12, true},
                                   {80, 2, 5, 40, true},
                                   {80, 3, 6, 0, true},
                                   {81, 1, 4, 7, true}};
    struct meta_detached found;
    struct meta_txn *txn;
    struct meta *meta;
    char dir[64];

    (void)state;
    new_pool(dir);
    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    for (unsigned i = 5; i-- > 0;)
        must(meta_detached_put(txn, &runs[i]));
    must(meta_detached_from(txn, 0, &found));
    for (unsigned i = 0; i < 5; i++) {
        assert_true(found.block == runs[i].block && found.count == runs[i].count &&
                    found.ino == runs[i].ino && found.page == runs[i].page &&
                    found.shared == runs[i].shared);
        assert_int_equal(meta_detached_after(txn, &found, &found), i < 4 ? 0 : -ENOENT);
    }
    must(meta_detached_del(txn, &runs[2]));
    assert_int_equal(meta_detached_get(txn, &runs[2], &found), -ENOENT);
    must(meta_detached_get(txn, &runs[3], &found));
    assert_int_equal(found.ino, 6);
    must(meta_commit(txn));
    meta_close(meta);
    remove_pool(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_lost_name),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_records_of_one_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
