/* SPDX-License-Identifier: MIT */
/* The sentence of the last failure, a thread; see error.h. */
#include "base/error.h"

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

const char *hf_error_sentence(void)
{
    return sentence;
}

_Noreturn void hf_bug(const char *file, int line, const char *what)
{
    fprintf(stderr, "holdfast: broken invariant at %s:%d: %s\n", file, line, what);
    abort();
}
