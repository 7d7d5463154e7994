/* SPDX-License-Identifier: MIT */
/* The sentence for the last call of this thread that failed, and how threads are made. */
#include "members.h"

#include <signal.h>
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

int cluster_thread(pthread_t *out, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}
