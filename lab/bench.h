/* SPDX-License-Identifier: MIT */
/*
 * The benchmark: rows are measured in rounds, each row once a round, so that whatever the machine does
 * meanwhile meets all of them alike. A row says its median and spread; its ratio to another row is
 * the median of the ratios of the single rounds. All values are times: less is better.
 */
#ifndef HF_LAB_BENCH_H
#define HF_LAB_BENCH_H

#include "lab.h"

#include <holdfast/holdfast.h>
#include <pthread.h>
#include <semaphore.h>

#define BENCH_RUNS_MAX 1000u
#define BENCH_ROWS_MAX 160u
#define BENCH_REPEATS 11u /* of what is short, within a sample: their median is the sample */

struct bench_row {
    const char *key;                /* "truncate.busy.holdfast": for JSON and the bars */
    const char *situation;          /* what is around: "mapped, another thread pinning" */
    const char *subject;            /* what is measured: "Holdfast", "ftruncate, tmpfs" */
    const char *beside;             /* key of the row that the ratio is to; null: none */
    double (*measure)(void *state); /* one sample, in the unit of the group */
    void *state;
    const char *group;
    double *samples; /* of each round */
};

struct bench_group {
    const char *name, *title, *unit;
    const char *ratio; /* heading of the ratio: "x Holdfast" */
    void (*begin)(struct bench_group *group);
    void (*end)(void);
};

/* One run of the program. */
struct bench {
    const char *folder;    /* private, in memory */
    const char *disk;      /* a folder on a disk's file system; null: there is none */
    const char *disk_type; /* "ext4" */
    unsigned runs, cpus;
    bool quick, json;
    struct bench_row rows[BENCH_ROWS_MAX];
    unsigned row_count;
    const char *notes[32];
    unsigned note_count;
};
extern struct bench bench;

/* Adds a row to the group that is beginning. */
void bench_add(const struct bench_group *group, struct bench_row row);
/* A sentence for the reader, printed with the tables. */
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
const struct bench_row *bench_find(const char *key); /* null: was not measured */
char *bench_text(const char *format, ...) __attribute__((format(printf, 1, 2))); /* stays */

extern struct bench_group bench_pin_group, bench_truncate_group, bench_punch_group,
    bench_unrelated_group, bench_read_group, bench_write_group;

/* ------------------------------------------------------------------ bench_library.c ------ */

/* The calls that are measured. Both builds of the library are called through such a table, so that a
 * call costs the same on both sides. */
/* clang-format off */
#define BENCH_CALLS(X)                                                                             \
    X(hf_pool_create) X(hf_pool_open) X(hf_pool_close) X(hf_pool_info) X(hf_open) X(hf_close)      \
    X(hf_read) X(hf_write) X(hf_truncate) X(hf_fallocate) X(hf_pin) X(hf_unpin) X(hf_stats)        \
    X(hf_strerror_detail)
/* clang-format on */

struct bench_library {
#define X(call) __typeof__(&call) call;
    BENCH_CALLS(X)
#undef X
};

/* libholdfast.so, as every program uses it. */
extern const struct bench_library bench_real;
/* The lab build, which knows the engine 'unpatched', from the folder of this program. */
const struct bench_library *bench_lab(void);

/* A pool in the private folder, by one of the libraries. */
struct bench_pool {
    const struct bench_library *library;
    struct hf_pool *pool;
    unsigned files;
};
/* engine may be null. Fails loudly, as all of these do. */
struct bench_pool *bench_pool_new(const struct bench_library *library, const char *engine,
                                  uint64_t bytes);
void bench_pool_end(struct bench_pool *pool);
struct hf_file *bench_file_new(struct bench_pool *pool);
/* Gives [0, pages) blocks and no entries; what was there is gone. */
void bench_file_fill(const struct bench_pool *pool, struct hf_file *file, uint64_t pages);
/* Pins [first, first+pages) once and lets go: entries are there afterwards. */
void bench_file_map(const struct bench_pool *pool, struct hf_file *file, uint64_t first,
                    uint64_t pages);
/* Ends the program with the library's sentence when rc is a failure; returns rc. */
int64_t bench_must(const struct bench_library *library, int64_t rc, const char *what);
/* The same for a call of the kernel, which sets errno. */
int64_t bench_must_host(int64_t rc, const char *what);

/* ------------------------------------------------------------------ bench_threads.c ------ */

void bench_stay_on_cpu(unsigned number); /* of those that this program may use, in turn */

/* Runs `loop` in `threads` threads, each on a CPU of its own, at the same time; it returns how many
 * operations it did until *stop, and waits for nothing. The mean ns of CPU time of an operation. */
double bench_together(unsigned threads,
                      uint64_t (*loop)(void *arg, unsigned thread, const uint64_t *stop),
                      void *arg);

/* A second thread, on the second CPU. */
enum bench_company { BENCH_ALONE, BENCH_IDLE, BENCH_BUSY };
struct bench_companion {
    pthread_t thread;
    enum bench_company company;
    void (*step)(void *arg, uint64_t *chance);
    void *arg;
    uint64_t steps, stop, parked;
    sem_t wake;
};
/* Has done some steps when this returns; then goes on all the time, or sleeps, until it is ended. */
void bench_companion_begin(struct bench_companion *companion, enum bench_company company,
                           void (*step)(void *arg, uint64_t *chance), void *arg);
void bench_companion_end(struct bench_companion *companion);

/* CPU time of this thread: what others do on the machine meanwhile does not count. */
uint64_t bench_own_cpu_ns(void);
/* ns that two readings of the clock, one after the other, are apart. */
uint64_t bench_clock_ns(void);

/* ------------------------------------------------------------------- bench_report.c ------ */

double bench_median(const struct bench_row *row);
/* Of some measurements of the same; of 100 at most. */
double bench_middle(const double *values, unsigned count);
/* Median over the rounds of row / beside. */
double bench_ratio(const struct bench_row *row, const struct bench_row *beside);
void bench_print_machine(int argc, char **argv);
void bench_print_group(const struct bench_group *group);
void bench_print_notes(void);
void bench_print_bars(void);
void bench_print_json(int argc, char **argv);

/* ------------------------------------------------------------------ bench_machine.c ------ */

struct bench_fact {
    const char *name;
    char value[192];
};
/* CPU, cores, kernel ...; ended by a null name. */
const struct bench_fact *bench_machine(void);
/* Finds a folder on a disk's file system, for bench.disk. */
void bench_find_disk(void);

#endif
