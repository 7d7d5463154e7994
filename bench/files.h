/* SPDX-License-Identifier: MIT */
/* What the files of the group `files` share. */
#ifndef HF_BENCH_FILES_H
#define HF_BENCH_FILES_H

#include "bench.h"

#define FILES_WORKERS 4u
#define FILES_BYTES LAB_PAGE                     /* in each file */
#define FILES_THERE (bench.quick ? 64u : 4096u)  /* files that are there all the time */
#define FILES_LOOKS (bench.quick ? 64u : 4000u)  /* by a process, in a sample: open, read, stat */
#define FILES_CHANGES (bench.quick ? 16u : 500u) /* by a process, in a sample: create, delete */
#define FILES_PATH 48u

enum files_layout { FILES_FLAT, FILES_TREE, FILES_LAYOUTS };
enum files_act { FILES_CREATE, FILES_OPEN, FILES_READ, FILES_STAT, FILES_DELETE, FILES_ACTS };
enum files_store { FILES_HOLDFAST, FILES_TMPFS, FILES_STORES };

/* What a process measures. */
struct files_task {
    enum files_layout layout;
    enum files_act act;
    enum files_store store;
};

/* ------------------------------------------------------------------ files_ways.c ------ */

/* What a process has open: the pool, and the folder of each layout in it and on tmpfs. */
struct files_user {
    struct hf_pool *pool;
    uint64_t folders[FILES_LAYOUTS];
    int fds[FILES_LAYOUTS];
};

/* The pool, and all files that are there all the time. */
void files_stores_begin(void);
void files_user_open(struct files_user *user);
void files_user_close(struct files_user *user);

/* The name of a file that is there, or of one of a process's own, under the layout's folder. */
void files_name_there(char path[FILES_PATH], enum files_layout layout, unsigned number);
void files_name_own(char path[FILES_PATH], enum files_layout layout, unsigned process,
                    unsigned number);
void files_do(const struct files_user *user, const struct files_task *task, const char *path);

/* --------------------------------------------------------------- files_workers.c ------ */

void files_workers_begin(void);
/* What `count` processes do together in a second. */
double files_workers_run(const struct files_task *task, unsigned count);
void files_workers_end(void);

/* ---------------------------------------------------------------- files_attach.c ------ */

void files_attach_begin(struct bench_group *group);

#endif
