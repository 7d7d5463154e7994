/* SPDX-License-Identifier: MIT */
/*
 * What a process does to a pool's medium, one record for each thing that changes it or makes sure
 * of it. The workload writes the log, the explorer reads it when the workload has ended.
 *
 * A write, also one through a map, is recorded page by page, with all of the page as it is then.
 * lock.mdb is left out: the first to attach makes it again.
 */
#ifndef HF_TESTS_POWER_RECORD_H
#define HF_TESTS_POWER_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#define POWER_PAGE 4096u
#define POWER_FILES 8u /* files and directories of a pool, and the directory that it is in */
#define POWER_FILE_BYTES (UINT64_C(12) << 20) /* of a file that are looked at */
#define POWER_RECORDS 100000u
#define POWER_ARENA (UINT64_C(1) << 30) /* content of pages; memory only where it is used */

enum power_what {
    POWER_MADE = 1,  /* `file` got its name in directory `in` */
    POWER_REMOVED,   /* and lost it */
    POWER_PAGE_SET,  /* page `at` has the content `content` */
    POWER_SIZE,      /* it is `at` bytes long */
    POWER_SYNCED,    /* fsync(2), fdatasync(2): of a directory, its names */
    POWER_SYNCED_IN, /* msync(2) of [at, end) */
    POWER_STEP       /* step number `at` of the workload begins (even) or has returned (odd) */
};

struct power_record {
    enum power_what what;
    uint32_t file, in;
    uint64_t at, end;
    uint64_t content; /* offset in the arena */
};

struct power_file {
    char path[64]; /* below the pool; "" is the pool itself, ".." what it is in */
    bool dir;
};

struct power_log {
    uint32_t file_count;
    struct power_file files[POWER_FILES];
    uint32_t count;
    struct power_record records[POWER_RECORDS];
    uint64_t used;
    unsigned char arena[POWER_ARENA];
};

/* Records from now on what this process does below pool_dir, which need not exist yet. */
void power_record(struct power_log *log, const char *pool_dir);
void power_step(uint64_t number);
/* If set, called after each record that makes something certain, and at each step's end; `step` is
 * the last number that power_step() was given. */
extern void (*power_on_sync)(uint64_t step);
void power_stop(void);

#endif
