/* SPDX-License-Identifier: MIT */
/*
 * us per truncate and punch of one page: the same hundred changes of the same file by four stores:
 * Holdfast, Holdfast with the drain left out (engine 'unpatched'), a tmpfs file, a file on the disk's
 * file system. A file is made anew for each sample; the changes alone are timed. The truncates take
 * the last page each, a hundred times; the punches every second page. Another thread touches pages
 * that are not changed: through pins, or through the mapping.
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
#define TOUCHED_PAGES 32u /* from the file's start; never changed */
#define REPEATS 10u
#define POOL_BYTES (64 * LAB_MIB)

/* A file of one store. */
struct store_file {
    struct bench_pool *pool; /* of Holdfast */
    struct hf_file *file;
    int fd; /* of the kernel */
    volatile const char *map;
};

struct store {
    const char *key;
    const char *truncate_name, *punch_name;
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
               library->hf_pin(file->file, lab_below(chance, TOUCHED_PAGES) * LAB_PAGE, LAB_PAGE,
                               HF_PIN_READ, &iov, 1, &pin),
               "pinning");
    (void)*(volatile const char *)iov.iov_base;
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

static int open_unnamed(const char *folder)
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

enum { HOLDFAST, BARE, ON_TMPFS, ON_DISK, STORES };

static struct store stores[STORES] = {
    {"holdfast", "Holdfast", "Holdfast", POOL_CALLS, {0}},
    {"bare", "Holdfast, drain left out", "Holdfast, drain left out", POOL_CALLS, {0}},
    {"tmpfs", "ftruncate, tmpfs", "fallocate, tmpfs", HOST_CALLS, {0}},
    {"disk", NULL, NULL, HOST_CALLS, {0}},
};

static bool have(unsigned store)
{
    return store != ON_DISK || bench.disk;
}

static void open_stores(void)
{
    stores[HOLDFAST].file.pool = bench_pool_new(&bench_real, NULL, POOL_BYTES);
    stores[BARE].file.pool = bench_pool_new(bench_lab(), "unpatched", POOL_BYTES);
    for (unsigned i = HOLDFAST; i <= BARE; i++)
        stores[i].file.file = bench_file_new(stores[i].file.pool);
    stores[ON_TMPFS].file.fd = open_unnamed(bench.folder);
    if (!have(ON_DISK))
        return;
    stores[ON_DISK].file.fd = open_unnamed(bench.disk);
    stores[ON_DISK].truncate_name = bench_text("ftruncate, %s", bench.disk_type);
    stores[ON_DISK].punch_name = bench_text("fallocate, %s", bench.disk_type);
}

static void close_stores(void)
{
    for (unsigned i = 0; i < STORES; i++) {
        struct store_file *file = &stores[i].file;

        if (i <= BARE) {
            bench_must(file->pool->library, file->pool->library->hf_close(file->file), "closing");
            bench_pool_end(file->pool);
        } else if (have(i)) {
            if (file->map)
                munmap((void *)(uintptr_t)file->map, FILE_PAGES * LAB_PAGE);
            close(file->fd);
        }
        *file = (struct store_file){0};
    }
}

/* ----------------------------------------------------------------------- what is timed --- */

struct situation {
    const char *key, *text;
    bool mapped;
    enum bench_company company;
};

static const struct situation situations[] = {
    {"unmapped", "never mapped", false, BENCH_ALONE},
    {"mapped", "all pages mapped before, no other thread", true, BENCH_ALONE},
    {"idle", "the same, another thread idle", true, BENCH_IDLE},
    {"busy", "the same, another thread at other pages all the time", true, BENCH_BUSY},
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

static uint64_t time_changes(const struct change_case *what)
{
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

static double measure(void *state)
{
    unsigned repeats = bench.quick ? 1 : BENCH_REPEATS;
    double us[BENCH_REPEATS];

    for (unsigned i = 0; i < repeats; i++)
        us[i] = (double)time_changes(state) / CHANGES / 1000;
    return bench_middle(us, repeats);
}

static void add_situation(struct bench_group *group, const struct situation *situation,
                          bool punches)
{
    for (unsigned i = 0; i < STORES; i++) {
        struct change_case *what;

        if (!have(i))
            continue;
        what = lab_alloc(sizeof *what);
        *what = (struct change_case){&stores[i], situation, punches};
        bench_add(group,
                  (struct bench_row){
                      .key = bench_text("%s.%s.%s", group->name, situation->key, stores[i].key),
                      .situation = situation->text,
                      .subject = punches ? stores[i].punch_name : stores[i].truncate_name,
                      .beside = i == HOLDFAST
                                    ? NULL
                                    : bench_text("%s.%s.holdfast", group->name, situation->key),
                      .measure = measure,
                      .state = what});
    }
}

static void begin(struct bench_group *group)
{
    open_stores();
    if (!have(ON_DISK))
        bench_note(
            "No file system of a disk could be written to: the rows beside it are left out.");
    for (size_t i = 0; i < sizeof situations / sizeof situations[0]; i++) {
        if (situations[i].company == BENCH_BUSY && bench.cpus < 2)
            bench_note("There is one CPU only: nothing is measured beside a busy thread.");
        else
            add_situation(group, &situations[i], group == &bench_punch_group);
    }
}

struct bench_group bench_truncate_group = {
    .name = "truncate",
    .title = "truncate of a file's last page, 100 one after another",
    .unit = "us",
    .ratio = "x Holdfast",
    .begin = begin,
    .end = close_stores,
};

struct bench_group bench_punch_group = {
    .name = "punch",
    .title = "punch of one page, every second page, 100 one after another",
    .unit = "us",
    .ratio = "x Holdfast",
    .begin = begin,
    .end = close_stores,
};
