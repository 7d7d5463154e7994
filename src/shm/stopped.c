/* SPDX-License-Identifier: MIT */
/* Owns the question whether a process is stopped, which the kernel answers in /proc. */
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

/* The kernel tells by pid, so only of processes in the same pid namespace. */
bool shm_process_stopped(const struct shm *shm, uint32_t process)
{
    const struct shm_process *entry = &shm->processes[process];
    char path[32], line[256];
    const char *command_ends = NULL;
    FILE *file;

    if (entry->pid_namespace != shm_pid_namespace())
        return false;
    snprintf(path, sizeof path, "/proc/%u/stat", entry->pid);
    file = hf_fd_fopen(path);
    if (!file)
        return false;
    if (fgets(line, sizeof line, file))
        command_ends =
            strrchr(line, ')'); /* "pid (command) state", and a command may have anything in it */
    fclose(file);
    return command_ends && (command_ends[2] == 'T' || command_ends[2] == 't');
}
