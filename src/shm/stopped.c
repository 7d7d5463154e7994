/* SPDX-License-Identifier: MIT */
/* Owns what the kernel says of a thread in /proc: whether it is stopped, and which process it
 * belongs to. */
#include "base/descriptor.h"
#include "shm/private.h"

#include <stdio.h>
#include <string.h>

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

bool shm_process_stopped(const struct shm *shm, uint32_t process)
{
    return shm_thread_stopped(shm_process_at(shm, process)->pid);
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
