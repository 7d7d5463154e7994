/* SPDX-License-Identifier: MIT */
/*
 * Mounts to be measured: a pool through `holdfast mount`, a folder on tmpfs through bindfs. A
 * server runs in the foreground as a child of this program. It begins on the CPUs that the thread
 * which starts it may use, and can be moved to others. An option of bindfs has the kernel ask each
 * time for names and attributes; the default is once a second. Holdfast does the same, except that
 * the kernel keeps attributes of directories for a tick or two of its clock. With the page cache,
 * another option makes its writes as large as bindfs can take.
 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_NS (20 * LAB_SEC)
#define NOTHING_KEPT "entry_timeout=0,attr_timeout=0"
#define BINDFS_UNCACHED NOTHING_KEPT ",direct_io"
#define BINDFS_CACHED NOTHING_KEPT ",big_writes"

static int serve_mount(void *arg)
{
    char *const *args = arg;

    dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
    execvp(args[0], args);
    return 127;
}

/* False: the server has ended. */
static bool wait_for_mount(const struct bench_mount *mount)
{
    const uint64_t end = lab_now_ns() + START_NS;
    struct stat below, there;

    bench_must_host(stat(bench.folder, &below), bench.folder);
    for (; lab_now_ns() < end; usleep(1000)) {
        if (stat(mount->folder, &there) == 0 && there.st_dev != below.st_dev)
            return true;
        if (waitpid(mount->server, NULL, WNOHANG) == mount->server)
            return false;
    }
    lab_fail("%s: nothing was mounted in %u s", mount->folder, (unsigned)(START_NS / LAB_SEC));
}

bool bench_mount_begin(struct bench_mount *mount, bool bindfs, bool cached, uint64_t bytes)
{
    static unsigned number;
    struct hf_pool_options options = {.size = sizeof options, .pool_bytes = bytes};

    mount->source = bench_text("%s/source-%u", bench.folder, number);
    mount->folder = bench_text("%s/mount-%u", bench.folder, number++);
    bench_must_host(mkdir(mount->folder, 0700), mount->folder);
    if (bindfs)
        bench_must_host(mkdir(mount->source, 0700), mount->source);
    else
        bench_must(&bench_real, hf_pool_create(mount->source, &options), "making a pool");
    bench_must_host(sched_getaffinity(0, sizeof mount->cpus, &mount->cpus), "asking for CPUs");
    lab_also_unmount(mount->folder);
    mount->server = lab_fork(
        serve_mount,
        bindfs ? (const char *[]){"bindfs", "-f", "-o", cached ? BINDFS_CACHED : BINDFS_UNCACHED,
                                  mount->source, mount->folder, NULL}
               : (const char *[]){lab_holdfast_program(), "mount", mount->source, mount->folder,
                                  "-f", "-o", cached ? "cache=auto" : "cache=none", NULL});
    mount->there = wait_for_mount(mount);
    return mount->there;
}

static void move_process(pid_t process, const cpu_set_t *cpus);

/* A thread that ends meanwhile needs no CPU. */
static void move_thread(pid_t process, pid_t thread, const cpu_set_t *cpus)
{
    char path[64];
    FILE *children;
    int child;

    if (sched_setaffinity(thread, sizeof *cpus, cpus) < 0 && errno != ESRCH)
        bench_must_host(-1, "moving a server to other CPUs");
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", process, thread);
    children = fopen(path, "re");
    while (children && fscanf(children, "%d", &child) == 1)
        move_process(child, cpus);
    if (children)
        fclose(children);
}

/* With its children: Holdfast's supervisor has one, the server. */
static void move_process(pid_t process, const cpu_set_t *cpus)
{
    struct dirent *entry;
    char path[64];
    DIR *threads;

    snprintf(path, sizeof path, "/proc/%d/task", process);
    threads = opendir(path);
    while (threads && (entry = readdir(threads)))
        if (atoi(entry->d_name) > 0)
            move_thread(process, atoi(entry->d_name), cpus);
    if (threads)
        closedir(threads);
}

/* New threads are where the one is that starts them, so this lasts. */
void bench_mount_move(struct bench_mount *mount)
{
    cpu_set_t cpus;

    bench_must_host(sched_getaffinity(0, sizeof cpus, &cpus), "asking for CPUs");
    if (CPU_EQUAL(&cpus, &mount->cpus))
        return;
    bench_must_host(access("/proc/thread-self/children", R_OK), "looking for children in /proc");
    move_process(mount->server, &cpus);
    move_process(mount->server, &cpus); /* those that one not yet moved has just started */
    mount->cpus = cpus;
}

void bench_mount_end(struct bench_mount *mount)
{
    if (!mount->there)
        return;
    lab_unmount(mount->folder);
    waitpid(mount->server, NULL, 0);
    mount->there = false;
}
