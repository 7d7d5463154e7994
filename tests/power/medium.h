/* SPDX-License-Identifier: MIT */
/*
 * The medium while the log goes by: for each file and directory, what is on it for certain, and
 * what else may be. A page may have any of the contents that it has had since it was last synced.
 * It may also be torn between two sectors. A file may have any of its lengths since then, and a
 * name may be there or not. All of this is independent.
 */
#ifndef HF_TESTS_POWER_MEDIUM_H
#define HF_TESTS_POWER_MEDIUM_H

#include "record.h"

#define MEDIUM_PAGES (POWER_FILE_BYTES / POWER_PAGE)
#define MEDIUM_PENDING 20000u

struct medium_file {
    bool named;
    uint64_t bytes;
    uint64_t pages[MEDIUM_PAGES]; /* offset in the arena + 1; 0: zeros */
};

struct medium {
    const struct power_log *log;
    struct medium_file files[POWER_FILES];
    unsigned pending_count;
    uint32_t pending[MEDIUM_PENDING]; /* records that may have reached it, in their order */
};

/* What of the pending records a cut leaves. */
struct medium_cut {
    uint64_t taken[MEDIUM_PENDING / 64 + 1];
    /* Pending record, of which only the first `sectors` are there; MEDIUM_PENDING: none. */
    uint32_t torn;
    uint32_t sectors;
};

/* The next record. */
void medium_go(struct medium *medium, uint32_t record);

/* A number that is the same for the same content. */
uint64_t medium_hash(const struct medium *medium, const struct medium_cut *cut);

/* Puts it into the directory `path`, which is not there yet. */
void medium_place(const struct medium *medium, const struct medium_cut *cut, const char *path);

static inline bool medium_takes(const struct medium_cut *cut, unsigned i)
{
    return cut->taken[i / 64] >> i % 64 & 1;
}

static inline void medium_take(struct medium_cut *cut, unsigned i, bool take)
{
    if (take)
        cut->taken[i / 64] |= UINT64_C(1) << i % 64;
    else
        cut->taken[i / 64] &= ~(UINT64_C(1) << i % 64);
}

#endif
