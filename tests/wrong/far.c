/* SPDX-License-Identifier: MIT */
/* A pin for a device, in a slot that a look finds only by the mark of its lane. And how a pin meets
 * a change, here and in steps.c. */
#include "pool/pool.h"
#include "steps.h"
#include "sync/slots.h"

#include <sched.h>

static void *pin_far(void *unused)
{
    struct hf_file *ballast = test_file(pool, "/ballast");
    struct hf_pin near[SLOTS_OWN], pin;
    struct iovec iov;

    for (unsigned i = 0; i < SLOTS_OWN; i++)
        near[i] = test_pin(ballast, 0, TEST_PAGE, HF_PIN_READ, &iov, 1);
    pin = test_pin(victim, 0, TEST_PAGE, HF_PIN_READ, &iov, 1); /* fills the entry */
    EXPECT_EQ(hf_unpin(&pin), 0);
    pin = test_pin(victim, 0, TEST_PAGE, HF_PIN_IO_URING, &iov, 1);
    EXPECT_EQ(shm_lane(pool->fs.dax.shm)->slow_pins, 0);
    test_raise(&walked, 1);
    test_await(&go, 1);
    harmed = !test_page_is(iov.iov_base, OURS, 0);
    EXPECT_EQ(hf_unpin(&pin), 0);
    for (unsigned i = 0; i < SLOTS_OWN; i++)
        EXPECT_EQ(hf_unpin(&near[i]), 0);
    EXPECT_EQ(hf_close(ballast), 0);
    return unused;
}

void change_beside(pthread_t pinner)
{
    pthread_t changer;

    test_await(&walked, 1);
    EXPECT_EQ(pthread_create(&changer, NULL, change, NULL), 0);
    while (!test_peek(&changed) && !change_waits())
        sched_yield();
    test_raise(&go, 1);
    pthread_join(pinner, NULL);
    pthread_join(changer, NULL);
}

void pin_far_beside_change(bool unused)
{
    pthread_t pinner;

    (void)unused;
    EXPECT_EQ(pthread_create(&pinner, NULL, pin_far, NULL), 0);
    change_beside(pinner);
}
