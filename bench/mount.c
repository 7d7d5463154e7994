/* SPDX-License-Identifier: MIT */
/*
 * A mounted pool beside bindfs over tmpfs, for each cache setting. Content is moved in requests of
 * 1 MiB and of 4 KiB. Files are made, looked at and removed, as fs_mark does. Debian's dbench comes
 * last. Each sample opens its file again, so the kernel's cache helps only where the server lets it
 * keep content over a close.
 *
 * A request takes several times as long when program and server are on two CPUs, mostly because
 * these wake each other. The scheduler alone would keep them on one CPU or on two for minutes, and
 * differently for each server, so ratios would be luck. So placements are fixed: both on the first
 * CPU, or the program on the first and the server on the second. Only dbench, which has as many
 * clients as there are CPUs, is left alone with its server.
 *
 * The two servers differ in what they let the kernel keep. Holdfast lets it keep attributes of
 * directories for a tick or two of its clock. With bindfs, options let it keep nothing; the default
 * is everything for a second.
 */
#include "bench.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOL_BYTES (512 * LAB_MIB)
#define FILE_BYTES (64 * LAB_MIB)
#define RANDOM_CALLS 2000u
#define NAMES 500u
#define NAME_FOLDERS 10u
#define DBENCH_SECONDS 2u /* it counts nothing in the first one */

static const struct {
    const char *key, *text;
} caches[] = {{"none", "no cache"}, {"auto", "page cache"}};
enum placement { ONE_CPU, TWO_CPUS, FREE };
static const struct {
    const char *key, *text;
} placements[] = {{".one-cpu", ", one CPU"}, {".two-cpus", ", two CPUs"}, {"", ""}};
static const char *const servers[] = {"holdfast", "bindfs"};
static const char *const subjects[] = {"Holdfast", "bindfs"};

static struct bench_mount mounts[2][2]; /* of a cache, by a server */
static char *buffer;

/* What is done, to which mount. */
struct task {
    const char *key, *text;
    double (*measure)(const struct task *task);
    bool write, random, sync;
    enum placement placement;
    struct bench_mount *mount;
};

static char *path_of(char buf[PATH_MAX], const struct bench_mount *mount, const char *name)
{
    snprintf(buf, PATH_MAX, "%s/%s", mount->folder, name);
    return buf;
}

/* ---------------------------------------------------------------------------- content ---- */

static void move_bytes(const struct task *task, int fd, size_t len, uint64_t off)
{
    ssize_t moved =
        task->write ? pwrite(fd, buffer, len, (off_t)off) : pread(fd, buffer, len, (off_t)off);

    if (bench_must_host(moved, task->key) != (ssize_t)len)
        lab_fail("%s: %zd of %zu bytes", task->key, moved, len);
}

static double measure_content(const struct task *task)
{
    size_t len = task->random ? LAB_PAGE : LAB_MIB;
    unsigned calls = task->random ? RANDOM_CALLS : FILE_BYTES / LAB_MIB;
    uint64_t chance = 1, start;
    char path[PATH_MAX];
    int fd;

    fd = open(path_of(path, task->mount, "content"),
              (task->write ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    bench_must_host(fd, path);
    calls = bench.quick ? calls / 8 : calls;
    start = lab_now_ns();
    for (unsigned i = 0; i < calls; i++)
        move_bytes(task, fd, len,
                   task->random ? lab_below(&chance, FILE_BYTES / len) * len : i * len);
    start = lab_now_ns() - start;
    close(fd);
    return (double)start / calls / 1000;
}

static void make_content(const struct bench_mount *mount)
{
    const struct task write = {.key = "filling a file", .write = true};
    char path[PATH_MAX];
    int fd = open(path_of(path, mount, "content"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    bench_must_host(fd, path);
    for (uint64_t off = 0; off < FILE_BYTES; off += LAB_MIB)
        move_bytes(&write, fd, LAB_MIB, off);
    close(fd);
}

/* ------------------------------------------------------------------------------ names ---- */

static void create(const struct task *task, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    bench_must_host(fd, path);
    move_bytes(&(struct task){.key = path, .write = true}, fd, LAB_PAGE, 0);
    if (task->sync)
        bench_must_host(fsync(fd), path);
    bench_must_host(close(fd), path);
}

static void stat_once(const struct task *task, const char *path)
{
    struct stat info;

    (void)task;
    bench_must_host(stat(path, &info), path);
}

static void unlink_path(const struct task *task, const char *path)
{
    (void)task;
    bench_must_host(unlink(path), path);
}

/* us per file. */
static double each_name(const struct task *task,
                        void (*what)(const struct task *task, const char *path))
{
    unsigned count = bench.quick ? NAMES / 10 : NAMES;
    uint64_t start = lab_now_ns();
    char path[PATH_MAX], name[64];

    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof name, "names-%u/file-%08u", i % NAME_FOLDERS, i);
        what(task, path_of(path, task->mount, name));
    }
    return (double)(lab_now_ns() - start) / count / 1000;
}

/* These come in the order of a placement's rows: what one makes the next needs. */
static double measure_create(const struct task *task)
{
    return each_name(task, create);
}

static double measure_stat(const struct task *task)
{
    return each_name(task, stat_once);
}

static double measure_unlink(const struct task *task)
{
    return each_name(task, unlink_path);
}

static double measure_create_sync(const struct task *task)
{
    double us = each_name(task, create);

    each_name(task, unlink_path);
    return us;
}

static void make_name_folders(const struct bench_mount *mount)
{
    char path[PATH_MAX], name[32];

    for (unsigned i = 0; i < NAME_FOLDERS; i++) {
        snprintf(name, sizeof name, "names-%u", i);
        bench_must_host(mkdir(path_of(path, mount, name), 0700), path);
    }
}

/* ----------------------------------------------------------------------------- dbench ---- */

/* MB/s, as it says itself. */
static double measure_dbench(const struct task *task)
{
    char *command =
        bench_text("exec dbench -t %u -D \"$BENCH_FOLDER\" %u", DBENCH_SECONDS, bench.cpus);
    char line[512], path[PATH_MAX];
    double rate = 0;
    FILE *dbench;

    setenv("BENCH_FOLDER", path_of(path, task->mount, ""), 1);
    dbench = popen(command, "re");
    while (dbench && fgets(line, sizeof line, dbench))
        sscanf(line, "Throughput %lf MB/sec", &rate);
    if (!dbench || pclose(dbench) != 0 || rate <= 0)
        lab_fail("dbench failed on %s: %s", path, line);
    free(command);
    return rate;
}

/* ------------------------------------------------------------------------------- rows ---- */

static const struct task tasks[] = {
    {.key = "read", .text = "64 MiB read from end to end, 1 MiB a call", measure_content},
    {.key = "write", .text = "64 MiB written over, 1 MiB a call", measure_content, .write = true},
    {.key = "random-read", .text = "4 KiB read at random", measure_content, .random = true},
    {.key = "random-write",
     .text = "4 KiB written at random",
     measure_content,
     .write = true,
     .random = true},
    {.key = "create", .text = "a file of 4 KiB made", measure_create},
    {.key = "stat", .text = "a file looked at", measure_stat},
    {.key = "unlink", .text = "a file taken away", measure_unlink},
    {.key = "create-sync",
     .text = "a file of 4 KiB made, with fsync",
     measure_create_sync,
     .sync = true},
};
#define TASKS (sizeof tasks / sizeof tasks[0])

static const struct task dbench = {
    .key = "dbench", .text = "dbench, a client a CPU", measure_dbench};

static double measure_task(void *state)
{
    const struct task *task = state;

    if (task->placement == FREE)
        bench_go_anywhere();
    else
        bench_stay_on_cpu(task->placement == TWO_CPUS ? 1 : 0);
    bench_mount_move(task->mount);
    if (task->placement != FREE)
        bench_stay_on_cpu(0);
    return task->measure(task);
}

static char *row_key(const struct task *task, unsigned cache, unsigned server)
{
    return bench_text("mount.%s.%s%s.%s", task->key, caches[cache].key,
                      placements[task->placement].key, servers[server]);
}

static void add_task_row(struct bench_group *group, const struct task *what,
                         enum placement placement, unsigned cache, unsigned server)
{
    struct task *task = lab_alloc(sizeof *task);

    *task = *what;
    task->placement = placement;
    task->mount = &mounts[cache][server];
    bench_add(group,
              (struct bench_row){.key = row_key(task, cache, server),
                                 .situation = bench_text("%s, %s%s", task->text, caches[cache].text,
                                                         placements[placement].text),
                                 .subject = subjects[server],
                                 .beside = server ? row_key(task, cache, 0) : NULL,
                                 .measure = measure_task,
                                 .state = task,
                                 .unit = what == &dbench ? "MB/s" : "us",
                                 .more_is_better = what == &dbench});
}

static void add_task_rows(struct bench_group *group, const struct task *what,
                          enum placement placement)
{
    for (unsigned cache = 0; cache < 2; cache++)
        for (unsigned server = 0; server < 2; server++)
            if (mounts[cache][server].there)
                add_task_row(group, what, placement, cache, server);
}

/* Too slow for a quick run. */
static void add_dbench(struct bench_group *group)
{
    if (bench.quick)
        return;
    if (system("command -v dbench >/dev/null") != 0)
        bench_note("mount: dbench is not installed; its rows are left out.");
    else
        add_task_rows(group, &dbench, FREE);
}

static void begin_mounts(struct bench_group *group)
{
    bench_go_anywhere();
    buffer = lab_alloc(LAB_MIB);
    memset(buffer, 'h', LAB_MIB);
    for (unsigned cache = 0; cache < 2; cache++)
        for (unsigned server = 0; server < 2; server++) {
            struct bench_mount *mount = &mounts[cache][server];

            if (!bench_mount_begin(mount, server == 1, cache == 1, POOL_BYTES)) {
                bench_note("mount: %s, %s: it is not installed, or could not mount; its rows are "
                           "left out.",
                           subjects[server], caches[cache].text);
                continue;
            }
            make_content(mount);
            make_name_folders(mount);
        }
    for (size_t i = 0; i < TASKS; i++)
        add_task_rows(group, &tasks[i], ONE_CPU);
    for (size_t i = 0; bench.cpus > 1 && i < TASKS; i++)
        add_task_rows(group, &tasks[i], TWO_CPUS);
    if (bench.cpus < 2)
        bench_note("There is one CPU only: the mount is not measured on two.");
    add_dbench(group);
    bench_beside_begin(group);
}

static void end_mounts(void)
{
    bench_beside_end();
    for (unsigned i = 0; i < 4; i++)
        bench_mount_end(&mounts[i / 2][i % 2]);
    free(buffer);
    bench_stay_on_cpu(0);
}

struct bench_group bench_mount_group = {
    .name = "mount",
    .title = "a mounted pool, beside bindfs over tmpfs",
    .help = "a mounted pool beside bindfs: content, names, dbench; the library beside it",
    .ratio = "x Holdfast",
    .begin = begin_mounts,
    .end = end_mounts,
};
