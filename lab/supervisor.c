/* SPDX-License-Identifier: MIT */
/*
 * The supervisor: a process that only watches, so that it is there to clean up whatever happens to
 * those that work. Every process it starts, directly or not, is killed with its parent
 * (PR_SET_PDEATHSIG), and becomes the supervisor's own child when it is orphaned
 * (PR_SET_CHILD_SUBREAPER). So when the supervisor has no child left, no process uses the folder
 * any more. Only a SIGKILL of the supervisor itself leaves the folder.
 */
#include "lab/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define SEGMENTS_MAX 8
#define MOUNTS_MAX 16
#define FOLDERS_MAX 4

/* Names of segments of pools; shared, because the child fills it and the supervisor reads it. */
static struct segments {
    uint64_t count;
    uint8_t uuid[SEGMENTS_MAX][16];
} * segments;

/* Likewise folders on which something may be mounted. */
static struct mounts {
    uint64_t count;
    char folder[MOUNTS_MAX][PATH_MAX];
} * mounts;

/* And folders that go at the end. */
static struct folders {
    uint64_t count;
    char folder[FOLDERS_MAX][PATH_MAX];
} * folders;

static void say_line(const char *format, va_list args)
{
    fflush(stdout);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void lab_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_line(format, args);
    va_end(args);
}

void lab_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_line(format, args);
    va_end(args);
    _exit(EX_SOFTWARE);
}

void *lab_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        lab_fail("%zu bytes of shared memory: %s", bytes, strerror(errno));
    return memory;
}

void *lab_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);

    if (!memory)
        lab_fail("out of memory");
    return memory;
}

uint64_t lab_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || value < min || value > max) {
        lab_say("%s %s: a number from %" PRIu64 " to %" PRIu64 " is wanted", option, text, min,
                max);
        exit(EX_USAGE);
    }
    return value;
}

static uint64_t memory_available(void)
{
    FILE *meminfo = fopen("/proc/meminfo", "re");
    uint64_t kib = 0;
    char line[128];

    while (meminfo && fgets(line, sizeof line, meminfo))
        if (sscanf(line, "MemAvailable: %" PRIu64 " kB", &kib) == 1)
            break;
    if (meminfo)
        fclose(meminfo);
    return kib << 10;
}

uint64_t lab_room(const char *folder)
{
    uint64_t memory = memory_available(), free_bytes;
    struct statvfs fs;

    if (statvfs(folder, &fs) != 0)
        return 0;
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return memory < free_bytes ? memory : free_bytes;
}

static bool is_memory(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC && access(path, W_OK | X_OK) == 0;
}

static bool make_folder(char folder[PATH_MAX])
{
    const char *below = getenv("TMPDIR");

    if (!below || !is_memory(below))
        below = "/dev/shm";
    if (snprintf(folder, PATH_MAX, "%s/%s-XXXXXX", below, program_invocation_short_name) >=
            PATH_MAX ||
        !mkdtemp(folder)) {
        lab_say("no folder of its own could be made under %s (%s); set TMPDIR to a tmpfs", below,
                strerror(errno));
        return false;
    }
    return true;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info, (void)type, (void)where;
    remove(path);
    return 0;
}

/* /dev/shm/holdfast-UUID-CHANCE: those of pools on a disk. */
static void remove_segment(const uint8_t uuid[16])
{
    char pattern[64] = "/dev/shm/holdfast-";
    size_t at = strlen(pattern);
    glob_t found;

    for (unsigned i = 0; i < 16; i++)
        at += (size_t)snprintf(pattern + at, sizeof pattern - at, "%02x", uuid[i]);
    snprintf(pattern + at, sizeof pattern - at, "-*");
    if (glob(pattern, 0, NULL, &found))
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        unlink(found.gl_pathv[i]);
    globfree(&found);
}

static void remove_folder(const char *folder)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    for (uint64_t i = 0; i < folders->count; i++)
        nftw(folders->folder[i], remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    for (uint64_t i = 0; i < segments->count; i++)
        remove_segment(segments->uuid[i]);
}

void lab_also_remove(const uint8_t uuid[16])
{
    if (segments->count < SEGMENTS_MAX)
        memcpy(segments->uuid[segments->count++], uuid, 16);
}

void lab_also_remove_folder(const char *folder)
{
    if (folders->count == FOLDERS_MAX)
        lab_fail("more than %d folders", FOLDERS_MAX);
    snprintf(folders->folder[folders->count++], PATH_MAX, "%s", folder);
}

void lab_also_unmount(const char *folder)
{
    if (mounts->count == MOUNTS_MAX)
        lab_fail("more than %d mounts", MOUNTS_MAX);
    snprintf(mounts->folder[mounts->count++], PATH_MAX, "%s", folder);
}

static int unmount_as_user(void *folder)
{
    execlp("fusermount3", "fusermount3", "-u", "-z", "-q", folder, (char *)NULL);
    return EX_UNAVAILABLE;
}

void lab_unmount(const char *folder)
{
    if (umount2(folder, MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno == EPERM)
        waitpid(lab_fork(unmount_as_user, (void *)(uintptr_t)folder), NULL, 0);
}

static void die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EX_SOFTWARE);
}

pid_t lab_fork(int (*body)(void *arg), void *arg)
{
    pid_t parent = getpid(), pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0)
        lab_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        int status;

        die_with(parent);
        status = body(arg);
        fflush(NULL);
        _exit(status);
    }
    return pid;
}

const char *lab_how_it_ended(int wait_status)
{
    static char text[96];

    if (WIFSIGNALED(wait_status))
        snprintf(text, sizeof text, "was killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(text, sizeof text, "ended with status %d", WEXITSTATUS(wait_status));
    return text;
}

/* What the child runs, and the signals it should see as the supervisor found them. */
struct work {
    int (*body)(const char *folder, void *arg);
    void *arg;
    const char *folder;
    sigset_t mask;
};

static int work(void *arg)
{
    struct work *work = arg;

    sigprocmask(SIG_SETMASK, &work->mask, NULL);
    return work->body(work->folder, work->arg);
}

/* Until the worker has ended or a signal asks for the end (which is then returned). */
static int await_worker(pid_t worker, const sigset_t *signals, int *wait_status)
{
    for (;;) {
        int caught = sigwaitinfo(signals, NULL);
        pid_t ended;

        if (caught > 0 && caught != SIGCHLD) {
            kill(worker, SIGKILL);
            return caught;
        }
        while ((ended = waitpid(-1, wait_status, WNOHANG)) > 0)
            if (ended == worker)
                return 0;
    }
}

/* Those of descriptors 0 to 2 that were not given would be the next files that are opened. */
static void occupy_lab_streams(void)
{
    int fd;

    do
        fd = open("/", O_PATH | O_DIRECTORY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int lab_supervised(int (*body)(const char *folder, void *arg), void *arg)
{
    struct work to_do = {.body = body, .arg = arg};
    char folder[PATH_MAX];
    int wait_status = 0, caught;
    sigset_t signals;
    pid_t worker;

    occupy_lab_streams();
    segments = lab_shared(sizeof *segments);
    folders = lab_shared(sizeof *folders);
    mounts = lab_shared(sizeof *mounts);
    if (!make_folder(folder))
        return EX_CANTCREAT;
    to_do.folder = folder;
    sigemptyset(&signals);
    for (const int *s = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, 0}; *s; s++)
        sigaddset(&signals, *s);
    sigprocmask(SIG_BLOCK, &signals, &to_do.mask);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    worker = lab_fork(work, &to_do);
    caught = await_worker(worker, &signals, &wait_status);
    for (uint64_t i = 0; i < mounts->count; i++) /* what serves them ends then */
        lab_unmount(mounts->folder[i]);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    remove_folder(folder);
    if (caught) {
        signal(caught, SIG_DFL);
        sigprocmask(SIG_SETMASK, &to_do.mask, NULL);
        raise(caught);
    }
    if (WIFEXITED(wait_status))
        return WEXITSTATUS(wait_status);
    if (WTERMSIG(wait_status) != SIGPIPE)
        lab_say("the main process %s", lab_how_it_ended(wait_status));
    return EX_SOFTWARE;
}
