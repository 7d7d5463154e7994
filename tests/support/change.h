/* SPDX-License-Identifier: MIT */
/*
 * Every kind of layout change, done to the same file of stamped pages, and what the file must be
 * before and after. A change can also run in a thread of its own, so that the caller may hold pins.
 */
#ifndef HF_TESTS_CHANGE_H
#define HF_TESTS_CHANGE_H

#include "support.h"

#include <pthread.h>

#define CHANGE_PAGES 16 /* of the file before */
#define CHANGE_FIRST 4  /* first page of the range */
#define CHANGE_COUNT 4  /* pages of the range */
#define CHANGE_STAMP 77

enum change_kind {
    CHANGE_TRUNCATE,
    CHANGE_PUNCH,
    CHANGE_ZERO,
    CHANGE_COLLAPSE,
    CHANGE_INSERT,
    CHANGE_MOVE,
    CHANGE_UNLINK,
    CHANGE_KINDS
};

extern const char *const change_names[CHANGE_KINDS];

/* Makes the file; for CHANGE_UNLINK the caller closes it before the change. */
struct hf_file *change_prepare(struct hf_pool *pool, const char *path);
int change_run(struct hf_pool *pool, struct hf_file *file, const char *path, enum change_kind kind,
               const struct hf_policy *policy);
/* Look at the file by its path. */
void change_expect_before(struct hf_pool *pool, const char *path);
void change_expect_after(struct hf_pool *pool, const char *path, enum change_kind kind);

struct change_thread {
    struct hf_pool *pool;
    struct hf_file *file;
    const char *path;
    enum change_kind kind;
    struct hf_policy policy;
    pthread_t thread;
    int rc;
    char sentence[256]; /* of its failure */
    uint32_t done;
    uint64_t wall_ns, cpu_ns;
};
void change_start(struct change_thread *change);
/* Waits for its end and returns what it returned. */
int change_finish(struct change_thread *change);

#endif
