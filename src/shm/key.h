/* SPDX-License-Identifier: MIT */
/*
 * Keys: the word that says which pin a slot or a hold is for. A key is a generation, the flags of
 * the pin, and the index of its vnode + 1; 0 is free. Two pins in one word have different keys,
 * unless 2^36 pins were between them. So one compare-and-swap tells whether a pin is still there.
 */
#ifndef HF_SHM_KEY_H
#define HF_SHM_KEY_H

#include <stdbool.h>
#include <stdint.h>

/* A cache line. */
#define SHM_LINE __attribute__((aligned(64)))
/* Not an index. */
#define SHM_NONE UINT32_MAX

#define SHM_KEY_VNODE_BITS 20u
#define SHM_KEY_VNODE_MASK ((UINT64_C(1) << SHM_KEY_VNODE_BITS) - 1)
/* A slot that a signal handler is about to fill. */
#define SHM_KEY_CLAIMED SHM_KEY_VNODE_MASK
#define SHM_MAX_FILES ((uint32_t)SHM_KEY_VNODE_MASK - 1)

#define SHM_KEY_FLAG_BITS 8u
#define SHM_KEY_STEP (UINT64_C(1) << (SHM_KEY_VNODE_BITS + SHM_KEY_FLAG_BITS))
#define SHM_KEY_FLAGS(key) ((uint32_t)((key) >> SHM_KEY_VNODE_BITS) & 0xff)

static inline uint64_t shm_key_flags(uint32_t flags)
{
    return (uint64_t)flags << SHM_KEY_VNODE_BITS;
}
static inline uint64_t shm_key(uint64_t generation, uint32_t flags, uint32_t vnode)
{
    return generation + shm_key_flags(flags) + vnode + 1;
}

/* Something else than a CPU touches the memory of a pin with these flags. */
#define SHM_FOR_DEVICE(flags) (((flags)&HF_PIN_GPU) != HF_PIN_CPU)

/* What a pin covers, file pages [first, last], and its owner: thread id << 32 | HF_PIN_*. */
struct shm_range {
    uint64_t first, last;
    uint64_t who;
};
#define SHM_WHO(tid, flags) ((uint64_t)(tid) << 32 | (flags))
#define SHM_WHO_TID(who) ((uint32_t)((who) >> 32))
#define SHM_WHO_FLAGS(who) ((uint32_t)(who))

/* The pages of a slot in one word, since the numbers of pages have 32 bits: how many follow the
 * first << 32, and the first. */
#define SHM_PAGES(first, last) ((uint64_t)((last) - (first)) << 32 | (first))
#define SHM_PAGES_FIRST(pages) ((pages)&UINT32_MAX)
#define SHM_PAGES_LAST(pages) (SHM_PAGES_FIRST(pages) + ((pages) >> 32))

#endif
