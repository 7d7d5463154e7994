/* SPDX-License-Identifier: MIT */
/* Which layout changes that end without having changed anything are counted, and as what. */
#include "dax/private.h"
#include "pool/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

#include "anonymous_pool.h"

static const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};
static const struct hf_policy soon = {.kind = HF_POLICY_DEADLINE, .deadline_ns = 1000000};

static struct hf_file *file;
static pthread_barrier_t turn;

static void *hold_layout_mutex(void *state)
{
    struct hf_pool *pool = state;

    assert_int_equal(dax_lock_any(&pool->fs.dax, file->vnode), 0);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    dax_unlock(&pool->fs.dax, file->vnode);
    return NULL;
}

static struct hf_stats stats_of(struct hf_pool *pool)
{
    struct hf_stats stats = {.size = sizeof stats};

    assert_int_equal(hf_stats(pool, &stats), 0);
    return stats;
}

static void assert_counts(struct hf_pool *pool, uint64_t timed_out, uint64_t busy)
{
    struct hf_stats stats = stats_of(pool);

    assert_int_equal(stats.timed_out, timed_out);
    assert_int_equal(stats.busy, busy);
    assert_int_equal(stats.cancelled, 0);
    assert_int_equal(stats.own_pins, 0);
    assert_int_equal(stats.deadlocks, 0);
}

/* Its own mutex, which another thread has: the change ends before it has a gate. */
static void a_lock_counts(void **state)
{
    struct hf_pool *pool = *state;
    pthread_t holder;

    assert_int_equal(hf_open(pool, "/f", O_RDWR | O_CREAT, 0600, &file), 0);
    assert_int_equal(hf_write(file, "bytes", 5, 0), 5);
    assert_int_equal(pthread_barrier_init(&turn, NULL, 2), 0);
    assert_int_equal(pthread_create(&holder, NULL, hold_layout_mutex, pool), 0);
    pthread_barrier_wait(&turn);
    assert_int_equal(hf_truncate(file, 0, &soon), -ETIMEDOUT);
    assert_counts(pool, 1, 0);
    assert_int_equal(hf_truncate(file, 0, &nowait), -EBUSY);
    assert_counts(pool, 1, 1);
    pthread_barrier_wait(&turn);
    assert_int_equal(pthread_join(holder, NULL), 0);
    assert_int_equal(hf_truncate(file, 0, &nowait), 0);
    assert_counts(pool, 1, 1);
    assert_int_equal(hf_close(file), 0);
}

/* Neither errors of other causes than a wait, nor what the caller did wrong. */
static void other_errors_do_not_count(void **state)
{
    struct hf_pool *pool = *state;
    static const int others[] = {0, -ENOLCK, -EUCLEAN, -ENOMEM, -EIO, -ENOSPC};

    assert_int_equal(hf_open(pool, "/g", O_RDWR | O_CREAT, 0600, &file), 0);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(dax_count_end(&pool->fs.dax, others[i]), others[i]);
    assert_int_equal(hf_truncate(file, UINT64_MAX, &soon), -EFBIG);
    assert_int_equal(hf_fallocate(file, 0, 0, UINT64_C(1) << 40, &soon), -ENOSPC);
    assert_int_equal(hf_fallocate(file, HF_FALLOC_COLLAPSE_RANGE, 0, 1, &soon), -EINVAL);
    assert_counts(pool, 1, 1);
    assert_int_equal(hf_close(file), 0);
}

static int open_pool(void **state)
{
    return open_pool_of(state, 16 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_counts),
        cmocka_unit_test(other_errors_do_not_count),
    };

    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
