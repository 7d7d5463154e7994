/* SPDX-License-Identifier: MIT */
/* A block that is put in place, and what makes the bitmap or frees blocks meanwhile. */
#include "fs/fs.h"
#include "pool/pool.h"
#include "steps.h"

#include <errno.h>
#include <holdfast/put.h>
#include <pthread.h>
#include <sched.h>

/* The bitmap is made again, as after a death in a transaction: what is put is not free there. */
void put_beside_death(bool unused)
{
    struct hf_file *file = test_file(pool, "/put");
    struct iovec iov;
    struct hf_put put;

    (void)unused;
    make_room();
    EXPECT_EQ(hf_put_begin(file, 0, TEST_PAGE, HF_PIN_CPU, &iov, 1, &put), 1);
    test_page_fill(iov.iov_base, OURS, 0);
    victim->fs->dax.shm->run->space_stale = 1;
    test_fill_pool(other, THEIRS, 0);
    EXPECT_EQ(hf_put_commit(file, &put, TEST_PAGE), 0);
    harmed = test_wrong_pages(file, OURS, 1) != 0;
    EXPECT_EQ(hf_close(file), 0);
}

static struct iovec put_at;

static void *sweep_stepped(void *unused)
{
    hf_lab_stepped = true;
    fs_reclaim(victim->fs);
    hf_lab_stepped = false;
    return unused;
}

static void *begin_put_for_device(void *unused)
{
    struct hf_file *file = test_file(pool, "/put");
    struct hf_put put; /* is never ended */

    EXPECT_EQ(hf_put_begin(file, 0, TEST_PAGE, HF_PIN_RDMA, &put_at, 1, &put), 1);
    test_page_fill(put_at.iov_base, OURS, 0);
    test_raise(&tried, 1);
    return unused;
}

/* What an earlier segment left is swept, and a put begins. Its record is not of that segment. */
void put_beside_sweep(bool unused)
{
    struct shm_run *run = victim->fs->dax.shm->run;
    pthread_t sweeper, putter;

    (void)unused;
    make_room();
    stand_at(HF_LAB_CLAIMS);
    run->ghost_gone = 1; /* as when the last quarantine of that segment has ended */
    EXPECT_EQ(pthread_create(&sweeper, NULL, sweep_stepped, NULL), 0);
    test_await(&walked, 1);
    EXPECT_EQ(pthread_create(&putter, NULL, begin_put_for_device, NULL), 0);
    while (!test_peek(&tried) && !shm_lock_is_wanted(&run->space_mutex))
        sched_yield();
    test_raise(&go, 1);
    pthread_join(sweeper, NULL);
    pthread_join(putter, NULL);
    test_fill_pool(other, THEIRS, 0);
    harmed = !test_page_is(put_at.iov_base, OURS, 0);
}
