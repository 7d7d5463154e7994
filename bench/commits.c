/* SPDX-License-Identifier: MIT */
/*
 * Truncates of one page each, and writes of one page into a hole. Each thread has a file of its
 * own. The rows are us of the clock for one change of all. In a pool in memory they share the
 * metadata, in a durable pool also the syncs. The durable pool lies on a disk's file system. The
 * files are made ready again for each sample, and the changes alone are timed.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MOST 16u
#define CHANGES (bench.quick ? UINT64_C(8) : UINT64_C(128)) /* of each thread */
#define POOL_BYTES (64 * LAB_MIB)

struct place {
    struct hf_pool *pool;
    struct hf_file *files[THREADS_MOST];
};

static struct place memory, durable;

/* What a thread does to its file. */
struct work {
    const char *key, *name;
    void (*prepare)(struct hf_file *file);
    void (*change)(struct hf_file *file, uint64_t page);
};

struct shape {
    struct place *place;
    const struct work *work;
    unsigned threads;
    pthread_barrier_t start;
};

struct changer {
    struct shape *shape;
    unsigned number;
    pthread_t thread;
    uint64_t begun, ended;
};

static void commits_must(int rc, const char *what)
{
    bench_must(&bench_real, rc, what);
}

static void allocate_all(struct hf_file *file)
{
    commits_must(hf_fallocate(file, 0, 0, (off_t)(CHANGES * LAB_PAGE), NULL), "allocating");
}

static void truncate_to(struct hf_file *file, uint64_t page)
{
    commits_must(hf_truncate(file, page * LAB_PAGE, NULL), "a truncate");
}

static void make_hole(struct hf_file *file)
{
    truncate_to(file, 0);
    truncate_to(file, CHANGES);
}

static void fill_page(struct hf_file *file, uint64_t page)
{
    static const char bytes[LAB_PAGE] = "content";

    commits_must(hf_write(file, bytes, sizeof bytes, page * LAB_PAGE) == sizeof bytes ? 0 : -1,
                 "a write");
}

static const struct work truncates = {"", "", allocate_all, truncate_to};
static const struct work writes = {".writes", ", writes into holes", make_hole, fill_page};

static void *change_own(void *arg)
{
    struct changer *self = arg;
    struct shape *shape = self->shape;
    struct hf_file *file = shape->place->files[self->number];

    pthread_barrier_wait(&shape->start);
    self->begun = lab_now_ns();
    for (uint64_t left = CHANGES; left--;)
        shape->work->change(file, left);
    self->ended = lab_now_ns();
    return NULL;
}

static double measure_commits(void *state)
{
    struct changer them[THREADS_MOST];
    struct shape *shape = state;
    uint64_t begun = UINT64_MAX, ended = 0;

    for (unsigned i = 0; i < shape->threads; i++)
        shape->work->prepare(shape->place->files[i]);
    pthread_barrier_init(&shape->start, NULL, shape->threads);
    for (unsigned i = 0; i < shape->threads; i++) {
        them[i] = (struct changer){.shape = shape, .number = i};
        if (pthread_create(&them[i].thread, NULL, change_own, &them[i]))
            lab_fail("no thread could be started");
    }
    for (unsigned i = 0; i < shape->threads; i++) {
        pthread_join(them[i].thread, NULL);
        begun = them[i].begun < begun ? them[i].begun : begun;
        ended = them[i].ended > ended ? them[i].ended : ended;
    }
    pthread_barrier_destroy(&shape->start);
    return (double)(ended - begun) / (double)(CHANGES * shape->threads) / 1000;
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

static void add_shape(struct bench_group *group, struct place *place, const struct work *work,
                      unsigned threads)
{
    const char *where = place == &memory ? "memory" : "durable";
    struct shape *shape = lab_alloc(sizeof *shape);

    shape->place = place;
    shape->work = work;
    shape->threads = threads;
    bench_add(
        group,
        (struct bench_row){
            .key = bench_text("commits.%s%s.%u", where, work->key, threads),
            .situation = bench_text("a %s pool%s", where, work->name),
            .subject = threads == 1 ? "one thread" : bench_text("%u threads, own files", threads),
            .beside = threads == 1 ? NULL : bench_text("commits.%s%s.1", where, work->key),
            .measure = measure_commits,
            .state = shape});
}

static void begin_commits(struct bench_group *group)
{
    make_commit_place(&memory, bench.folder, 0);
    for (unsigned threads = 1; threads <= 2; threads++)
        add_shape(group, &memory, &truncates, threads);
    for (unsigned threads = 1; threads <= 2; threads++)
        add_shape(group, &memory, &writes, threads);
    if (!bench.disk) {
        bench_note("commits: no folder on a disk, so the rows of a durable pool are left out");
        return;
    }
    make_commit_place(&durable, disk_folder(), HF_POOL_DURABLE);
    add_shape(group, &durable, &truncates, 1);
    add_shape(group, &durable, &truncates, THREADS_MOST);
}

static void end_commits(void)
{
    end_place(&memory);
    if (bench.disk)
        end_place(&durable);
}

struct bench_group bench_commits_group = {
    .name = "commits",
    .title = "truncates and writes of a page by threads with files of their own",
    .help = "changes of several files at once, in memory and in a durable pool",
    .unit = "us",
    .ratio = "x one thread",
    .begin = begin_commits,
    .end = end_commits,
};
