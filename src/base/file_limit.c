/* SPDX-License-Identifier: MIT */
#include "base/file_limit.h"

#include <time.h>

static void only_xfsz(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGXFSZ);
}

void hf_file_limit_begin(struct hf_file_limit *limit)
{
    sigset_t xfsz, pending;

    only_xfsz(&xfsz);
    limit->ours = sigpending(&pending) == 0 && !sigismember(&pending, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &xfsz, &limit->before);
}

void hf_file_limit_end(const struct hf_file_limit *limit)
{
    const struct timespec now = {0};
    sigset_t xfsz;

    only_xfsz(&xfsz);
    while (limit->ours && sigtimedwait(&xfsz, NULL, &now) == SIGXFSZ)
        ;
    pthread_sigmask(SIG_SETMASK, &limit->before, NULL);
}
