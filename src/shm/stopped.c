/* SPDX-License-Identifier: MIT */
/* Owns what the kernel says in /proc of processes: whether a thread is stopped, which process it
 * belongs to, and the namespaces of this one. */
#include "base/descriptor.h"
#include "shm/private.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

uint64_t shm_pid_namespace(void)
{
    struct stat st;

    return stat("/proc/self/ns/pid", &st) ? 0 : st.st_ino;
}

uint64_t shm_time_namespace(void)
{
    struct stat st;

    return stat("/proc/self/ns/time", &st) ? 0 : st.st_ino;
}

bool shm_thread_stopped(uint32_t tid)
{
    char path[32], line[256];
    const char *command_ends = NULL;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%u/stat", tid);
    file = hf_fd_fopen(path);
    if (!file)
        return false;
    if (fgets(line, sizeof line, file))
        command_ends =
            strrchr(line, ')'); /* "pid (command) state", and a command may have anything in it */
    fclose(file);
    return command_ends && (command_ends[2] == 'T' || command_ends[2] == 't');
}

/* The kernel tells by pid, so only of processes in the same pid namespace. */
bool shm_process_stopped(const struct shm *shm, uint32_t process)
{
    const struct shm_process *entry = shm_process_at(shm, process);

    return entry->pid_namespace == shm_pid_namespace() && shm_thread_stopped(entry->pid);
}

uint32_t shm_pid_of_thread(uint32_t tid, char command[16])
{
    char path[32], line[128];
    uint32_t pid = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%u/status", tid);
    file = hf_fd_fopen(path);
    if (!file)
        return 0;
    command[0] = 0;
    while (!pid && fgets(line, sizeof line, file))
        if (sscanf(line, "Name: %15s", command) != 1 && sscanf(line, "Tgid: %u", &pid) != 1)
            pid = 0;
    fclose(file);
    return pid;
}
