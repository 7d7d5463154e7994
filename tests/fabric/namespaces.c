/* SPDX-License-Identifier: MIT */
/* Two network namespaces with a cable between them: one for servers, one for peers. */
#include "io.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVER "10.77.0.1"
#define PEER "10.77.0.2"

static int own_namespace(void)
{
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

    EXPECT_OK(fd);
    return fd;
}

static void run_ip(const char *format, int pid)
{
    char command[256];

    snprintf(command, sizeof(command), format, pid);
    EXPECT_EQ(system(command), 0);
}

static void stay(void *arg)
{
    EXPECT_EQ(setns(*(int *)arg, CLONE_NEWNET), 0);
    pause();
}

void fabric_namespaces(struct fabric_io *io)
{
    int mine;
    pid_t keeper;

    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
        test_skip("only root can make network namespaces here");
    if (system("ip -V >/dev/null 2>&1") != 0)
        test_skip("there is no ip (Debian's iproute2)");
    mine = own_namespace();
    EXPECT_EQ(unshare(CLONE_NEWNET), 0);
    io->peer_namespace = own_namespace();
    EXPECT_EQ(setns(mine, CLONE_NEWNET), 0);
    keeper = test_fork(stay, &io->peer_namespace);
    run_ip("ip link set lo up; ip link add hf0 type veth peer name hf1", 0);
    while (system("ip link show hf1 >/dev/null 2>&1") == 0) /* until the keeper is there */
        run_ip("ip link set hf1 netns %d", (int)keeper);
    run_ip("ip addr add " SERVER "/24 dev hf0 && ip link set hf0 up", 0);
    EXPECT_EQ(setns(io->peer_namespace, CLONE_NEWNET), 0);
    run_ip("ip addr add " PEER "/24 dev hf1 && ip link set hf1 up && ip link set lo up", 0);
    EXPECT_EQ(setns(mine, CLONE_NEWNET), 0);
    test_kill(keeper);
    io->server_node = SERVER;
    io->peer_node = PEER;
}
