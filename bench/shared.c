/* SPDX-License-Identifier: MIT */
/*
 * Shared blocks beside what the kernel has. Pages merged by `holdfast dedup` stand beside KSM on
 * the same data. A scan that finds nothing to merge stands beside the checksum of that data alone.
 * A clone of 128 MiB stands beside FICLONE, a cloned tree beside cp(1). The first write to a shared
 * page stands beside KSM's fault and beside a write into a fresh page. The thread ksmd goes as fast
 * as it can; its settings come back at the end, also when this program is killed. File systems are
 * made in files on tmpfs, and mounted where no other process sees them.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HALF_BYTES (bench.quick ? 4 * LAB_MIB : 128 * LAB_MIB)
#define CLONE_BYTES (128 * LAB_MIB)
#define WRITES 4096u
#define KSM_PATIENCE_NS (120 * LAB_SEC)
#define KSM "/sys/kernel/mm/ksm/"

static char *half; /* data of which no page is there twice */
static char *pool_path, *tree_pool_path;
static struct hf_pool *pool;
static struct hf_file *whole, *copy;

static int64_t must(int64_t rc, const char *what)
{
    return bench_must(&bench_real, rc, what);
}

static struct hf_file *open_shared_file(const char *name)
{
    struct hf_file *file;

    must(hf_open(pool, name, O_RDWR | O_CREAT, 0600, &file), name);
    return file;
}

static void write_file(struct hf_file *file, const char *bytes, uint64_t len)
{
    for (uint64_t off = 0; off < len; off += LAB_MIB)
        must(hf_write(file, bytes + off, LAB_MIB, off), "writing");
}

static void open_pool_at(const char *path)
{
    must(hf_pool_open(path, 0, &pool), "opening a pool");
    whole = open_shared_file("/whole");
    copy = open_shared_file("/copy");
}

static void open_pool(void)
{
    open_pool_at(pool_path);
}

static void close_pool(void)
{
    hf_close(whole);
    hf_close(copy);
    must(hf_pool_close(pool), "closing a pool");
}

/* ------------------------------------------------------------------------- programs ------ */

static double run_ns(const char *const args[])
{
    uint64_t start = lab_now_ns();
    pid_t child = fork();
    int status;

    if (child == 0) {
        dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
        dup2(STDOUT_FILENO, STDERR_FILENO);
        execvp(args[0], (char *const *)(uintptr_t)args);
        _exit(127);
    }
    bench_must_host(child, "fork");
    bench_must_host(waitpid(child, &status, 0), "waitpid");
    return status == 0 ? (double)(lab_now_ns() - start) : -1;
}

static double dedup_ns(void)
{
    const char *const args[] = {lab_holdfast_program(), "dedup", pool_path, "whole", "copy", NULL};
    double ns = run_ns(args);

    if (ns < 0)
        lab_fail("holdfast dedup has failed");
    return ns;
}

/* ----------------------------------------------------------------------------- KSM ------- */

static const struct {
    const char *name, *wanted;
} knobs[] = {{"sleep_millisecs", "0"}, {"pages_to_scan", "1000000"}, {"smart_scan", "0"}};
#define KNOBS (sizeof knobs / sizeof knobs[0])

static int ksm_guard = -1; /* its other end is a process that sets all back */

static bool ksm_read(const char *name, char value[32])
{
    char path[64];
    ssize_t len;
    int fd;

    snprintf(path, sizeof path, KSM "%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : read(fd, value, 31);
    if (fd >= 0)
        close(fd);
    value[len > 0 ? len : 0] = '\0';
    return len > 0;
}

static bool ksm_write(const char *name, const char *value)
{
    char path[64];
    ssize_t len;
    int fd;

    snprintf(path, sizeof path, KSM "%s", name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    len = fd < 0 ? -1 : write(fd, value, strlen(value));
    if (fd >= 0)
        close(fd);
    return len > 0;
}

static uint64_t ksm_number(const char *name)
{
    char value[32];

    return ksm_read(name, value) ? strtoull(value, NULL, 10) : 0;
}

static void set_back(int from, char old[KNOBS + 1][32])
{
    char byte;

    while (read(from, &byte, 1) < 0 && errno == EINTR)
        continue;
    ksm_write("run", "2"); /* what is merged is one's own again */
    for (size_t i = 0; i < KNOBS; i++)
        ksm_write(knobs[i].name, old[i]);
    ksm_write("run", old[KNOBS]);
    _exit(0);
}

/* There is one ksmd. The lock stays with the guard, until all is set back. */
static bool ksm_lock(void)
{
    int fd = open(KSM "run", O_RDONLY | O_CLOEXEC);

    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static bool ksm_begin(void)
{
    char old[KNOBS + 1][32];
    int ends[2];

    if (!ksm_lock())
        return false;
    for (size_t i = 0; i < KNOBS; i++)
        if (!ksm_read(knobs[i].name, old[i]))
            return false;
    if (!ksm_read("run", old[KNOBS]) || geteuid() != 0)
        return false;
    bench_must_host(pipe2(ends, O_CLOEXEC), "pipe");
    if (fork() == 0) {
        setsid(); /* so that a signal to this program does not end it */
        close(ends[1]);
        set_back(ends[0], old);
    }
    close(ends[0]);
    ksm_guard = ends[1];
    for (size_t i = 0; i < KNOBS; i++)
        ksm_write(knobs[i].name, knobs[i].wanted);
    return true;
}

static void ksm_end(void)
{
    if (ksm_guard < 0)
        return;
    close(ksm_guard);
    ksm_guard = -1;
    while (wait(NULL) < 0 && errno == EINTR)
        continue;
}

/* Twice the data, merged; how long that took. */
static char *ksm_merged(double *ns)
{
    uint64_t pages = HALF_BYTES / LAB_PAGE, before, start;
    char *memory =
        mmap(NULL, 2 * HALF_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        lab_fail("mmap: %s", strerror(errno));
    madvise(memory, 2 * HALF_BYTES, MADV_NOHUGEPAGE);
    memcpy(memory, half, HALF_BYTES);
    memcpy(memory + HALF_BYTES, half, HALF_BYTES);
    bench_must_host(madvise(memory, 2 * HALF_BYTES, MADV_MERGEABLE), "MADV_MERGEABLE");
    before = ksm_number("pages_sharing");
    start = lab_now_ns();
    ksm_write("run", "1");
    while (ksm_number("pages_sharing") - before < pages - pages / 100) {
        if (lab_now_ns() - start > KSM_PATIENCE_NS)
            lab_fail("KSM does not merge what is the same");
        usleep(500);
    }
    *ns = (double)(lab_now_ns() - start);
    return memory;
}

static void ksm_forget(char *memory)
{
    ksm_write("run", "2");
    munmap(memory, 2 * HALF_BYTES);
    ksm_write("run", "0");
}

/* ------------------------------------------------------------------------ merging -------- */

static double measure_merge(void *state)
{
    double ns;

    (void)state;
    open_pool();
    must(hf_truncate(whole, 0, NULL), "emptying a file");
    must(hf_truncate(copy, 0, NULL), "emptying a file");
    write_file(whole, half, HALF_BYTES);
    write_file(copy, half, HALF_BYTES);
    close_pool();
    ns = dedup_ns();
    return ns / (double)(HALF_BYTES / LAB_PAGE) / 1000;
}

static double measure_ksm(void *state)
{
    double ns;

    (void)state;
    ksm_forget(ksm_merged(&ns));
    return ns / (double)(HALF_BYTES / LAB_PAGE) / 1000;
}

/* Two passes. The checksums of the first tell the second that it has nothing to read. */
static double measure_scan(void *state)
{
    (void)state;
    open_pool();
    must(hf_truncate(copy, 0, NULL), "emptying a file");
    write_file(whole, half, HALF_BYTES);
    close_pool();
    return dedup_ns() / 2 / (double)(HALF_BYTES / LAB_PAGE) / 1000;
}

static volatile uint64_t sink;

static double measure_checksum(void *state)
{
    uint64_t start, sum = 0;
    struct iovec iov;
    struct hf_pin pin;

    (void)state;
    open_pool();
    start = lab_now_ns();
    for (uint64_t off = 0; off < HALF_BYTES; off += LAB_PAGE) {
        must(hf_pin(whole, off, LAB_PAGE, HF_PIN_READ, &iov, 1, &pin), "pinning");
        sum += XXH3_64bits(iov.iov_base, LAB_PAGE);
        hf_unpin(&pin);
    }
    start = lab_now_ns() - start;
    sink = sum;
    close_pool();
    return (double)start / (double)(HALF_BYTES / LAB_PAGE) / 1000;
}

/* --------------------------------------------------------------------- first writes ------ */

static double write_pages(struct hf_file *file)
{
    uint64_t start = bench_own_cpu_ns();

    for (uint64_t i = 0; i < WRITES / 8; i++)
        must(hf_write(file, half, LAB_PAGE, i * 8 % WRITES * LAB_PAGE), "writing");
    return (double)(bench_own_cpu_ns() - start) / (WRITES / 8) / 1000;
}

static double measure_shared_write(void *state)
{
    double us;

    open_pool_at(state);
    write_file(whole, half, WRITES * LAB_PAGE < HALF_BYTES ? WRITES * LAB_PAGE : HALF_BYTES);
    must(hf_truncate(copy, 0, NULL), "emptying a file");
    must(hf_clone_range(whole, 0, copy, 0, 0, NULL), "cloning");
    us = write_pages(copy);
    close_pool();
    return us;
}

static double measure_fresh_write(void *state)
{
    double us;

    (void)state;
    open_pool();
    must(hf_truncate(copy, 0, NULL), "emptying a file");
    us = write_pages(copy);
    close_pool();
    return us;
}

static double measure_ksm_write(void *state)
{
    double ns;
    char *memory = ksm_merged(&ns);
    uint64_t start, count = HALF_BYTES / LAB_PAGE / 8;

    (void)state;
    ksm_write("run", "0");
    start = bench_own_cpu_ns();
    for (uint64_t i = 0; i < count; i++)
        memory[HALF_BYTES + i * 8 * LAB_PAGE]++;
    start = bench_own_cpu_ns() - start;
    ksm_forget(memory);
    return (double)start / (double)count / 1000;
}

/* ------------------------------------------------------------------------- clones -------- */

struct disk {
    const char *type, *const *make;
    char *folder;
    bool there;
};

static double measure_clone(void *state)
{
    uint64_t start;

    (void)state;
    open_pool();
    must(hf_truncate(whole, 0, NULL), "emptying a file");
    must(hf_truncate(copy, 0, NULL), "emptying a file");
    for (uint64_t off = 0; off < CLONE_BYTES; off += HALF_BYTES)
        for (uint64_t at = 0; at < HALF_BYTES; at += LAB_MIB)
            must(hf_write(whole, half + at, LAB_MIB, off + at), "writing");
    start = lab_now_ns();
    must(hf_clone_range(whole, 0, copy, 0, 0, NULL), "cloning");
    start = lab_now_ns() - start;
    close_pool();
    return (double)start / 1000;
}

static double measure_ficlone(void *state)
{
    const struct disk *disk = state;
    int from = open(bench_text("%s/whole", disk->folder), O_RDONLY | O_CLOEXEC);
    int to =
        open(bench_text("%s/copy", disk->folder), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint64_t start = lab_now_ns();

    bench_must_host(ioctl(to, FICLONE, from), "FICLONE");
    start = lab_now_ns() - start;
    close(from);
    close(to);
    return (double)start / 1000;
}

static bool disk_begin(struct disk *disk)
{
    char *image = bench_text("%s/%s.img", bench.folder, disk->type);
    const char *const make[] = {disk->make[0], "-q", image, NULL};
    int fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    disk->folder = bench_text("%s/%s", bench.folder, disk->type);
    if (fd < 0 || ftruncate(fd, (off_t)(512 * LAB_MIB)) != 0 || mkdir(disk->folder, 0700) != 0)
        return false;
    close(fd);
    {
        const char *const mount[] = {"mount", "-o", "loop", image, disk->folder, NULL};

        if (run_ns(make) < 0 || run_ns(mount) < 0)
            return false;
    }
    fd = open(bench_text("%s/whole", disk->folder), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (uint64_t off = 0; off < CLONE_BYTES; off += LAB_MIB)
        bench_must_host(pwrite(fd, half + off % HALF_BYTES, LAB_MIB, (off_t)off), "pwrite");
    bench_must_host(fsync(fd), "fsync");
    close(fd);
    return true;
}

/* -------------------------------------------------------------------------- trees -------- */

#define TREE_FOLDERS (bench.quick ? 2u : 80u)
#define TREE_FILES 100u /* in each */

static char *tree;

static void make_page_tree(void)
{
    tree = bench_text("%s/tree", bench.folder);
    bench_must_host(mkdir(tree, 0700), tree);
    for (unsigned i = 0; i < TREE_FOLDERS; i++) {
        char path[300];

        snprintf(path, sizeof path, "%s/%u", tree, i);
        bench_must_host(mkdir(path, 0700), path);
        for (unsigned j = 0; j < TREE_FILES; j++) {
            int fd;

            snprintf(path, sizeof path, "%s/%u/%u", tree, i, j);
            fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            bench_must_host(fd, path);
            bench_must_host(write(fd, half + (i * TREE_FILES + j) % 64 * LAB_PAGE, 6000), path);
            close(fd);
        }
    }
}

static double run_or_fail(const char *const args[])
{
    double ns = run_ns(args);

    if (ns < 0)
        lab_fail("%s %s has failed", args[0], args[1]);
    return ns / TREE_FOLDERS / TREE_FILES / 1000;
}

static double measure_snapshot(void *state)
{
    const char *program = lab_holdfast_program();
    const char *const snapshot[] = {program, "snapshot", tree_pool_path, "tree", "kept", NULL};
    const char *const remove[] = {program, "rm", "-r", tree_pool_path, "kept", NULL};
    double us = run_or_fail(snapshot);

    (void)state;
    run_or_fail(remove);
    return us;
}

static double measure_cp(void *state)
{
    const struct disk *disk = state;
    const char *from = bench_text("%s/tree", disk->folder);
    const char *to = bench_text("%s/kept", disk->folder);
    const char *const copies[] = {"cp", "-r", "--reflink=always", from, to, NULL};
    const char *const remove[] = {"rm", "-r", to, NULL};
    double us = run_or_fail(copies);

    run_or_fail(remove);
    return us;
}

static void put_tree(void)
{
    const char *const put[] = {lab_holdfast_program(), "put", tree_pool_path, tree, NULL};

    run_or_fail(put);
}

static bool disk_takes_tree(const struct disk *disk)
{
    const char *const copies[] = {"cp", "-r", tree, disk->folder, NULL};

    return run_ns(copies) >= 0;
}

/* -------------------------------------------------------------------------- the rows ----- */

static const char *const make_xfs[] = {"mkfs.xfs", NULL};
static const char *const make_btrfs[] = {"mkfs.btrfs", NULL};
static struct disk disks[] = {{"xfs", make_xfs, NULL, false}, {"btrfs", make_btrfs, NULL, false}};
#define DISKS (sizeof disks / sizeof disks[0])

static void add(struct bench_group *group, const char *key, const char *situation,
                const char *subject, const char *beside, double (*measure)(void *state),
                void *state)
{
    bench_add(group, (struct bench_row){.key = key,
                                        .situation = situation,
                                        .subject = subject,
                                        .beside = beside,
                                        .measure = measure,
                                        .state = state});
}

static void mount_disks(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        bench_note("FICLONE is left out: only root can mount the file systems for it");
        return;
    }
    for (size_t i = 0; i < DISKS; i++) {
        disks[i].there = disk_begin(&disks[i]) && disk_takes_tree(&disks[i]);
        if (!disks[i].there)
            bench_note("FICLONE on %s is left out: it cannot be made and mounted here",
                       disks[i].type);
    }
}

static void add_clones(struct bench_group *group)
{
    static const char clone[] = "a clone of 128 MiB",
                      copies[] = "a file of a tree of 8,000 that is cloned";

    make_page_tree();
    put_tree();
    mount_disks();

    add(group, "shared.clone.holdfast", clone, "hf_clone_range", NULL, measure_clone, NULL);
    for (size_t i = 0; i < DISKS; i++)
        if (disks[i].there)
            add(group, bench_text("shared.clone.%s", disks[i].type), clone,
                bench_text("FICLONE, %s", disks[i].type), "shared.clone.holdfast", measure_ficlone,
                &disks[i]);
    add(group, "shared.tree.holdfast", copies, "holdfast snapshot", NULL, measure_snapshot, NULL);
    for (size_t i = 0; i < DISKS; i++)
        if (disks[i].there)
            add(group, bench_text("shared.tree.%s", disks[i].type), copies,
                bench_text("cp -r --reflink=always, %s", disks[i].type), "shared.tree.holdfast",
                measure_cp, &disks[i]);
}

static void begin_shared(struct bench_group *group)
{
    static const char merge[] = "a page merged, of 256 MiB that hold all twice",
                      scan[] = "a page looked at that nothing is the same as",
                      first[] = "the first write to a shared page";
    struct hf_pool_options options = {.size = sizeof options, .pool_bytes = 512 * LAB_MIB};
    bool ksm = ksm_begin();
    uint64_t chance = 1;

    half = lab_alloc(HALF_BYTES);
    for (uint64_t at = 0; at < HALF_BYTES; at += sizeof chance) {
        uint64_t word = lab_random(&chance);

        memcpy(half + at, &word, sizeof word);
    }
    pool_path = bench_text("%s/shared", bench.folder);
    tree_pool_path = bench_text("%s/trees", bench.folder);
    must(hf_pool_create(pool_path, &options), "making a pool");
    must(hf_pool_create(tree_pool_path, &options), "making a pool");
    add(group, "shared.merge.holdfast", merge, "holdfast dedup", NULL, measure_merge, NULL);
    if (ksm)
        add(group, "shared.merge.ksm", merge, "KSM", "shared.merge.holdfast", measure_ksm, NULL);
    else
        bench_note(
            "KSM is left out: this kernel does not have it, another program uses it, or this "
            "is not root");
    add(group, "shared.scan.holdfast", scan, "holdfast dedup, a pass", NULL, measure_scan, NULL);
    add(group, "shared.scan.xxh3", scan, "XXH3 alone, through a pin", "shared.scan.holdfast",
        measure_checksum, NULL);
    add(group, "shared.write.holdfast", first, "hf_write", NULL, measure_shared_write, pool_path);
    add(group, "shared.write.beside", first, "hf_write, 8,000 other files", "shared.write.holdfast",
        measure_shared_write, tree_pool_path);
    add(group, "shared.write.fresh", first, "hf_write into a fresh page", "shared.write.holdfast",
        measure_fresh_write, NULL);
    if (ksm)
        add(group, "shared.write.ksm", first, "a store, KSM's fault", "shared.write.holdfast",
            measure_ksm_write, NULL);
    add_clones(group);
}

static void end_shared(void)
{
    for (size_t i = 0; i < DISKS; i++)
        if (disks[i].folder)
            umount2(disks[i].folder, MNT_DETACH);
    ksm_end();
    free(half);
}

struct bench_group bench_shared_group = {
    .name = "shared",
    .title = "shared blocks",
    .help = "merged pages beside KSM, clones beside FICLONE, first writes",
    .unit = "us",
    .ratio = "x Holdfast",
    .begin = begin_shared,
    .end = end_shared,
};
