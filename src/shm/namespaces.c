/* SPDX-License-Identifier: MIT */
/*
 * Owns the rule that all processes of a pool are in one pid namespace and one time namespace. A
 * process in another one can use the pool only when no process has it. Calls base and the C
 * library.
 *
 * Why one pid namespace. The word of a robust mutex has the number of the thread that holds it, as
 * that thread's own namespace numbers it. When a thread dies, the kernel goes through the mutexes
 * that it has, and through the one that it was just taking. Each one whose word has the dead
 * thread's number gets a new owner. Now let a thread of another namespace have the same number. It
 * holds a mutex, and a thread with its number is killed as it tries for that mutex. Then the kernel
 * takes the mutex away from its living holder, and two threads change what it protects. The test
 * wrong-pid-namespaces lets that happen. It needs no rare numbers: those of containers are small.
 *
 * In one namespace no two threads have the same number. The kernel frees that of a dead one only
 * after it has gone through the mutexes. So the rule makes the comparison exact:
 *   - A thread touches a robust mutex of the pool, ours or LMDB's, only while its process has a
 *     byte of POOL/lock. Its life ends after its threads (life.c).
 *   - The first process to attach is alone, so no other one has such a byte. It writes its
 *     namespaces into the segment that it builds.
 *   - Each later one reads them before it takes the first mutex, which is LMDB's. While it has its
 *     byte, no process is the first, so the segment stays. A process in another namespace leaves.
 *   - While a process is attached, its namespace exists, so no new one gets its number in /proc.
 *   - A process stays in its namespace. Threads cannot be made in another one. A child can, and it
 *     attaches for itself.
 *
 * The other way was to lock a byte of POOL/lock for each thread's number before its first mutex. It
 * would cost each new thread some system calls, and let calls fail anywhere in a program. And it
 * would bring little: LMDB knows its readers by pid, and most containers have just one program,
 * with pid 1. So two of them would still be refused.
 *
 * Why one time namespace. Deadlines, ends of quarantines and ages of pins in the segment are times
 * of one clock, which such a namespace shifts.
 *
 * /proc tells a process its namespaces. Where it does not tell the pid namespace, a process uses a
 * pool alone. Kernels without time namespaces have one clock.
 */
#include "base/error.h"
#include "base/lab.h"
#include "shm/private.h"

#include <errno.h>
#include <sys/stat.h>

/* 0: not known. */
static uint64_t number_of_namespace(const char *path)
{
    struct stat st;

    return stat(path, &st) ? 0 : st.st_ino;
}

void shm_note_namespaces(struct shm_run *run)
{
    run->pid_namespace = number_of_namespace("/proc/self/ns/pid");
    run->time_namespace = number_of_namespace("/proc/self/ns/time");
}

bool shm_has_other_clock(const struct shm_run *run)
{
    uint64_t ours = number_of_namespace("/proc/self/ns/time");

    return ours && run->time_namespace && ours != run->time_namespace;
}

int shm_check_namespaces(const struct shm_run *run, const char *pool_dir)
{
    uint64_t ours = number_of_namespace("/proc/self/ns/pid");

    if (HF_LAB_BROKEN(HF_LAB_ANY_PID_NAMESPACE))
        return 0;
    if (!ours || !run->pid_namespace)
        return hf_fail(EBUSY,
                       "%.200s is in use, and %s cannot see its pid namespace: mount /proc there",
                       pool_dir, ours ? "the process that opened it first" : "this process");
    if (ours != run->pid_namespace)
        return hf_fail(EBUSY,
                       "%.200s is in use by processes of another pid namespace, as of another "
                       "container: start this one in theirs (docker run --pid=container:NAME, "
                       "shareProcessNamespace in Kubernetes), use the pool through a mount, or "
                       "end them first",
                       pool_dir);
    if (shm_has_other_clock(run))
        return hf_fail(EBUSY,
                       "%.200s is in use by processes of another time namespace, which has another "
                       "clock: end them first, or start this one in the same time namespace",
                       pool_dir);
    return 0;
}
