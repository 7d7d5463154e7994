/* SPDX-License-Identifier: MIT */
/*
 * Sections in which a thread may not sleep, and the check that it does not: what hf_atomic_begin()
 * and hf_atomic_end() rest on. Checked in debug builds (-DHF_DEBUG) and lab builds (-DHF_LAB); in
 * others nothing of it is left. Async-signal-safe.
 */
#ifndef HF_BASE_MAY_SLEEP_H
#define HF_BASE_MAY_SLEEP_H

#if defined(HF_DEBUG) || defined(HF_LAB)

/* `call` may sleep, whether it does this time or not: inside a section prints its name and the
 * stack, and aborts. */
void hf_may_sleep(const char *call);

/* Sections of the calling thread; they nest. An end without its begin aborts. */
void hf_section_begin(void);
void hf_section_end(void);

#else

static inline void hf_may_sleep(const char *call)
{
    (void)call;
}

static inline void hf_section_begin(void)
{
}

static inline void hf_section_end(void)
{
}

#endif

#endif
