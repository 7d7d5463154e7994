/* SPDX-License-Identifier: MIT */
/*
 * Truncates of one page each, by threads that each have a file of their own: us of the clock for
 * one of them. In a pool in memory they share the metadata, in a durable pool also the syncs. The
 * durable pool lies on a disk's file system. The files are filled again for each sample, and the
 * truncates alone are timed.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MOST 16u
#define TRUNCATES (bench.quick ? UINT64_C(8) : UINT64_C(128)) /* of each thread */
#define POOL_BYTES (64 * LAB_MIB)

struct place {
    struct hf_pool *pool;
    struct hf_file *files[THREADS_MOST];
};

static struct place memory, durable;

struct shape {
    struct place *place;
    unsigned threads;
    pthread_barrier_t start;
};

struct truncater {
    struct shape *shape;
    unsigned number;
    pthread_t thread;
    uint64_t begun, ended;
};

static void commits_must(int rc, const char *what)
{
    bench_must(&bench_real, rc, what);
}

static void *truncate_own(void *arg)
{
    struct truncater *self = arg;
    struct shape *shape = self->shape;
    struct hf_file *file = shape->place->files[self->number];

    pthread_barrier_wait(&shape->start);
    self->begun = lab_now_ns();
    for (uint64_t left = TRUNCATES; left--;)
        commits_must(hf_truncate(file, left * LAB_PAGE, NULL), "a truncate");
    self->ended = lab_now_ns();
    return NULL;
}

static void fill_all(const struct shape *shape)
{
    for (unsigned i = 0; i < shape->threads; i++)
        commits_must(
            hf_fallocate(shape->place->files[i], 0, 0, (off_t)(TRUNCATES * LAB_PAGE), NULL),
            "allocating");
}

static double measure_truncates(void *state)
{
    struct truncater them[THREADS_MOST];
    struct shape *shape = state;
    uint64_t begun = UINT64_MAX, ended = 0;

    fill_all(shape);
    pthread_barrier_init(&shape->start, NULL, shape->threads);
    for (unsigned i = 0; i < shape->threads; i++) {
        them[i] = (struct truncater){.shape = shape, .number = i};
        if (pthread_create(&them[i].thread, NULL, truncate_own, &them[i]))
            lab_fail("no thread could be started");
    }
    for (unsigned i = 0; i < shape->threads; i++) {
        pthread_join(them[i].thread, NULL);
        begun = them[i].begun < begun ? them[i].begun : begun;
        ended = them[i].ended > ended ? them[i].ended : ended;
    }
    pthread_barrier_destroy(&shape->start);
    return (double)(ended - begun) / (double)(TRUNCATES * shape->threads) / 1000;
}

/* A folder of its own on the disk, which goes at the end whatever happens. */
static const char *disk_folder(void)
{
    char *folder = bench_text("%s/holdfast-bench-XXXXXX", bench.disk);

    if (!mkdtemp(folder))
        lab_fail("%s: %s", folder, strerror(errno));
    lab_also_remove_folder(folder);
    return folder;
}

static void make_commit_place(struct place *place, const char *folder, uint32_t flags)
{
    struct hf_pool_info info = {.size = sizeof info};
    const char *path = bench_text("%s/commits", folder);
    struct hf_pool_options options = {
        .size = sizeof options, .pool_bytes = POOL_BYTES, .flags = flags};

    commits_must(hf_pool_create(path, &options), "making a pool");
    commits_must(hf_pool_open(path, 0, &place->pool), "opening a pool");
    commits_must(hf_pool_info(place->pool, &info), "looking at a pool");
    lab_also_remove(info.uuid);
    for (unsigned i = 0; i < THREADS_MOST; i++)
        commits_must(
            hf_open(place->pool, bench_text("/%u", i), O_RDWR | O_CREAT, 0600, &place->files[i]),
            "making a file");
}

static void end_place(struct place *place)
{
    for (unsigned i = 0; i < THREADS_MOST; i++)
        commits_must(hf_close(place->files[i]), "closing a file");
    commits_must(hf_pool_close(place->pool), "closing a pool");
}

static void add_shape(struct bench_group *group, struct place *place, const char *where,
                      unsigned threads)
{
    struct shape *shape = lab_alloc(sizeof *shape);

    shape->place = place;
    shape->threads = threads;
    bench_add(group, (struct bench_row){
                         .key = bench_text("commits.%s.%u", where, threads),
                         .situation = bench_text("a %s pool", where),
                         .subject = threads == 1 ? "one thread"
                                                 : bench_text("%u threads, own files", threads),
                         .beside = threads == 1 ? NULL : bench_text("commits.%s.1", where),
                         .measure = measure_truncates,
                         .state = shape});
}

static void begin_commits(struct bench_group *group)
{
    make_commit_place(&memory, bench.folder, 0);
    add_shape(group, &memory, "memory", 1);
    add_shape(group, &memory, "memory", 2);
    if (!bench.disk) {
        bench_note("commits: no folder on a disk, so the rows of a durable pool are left out");
        return;
    }
    make_commit_place(&durable, disk_folder(), HF_POOL_DURABLE);
    add_shape(group, &durable, "durable", 1);
    add_shape(group, &durable, "durable", THREADS_MOST);
}

static void end_commits(void)
{
    end_place(&memory);
    if (bench.disk)
        end_place(&durable);
}

struct bench_group bench_commits_group = {
    .name = "commits",
    .title = "truncates of a page by threads with files of their own",
    .help = "truncates of several files at once, in memory and in a durable pool",
    .unit = "us",
    .ratio = "x one thread",
    .begin = begin_commits,
    .end = end_commits,
};
