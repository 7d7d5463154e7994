/* SPDX-License-Identifier: MIT */
/*
 * Owns mounting and unmounting. The supervisor keeps its user, root or not. It mounts, and when the
 * server has ended, for whatever reason, it unmounts what may be left.
 *
 *     holdfast mount waits until it is mounted, then ends; with -f it is the supervisor itself
 *       supervisor       fork, mount, hand over; wait; unmount
 *         server         drop rights, open the pool, serve (process.c)
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 3 /* for a server that is to end */

struct supervisor {
    const struct mount_plan *plan;
    char pool[PATH_MAX], dir[PATH_MAX];
    struct stat owner; /* of the pool */
    char device[MOUNT_DEVICE_BYTES];
    int socket; /* to the other process */
    pid_t server;
};

/* A user may have unmounted the pool and mounted another one there. Once the server has ended, the
 * new mount can have the same device number, but it answers. */
static void unmount_own(const struct supervisor *supervisor, bool ended)
{
    char device[MOUNT_DEVICE_BYTES];

    mountpoint_find(supervisor->dir, device);
    if (device[0] && strcmp(device, supervisor->device) == 0 &&
        (!ended || mountpoint_is_dead(supervisor->dir)))
        mountpoint_unmount(supervisor->dir);
}

static bool holds_path(const char *dir, const char *path)
{
    size_t len = strlen(dir);

    return strcmp(dir, "/") == 0 ||
           (strncmp(dir, path, len) == 0 && (path[len] == '/' || path[len] == '\0'));
}

/* A dead mount of ours, left by a killed server, is taken away first. */
static int check_directory(struct supervisor *supervisor)
{
    const struct mount_plan *plan = supervisor->plan;
    struct stat dir;

    if (mountpoint_is_dead(plan->dir) && mountpoint_path(plan->dir, supervisor->dir)) {
        mountpoint_find(supervisor->dir, supervisor->device);
        if (supervisor->device[0])
            mountpoint_unmount(supervisor->dir);
    }
    if (stat(plan->dir, &dir) || !realpath(plan->dir, supervisor->dir))
        return plan->fail_host(plan->dir, errno);
    if (!S_ISDIR(dir.st_mode))
        return plan->fail_host(plan->dir, ENOTDIR);
    mountpoint_find(supervisor->dir, supervisor->device);
    if (!supervisor->device[0])
        return EX_OK;
    fprintf(stderr, "holdfast: mount: %s: a pool is mounted there already; umount it first\n",
            plan->dir);
    return EX_TEMPFAIL;
}

static int check_paths(struct supervisor *supervisor)
{
    const struct mount_plan *plan = supervisor->plan;
    int status = check_directory(supervisor);

    if (status != EX_OK)
        return status;
    if (stat(plan->pool, &supervisor->owner) || !realpath(plan->pool, supervisor->pool))
        return plan->fail_host(plan->pool, errno);
    if (holds_path(supervisor->dir, supervisor->pool) ||
        holds_path(supervisor->pool, supervisor->dir)) {
        fprintf(stderr,
                "holdfast: mount: %s: the mount would hide the pool, or lie in it; choose another "
                "directory\n",
                plan->dir);
        return EX_USAGE;
    }
    return EX_OK;
}

static void print_log(enum fuse_log_level level, const char *format, va_list args)
{
    static bool inside; /* a line that comes in pieces */
    char text[PATH_MAX + 256];

    (void)level;
    vsnprintf(text, sizeof text, format, args);
    fprintf(stderr, "%s%s", inside ? "" : "holdfast: mount: ", text);
    inside = strchr(text, '\n') == NULL;
}

/* libfuse mounts: by itself as root, else through fusermount3. The descriptor, or -1: it has said
 * why. */
static int mount_here(const struct supervisor *supervisor)
{
    static const struct fuse_lowlevel_ops none;
    const struct mount_plan *plan = supervisor->plan;
    char options[3 * PATH_MAX]; /* room for a path of which each byte is escaped */
    char *words[] = {(char[]){"holdfast"}, (char[]){"-o"}, options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, words);
    static struct fuse_session *session; /* stays: destroying it would unmount */
    size_t used = 0;
    int fd;

    used = (size_t)snprintf(options, sizeof options,
                            "subtype=holdfast,default_permissions%s%s,fsname=",
                            *plan->options ? "," : "", plan->options);
    if (used >= sizeof options / 2) {
        fprintf(stderr, "holdfast: mount: the options are too long\n");
        return -1;
    }
    for (const char *from = supervisor->pool; *from && used < sizeof options - 2; from++) {
        if (*from == ',' || *from == '\\')
            options[used++] = '\\';
        options[used++] = *from;
    }
    options[used] = '\0';
    fuse_set_log_func(print_log);
    session = fuse_session_new(&args, &none, sizeof none, NULL);
    fuse_opt_free_args(&args);
    if (!session || fuse_session_mount(session, supervisor->dir))
        return -1;
    fd = fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 0);
    close(fuse_session_fd(session));
    return fd;
}

/* The kernel is to read ahead as much as one request can carry: eight times its default. Only root
 * can set this, and a mount works without. */
static void read_far_ahead(const char *device)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof path, "/sys/class/bdi/%s/read_ahead_kb", device);
    file = fopen(path, "we");
    if (!file)
        return;
    fputs("1024\n", file);
    fclose(file);
}

static int exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

static int join_server(const struct supervisor *supervisor)
{
    int status;

    while (waitpid(supervisor->server, &status, 0) < 0 && errno == EINTR)
        ;
    return exit_code(status);
}

/* Waits for a signal of the set, or until the server has ended: then 0. */
static int await_signal(const struct supervisor *supervisor, const sigset_t *set, int *status)
{
    int number;

    do {
        if (waitpid(supervisor->server, status, WNOHANG) == supervisor->server)
            return 0;
        number = sigwaitinfo(set, NULL);
    } while (number < 0 || number == SIGCHLD);
    return number;
}

/* Until the server ends. A signal unmounts, and leaves the server a while for open files. */
static int await_end(const struct supervisor *supervisor, const sigset_t *set)
{
    static const struct timespec moment = {.tv_nsec = 100000000};
    int status;

    if (await_signal(supervisor, set, &status) == 0)
        return exit_code(status);
    unmount_own(supervisor, false);
    for (int i = 0; i < PATIENCE_S * 10; i++) {
        if (waitpid(supervisor->server, &status, WNOHANG) == supervisor->server)
            return exit_code(status);
        sigtimedwait(set, NULL, &moment);
    }
    kill(supervisor->server, SIGTERM);
    return join_server(supervisor);
}

/* The server is forked before anything else, so that nothing of the supervisor is open in it. */
static int start_server(struct supervisor *supervisor)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return supervisor->plan->fail_host("socketpair", errno);
    supervisor->server = fork();
    if (supervisor->server < 0)
        return supervisor->plan->fail_host("fork", errno);
    supervisor->socket = pair[supervisor->server ? 0 : 1];
    close(pair[supervisor->server ? 1 : 0]);
    if (supervisor->server == 0) {
        setpgid(0, 0); /* Ctrl-C is for the supervisor */
        exit(mount_server_run(&(struct mount_server){supervisor->plan, supervisor->pool,
                                                     supervisor->owner, supervisor->socket}));
    }
    return EX_OK;
}

/* Until the server has the pool, which may take long. False: it has ended, perhaps by a signal. */
static bool await_server(const struct supervisor *supervisor, const sigset_t *set)
{
    static const struct timespec moment = {.tv_nsec = 5000000};
    ssize_t len;
    char byte;

    while ((len = recv(supervisor->socket, &byte, 1, MSG_DONTWAIT)) < 0 && errno != ECONNRESET) {
        int number = sigtimedwait(set, NULL, &moment);

        if (number > 0 && number != SIGCHLD)
            kill(supervisor->server, SIGTERM);
    }
    return len == 1;
}

/* When it is mounted, the process at the other end of `started` is notified, if there is one. */
static int supervise(struct supervisor *supervisor, int started)
{
    sigset_t set;
    int status, fd;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    status = start_server(supervisor);
    if (status != EX_OK)
        return status;
    if (!await_server(supervisor, &set)) /* it has printed why */
        return join_server(supervisor);
    fd = mount_here(supervisor);
    if (fd < 0) {
        kill(supervisor->server, SIGKILL);
        join_server(supervisor);
        return EX_OSERR;
    }
    mountpoint_find(supervisor->dir, supervisor->device);
    if (supervisor->plan->cached)
        read_far_ahead(supervisor->device);
    if (channel_send_descriptor(supervisor->socket, fd)) {
        close(fd); /* the server's alone: when it dies, the kernel ends all calls at once */
        if (channel_await(supervisor->socket) && started >= 0) {
            channel_notify(started);
            close(started);
            mount_leave_terminal();
        }
    }
    status = await_end(supervisor, &set);
    if (status == EX_SOFTWARE) /* programs must not go on in the directory below */
        fprintf(stderr,
                "holdfast: mount: the server was killed; %s is dead until it is unmounted\n",
                supervisor->dir);
    else
        unmount_own(supervisor, true);
    return status;
}

/* A process in the background must not keep another mount busy, by a working directory or a file
 * that its caller had open. Descriptors 0 to 2 go when it is mounted. */
static void leave_caller(int kept)
{
    if (chdir("/"))
        fprintf(stderr, "holdfast: mount: /: %s\n", strerror(errno));
    if (kept > 3)
        close_range(3, (unsigned)kept - 1, 0);
    close_range((unsigned)kept + 1, ~0u, 0);
}

/* In the background: a child supervises, and this process ends when it is mounted. */
static int mount_in_background(struct supervisor *supervisor)
{
    int pair[2], status;
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return supervisor->plan->fail_host("socketpair", errno);
    child = fork();
    if (child < 0)
        return supervisor->plan->fail_host("fork", errno);
    close(pair[child ? 1 : 0]);
    if (child == 0) {
        setsid();
        leave_caller(pair[1]);
        exit(supervise(supervisor, pair[1]));
    }
    if (channel_await(pair[0]))
        return EX_OK;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return exit_code(status);
}

int mount_run(const struct mount_plan *plan)
{
    struct supervisor supervisor = {.plan = plan};
    int status;

    if (plan->remount)
        return mount_remount(plan);
    status = check_paths(&supervisor);
    if (status != EX_OK)
        return status;
    return plan->foreground ? supervise(&supervisor, -1) : mount_in_background(&supervisor);
}
