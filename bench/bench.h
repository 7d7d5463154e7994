/* SPDX-License-Identifier: MIT */
/*
 * The benchmark: rows are measured in rounds, each row once a round, so that whatever the machine
 * does meanwhile meets all of them alike. A row says its median and spread; its ratio to another
 * row is the median of the ratios of the single rounds. A value is a time, so less is better, but
 * where the row says otherwise.
 */
#ifndef HF_BENCH_H
#define HF_BENCH_H

#include "groups.h" /* BENCH_GROUPS, made of the list in meson.build */
#include "lab/lab.h"

#include <holdfast/holdfast.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#define BENCH_RUNS_MAX 1000u
#define BENCH_ROWS_MAX 1024u

/* A part of a group's picture: its rows as lines along x, or as bars when there is no x. */
struct bench_panel {
    const char *title, *x, *y; /* names of the axes, with units */
    bool log_scale;
};

struct bench_row {
    const char *key;                /* "truncate.busy.slots": for programs and the bars */
    const char *situation;          /* what is around: "mapped, another thread pinning" */
    const char *subject;            /* what is measured: "slots", "ftruncate, tmpfs" */
    const char *beside;             /* key of the row that the ratio is to; null: none */
    double (*measure)(void *state); /* one sample, in the row's unit */
    void *state;
    const char *unit;                /* null: the group's */
    bool more_is_better;             /* no time, but a rate */
    const struct bench_panel *panel; /* null: not in the picture */
    const char *at;                  /* its place along x */
    const char *group;
    double *samples; /* of each round */
};

/* What somebody else measured, elsewhere: printed with the table, never mixed with it. */
struct bench_published {
    const char *subject, *value, *ratio;
};

struct bench_group {
    const char *name, *title;
    const char *help;  /* a line of --help */
    const char *unit;  /* null: each row says its own */
    const char *ratio; /* heading of the ratio: "x slots" */
    void (*begin)(struct bench_group *group);
    void (*end)(void);
    const char *published_by;
    const struct bench_published *published; /* ended by a null subject; may be null */
};

enum bench_form { BENCH_TABLES, BENCH_JSON, BENCH_CSV };

/* One run of the program. */
struct bench {
    const char *folder;    /* private, in memory */
    const char *disk;      /* a folder on a disk's file system; null: there is none */
    const char *disk_type; /* "ext4" */
    const char *plot;      /* file name of the pictures; null: none */
    enum bench_form form;
    unsigned runs, cpus;
    bool quick;
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
/* The median of several goes at something short, each of which returns ns: as many as fit into the
 * time that a sample may take. */
double bench_several(uint64_t (*once)(void *arg), void *arg);

/* Has the group add its rows, and measures them. */
void bench_run_group(struct bench_group *group);

#define GROUP(name) extern struct bench_group bench_##name##_group;
BENCH_GROUPS
#undef GROUP

/* ------------------------------------------------------------------------ library.c ------ */

/* The calls that are measured. Both builds of the library are called through such a table, so that
 * a call costs the same on both sides. */
/* clang-format off */
#define BENCH_CALLS(X)                                                                             \
    X(hf_pool_open_anonymous) X(hf_pool_close) X(hf_open) X(hf_close) X(hf_truncate)               \
    X(hf_fallocate) X(hf_pin) X(hf_pin_at) X(hf_unpin) X(hf_strerror_detail)
/* clang-format on */

struct bench_library {
#define X(call) __typeof__(&call) call;
    BENCH_CALLS(X)
#undef X
};

/* libholdfast.so, as every program uses it. */
extern const struct bench_library bench_real;

/* The engines, in the order of the tables: all that libholdfast.so has, then those that only the
 * lab build has. */
struct bench_engine {
    const char *name, *subject;
    bool lab;    /* from the lab build, which lies in the folder of this program */
    bool unsafe; /* misses pins: there to say what not missing any costs */
};
#define BENCH_ENGINES 9u
extern const struct bench_engine bench_engines[BENCH_ENGINES];

/* A pool that only this process can reach: all engines can do that. */
struct bench_pool {
    const struct bench_library *library;
    struct hf_pool *pool;
    unsigned files;
};
/* Null, with a note for the reader, when this build or machine does not have the engine. */
struct bench_pool *bench_engine_pool(const struct bench_engine *engine, uint64_t bytes);
/* With the default engine. Fails loudly, as all that follows here. */
struct bench_pool *bench_pool_new(uint64_t bytes);
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
/* For rows of the group space. False, with a note: the folder has no room for so many bytes. */
bool bench_has_room(uint64_t bytes, const char *rows);

/* -------------------------------------------------------------------------- peers.c ------ */

/* Other ways to hold a page and let it go, in the same loop. */
struct bench_peer {
    const char *key, *subject;
    uint64_t (*loop)(void *own_pages, unsigned thread, const uint64_t *stop);
};
#ifdef HF_HAVE_RCU
#define BENCH_PEERS 7u
#else
#define BENCH_PEERS 6u /* without liburcu */
#endif
extern const struct bench_peer bench_peers[BENCH_PEERS];
void bench_peers_begin(void);
void bench_peers_end(void);
#define BENCH_OWN_STRIDE 32u       /* pages between those of two threads */
uint64_t bench_pin_pages(void);    /* of a file in which each thread has its own */
unsigned bench_most_threads(void); /* 2 on one CPU too */

/* ------------------------------------------------------------------------- mounts.c ------ */

struct bench_mount {
    char *folder, *source; /* where it is mounted; the pool, or what bindfs mirrors */
    pid_t server;
    cpu_set_t cpus; /* that the server may use */
    bool there;
};
/* A new pool of so many bytes, or an empty folder mirrored by bindfs; with the page cache, or no
 * cache. False: the program is not installed, or it has told why it cannot mount. */
bool bench_mount_begin(struct bench_mount *mount, bool bindfs, bool cached, uint64_t bytes);
/* From now on the server uses the CPUs that this thread may use. */
void bench_mount_move(struct bench_mount *mount);
void bench_mount_end(struct bench_mount *mount);

/* The rows of beside.c, part of the group mount. */
void bench_beside_begin(struct bench_group *group);
void bench_beside_end(void);

/* ------------------------------------------------------------------------ threads.c ------ */

void bench_stay_on_cpu(unsigned number); /* of those that this program may use, in turn */
void bench_go_anywhere(void);            /* on all of them again */

/* Runs `loop` in `threads` threads at the same time, each on a CPU of its own. `loop` returns how
 * many operations it did until *stop, and waits for nothing. Returns the mean CPU time of an
 * operation in ns. */
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
/* Has done some steps when this returns; then goes on all the time, or sleeps, until it is
 * ended. */
void bench_companion_begin(struct bench_companion *companion, enum bench_company company,
                           void (*step)(void *arg, uint64_t *chance), void *arg);
void bench_companion_end(struct bench_companion *companion);

/* CPU time of this thread: what others do on the machine meanwhile does not count. */
uint64_t bench_own_cpu_ns(void);
/* How long this thread has been ready to run so far while others had its CPU; 0 where the kernel
 * does not count it. */
uint64_t bench_passed_over_ns(void);
/* ns that two readings of the clock, one after the other, are apart. */
uint64_t bench_clock_ns(void);

/* ------------------------------------------------------------------------ medians.c ------ */

/* The value below which `share` of them lie. */
double bench_quantile(const double *values, unsigned count, double share);
double bench_median(const struct bench_row *row);
/* Median over the rounds of row / beside. */
double bench_ratio(const struct bench_row *row, const struct bench_row *beside);

/* ------------------------------------------------------------------------- report.c ------ */

const char *bench_number_text(char buf[LAB_TEXT], double value);
void bench_print_machine(int argc, char **argv);
void bench_print_group(const struct bench_group *group);
void bench_print_notes(void);

/* --------------------------------------------------------------------------- laid.c ------ */

/* Rows of the group space: files that are laid for huge entries. */
void bench_add_laid(struct bench_group *group);
void bench_end_laid(void);

/* --------------------------------------------------------------------------- bars.c ------ */

void bench_print_bars(void);
void bench_print_json_bars(void);

/* ------------------------------------------------------------------------- output.c ------ */

void bench_print_json(int argc, char **argv);
void bench_print_csv(void);

/* --------------------------------------------------------------------------- plot.c ------ */

/* Ends the program with a sentence when there is no gnuplot, or the place is missing. */
void bench_plot_check(void);
/* A picture of each measured group that has one. */
void bench_plot(void);

/* ------------------------------------------------------------------------ machine.c ------ */

struct bench_fact {
    const char *name;
    char value[192];
};
/* CPU, cores, kernel ...; ended by a null name. */
const struct bench_fact *bench_machine(void);
/* Finds a folder on a disk's file system, for bench.disk. */
void bench_find_disk(void);

#endif
