/* SPDX-License-Identifier: MIT */
/*
 * Atomics with the memory order in the name. Beside fence.h, the only file that names the
 * compiler's atomics. Objects are plain integers of 4 or 8 bytes, also in shared memory, that are
 * only ever touched through these.
 */
#ifndef HF_BASE_ATOMIC_H
#define HF_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define hf_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define hf_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)

#define hf_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define hf_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define hf_store_seq_cst(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

#define hf_add_relaxed(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define hf_add_acq_rel(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define hf_add_seq_cst(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define hf_sub_acq_rel(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)
#define hf_or_acq_rel(p, v) __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define hf_and_acq_rel(p, v) __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)
#define hf_xchg_acq_rel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)

/* One less, with release, and one more, of a word that only this thread writes. Each is a single
 * instruction, so that a signal handler that does the same comes before it or after it. On x86-64
 * it is not a locked one. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define hf_inc_own(p) __asm__ volatile("incl %0" : "+m"(*(p)) : : "memory", "cc")
#define hf_dec_own(p) __asm__ volatile("decl %0" : "+m"(*(p)) : : "memory", "cc")
#else
#define hf_inc_own(p) ((void)__atomic_fetch_add((p), 1, __ATOMIC_RELAXED))
#define hf_dec_own(p) ((void)__atomic_fetch_sub((p), 1, __ATOMIC_RELEASE))
#endif

/* A word that only this thread writes gets a value, or some more, with release. On x86-64 plain
 * stores are that, and cost the compiler no registers. Between light fences. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define hf_store_own(p, v) ((void)(*(p) = (v)))
#define hf_add_own(p, v)                                                                           \
    __asm__ volatile("addq %1, %0" : "+m"(*(p)) : "er"((uint64_t)(v)) : "memory", "cc")
#else
#define hf_store_own(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define hf_add_own(p, v) __atomic_store_n((p), *(p) + (v), __ATOMIC_RELEASE)
#endif

/* Whether *p, loaded with acquire, is that value, below it, or above it. On x86-64 one instruction
 * compares the word where it is, and takes no register. A compiler does not do that by itself with
 * an atomic load. Between light fences. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
static inline __attribute__((always_inline)) bool hf_is(const uint64_t *p, uint64_t value)
{
    bool is;

    __asm__ volatile("cmpq %2, %1" : "=@cce"(is) : "m"(*p), "er"(value) : "memory");
    return is;
}
static inline __attribute__((always_inline)) bool hf_is_zero(const uint32_t *p)
{
    bool is;

    __asm__ volatile("cmpl $0, %1" : "=@cce"(is) : "m"(*p) : "memory");
    return is;
}
static inline __attribute__((always_inline)) bool hf_is_below(const uint64_t *p, uint64_t value)
{
    bool is;

    __asm__ volatile("cmpq %2, %1" : "=@ccb"(is) : "m"(*p), "er"(value) : "memory");
    return is;
}
static inline __attribute__((always_inline)) bool hf_is_above(const uint64_t *p, uint64_t value)
{
    bool is;

    __asm__ volatile("cmpq %2, %1" : "=@cca"(is) : "m"(*p), "er"(value) : "memory");
    return is;
}
#else
static inline bool hf_is(const uint64_t *p, uint64_t value)
{
    return hf_load_acquire(p) == value;
}
static inline bool hf_is_zero(const uint32_t *p)
{
    return hf_load_acquire(p) == 0;
}
static inline bool hf_is_below(const uint64_t *p, uint64_t value)
{
    return hf_load_acquire(p) < value;
}
static inline bool hf_is_above(const uint64_t *p, uint64_t value)
{
    return hf_load_acquire(p) > value;
}
#endif

/* True when *p was `expect` and is `want` now. */
#define hf_cas_acq_rel(p, expect, want)                                                            \
    __extension__({                                                                                \
        __typeof__(*(p)) hf_cas_expect_ = (expect);                                                \
        __atomic_compare_exchange_n((p), &hf_cas_expect_, (want), false, __ATOMIC_ACQ_REL,         \
                                    __ATOMIC_ACQUIRE);                                             \
    })

#endif
