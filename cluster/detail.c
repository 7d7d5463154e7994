/* SPDX-License-Identifier: MIT */
/* The sentence for the last call of this thread that failed. */
#include "members.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char detail[512];

const char *cluster_detail(void)
{
    return detail;
}

int cluster_fail(int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    return rc;
}
