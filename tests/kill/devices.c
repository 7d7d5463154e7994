/* SPDX-License-Identifier: MIT */
/*
 * More pins for devices than a thread has slots. 28 of them are for all pins and 40 for devices
 * alone; what is beyond them is a hold. The process is killed while it has pins of all three kinds.
 */
#include "kill.h"

#define OWN_SLOTS 28u
#define DEVICE_PINS 70u
#define OF_EACH_KIND 23u /* each 23rd pin: own slots, one for devices, a hold */

static struct hf_pin pins[DEVICE_PINS];

static void pin_for_device(struct hf_file *file, unsigned which)
{
    struct iovec iov;

    EXPECT_OK(hf_pin(file, which % 5 * TEST_PAGE, 1000, HF_PIN_WRITE | HF_PIN_RDMA, &iov, 1,
                     &pins[which]));
}

void kill_fill_own_slots(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    for (unsigned i = 0; i < OWN_SLOTS; i++)
        pin_for_device(file, i);
}

void kill_fill_all_slots(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    for (unsigned i = 0; i < DEVICE_PINS; i++)
        pin_for_device(file, i);
}

/* All pins go at the end: of a process that was only stopped, others would wait for them. */
static void release(unsigned first, unsigned step)
{
    for (unsigned i = first; i < DEVICE_PINS; i += step)
        EXPECT_EQ(hf_unpin(&pins[i]), 0);
}

void kill_pin_beyond_slots(struct hf_pool *pool, struct hf_file *file)
{
    (void)pool;
    for (unsigned i = OWN_SLOTS; i < DEVICE_PINS; i++)
        pin_for_device(file, i);
    release(0, OF_EACH_KIND);
    for (unsigned i = 0; i < DEVICE_PINS; i += OF_EACH_KIND)
        pin_for_device(file, i);
    release(0, 1);
}

/* The blocks leave the file while pins of each kind hold them. */
void kill_release_detached(struct hf_pool *pool, struct hf_file *file)
{
    EXPECT_EQ(hf_truncate(file, TEST_PAGE, &test_detach), 0);
    kill_step(pool);
    release(0, 2);
    release(1, 2);
}
