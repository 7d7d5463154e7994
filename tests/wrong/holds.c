/* SPDX-License-Identifier: MIT */
/* A hold that ends while its file's vnode is about to go. */
#include "dax/dax.h"
#include "fs/fs.h"
#include "shm/shm.h"
#include "steps.h"

#include <fcntl.h>
#include <pthread.h>

static struct shm_vnode *going;

static void *shrink_stepped(void *unused)
{
    hf_lab_stepped = true;
    dax_shrink_vnode(&victim->fs->dax, going);
    hf_lab_stepped = false;
    return unused;
}

/* Of a file that is not open. */
static void give_up_lease(void)
{
    struct hf_file *file = test_file_filled(pool, "/leased", OURS, 1);
    struct hf_lease_options options = {.size = sizeof(options)};
    struct hf_lease lease;
    struct iovec iov;

    EXPECT_EQ(hf_fsync(file), 0);
    EXPECT_EQ(hf_lease(file, 0, TEST_PAGE, &options, &iov, 1, &lease), 1);
    EXPECT_EQ(hf_lease_quarantine(&lease), 0);
    going = file->vnode;
    EXPECT_EQ(hf_close(file), 0);
}

/* Its quarantine ends between two steps of the thread that lets the vnode go. Its entry in the
 * table of leases is free after that. */
void end_lease_beside_shrink(bool unused)
{
    struct shm *shm = victim->fs->dax.shm;
    pthread_t shrinker;

    (void)unused;
    make_room();
    give_up_lease();
    EXPECT_EQ(shm_holds_in_use(shm), 1);
    stand_at(HF_LAB_SHRINKS);
    EXPECT_EQ(pthread_create(&shrinker, NULL, shrink_stepped, NULL), 0);
    test_await(&walked, 1);
    for (uint32_t i = 0; i < shm_holds_high(shm); i++)
        shm->holds[i].ends_ns = 0;
    shm_reap(shm);
    test_raise(&go, 1);
    pthread_join(shrinker, NULL);
    dax_settle_holds(&victim->fs->dax);
    for (uint32_t i = 0; i < shm_holds_high(shm); i++)
        harmed |= shm->holds[i].state != SHM_HOLD_FREE;
}
