/* SPDX-License-Identifier: MIT */
/* src/meta: a process that joins finds out what the pool is, whatever the segment says. */
#include "meta/env.h"
#include "meta_pool.h"

#include <errno.h>

/* A process that joins opens LMDB as the record says, whatever else it was told. */
static void join(const char *dir, bool said_durable, bool durable)
{
    struct meta_txn *txn;
    struct meta *meta;

    must(meta_join(dir, false, said_durable, NULL, &meta));
    assert_int_equal(meta->in_place, !durable);
    must(meta_begin_write(meta, &txn));
    must(meta_commit(txn));
    meta_close(meta);
}

static void test_join(void **state)
{
    struct meta_super super = small_super;
    struct meta *meta;
    char dir[64];

    (void)state;
    for (unsigned durable = 0; durable < 2; durable++) {
        super.flags = durable ? META_DURABLE : 0;
        new_pool_of(&super, dir);
        join(dir, durable, durable);
        join(dir, !durable, durable);
        must(meta_join(dir, true, !durable, NULL, &meta));
        meta_close(meta);
        must(meta_verify(dir, NULL, NULL));
        remove_pool(dir);
    }
    super.incompat = UINT64_C(1) << 40;
    new_pool_of(&super, dir);
    assert_int_equal(meta_join(dir, true, false, NULL, &meta), -EOPNOTSUPP);
    remove_pool(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_join)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
