/* SPDX-License-Identifier: MIT */
/*
 * The client that a server's thread acts for. The server knows the client's thread by its number.
 * When the client's thread uses the pool itself too, it has a lane. Its pins and leases count as
 * the server thread's own, since the client stays in its call until the server has answered. It
 * releases nothing meanwhile. All processes of a pool share a pid namespace, so numbers of threads
 * can be compared.
 */
#include "dax/client.h"

#include "base/descriptor.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Thread_local struct hf_client dax_client;
_Thread_local bool dax_yields;

void dax_client_set(struct hf_client client)
{
    dax_client = client;
    shm_bound = (struct shm_bound){.puts_off = client.flags & HF_CLIENT_NOWAIT,
                                   .cancelled = client.cancelled};
}

void dax_client_in_child(void)
{
    dax_client_set((struct hf_client){0});
}

bool dax_lane_is(const struct shm *shm, uint32_t lane, pid_t pid, pid_t tid)
{
    uint32_t owner = hf_load_acquire(&shm->lanes[lane].owner);

    if (!owner || owner == SHM_LANE_RESIDUE ||
        hf_load_acquire(&shm->lanes[lane].tid) != (uint32_t)tid)
        return false;
    return !pid || shm_process_at(shm, owner - 1)->pid == (uint32_t)pid;
}

bool dax_lane_is_client(const struct shm *shm, uint32_t lane)
{
    return dax_client.tid && dax_lane_is(shm, lane, dax_client.pid, dax_client.tid);
}

const struct shm_lane *dax_client_lane(const struct shm *shm)
{
    uint32_t used = dax_client.tid ? shm_lanes_used(shm) : 0;

    for (uint32_t i = 0; i < used; i++)
        if (dax_lane_is_client(shm, i))
            return &shm->lanes[i];
    return NULL;
}

/* The beginning of /proc/NUMBER/NAME, terminated; "" if it cannot be read. */
static void read_proc(pid_t number, const char *name, char *text, size_t room)
{
    char path[40];
    ssize_t len;
    int fd;

    text[0] = 0;
    snprintf(path, sizeof path, "/proc/%d/%s", number, name);
    fd = hf_fd_open(path, O_RDONLY, 0);
    if (fd < 0)
        return;
    len = read(fd, text, room - 1);
    close(fd);
    text[len > 0 ? len : 0] = 0;
}

void dax_client_process(pid_t *pid, char command[16])
{
    const char *group;
    char text[256];

    *pid = dax_client.pid;
    if (!*pid) {
        read_proc(dax_client.tid, "status", text, sizeof text);
        group = strstr(text, "\nTgid:"); /* a newline in the name before it is escaped */
        if (group && sscanf(group, "%*s %d", pid) != 1)
            *pid = 0;
    }
    read_proc(*pid ? *pid : dax_client.tid, "comm", text, sizeof text);
    text[strcspn(text, "\n")] = 0;
    memset(command, 0, 16);
    memcpy(command, text, strnlen(text, 15));
}
