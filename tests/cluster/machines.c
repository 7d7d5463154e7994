/* SPDX-License-Identifier: MIT */
#include "machines.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int networks[MACHINES_MAX];
static char addresses[MACHINES_MAX][24];
static enum machine_cut cuts[MACHINES_MAX];

const char *machine_address(unsigned machine)
{
    return addresses[machine];
}

void machine_enter(unsigned machine)
{
    EXPECT_OK(setns(networks[machine], CLONE_NEWNET));
}

__attribute__((format(printf, 1, 2))) static int run_command(const char *format, ...)
{
    char words[256], line[300];
    va_list args;

    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    snprintf(line, sizeof line, "PATH=$PATH:/usr/sbin:/sbin; %s", words);
    return system(line);
}

#define MUST_RUN(...) EXPECT_EQ(run_command(__VA_ARGS__), 0)

/* Before a command that runs on the machine. */
static const char *on_machine(unsigned machine)
{
    static char text[64];

    snprintf(text, sizeof text, "nsenter --net=/proc/%d/fd/%d", (int)getpid(), networks[machine]);
    return text;
}

static void have_network(void *ready)
{
    EXPECT_OK(unshare(CLONE_NEWNET));
    test_raise(ready, 1);
    pause(); /* ended by its number */
}

static void make_machine(unsigned machine)
{
    uint32_t *ready = test_shared(sizeof *ready);
    pid_t first = test_fork(have_network, ready);
    char path[64];

    test_await(ready, 1);
    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)first);
    networks[machine] = open(path, O_RDONLY | O_CLOEXEC);
    EXPECT_OK(networks[machine]);
    snprintf(addresses[machine], sizeof addresses[machine], "10.78.0.%u", machine + 1);
    MUST_RUN("ip link add link%u type veth peer name eth0 netns %d", machine, (int)first);
    test_kill(first);
    MUST_RUN("ip link set link%u master hub up", machine);
    MUST_RUN("%s ip link set lo up", on_machine(machine));
    MUST_RUN("%s ip addr add %s/24 dev eth0", on_machine(machine), addresses[machine]);
    MUST_RUN("%s ip link set eth0 up", on_machine(machine));
}

void machines_begin(unsigned count)
{
    EXPECT(count <= MACHINES_MAX);
    if (run_command("command -v ip bridge tc nsenter >/dev/null") != 0)
        test_skip("ip, bridge, tc or nsenter is not installed (Debian's iproute2, util-linux)");
    if (unshare(CLONE_NEWNET) != 0)
        test_skip(errno == EPERM ? "networks of its own can only be made by root"
                                 : "no networks of its own can be made here");
    if (run_command("ip link add hub type bridge") != 0)
        test_skip("this kernel has no bridges");
    MUST_RUN("ip addr add 10.78.0.254/24 dev hub");
    MUST_RUN("ip link set hub up");
    MUST_RUN("ip link set lo up");
    for (unsigned i = 0; i < count; i++)
        make_machine(i);
}

void machine_cut(unsigned machine, enum machine_cut how)
{
    cuts[machine] = how;
    if (how == MACHINE_UNPLUGGED)
        MUST_RUN("ip link set link%u down", machine);
    else if (how == MACHINE_SILENT)
        MUST_RUN("bridge link set dev link%u state 0", machine);
    else if (how == MACHINE_DEAF)
        MUST_RUN("tc qdisc add dev link%u root blackhole", machine);
    else if (how == MACHINE_MUTE)
        MUST_RUN("%s tc qdisc add dev eth0 root blackhole", on_machine(machine));
    else
        MUST_RUN("bridge link set dev link%u isolated on", machine);
}

void machine_heal(unsigned machine)
{
    enum machine_cut how = cuts[machine];

    if (how == MACHINE_UNPLUGGED)
        MUST_RUN("ip link set link%u up", machine);
    else if (how == MACHINE_SILENT)
        MUST_RUN("bridge link set dev link%u state 3", machine);
    else if (how == MACHINE_DEAF)
        MUST_RUN("tc qdisc del dev link%u root", machine);
    else if (how == MACHINE_MUTE)
        MUST_RUN("%s tc qdisc del dev eth0 root", on_machine(machine));
    else
        MUST_RUN("bridge link set dev link%u isolated off", machine);
}
