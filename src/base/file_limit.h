/* SPDX-License-Identifier: MIT */
/*
 * A file may not grow past the process's limit (RLIMIT_FSIZE, `ulimit -f`): the call that tries
 * fails with EFBIG, and SIGXFSZ ends the process. Between the two calls it only fails. They are
 * called by the same thread, and do not nest.
 */
#ifndef HF_BASE_FILE_LIMIT_H
#define HF_BASE_FILE_LIMIT_H

#include <signal.h>
#include <stdbool.h>

struct hf_file_limit {
    sigset_t before;
    /* It was not pending, so what is pending at the end is ours. */
    bool ours;
};

void hf_file_limit_begin(struct hf_file_limit *limit);
void hf_file_limit_end(const struct hf_file_limit *limit);

#endif
