/* SPDX-License-Identifier: MIT */
/*
 * src/meta: transactions of other threads inside one of a durable pool. Random changes, by the
 * thread that has begun it and by others inside it, against a model. Some of the inner ones are
 * aborted, and some of the outer. What is read afterwards is the model's. LMDB's file verifies
 * then: each page is in a tree once, or in a list of free ones once. The seed is printed.
 */
#include "meta_pool.h"

#include <errno.h>
#include <pthread.h>

#define FIRST_INO 10u
#define INODES 8u
#define PAGES 400u
#define VALUE_MAX 20000u
#define ROUNDS 200

/* A page has a block of its own, so that each is an extent of its own. */
struct content {
    bool has[INODES][PAGES];
    size_t value_len[INODES];
};

static struct content is, before;
static unsigned char value[VALUE_MAX];

static uint64_t block_of(unsigned inode, unsigned page)
{
    return 2 * ((uint64_t)inode * PAGES + page) + 1;
}

static int gone(void *arg, const struct meta_extent *run)
{
    *(uint64_t *)arg += run->count;
    return 0;
}

static void set_page(struct meta_txn *txn, unsigned inode, unsigned page)
{
    struct meta_extent extent = {page, block_of(inode, page), 1, false};

    if (is.has[inode][page])
        return;
    must(meta_extent_insert(txn, FIRST_INO + inode, &extent));
    is.has[inode][page] = true;
}

static void remove_pages(struct meta_txn *txn, unsigned inode, unsigned page, unsigned count)
{
    uint64_t removed = 0, had = 0;

    must(meta_extent_remove(txn, FIRST_INO + inode, page, count, gone, &removed));
    for (unsigned i = page; i < page + count; i++) {
        had += is.has[inode][i];
        is.has[inode][i] = false;
    }
    assert_int_equal(removed, had);
}

static void set_value(struct meta_txn *txn, unsigned inode)
{
    size_t len = 1 + (size_t)random() % VALUE_MAX;

    if (is.value_len[inode] && random() % 2) {
        must(meta_xattr_del(txn, FIRST_INO + inode, "user.a"));
        len = 0;
    } else {
        must(meta_xattr_put(txn, FIRST_INO + inode, "user.a", value, len));
    }
    is.value_len[inode] = len;
}

static void change_some(struct meta_txn *txn)
{
    for (long left = random() % 120; left; left--) {
        unsigned inode = (unsigned)random() % INODES, page = (unsigned)random() % PAGES;
        unsigned count = 1 + (unsigned)random() % 60;

        switch (random() % 12) {
        case 0:
            set_value(txn, inode);
            break;
        case 1:
        case 2:
            remove_pages(txn, inode, page, count < PAGES - page ? count : PAGES - page);
            break;
        default:
            for (unsigned i = page; i < PAGES && i < page + 8; i++)
                set_page(txn, inode, i);
        }
    }
}

static void compare(struct meta *meta)
{
    struct meta_extent extent;
    struct meta_txn *txn;
    const void *found;
    size_t len;

    must(meta_begin_read(meta, &txn));
    for (unsigned inode = 0; inode < INODES; inode++) {
        int rc = meta_xattr_get(txn, FIRST_INO + inode, "user.a", &found, &len);

        assert_int_equal(rc, is.value_len[inode] ? 0 : -ENOENT);
        if (rc == 0) {
            assert_int_equal(len, is.value_len[inode]);
            assert_memory_equal(found, value, len);
        }
        for (unsigned page = 0; page < PAGES; page++) {
            rc = meta_extent_find(txn, FIRST_INO + inode, page, &extent);
            assert_int_equal(rc == 0 && extent.page == page, is.has[inode][page]);
            if (is.has[inode][page])
                assert_int_equal(extent.block, block_of(inode, page));
        }
    }
    meta_end_read(txn);
}

static void *change_inside(void *outer)
{
    struct content old = is;
    struct meta_txn *txn;

    must(meta_begin_inside(outer, &txn));
    change_some(txn);
    if (random() % 5 < 3) {
        must(meta_commit(txn));
    } else {
        meta_abort(txn);
        is = old;
    }
    return NULL;
}

static void one_round(struct meta *meta)
{
    struct meta_txn *txn;
    pthread_t thread;

    before = is;
    must(meta_begin_write(meta, &txn));
    change_some(txn);
    for (long guests = random() % 6; guests; guests--) {
        meta_lend(txn);
        assert_int_equal(pthread_create(&thread, NULL, change_inside, txn), 0);
        pthread_join(thread, NULL);
    }
    if (random() % 4 == 0)
        change_some(txn); /* the outer one can be used again */
    if (random() % 10) {
        must(meta_commit(txn));
    } else {
        meta_abort(txn);
        is = before;
    }
}

static void test_inside(void **state)
{
    struct meta_super super = small_super;
    unsigned seed = test_seed();
    struct meta *meta;
    char dir[64];

    (void)state;
    print_message("seed %u\n", seed);
    srandom(seed);
    memset(value, 0x5a, sizeof value);
    super.flags = 1; /* HF_POOL_DURABLE */
    new_pool_of(&super, dir);
    for (int round = 0; round < ROUNDS; round += 20) {
        must(meta_open(dir, false, &meta));
        for (int i = 0; i < 20; i++) {
            one_round(meta);
            compare(meta);
        }
        meta_close(meta);
        must(meta_verify(dir, NULL, NULL));
    }
    remove_pool(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_inside)};

    return cmocka_run_group_tests_name("meta_inside", tests, NULL, NULL);
}
