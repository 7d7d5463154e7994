/* SPDX-License-Identifier: MIT */
/*
 * The three fences of the pin protocol, and one between loads. A light fence on one side orders
 * against a heavy fence on the other as two full fences would. The heavy one makes every running
 * thread of every attached process execute a full fence (sys_membarrier). So the side that runs
 * often pays nothing.
 *
 * ThreadSanitizer knows no fences; in its builds the full fence is a read-modify-write, which
 * keeps the compiler and the processor honest. What it checks is the happens-before that the
 * acquire and release accesses give, and those do not rest on fences.
 */
#ifndef HF_BASE_FENCE_H
#define HF_BASE_FENCE_H

#include <stdint.h>

/* The compiler may not move memory accesses across it; the processor may. */
static inline void hf_fence_light(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Full fence: stores before it are visible to all before any load after it is made. */
static inline void hf_fence_full(void)
{
#if defined(__SANITIZE_THREAD__) || defined(__x86_64__)
    /* A locked instruction on the own stack is a full fence on x86-64, and cheaper than mfence. */
    uint32_t own = 0;
    __atomic_fetch_add(&own, 0, __ATOMIC_SEQ_CST);
    __asm__ volatile("" : : "r"(&own) : "memory");
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Full fence right after a read-modify-write with acquire and release, which is one already on
 * x86-64. */
static inline void hf_fence_after_rmw(void)
{
#ifdef __x86_64__
    hf_fence_light();
#else
    hf_fence_full();
#endif
}

/* In a loop that waits for a word: the processor's other thread gets on meanwhile. */
static inline void hf_pause(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#else
    hf_fence_light();
#endif
}

/* Loads before it are made before loads after it. */
static inline void hf_fence_loads(void)
{
#ifdef __x86_64__
    hf_fence_light();
#else
    hf_fence_full();
#endif
}

#endif
