/* SPDX-License-Identifier: MIT */
/* The sentence for the last call of this thread that failed. */
#include "private.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char detail[512];

const char *hf_uring_detail(void)
{
    return detail;
}

int uring_fail(int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    return rc;
}

int uring_fail_pool(int rc)
{
    return uring_fail(rc, "%s", hf_strerror_detail());
}
