/* SPDX-License-Identifier: MIT */
/*
 * Owns the depth of the calling thread's sections; see may_sleep.h. A signal handler that
 * interrupts one of these functions leaves the depth as it found it, so a plain count is enough.
 */
#include "base/may_sleep.h"

#if defined(HF_DEBUG) || defined(HF_LAB)

#include <execinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define FRAMES 64

static _Thread_local unsigned depth;

/* The first backtrace() of a process loads the unwinder, which allocates. Done here, so that the
 * one in a signal handler that interrupted malloc() does not wait for ever. */
__attribute__((constructor)) static void load_unwinder(void)
{
    void *frame;

    backtrace(&frame, 1);
}

/* No stdio: the thread that a signal handler interrupted may have it locked. */
static _Noreturn void die(const char *call, const char *what)
{
    struct iovec text[] = {
        {(char *)"holdfast: ", strlen("holdfast: ")},
        {(char *)call, strlen(call)},
        {(char *)what, strlen(what)},
    };
    void *frames[FRAMES];

    if (writev(STDERR_FILENO, text, 3) >= 0)
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES), STDERR_FILENO);
    abort();
}

void hf_may_sleep(const char *call)
{
    if (depth)
        die(call, "() may sleep, called between hf_atomic_begin() and hf_atomic_end():\n");
}

void hf_section_begin(void)
{
    depth++;
}

void hf_section_end(void)
{
    if (!depth)
        die("hf_atomic_end", "() without its hf_atomic_begin():\n");
    depth--;
}

#endif
