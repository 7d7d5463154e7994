/* SPDX-License-Identifier: MIT */
/*
 * Two containers for workers. Each has namespaces of its own for users, mounts, IPC, the network,
 * the host's name and cgroups. Its root holds the volume with the pool, /proc and /dev/shm, and
 * nothing else. The containers share what holdfast(7), "Containers", says: the pid namespace and,
 * for a pool that is not on a tmpfs, /dev/shm. Else each has a /dev/shm of its own.
 *
 * A process keeps a container's namespaces, and workers go there.
 */
#include "storm.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OWN                                                                                        \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWCGROUP)

enum made { NOT_YET, MADE, NOT_ALLOWED };

struct keeper {
    uint32_t *made;
    char root[PATH_MAX]; /* becomes the container's */
};

bool storm_is_on_disk(void)
{
    struct statfs fs;

    EXPECT_EQ(statfs(test_folder(), &fs), 0);
    return fs.f_type != TMPFS_MAGIC;
}

static void write_map(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);

    EXPECT_OK(fd);
    EXPECT_EQ(write(fd, text, strlen(text)), strlen(text));
    EXPECT_EQ(close(fd), 0);
}

/* This user is root there, and no other user is known. */
static void map_user(uid_t uid, gid_t gid)
{
    char map[32];

    snprintf(map, sizeof(map), "0 %u 1", uid);
    write_map("/proc/self/uid_map", map);
    write_map("/proc/self/setgroups", "deny");
    snprintf(map, sizeof(map), "0 %u 1", gid);
    write_map("/proc/self/gid_map", map);
}

/* ROOT/path/, with the folders that lead there. */
static void make_folder(const char *root, const char *path, char made[PATH_MAX])
{
    EXPECT(snprintf(made, PATH_MAX, "%s%s/", root, path) < PATH_MAX);
    for (char *slash = strchr(made + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(made, 0755))
            EXPECT(errno == EEXIST);
        *slash = '/';
    }
}

/* The same there as here. */
static void share_folder(const char *root, const char *path, unsigned long flags)
{
    char there[PATH_MAX];

    make_folder(root, path, there);
    EXPECT_EQ(mount(path, there, NULL, MS_BIND | flags, NULL), 0);
}

static void fill_root(const char *root)
{
    char memory[PATH_MAX];

    EXPECT_EQ(mount("storm", root, "tmpfs", 0, "mode=0755"), 0);
    share_folder(root, "/proc", MS_REC);
    if (storm_is_on_disk()) {
        share_folder(root, "/dev/shm", MS_REC);
    } else {
        make_folder(root, "/dev/shm", memory);
        EXPECT_EQ(mount("storm", memory, "tmpfs", 0, "mode=1777"), 0);
    }
    share_folder(root, test_folder(), 0);
}

/* The old root lies over the new one, until it goes. */
static void change_root(const char *root)
{
    EXPECT_EQ(chdir(root), 0);
    EXPECT_EQ(syscall(SYS_pivot_root, ".", "."), 0);
    EXPECT_EQ(umount2(".", MNT_DETACH), 0);
    EXPECT_EQ(chdir("/"), 0);
}

static void keep(void *arg)
{
    const struct keeper *keeper = arg;
    uid_t uid = geteuid();
    gid_t gid = getegid();

    test_on_failure = NULL;
    if (unshare(OWN)) {
        test_raise(keeper->made, NOT_ALLOWED);
        return;
    }
    map_user(uid, gid);
    EXPECT_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    fill_root(keeper->root);
    change_root(keeper->root);
    test_raise(keeper->made, MADE);
    for (;;)
        pause();
}

void storm_make_containers(struct storm *storm)
{
    static struct keeper keeper;

    keeper.made = test_shared(sizeof(*keeper.made));
    for (unsigned i = 0; i < 2; i++) {
        snprintf(keeper.root, sizeof(keeper.root), "%s/root-%u", test_folder(), i);
        EXPECT_EQ(mkdir(keeper.root, 0755), 0);
        test_raise(keeper.made, NOT_YET);
        storm->containers[i] = test_fork(keep, &keeper);
        while (test_peek(keeper.made) == NOT_YET) {
            if (waitpid(storm->containers[i], NULL, WNOHANG) != 0)
                FAIL("container %u could not be made", i);
            test_sleep_ms(1);
        }
        if (test_peek(keeper.made) == NOT_ALLOWED)
            test_skip("no container can be made here");
    }
}

void storm_enter_container(const struct storm *storm, unsigned which)
{
    int keeper;

    if (!storm->containers[0])
        return;
    keeper = (int)syscall(SYS_pidfd_open, storm->containers[which % 2], 0);
    EXPECT_OK(keeper);
    EXPECT_EQ(setns(keeper, OWN), 0);
    EXPECT_EQ(close(keeper), 0);
}

void storm_end_containers(struct storm *storm)
{
    for (unsigned i = 0; i < 2 && storm->containers[i]; i++) {
        test_kill(storm->containers[i]);
        storm->containers[i] = 0;
    }
}
