/* SPDX-License-Identifier: MIT */
/* A pin goes while what it held is detached, and a reclaim is not asked for. */
#include "steps.h"

#include "fs/fs.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

/* As slots_leave(), whose store is on its way while it looks whether anybody wants to know. */
static void leave(const struct hf_file *file, const struct hf_pin *pin)
{
    hf_lab_keep((uint64_t *)(uintptr_t)pin->hf_opaque[0], 0);
    EXPECT_EQ(test_peek(&file->vnode->waiters), 0);
}

/* All that was asked for is done before the store arrives. Then nobody asks again. */
static void look_for_detached(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(hf_pool_info(pool, &info), 0);
        if (i == 1)
            hf_lab_drain();
    }
    harmed = info.detached_bytes != 0;
}

static void *detach(void *unused)
{
    hf_lab_stepped = true;
    EXPECT_EQ(hf_truncate(victim, 0, &test_detach), 0);
    hf_lab_stepped = false;
    return unused;
}

void detach_beside_leave(bool unused)
{
    struct iovec iov;
    struct hf_pin held = test_pin(victim, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    pthread_t changer;

    (void)unused;
    stand_at(HF_LAB_COMMITTED);
    EXPECT_EQ(pthread_create(&changer, NULL, detach, NULL), 0);
    test_await(&walked, 1);
    leave(victim, &held);
    test_raise(&go, 1);
    pthread_join(changer, NULL);
    look_for_detached();
}

static void die_committed(enum hf_lab_point point)
{
    if (point == HF_LAB_COMMITTED)
        raise(SIGKILL);
}

static void detach_and_die(void *unused)
{
    pool = test_pool_open("pool");
    victim = test_file(pool, "/victim");
    hf_lab_at = die_committed;
    detach(unused);
}

/* The process that detaches is killed after its commit, and this one mends what it has left. */
void mend_beside_leave(bool unused)
{
    struct iovec iov;
    struct hf_pin held;
    int status;

    (void)unused;
    test_remove_tree(test_path("pool")); /* of the turn before */
    pool = test_engine_pool(engine, "pool", TEST_MIB(8));
    victim = test_file_filled(pool, "/victim", OURS, 1);
    held = test_pin(victim, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    status = test_wait_status(test_fork(detach_and_die, NULL));
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    leave(victim, &held);
    look_for_detached();
}
