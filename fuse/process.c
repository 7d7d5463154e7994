/* SPDX-License-Identifier: MIT */
/*
 * Owns the server: the process that opens the pool and serves it. It belongs to the pool's owner
 * and has no capabilities. So a pool that its owner has prepared (POOL/data may be a link) leads to
 * nothing that the owner could not reach. It gets the descriptor of /dev/fuse from the supervisor,
 * and ends when the supervisor dies.
 */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#define KEPT_MAX 1024u /* files that are open for the kernel's cache alone */

/* In a namespace that a user has made, root is that user, with that user's groups. It may have no
 * other user or group, and then the kernel denies setgroups(2). */
static bool root_is_a_user(void)
{
    char word[8] = "";
    FILE *file = fopen("/proc/self/setgroups", "re");

    if (file && !fgets(word, sizeof word, file))
        word[0] = '\0';
    if (file)
        fclose(file);
    return strcmp(word, "deny\n") == 0;
}

/* Root becomes the owner of the pool, without groups of the supervisor. Another user stays the same
 * user. Neither keeps capabilities, nor gets them back. */
static int drop_rights(const struct stat *owner)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    if (geteuid() == 0 && !root_is_a_user() &&
        (setgroups(0, NULL) || setresgid(owner->st_gid, owner->st_gid, owner->st_gid) ||
         setresuid(owner->st_uid, owner->st_uid, owner->st_uid)))
        return errno;
    if (syscall(SYS_capset, &header, none) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return errno;
    return 0;
}

void mount_leave_terminal(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
}

static bool is_ready; /* the kernel has sent its first request */

static void become_ready(const void *arg)
{
    const struct mount_server *server = arg;

    __atomic_store_n(&is_ready, true, __ATOMIC_RELEASE);
    if (!server->plan->foreground)
        mount_leave_terminal();
    channel_notify(server->socket);
}

/* Requests that wait end with the process. The library takes back what it held. */
static void *end_on_signal(void *arg)
{
    sigset_t *set = arg;
    int number;

    sigwait(set, &number);
    _exit(__atomic_load_n(&is_ready, __ATOMIC_ACQUIRE) ? EX_OK : EX_TEMPFAIL);
}

/* Starts the thread that gets these signals. Threads that are made later do not get them. */
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

static int serve_pool(const struct mount_server *server, struct hf_pool *pool)
{
    const struct mount_plan *plan = server->plan;
    struct hf_pool_info info = {.size = sizeof info};
    static struct mount mount; /* threads may still look at it while the process ends */
    int rc = hf_pool_info(pool, &info);

    mount = (struct mount){.pool = pool,
                           .readonly = plan->readonly,
                           .cached = plan->cached,
                           .entry_seconds = plan->entry_seconds,
                           .attr_seconds = plan->attr_seconds,
                           .ready = become_ready,
                           .ready_arg = server};
    mount.threads_max = info.max_threads / 2;
    mount.files_max = info.max_files / 2;
    if (!(info.flags & HF_POOL_DURABLE)) /* there a close makes sizes and times durable */
        mount.kept_max = mount.files_max / 4 < KEPT_MAX ? mount.files_max / 4 : KEPT_MAX;
    if (rc == 0) {
        channel_notify(server->socket);
        mount.fd = channel_receive_descriptor(server->socket);
        rc = mount.fd < 0 ? -ECONNRESET : mount_serve(&mount);
    }
    /* Threads that still wait are in the pool, and end with the process. */
    if (rc == 0 && !mount_is_waiting(mount.waiting))
        hf_pool_close(pool);
    return rc;
}

int mount_server_run(const struct mount_server *server)
{
    static sigset_t ending;
    const struct mount_plan *plan = server->plan;
    struct hf_pool *pool;
    int error = drop_rights(&server->owner), rc;

    prctl(PR_SET_PDEATHSIG, SIGTERM); /* here, since a change of user clears it */
    if (error)
        return plan->fail_host("giving up privileges", error);
    rc = catch_end(&ending);
    rc = rc ? rc : hf_pool_open(server->pool, plan->readonly ? HF_OPEN_RDONLY : 0, &pool);
    if (rc)
        return plan->fail(plan->pool, rc);
    rc = serve_pool(server, pool);
    if (rc)
        return plan->fail(plan->dir, rc);
    return EX_OK;
}
