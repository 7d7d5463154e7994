/* SPDX-License-Identifier: MIT */
/*
 * Owns mounting, unmounting and what users may. The guard stays what the user is, root or not: it
 * mounts, and when the serving process has ended, for whatever reason, it unmounts what may be
 * left. The serving process opens the pool as its owner and without capabilities, so a pool that
 * its owner has prepared (POOL/data may be a link) leads to nothing that the owner could not reach.
 * It gets the descriptor of /dev/fuse from the guard, and is told to end when the guard dies.
 *
 *     holdfast mount waits until it is mounted, then ends (unless -f: then it is the guard itself)
 *       guard            fork, mount, hand over; wait; unmount
 *         server         drop rights, open the pool, serve
 */
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 3   /* for a serving process that is to end */
#define KEPT_MAX 1024u /* files that are open for the kernel's cache alone */
#define FSTYPE "fuse.holdfast"

struct guard {
    const struct mount_plan *plan;
    char pool[PATH_MAX], dir[PATH_MAX];
    struct stat owner; /* of the pool */
    char device[32];   /* of the mount, as mountinfo has it: "0:57" */
    int socket;        /* to the other process */
    pid_t server;
};

/* ---- the mount point ---- */

/* Undoes \040 and its like. */
static void unescape(char *text)
{
    char *to = text;
    unsigned code;

    for (; *text; text++, to++) {
        *to = *text;
        if (*text == '\\' && sscanf(text + 1, "%3o", &code) == 1) {
            *to = (char)code;
            text += 3;
        }
    }
    *to = '\0';
}

/* The device number of the mount on top at `dir`, if it is one of holdfast's: "" else. */
static void find_mount(const char *dir, char device[32])
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char line[2 * PATH_MAX], number[32], at[PATH_MAX], type[64];

    device[0] = '\0';
    while (mounts && fgets(line, sizeof line, mounts)) {
        const char *rest = strstr(line, " - ");

        if (!rest || sscanf(line, "%*d %*d %31s %*s %4095s", number, at) != 2 ||
            sscanf(rest, " - %63s", type) != 1)
            continue;
        unescape(at);
        if (strcmp(at, dir) == 0)
            snprintf(device, sizeof number, "%s", strcmp(type, FSTYPE) == 0 ? number : "");
    }
    if (mounts)
        fclose(mounts);
}

/* Lazily: what is in use stays until it is closed. */
static void unmount(const char *dir)
{
    pid_t child;

    if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return;
    child = fork();
    if (child == 0) {
        execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", dir, (char *)NULL);
        _exit(EX_UNAVAILABLE);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

/* Nobody serves what is mounted there. What the kernel has kept of the root must not answer for
 * it. */
static bool is_dead(const char *dir)
{
    struct statx attr;

    return statx(AT_FDCWD, dir, AT_STATX_FORCE_SYNC, STATX_MODE, &attr) && errno == ENOTCONN;
}

/* Somebody may have unmounted it, and have mounted another one there; once the server has ended
 * also one with the same number, but that one answers. */
static void unmount_own(const struct guard *guard, bool ended)
{
    char device[32];

    find_mount(guard->dir, device);
    if (device[0] && strcmp(device, guard->device) == 0 && (!ended || is_dead(guard->dir)))
        unmount(guard->dir);
}

static bool holds_path(const char *dir, const char *path)
{
    size_t len = strlen(dir);

    return strcmp(dir, "/") == 0 ||
           (strncmp(dir, path, len) == 0 && (path[len] == '/' || path[len] == '\0'));
}

/* realpath() of what itself cannot be looked at. */
static bool real_parent(const char *path, char out[PATH_MAX])
{
    char copy[PATH_MAX], *name;
    size_t len = (size_t)snprintf(copy, sizeof copy, "./%s", path);

    while (len < sizeof copy && len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    name = strrchr(copy, '/');
    if (len >= sizeof copy || !name)
        return false;
    *name++ = '\0';
    if (!realpath(path[0] == '/' ? copy + 2 : copy, out))
        return false;
    len = strlen(out);
    return (size_t)snprintf(out + len, PATH_MAX - len, "/%s", name) < PATH_MAX - len;
}

/* A dead mount of ours is taken away first: its server was killed. */
static int check_dir(struct guard *guard)
{
    const struct mount_plan *plan = guard->plan;
    struct stat dir;

    if (is_dead(plan->dir) && real_parent(plan->dir, guard->dir)) {
        find_mount(guard->dir, guard->device);
        if (guard->device[0])
            unmount(guard->dir);
    }
    if (stat(plan->dir, &dir) || !realpath(plan->dir, guard->dir))
        return plan->fail_host(plan->dir, errno);
    if (!S_ISDIR(dir.st_mode))
        return plan->fail_host(plan->dir, ENOTDIR);
    find_mount(guard->dir, guard->device);
    if (!guard->device[0])
        return EX_OK;
    fprintf(stderr, "holdfast: mount: %s: a pool is mounted there already; umount it first\n",
            plan->dir);
    return EX_TEMPFAIL;
}

static int check_paths(struct guard *guard)
{
    const struct mount_plan *plan = guard->plan;
    int status = check_dir(guard);

    if (status != EX_OK)
        return status;
    if (stat(plan->pool, &guard->owner) || !realpath(plan->pool, guard->pool))
        return plan->fail_host(plan->pool, errno);
    if (holds_path(guard->dir, guard->pool) || holds_path(guard->pool, guard->dir)) {
        fprintf(stderr,
                "holdfast: mount: %s: the mount would hide the pool, or lie in it; choose another "
                "directory\n",
                plan->dir);
        return EX_USAGE;
    }
    return EX_OK;
}

/* ---- the descriptor of /dev/fuse, from one process to the other ---- */

static bool send_descriptor(int socket, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = (char[]){'d'}, .iov_len = 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

/* -1: the guard has ended. */
static int receive_descriptor(int socket)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    const struct cmsghdr *header;
    int fd;

    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
        return -1;
    header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS)
        return -1;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

static void tell(int socket)
{
    while (send(socket, "", 1, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

/* False: the other process has ended. */
static bool await(int socket)
{
    ssize_t len;
    char byte;

    do
        len = recv(socket, &byte, 1, 0);
    while (len < 0 && errno == EINTR);
    return len == 1;
}

/* ---- the serving process ---- */

/* The owner of the pool, and nothing more: no groups of the guard, no capabilities, none to be had
 * again. */
static int drop_rights(const struct stat *owner)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    if (geteuid() == 0 &&
        (setgroups(0, NULL) || setresgid(owner->st_gid, owner->st_gid, owner->st_gid) ||
         setresuid(owner->st_uid, owner->st_uid, owner->st_uid)))
        return errno;
    if (syscall(SYS_capset, &header, none) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return errno;
    return 0;
}

static void detach_from_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
}

static bool is_ready; /* the kernel knows the serving process */

static void ready(void *arg)
{
    const struct guard *guard = arg;

    __atomic_store_n(&is_ready, true, __ATOMIC_RELEASE);
    if (!guard->plan->foreground)
        detach_from_terminal();
    tell(guard->socket);
}

/* Requests that wait end with the process; the library's next user finds everything as it was
 * left. */
static void *end_on_signal(void *arg)
{
    sigset_t *set = arg;
    int number;

    sigwait(set, &number);
    _exit(__atomic_load_n(&is_ready, __ATOMIC_ACQUIRE) ? EX_OK : EX_TEMPFAIL);
}

/* Threads made from here on leave these signals to one of them. */
static int catch_end(sigset_t *set)
{
    pthread_t thread;

    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_SETMASK, set, NULL);
    return pthread_create(&thread, NULL, end_on_signal, set) == 0 ? 0 : -EAGAIN;
}

static int serve_pool(struct guard *guard, struct hf_pool *pool)
{
    const struct mount_plan *plan = guard->plan;
    struct hf_pool_info info = {.size = sizeof info};
    static struct mount mount; /* threads may still look at it while the process ends */
    int rc = hf_pool_info(pool, &info);

    mount = (struct mount){.pool = pool,
                           .readonly = plan->readonly,
                           .cached = plan->cached,
                           .ready = ready,
                           .ready_arg = guard};
    mount.threads_max = info.max_threads / 2;
    mount.files_max = info.max_files / 2;
    if (!(info.flags & HF_POOL_DURABLE)) /* there a close makes sizes and times durable */
        mount.kept_max = mount.files_max / 4 < KEPT_MAX ? mount.files_max / 4 : KEPT_MAX;
    if (rc == 0) {
        tell(guard->socket);
        mount.fd = receive_descriptor(guard->socket);
        rc = mount.fd < 0 ? -ECONNRESET : mount_serve(&mount);
    }
    if (rc == 0 &&
        !mount_is_waiting(
            mount.waiting)) /* else threads are in it, and the process takes them along */
        hf_pool_close(pool);
    return rc;
}

static int serve(struct guard *guard)
{
    static sigset_t ending;
    const struct mount_plan *plan = guard->plan;
    struct hf_pool *pool;
    int error = drop_rights(&guard->owner), rc;

    prctl(PR_SET_PDEATHSIG, SIGTERM); /* here, since a change of user clears it */
    if (error)
        return plan->fail_host("giving up privileges", error);
    rc = catch_end(&ending);
    rc = rc ? rc : hf_pool_open(guard->pool, plan->readonly ? HF_OPEN_RDONLY : 0, &pool);
    if (rc)
        return plan->fail(plan->pool, rc);
    rc = serve_pool(guard, pool);
    if (rc)
        return plan->fail(plan->dir, rc);
    return EX_OK;
}

/* ---- the guard ---- */

static void say(enum fuse_log_level level, const char *format, va_list args)
{
    static bool inside; /* a line that comes in pieces */
    char text[PATH_MAX + 256];

    (void)level;
    vsnprintf(text, sizeof text, format, args);
    fprintf(stderr, "%s%s", inside ? "" : "holdfast: mount: ", text);
    inside = strchr(text, '\n') == NULL;
}

/* libfuse mounts, by itself as root, else through fusermount3. The descriptor, or -1: it has said
 * why. */
static int mount_here(const struct guard *guard)
{
    static const struct fuse_lowlevel_ops none;
    const struct mount_plan *plan = guard->plan;
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
    for (const char *from = guard->pool; *from && used < sizeof options - 2; from++) {
        if (*from == ',' || *from == '\\')
            options[used++] = '\\';
        options[used++] = *from;
    }
    options[used] = '\0';
    fuse_set_log_func(say);
    session = fuse_session_new(&args, &none, sizeof none, NULL);
    fuse_opt_free_args(&args);
    if (!session || fuse_session_mount(session, guard->dir))
        return -1;
    fd = fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 0);
    close(fuse_session_fd(session));
    return fd;
}

/* As far as one request can carry; the kernel's default is an eighth of it. What only root may set
 * is not needed. */
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

static int join_server(const struct guard *guard)
{
    int status;

    while (waitpid(guard->server, &status, 0) < 0 && errno == EINTR)
        ;
    return exit_code(status);
}

/* Waits for a signal of the set, at most until the server has ended: then 0. */
static int await_signal(const struct guard *guard, const sigset_t *set, int *status)
{
    int number;

    do {
        if (waitpid(guard->server, status, WNOHANG) == guard->server)
            return 0;
        number = sigwaitinfo(set, NULL);
    } while (number < 0 || number == SIGCHLD);
    return number;
}

/* Until the serving process ends, or is told to: then it has a while, for what is open. */
static int watch_over(const struct guard *guard, const sigset_t *set)
{
    static const struct timespec moment = {.tv_nsec = 100000000};
    int status;

    if (await_signal(guard, set, &status) == 0)
        return exit_code(status);
    unmount_own(guard, false);
    for (int i = 0; i < PATIENCE_S * 10; i++) {
        if (waitpid(guard->server, &status, WNOHANG) == guard->server)
            return exit_code(status);
        sigtimedwait(set, NULL, &moment);
    }
    kill(guard->server, SIGTERM);
    return join_server(guard);
}

/* The server: forked before anything else, so that nothing of the guard is open in it. */
static int start_server(struct guard *guard)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return guard->plan->fail_host("socketpair", errno);
    guard->server = fork();
    if (guard->server < 0)
        return guard->plan->fail_host("fork", errno);
    guard->socket = pair[guard->server ? 0 : 1];
    close(pair[guard->server ? 1 : 0]);
    if (guard->server == 0) {
        setpgid(0, 0); /* Ctrl-C is for the guard */
        exit(serve(guard));
    }
    return EX_OK;
}

/* It has the pool, which may take long. False: it has ended, perhaps since it was told to. */
static bool await_server(const struct guard *guard, const sigset_t *set)
{
    static const struct timespec moment = {.tv_nsec = 5000000};
    ssize_t len;
    char byte;

    while ((len = recv(guard->socket, &byte, 1, MSG_DONTWAIT)) < 0 && errno != ECONNRESET) {
        int number = sigtimedwait(set, NULL, &moment);

        if (number > 0 && number != SIGCHLD)
            kill(guard->server, SIGTERM);
    }
    return len == 1;
}

/* Mounted: `started` is told, if there is one. */
static int stand_guard(struct guard *guard, int started)
{
    sigset_t set;
    int status, fd;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    status = start_server(guard);
    if (status != EX_OK)
        return status;
    if (!await_server(guard, &set)) /* it has said why */
        return join_server(guard);
    fd = mount_here(guard);
    if (fd < 0) {
        kill(guard->server, SIGKILL);
        join_server(guard);
        return EX_OSERR;
    }
    find_mount(guard->dir, guard->device);
    if (guard->plan->cached)
        read_far_ahead(guard->device);
    if (send_descriptor(guard->socket, fd)) {
        close(fd); /* the server's alone: when it dies, the kernel ends all calls at once */
        if (await(guard->socket) && started >= 0) {
            tell(started);
            close(started);
            detach_from_terminal();
        }
    }
    status = watch_over(guard, &set);
    unmount_own(guard, true);
    return status;
}

/* In the background: a child is the guard, and this process ends when it is mounted. */
static int mount_in_background(struct guard *guard)
{
    int pair[2], status;
    pid_t child;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return guard->plan->fail_host("socketpair", errno);
    child = fork();
    if (child < 0)
        return guard->plan->fail_host("fork", errno);
    close(pair[child ? 1 : 0]);
    if (child == 0) {
        setsid();
        exit(stand_guard(guard, pair[1]));
    }
    if (await(pair[0]))
        return EX_OK;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return exit_code(status);
}

int mount_run(const struct mount_plan *plan)
{
    struct guard guard = {.plan = plan};
    int status = check_paths(&guard);

    if (status != EX_OK)
        return status;
    return plan->foreground ? stand_guard(&guard, -1) : mount_in_background(&guard);
}
