/* SPDX-License-Identifier: MIT */
/*
 * Owns the sentence of each thread's last failure; see error.h. It is a buffer of the thread, so no
 * lock and no allocation is needed, also where a failure is that of an allocation.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char sentence[512];

int hf_fail(int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return -err;
}

int hf_fail_errno(int err, const char *format, ...)
{
    char text[128];
    va_list args;
    size_t used;

    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    used = strlen(sentence);
    snprintf(sentence + used, sizeof sentence - used, ": %s", strerror_r(err, text, sizeof text));
    return -err;
}

int hf_fail_map(int err, const char *what)
{
    if (err == ENOMEM)
        return hf_fail(err,
                       "this process has no addresses left for %s: raise its limit (ulimit -v, "
                       "RLIMIT_AS); holdfast(7) says how many a pool takes",
                       what);
    return hf_fail_errno(err, "cannot map %s", what);
}

const char *hf_error_sentence(void)
{
    return sentence;
}

_Noreturn void hf_bug(const char *file, int line, const char *what)
{
    fprintf(stderr, "holdfast: broken invariant at %s:%d: %s\n", file, line, what);
    abort();
}
