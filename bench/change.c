/* SPDX-License-Identifier: MIT */
/*
 * ms for a hundred truncates and for a hundred punches, each of one page of the same file. Each
 * engine is measured, and beside them a tmpfs file and a file on the disk's file system. A file is
 * made again for each sample; the changes alone are timed. The truncates take the last page each,
 * the punches every second page. Another thread keeps using the pages that are not changed: it pins
 * and unpins all of them, or touches one through the mapping. A pin of so many pages is a long
 * walk, so most changes find the thread inside its section, as they would find
 * get_user_pages_fast(). An engine that waits for grace periods pays for that.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_PAGES UINT64_C(256)
#define CHANGES UINT64_C(100)
#define TOUCHED_PAGES 56u /* from the file's start; never changed */
#define POOL_BYTES (64 * LAB_MIB)

/* A file of one store. */
struct store_file {
    struct bench_pool *pool; /* of Holdfast */
    struct hf_file *file;
    int fd; /* of the kernel */
    volatile const char *map;
};

struct store {
    const char *key, *subject;
    bool always; /* measured in every situation: the others only beside another thread */
    void (*fill)(struct store_file *file); /* all pages have blocks; nobody has touched them */
    void (*map_all)(
        struct store_file *file); /* every page is touched, as the other thread does it */
    void (*touch)(void *file, uint64_t *chance);
    int (*truncate)(struct store_file *file, uint64_t size);
    int (*punch)(struct store_file *file, uint64_t off);
    struct store_file file;
};

/* ------------------------------------------------------------------------- Holdfast ------ */

static void pool_fill(struct store_file *file)
{
    bench_file_fill(file->pool, file->file, FILE_PAGES);
}

static void pool_map_all(struct store_file *file)
{
    bench_file_map(file->pool, file->file, 0, FILE_PAGES);
}

static void pool_touch(void *arg, uint64_t *chance)
{
    struct store_file *file = arg;
    const struct bench_library *library = file->pool->library;
    struct iovec iov;
    struct hf_pin pin;

    bench_must(library,
               library->hf_pin(file->file, 0, TOUCHED_PAGES * LAB_PAGE, HF_PIN_READ, &iov, 1, &pin),
               "pinning");
    (void)((volatile const char *)iov.iov_base)[lab_below(chance, TOUCHED_PAGES) * LAB_PAGE];
    library->hf_unpin(&pin);
}

static int pool_truncate(struct store_file *file, uint64_t size)
{
    return file->pool->library->hf_truncate(file->file, size, NULL);
}

static int pool_punch(struct store_file *file, uint64_t off)
{
    return file->pool->library->hf_fallocate(file->file, HF_FALLOC_PUNCH_HOLE, off, LAB_PAGE, NULL);
}

/* ------------------------------------------------------------------------ the kernel ----- */

static void host_fill(struct store_file *file)
{
    static const char zeros[FILE_PAGES * LAB_PAGE];

    if (file->map)
        munmap((void *)(uintptr_t)file->map, sizeof zeros);
    file->map = NULL;
    bench_must_host(ftruncate(file->fd, 0), "ftruncate");
    bench_must_host(pwrite(file->fd, zeros, sizeof zeros, 0), "pwrite");
}

static void host_map_all(struct store_file *file)
{
    void *map = mmap(NULL, FILE_PAGES * LAB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);

    if (map == MAP_FAILED)
        lab_fail("mmap: %s", strerror(errno));
    file->map = map;
    for (uint64_t page = 0; page < FILE_PAGES; page++)
        (void)file->map[page * LAB_PAGE];
}

static void host_touch(void *arg, uint64_t *chance)
{
    struct store_file *file = arg;

    (void)file->map[lab_below(chance, TOUCHED_PAGES) * LAB_PAGE];
}

static int host_truncate(struct store_file *file, uint64_t size)
{
    return ftruncate(file->fd, (off_t)size);
}

static int host_punch(struct store_file *file, uint64_t off)
{
    return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
                     (off_t)LAB_PAGE);
}

static int open_unnamed_host_file(const char *folder)
{
    char path[PATH_MAX];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0)
        return fd;
    snprintf(path, sizeof path, "%s/holdfast-bench-XXXXXX", folder);
    fd = (int)bench_must_host(mkostemp(path, O_CLOEXEC), path);
    unlink(path);
    return fd;
}

/* ------------------------------------------------------------------------ the stores ----- */

#define POOL_CALLS pool_fill, pool_map_all, pool_touch, pool_truncate, pool_punch
#define HOST_CALLS host_fill, host_map_all, host_touch, host_truncate, host_punch
#define STORES_MAX (BENCH_ENGINES + 2)

static struct store stores[STORES_MAX];
static unsigned store_count;

static void open_change_engines(void)
{
    for (unsigned i = 0; i < BENCH_ENGINES; i++) {
        const struct bench_engine *engine = &bench_engines[i];
        struct bench_pool *pool = bench_engine_pool(engine, POOL_BYTES);

        if (!pool)
            continue;
        stores[store_count++] = (struct store){engine->name,
                                               engine->subject,
                                               i == 0 || engine->unsafe,
                                               POOL_CALLS,
                                               {.pool = pool, .file = bench_file_new(pool)}};
    }
}

static void open_host(const char *key, const char *call, const char *type, const char *folder)
{
    stores[store_count++] = (struct store){key,
                                           bench_text("%s, %s", call, type),
                                           true,
                                           HOST_CALLS,
                                           {.fd = open_unnamed_host_file(folder)}};
}

static void open_stores(const char *call)
{
    store_count = 0;
    open_change_engines();
    open_host("tmpfs", call, "tmpfs", bench.folder);
    if (bench.disk)
        open_host("disk", call, bench.disk_type, bench.disk);
    else
        bench_note(
            "No file system of a disk could be written to: the rows beside it are left out.");
}

static void close_stores(void)
{
    for (unsigned i = 0; i < store_count; i++) {
        struct store_file *file = &stores[i].file;

        if (file->pool) {
            bench_must(file->pool->library, file->pool->library->hf_close(file->file), "closing");
            bench_pool_end(file->pool);
            continue;
        }
        if (file->map)
            munmap((void *)(uintptr_t)file->map, FILE_PAGES * LAB_PAGE);
        close(file->fd);
    }
}

/* ----------------------------------------------------------------------- what is timed --- */

struct situation {
    const char *key, *text;
    bool mapped;
    enum bench_company company;
    struct bench_panel panel;
};

#define X_NAME "ms for 100, log scale"
static const struct situation situations[] = {
    {"unmapped", "never mapped", false, BENCH_ALONE, {0}},
    {"mapped", "all pages mapped before, no other thread", true, BENCH_ALONE, {0}},
    {"idle",
     "all pages mapped before, another thread idle",
     true,
     BENCH_IDLE,
     {"another thread idle", NULL, X_NAME, true}},
    {"busy",
     "the same, another thread pins other pages all the time",
     true,
     BENCH_BUSY,
     {"another thread pins other pages all the time", NULL, X_NAME, true}},
};

struct change_case {
    struct store *store;
    const struct situation *situation;
    bool punches;
};

static void truncate_all(struct store *store)
{
    for (uint64_t i = 1; i <= CHANGES; i++)
        if (store->truncate(&store->file, (FILE_PAGES - i) * LAB_PAGE))
            lab_fail("a truncate failed");
}

static void punch_all(struct store *store)
{
    for (uint64_t i = 0; i < CHANGES; i++)
        if (store->punch(&store->file, (FILE_PAGES - 1 - 2 * i) * LAB_PAGE))
            lab_fail("a punch failed");
}

static uint64_t time_changes(void *arg)
{
    const struct change_case *what = arg;
    struct store *store = what->store;
    struct bench_companion companion;
    uint64_t start;

    store->fill(&store->file);
    if (what->situation->mapped)
        store->map_all(&store->file);
    bench_companion_begin(&companion, what->situation->company, store->touch, &store->file);
    start = lab_now_ns();
    (what->punches ? punch_all : truncate_all)(store);
    start = lab_now_ns() - start;
    bench_companion_end(&companion);
    return start;
}

static double measure_changes(void *state)
{
    return bench_several(time_changes, state) / 1e6;
}

static void add_situation(struct bench_group *group, const struct situation *situation)
{
    char *bare = bench_text("%s.%s.unpatched", group->name, situation->key);

    for (unsigned i = 0; i < store_count; i++) {
        struct change_case *what;

        if (situation->company < BENCH_IDLE && !stores[i].always)
            continue;
        what = lab_alloc(sizeof *what);
        *what = (struct change_case){&stores[i], situation, group == &bench_punch_group};
        bench_add(group,
                  (struct bench_row){
                      .key = bench_text("%s.%s.%s", group->name, situation->key, stores[i].key),
                      .situation = situation->text,
                      .subject = stores[i].subject,
                      .beside = bare,
                      .measure = measure_changes,
                      .state = what,
                      .panel = situation->panel.title ? &situation->panel : NULL});
    }
}

static void begin_changes(struct bench_group *group)
{
    open_stores(group == &bench_punch_group ? "fallocate" : "ftruncate");
    for (size_t i = 0; i < sizeof situations / sizeof situations[0]; i++) {
        if (situations[i].company == BENCH_BUSY && bench.cpus < 2)
            bench_note("There is one CPU only: nothing is measured beside a busy thread.");
        else
            add_situation(group, &situations[i]);
    }
}

static const struct bench_published published[] = {
    {"unpatched", "6.149", "1"}, {"SRCU", "9.426", "1.53"}, {"RCU", "", "about 200"}, {0}};

struct bench_group bench_truncate_group = {
    .name = "truncate",
    .title = "100 truncates of a file's last page, one after another",
    .help = "ms for 100 truncates by each engine, beside tmpfs and a disk's file system",
    .unit = "ms",
    .ratio = "x unpatched",
    .begin = begin_changes,
    .end = close_stores,
    .published_by = "published with the kernel patches of 2018, not measured here",
    .published = published,
};

struct bench_group bench_punch_group = {
    .name = "punch",
    .title = "100 punches of one page, every second page, one after another",
    .help = "ms for 100 punches, likewise",
    .unit = "ms",
    .ratio = "x unpatched",
    .begin = begin_changes,
    .end = close_stores,
};
