/* SPDX-License-Identifier: MIT */
/*
 * What a busy mount costs other users of the pool, through the library. The mount's server and its
 * client share the second CPU, and the reader has the first one for itself. Another process holds a
 * pin on the whole file that is read. For comparison, the same load runs on bindfs over tmpfs on
 * the second CPU while the mount is idle. That shows what the machine's memory and caches cost when
 * no other process uses the pool.
 */
#include "bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL_BYTES (128 * LAB_MIB)
#define FILE_BYTES (16 * LAB_MIB)
#define READS 200000u
#define LOAD_BYTES (64 * 1024u)
#define WARM_LOADS 20u

enum { IDLE, ON_HOLDFAST, ON_BINDFS, LOADS, OVER = LOADS };

static struct bench_mount mounts[LOADS];
static struct shared {
    uint64_t load, loads, held;
} * shared;
static pid_t loader, holder;
static struct hf_pool *pool;
static struct hf_file *file;

static const struct load {
    const char *key, *subject;
    uint64_t number;
} loads[] = {
    {"idle", "the mount idle", IDLE},
    {"mount", "the mount at full load", ON_HOLDFAST},
    {"bindfs", "the mount idle, bindfs at full load", ON_BINDFS},
};

/* A file is made, written, read, cut in half and taken away. */
static void load_once(const char *folder)
{
    static char content[LOAD_BYTES];
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof path, "%s/load", folder);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bench_must_host(fd, path);
    for (unsigned i = 0; i < 4; i++)
        bench_must_host(pwrite(fd, content, LOAD_BYTES, i * LOAD_BYTES), path);
    for (unsigned i = 0; i < 4; i++)
        bench_must_host(pread(fd, content, LOAD_BYTES, i * LOAD_BYTES), path);
    bench_must_host(ftruncate(fd, 2 * LOAD_BYTES), path);
    bench_must_host(close(fd), path);
    bench_must_host(unlink(path), path);
}

static int run_load(void *arg)
{
    uint64_t load;

    (void)arg;
    while ((load = lab_peek(&shared->load)) != OVER) {
        if (load == IDLE) {
            usleep(200);
            continue;
        }
        load_once(mounts[load].folder);
        lab_count(&shared->loads, 1);
    }
    return 0;
}

static int keep_file_open(void *arg)
{
    struct hf_pool *own;
    struct hf_file *held;
    struct iovec iov[64];
    struct hf_pin pin;

    (void)arg;
    bench_must(&bench_real, hf_pool_open(mounts[ON_HOLDFAST].source, 0, &own), "opening a pool");
    bench_must(&bench_real, hf_open(own, "held", O_RDWR | O_CREAT, 0600, &held), "making a file");
    bench_must(&bench_real, hf_fallocate(held, 0, 0, FILE_BYTES, NULL), "filling a file");
    bench_must(&bench_real, hf_pin(held, 0, FILE_BYTES, HF_PIN_WRITE, iov, 64, &pin), "pinning");
    lab_put(&shared->held, 1);
    while (lab_peek(&shared->load) != OVER)
        usleep(10000);
    return 0;
}

static void start_load(uint64_t number)
{
    uint64_t before = lab_peek(&shared->loads);

    lab_put(&shared->load, number);
    while (number != IDLE && lab_peek(&shared->loads) - before < WARM_LOADS)
        usleep(100);
}

/* us per read. Waiting counts, but not for the CPU: other programs may be on it. */
static double measure_reads(void *state)
{
    unsigned count = bench.quick ? READS / 20 : READS;
    const struct load *what = state;
    char buffer[LAB_PAGE];
    uint64_t chance = 1, start;

    bench_stay_on_cpu(0);
    start_load(what->number);
    start = lab_now_ns() - bench_passed_over_ns();
    for (unsigned i = 0; i < count; i++)
        bench_must(
            &bench_real,
            hf_read(file, buffer, LAB_PAGE, lab_below(&chance, FILE_BYTES / LAB_PAGE) * LAB_PAGE),
            "reading");
    start = lab_now_ns() - bench_passed_over_ns() - start;
    start_load(IDLE);
    bench_go_anywhere();
    return (double)start / count / 1000;
}

void bench_beside_begin(struct bench_group *group)
{
    if (bench.cpus < 2) {
        bench_note("There is one CPU only: nothing is read beside a busy mount.");
        return;
    }
    bench_stay_on_cpu(1); /* every process that is started now inherits this */
    if (!bench_mount_begin(&mounts[ON_HOLDFAST], false, false, POOL_BYTES))
        return;
    bench_mount_begin(&mounts[ON_BINDFS], true, false, 0);
    shared = lab_shared(sizeof *shared);
    loader = lab_fork(run_load, NULL);
    holder = lab_fork(keep_file_open, NULL);
    while (!lab_peek(&shared->held))
        usleep(1000);
    bench_go_anywhere();
    bench_must(&bench_real, hf_pool_open(mounts[ON_HOLDFAST].source, 0, &pool), "opening a pool");
    bench_must(&bench_real, hf_open(pool, "held", O_RDONLY, 0, &file), "opening a file");
    for (size_t i = 0; i < LOADS; i++)
        if (loads[i].number == IDLE || mounts[loads[i].number].there)
            bench_add(group,
                      (struct bench_row){
                          .key = bench_text("mount.beside.%s", loads[i].key),
                          .situation = "hf_read of 4 KiB at random of a file that another process "
                                       "has pinned",
                          .subject = loads[i].subject,
                          .beside = i ? "mount.beside.idle" : NULL,
                          .measure = measure_reads,
                          .state = (void *)(uintptr_t)&loads[i],
                          .unit = "us"});
}

void bench_beside_end(void)
{
    if (!file)
        return;
    lab_put(&shared->load, OVER);
    waitpid(loader, NULL, 0);
    waitpid(holder, NULL, 0);
    bench_must(&bench_real, hf_close(file), "closing a file");
    bench_must(&bench_real, hf_pool_close(pool), "closing a pool");
    file = NULL;
    for (size_t i = 0; i < LOADS; i++)
        bench_mount_end(&mounts[i]);
}
