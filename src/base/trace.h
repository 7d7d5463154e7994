/* SPDX-License-Identifier: MIT */
/*
 * Trace points for bpftrace, perf, SystemTap and gdb: a nop each, and a note in the library that
 * says where its arguments are. Their table is in docs/TRACING.md. Pins that stay on the fast path
 * pass none.
 */
#ifndef HF_BASE_TRACE_H
#define HF_BASE_TRACE_H

#if defined(__has_include) && __has_include(<sys/sdt.h>)

#define SDT_USE_VARIADIC
#include <sys/sdt.h>

#define HF_TRACE(name, ...) STAP_PROBEV(holdfast, name, __VA_ARGS__)

#else

static inline void hf_trace_nothing(int ignored, ...)
{
    (void)ignored;
}
/* The arguments are still checked, and count as used. */
#define HF_TRACE(name, ...)                                                                        \
    do {                                                                                           \
        if (0)                                                                                     \
            hf_trace_nothing(0, __VA_ARGS__);                                                      \
    } while (0)

#endif

#endif
