/* SPDX-License-Identifier: MIT */
/* The tree of holds against looking at all of them, with random ranges that come and go. */
#include "dax/private.h"
#include "run_segment.h"

#include <stdlib.h>
#include <time.h>

#define HOLDS 1000u

struct kept {
    uint32_t hold;
    uint64_t key;
};

static uint32_t add(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last,
                    uint64_t key)
{
    uint32_t index = shm_hold_alloc(shm);

    assert_int_not_equal(index, SHM_NONE);
    shm->holds[index].range = (struct shm_range){first, last, SHM_WHO(1, 0)};
    shm->holds[index].vnode = vnode->index;
    shm->holds[index].lane = 0;
    shm->lanes[0].slow_pins++;
    shm->holds[index].key = key;
    shm->holds[index].state = SHM_HOLD_STATE(SHM_HOLD_PIN, 1);
    holds_insert(shm, vnode, index);
    return index;
}

static int count(void *arg, uint32_t hold)
{
    (void)hold;
    ++*(unsigned *)arg;
    return 0;
}

static unsigned found(struct shm *shm, struct shm_vnode *vnode, uint64_t first, uint64_t last)
{
    unsigned hits = 0;

    holds_settle(shm, vnode);
    assert_int_equal(holds_scan(shm, vnode, first, last, count, &hits), 0);
    return hits;
}

static unsigned expected(const struct shm *shm, const struct kept *held, uint64_t first,
                         uint64_t last)
{
    unsigned hits = 0;

    for (unsigned i = 0; i < HOLDS; i++) {
        const struct shm_range *range = &shm->holds[held[i].hold].range;

        hits += held[i].key && range->first <= last && range->last >= first;
    }
    return hits;
}

static void random_holds(void **state)
{
    struct shm *shm = *state;
    const char *given = getenv("HF_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);
    static struct kept held[HOLDS];
    struct shm_vnode *vnode;
    uint64_t generation = 1;

    print_message("HF_SEED=%u\n", seed);
    assert_int_equal(shm_vnode_get(shm, 7, &vnode), 0);
    take_mutex(&vnode->mutex);
    for (int round = 0; round < 20000; round++) {
        struct kept *one = &held[(unsigned)rand_r(&seed) % HOLDS];
        uint64_t first = (unsigned)rand_r(&seed) % 10000,
                 last = first + (unsigned)rand_r(&seed) % 50;

        if (one->key) {
            assert_true(holds_release(shm, &shm->holds[one->hold].key, one->key));
            assert_false(holds_release(shm, &shm->holds[one->hold].key, one->key));
            one->key = 0;
        } else {
            one->key = generation++ << SHM_KEY_VNODE_BITS | (vnode->index + 1);
            holds_settle(shm, vnode);
            one->hold = add(shm, vnode, first, last, one->key);
        }
        if (round % 1000 == 0)
            vnode->holds_stale = 1;
        if (round % 10 == 0)
            assert_int_equal(found(shm, vnode, first, last), expected(shm, held, first, last));
    }
    for (unsigned i = 0; i < HOLDS; i++)
        if (held[i].key)
            assert_true(holds_release(shm, &shm->holds[held[i].hold].key, held[i].key));
    assert_int_equal(found(shm, vnode, 0, UINT64_MAX), 0);
    assert_int_equal(shm->run->holds_used, 0);
    assert_int_equal(shm->lanes[0].slow_pins, 0);
    shm_unlock(&vnode->mutex);
}

/* A scan of a wrong tree finds each hold that there is, and some twice, which count once. */
static void wrong_words(void **state)
{
    struct shm *shm = *state;
    struct dax_change change = {0};
    struct kept held[8];
    struct shm_vnode *vnode;

    assert_int_equal(shm_vnode_get(shm, 8, &vnode), 0);
    take_mutex(&vnode->mutex);
    for (unsigned i = 0; i < 8; i++) {
        held[i].key = (uint64_t)(i + 1) << SHM_KEY_VNODE_BITS | (vnode->index + 1);
        held[i].hold = add(shm, vnode, i, i + 1, held[i].key);
    }
    for (unsigned i = 0; i < 8; i++) {
        unsigned hits = 0;

        shm->holds[held[i].hold].sum++;
        assert_int_equal(holds_scan(shm, vnode, 0, 100, count, &hits), 0);
        assert_in_range(hits, 8, 15);
        assert_int_equal(found(shm, vnode, 0, 100), 8);
    }
    change.holders = calloc(32, sizeof *change.holders);
    for (unsigned i = 0; i < 32; i++)
        change.holders[change.holder_count++] =
            (struct dax_holder){.at = i % 12, .key = 1, .first = i % 4, .last = 7};
    assert_int_equal(holders_order(&change), 0);
    assert_int_equal(change.holder_count, 12);
    holders_drop(&change);
    for (unsigned i = 0; i < 8; i++)
        assert_true(holds_release(shm, &shm->holds[held[i].hold].key, held[i].key));
    assert_int_equal(found(shm, vnode, 0, UINT64_MAX), 0);
    shm_unlock(&vnode->mutex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_holds),
                                       cmocka_unit_test(wrong_words)};

    return cmocka_run_group_tests_name("holds", tests, open_segment, close_segment);
}
