/* SPDX-License-Identifier: MIT */
/*
 * What the three opaque words of a handle say, in a pin and in a lease. The first is the address of
 * the key word, with a tag in its low bits. The second is the key, the third the pool. In the
 * handle of a pin in a slot, the third is instead this process's entry for the lane, which names
 * the pool. The handle of a counted pin has words of its own in place of the first two
 * (pin_counted.c).
 */
#ifndef HF_DAX_HANDLE_H
#define HF_DAX_HANDLE_H

#include "holdfast/holdfast.h"
#include "shm/shm.h"

/* The key word is a hold's, not a slot's. */
#define DAX_PIN_HOLD UINT64_C(1)
/* With HOLD: there is no key word, the blocks are counted. */
#define DAX_PIN_COUNTED UINT64_C(2)

/* Of a pin in a slot; the first all but its key. */
static inline void dax_fill_slot(struct hf_pin *pin, const struct shm_lane_of_thread *lane,
                                 uint64_t *word)
{
    pin->hf_opaque[0] = (uint64_t)(uintptr_t)word;
    pin->hf_opaque[2] = (uint64_t)(uintptr_t)lane;
}
static inline void dax_fill_pin(struct hf_pin *pin, const struct shm_lane_of_thread *lane,
                                uint64_t *word, uint64_t key)
{
    dax_fill_slot(pin, lane, word);
    pin->hf_opaque[1] = key;
}

/* Of a pin that is a hold. */
static inline void dax_fill_held_pin(struct hf_pin *pin, struct shm *shm, struct shm_hold *hold,
                                     uint64_t key)
{
    pin->hf_opaque[0] = (uint64_t)(uintptr_t)&hold->key | DAX_PIN_HOLD;
    pin->hf_opaque[1] = key;
    pin->hf_opaque[2] = (uint64_t)(uintptr_t)shm;
}

/* Null: the handle is not a pin's, or the pool is closed. */
static inline struct shm *dax_handle_shm(const struct hf_pin *pin)
{
    const struct shm_lane_of_thread *lane;

    if (pin->hf_opaque[0] & DAX_PIN_HOLD)
        return (struct shm *)(uintptr_t)pin->hf_opaque[2];
    lane = (const struct shm_lane_of_thread *)(uintptr_t)pin->hf_opaque[2];
    return lane ? lane->shm : NULL;
}

static inline void dax_fill_lease(struct hf_lease *lease, const struct shm *shm,
                                  const struct shm_hold *hold, uint64_t key)
{
    lease->hf_opaque[0] = (uint64_t)(uintptr_t)&hold->key | DAX_PIN_HOLD;
    lease->hf_opaque[1] = key;
    lease->hf_opaque[2] = (uint64_t)(uintptr_t)shm;
}

/* The hold that the first word names; its key is its first member. */
static inline struct shm_hold *dax_handle_hold(uint64_t opaque)
{
    return (struct shm_hold *)(uintptr_t)(opaque & ~(DAX_PIN_HOLD | DAX_PIN_COUNTED));
}

#endif
