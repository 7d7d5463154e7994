/* SPDX-License-Identifier: MIT */
/* A pool that is changed behind meta's back, and checked. */
#ifndef HF_TESTS_META_CHECKED_H
#define HF_TESTS_META_CHECKED_H

#include "meta_pool.h"

#include <inttypes.h>

static char said[16384]; /* by the last check */

static inline void note_said(void *arg, const char *sentence)
{
    size_t len = strlen(said);

    (void)arg;
    snprintf(said + len, sizeof said - len, "%s\n", sentence);
}

static inline int check(const char *dir, bool repair, struct meta_check *out)
{
    *out = (struct meta_check){.repair = repair, .report = note_said};
    said[0] = '\0';
    return meta_check(dir, out);
}

static inline void expect_sound(const char *dir)
{
    struct meta_check result;

    must(check(dir, false, &result));
    if (result.problems != 0)
        fail_msg("%" PRIu64 " problems:\n%s", result.problems, said);
}

static inline void with_txn(const char *dir, void (*step)(struct meta_txn *txn))
{
    struct meta_txn *txn;
    struct meta *meta;

    must(meta_open(dir, false, &meta));
    must(meta_begin_write(meta, &txn));
    step(txn);
    must(meta_commit(txn));
    meta_close(meta);
}

#endif
