/* SPDX-License-Identifier: MIT */
/*
 * Owns the trap. A store that faults is let through by making its page writable and setting the
 * trap flag. So the processor stops again after this one instruction, and the page is protected as
 * before. A kill makes all pages writable first: the kernel marks the mutexes of the dead, and must
 * be able to write to them.
 *
 * System calls that change what is shared are met by tests/support/interpose.c. The kernel itself
 * would refuse with EFAULT to write to a protected page. getrandom() is the one call of the library
 * that has it do so, and goes through a buffer there.
 */
#include "trap.h"

#include "interpose.h"
#include "support.h"

#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096u
#define REGIONS 16u
#define TRAP_FLAG 0x100
#define SEEN_BYTES 64u /* as much as one instruction stores */

struct region {
    uintptr_t begin, end;
    bool lmdb, readers;
};

static struct {
    bool armed, show, stops;
    uint64_t kill_at, count;
    struct trap_log *log;
    char pool_dir[256];
    struct region regions[REGIONS];
    unsigned region_count;
    /* the store under way */
    const struct region *region;
    uintptr_t pages[2], address, instruction;
    unsigned page_count;
    unsigned char seen[SEEN_BYTES];
} trap;

bool trap_possible(void)
{
#if !defined(__x86_64__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#else
    return !test_is_slow() && sysconf(_SC_PAGESIZE) == PAGE;
#endif
}

/* --- the kill --- */

static void protect(const struct region *region, int how)
{
    if (syscall(SYS_mprotect, region->begin, region->end - region->begin, how))
        abort();
}

static void show_stack(void)
{
    void *frames[64];
    int count = backtrace(frames, 64);

    dprintf(STDERR_FILENO, "killed after event %" PRIu64 ", at\n", trap.count);
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
}

static void end_here(void)
{
    trap.armed = false;
    for (unsigned i = 0; i < trap.region_count; i++)
        protect(&trap.regions[i], PROT_READ | PROT_WRITE);
    if (trap.show)
        show_stack();
    if (trap.stops) {
        syscall(SYS_kill, getpid(), SIGSTOP);
        return;
    }
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

static void event(enum trap_class class)
{
    if (trap.log && trap.count < TRAP_LOG) {
        trap.log->classes[trap.count] = (uint8_t) class;
        trap.log->count = trap.count + 1;
    }
    if (trap.count++ == trap.kill_at)
        end_here();
}

/* --- stores --- */

static const struct region *region_of(uintptr_t address)
{
    for (unsigned i = 0; i < trap.region_count; i++)
        if (address >= trap.regions[i].begin && address < trap.regions[i].end)
            return &trap.regions[i];
    return NULL;
}

static enum trap_class class_of(const struct region *region, uintptr_t address)
{
    if (region->readers)
        return TRAP_READERS;
    if (!region->lmdb)
        return TRAP_SEGMENT;
    return address - region->begin < 2 * PAGE ? TRAP_META : TRAP_LMDB;
}

/* Bytes from the address on, as many as are in its region. */
static size_t room_at(uintptr_t address)
{
    size_t room = trap.region->end - address;

    return room < SEEN_BYTES ? room : SEEN_BYTES;
}

#ifdef __x86_64__
static void on_fault(int signal, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t address = (uintptr_t)info->si_addr;
    const struct region *region = region_of(address);

    if (!trap.armed || !region || trap.page_count == 2) {
        struct sigaction otherwise = {.sa_handler = SIG_DFL};

        sigaction(signal, &otherwise, NULL); /* a fault of the library's own */
        return;
    }
    if (trap.page_count == 0) {
        trap.region = region;
        trap.address = address;
        trap.instruction = (uintptr_t)registers[REG_RIP];
        memcpy(trap.seen, (void *)address, room_at(address));
    }
    trap.pages[trap.page_count++] = address / PAGE * PAGE;
    if (syscall(SYS_mprotect, address / PAGE * PAGE, PAGE, PROT_READ | PROT_WRITE))
        abort();
    registers[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int signal, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    bool changed = memcmp(trap.seen, (void *)trap.address, room_at(trap.address)) != 0;

    (void)signal, (void)info;
    if ((uintptr_t)registers[REG_RIP] == trap.instruction)
        return; /* a repeated one, in the middle */
    registers[REG_EFL] &= ~TRAP_FLAG;
    while (trap.page_count)
        if (syscall(SYS_mprotect, trap.pages[--trap.page_count], PAGE, PROT_READ))
            abort();
    if (changed)
        event(class_of(trap.region, trap.address));
}
#else
static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
}
#define on_step on_fault
#endif

/* --- what is protected --- */

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), of = strlen(end);

    return len >= of && strcmp(text + len - of, end) == 0;
}

static void add_region(uintptr_t begin, uintptr_t end, const char *path)
{
    struct region *region = &trap.regions[trap.region_count];
    bool lmdb = ends_with(path, "/meta/data.mdb"), readers = ends_with(path, "/meta/lock.mdb");
    bool ours = strncmp(path, trap.pool_dir, strlen(trap.pool_dir)) == 0;
    /* A pool on a disk has its segment elsewhere; this process has but one. */
    bool elsewhere = strncmp(path, TEST_SEGMENT_PREFIX, strlen(TEST_SEGMENT_PREFIX)) == 0 &&
                     !strchr(path + strlen(TEST_SEGMENT_PREFIX), '/');

    if (!elsewhere &&
        !(ours && (lmdb || readers || ends_with(path, "/run") || ends_with(path, "/recent"))))
        return;
    if (trap.region_count == REGIONS)
        abort();
    *region = (struct region){begin, end, lmdb, readers};
    trap.region_count++;
    protect(region, PROT_READ);
}

static void add_standing(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512], rights[8], path[256];
    unsigned long begin, end;

    if (!maps)
        abort();
    while (fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &begin, &end, rights, path) == 4 &&
            rights[1] == 'w' && rights[3] == 's')
            add_region(begin, end, path);
    fclose(maps);
}

/* --- system calls --- */

static void forget_region(struct interposed *call)
{
    if (call->what != INTERPOSED_UNMAP)
        return;
    for (unsigned i = 0; i < trap.region_count; i++)
        if (trap.regions[i].begin == (uintptr_t)call->at)
            trap.regions[i] = trap.regions[--trap.region_count];
}

static void add_mapped(const struct interposed *call)
{
    char link[64], path[256];
    ssize_t n;

    if (call->rc == -1 || call->fd < 0 || !(call->flags & MAP_SHARED) ||
        !(call->rights & PROT_WRITE))
        return;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", call->fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n > 0) {
        uintptr_t begin = (uintptr_t)call->rc;

        path[n] = '\0';
        add_region(begin, begin + (call->len + PAGE - 1) / PAGE * PAGE, path);
    }
}

static bool changes_something(const struct interposed *call)
{
    switch (call->what) {
    case INTERPOSED_OPEN:
        return call->flags & (O_CREAT | O_TRUNC);
    case INTERPOSED_FCNTL:
        return call->flags == F_OFD_SETLK || call->flags == F_OFD_SETLKW || call->flags == F_SETLK;
    case INTERPOSED_CLOSE:
    case INTERPOSED_WRITE:
    case INTERPOSED_PWRITE:
    case INTERPOSED_TRUNCATE:
    case INTERPOSED_UNLINK:
    case INTERPOSED_CHMOD:
        return true;
    default:
        return false;
    }
}

static void after_call(struct interposed *call)
{
    if (!trap.armed)
        return;
    if (call->what == INTERPOSED_MAP)
        add_mapped(call);
    else if (call->rc >= 0 && changes_something(call))
        event(TRAP_CALL);
}

/* --- arming --- */

void trap_arm(const char *pool_dir, uint64_t kill_at, struct trap_log *log, bool show)
{
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    void *frames[4];

    backtrace(frames, 4); /* it loads what it needs at its first call */
    sigaction(SIGSEGV, &fault, NULL);
    sigaction(SIGTRAP, &step, NULL);
    trap.kill_at = kill_at;
    trap.log = log;
    trap.show = show;
    trap.count = 0;
    trap.region_count = trap.page_count = 0;
    snprintf(trap.pool_dir, sizeof(trap.pool_dir), "%s", pool_dir);
    add_standing();
    interpose_before = forget_region;
    interpose_after = after_call;
    trap.armed = true;
}

void trap_stops(void)
{
    trap.stops = true;
}

void trap_disarm(void)
{
    trap.armed = false;
    for (unsigned i = 0; i < trap.region_count; i++)
        protect(&trap.regions[i], PROT_READ | PROT_WRITE);
    trap.region_count = 0;
}
