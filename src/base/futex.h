/* SPDX-License-Identifier: MIT */
/* Futexes in memory that processes share, and the monotonic clock they count in. */
#ifndef HF_BASE_FUTEX_H
#define HF_BASE_FUTEX_H

#include <stdint.h>

#define HF_NEVER UINT64_MAX
#define HF_NS_PER_SEC UINT64_C(1000000000)
#define HF_NS_PER_MS UINT64_C(1000000)

/* CLOCK_MONOTONIC in ns; and CLOCK_REALTIME for time stamps of files (coarse: a timer tick). */
uint64_t hf_now_ns(void);
int64_t hf_wall_ns(void);

/* Sleeps while *word is `value`, until a wake, or `until_ns` (hf_now_ns(); HF_NEVER: no limit).
 * 0: woken, or the value was another already; -ETIMEDOUT; -EINTR: a signal handler ran. */
int hf_futex_wait(uint32_t *word, uint32_t value, uint64_t until_ns);

/* Wakes one that sleeps on the word; returns how many that were. */
int hf_futex_wake_one(uint32_t *word);
/* Wakes all that sleep on the word. Async-signal-safe. */
void hf_futex_wake_all(uint32_t *word);

#endif
