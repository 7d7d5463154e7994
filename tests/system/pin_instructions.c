/* SPDX-License-Identifier: MIT */
/*
 * How many instructions of the library a pin and its unpin cost, bytes of one page, which is
 * present. A second process takes single steps through them, and counts those with an address in
 * the library. It needs no clock and no counter of the processor, so the number is the same on a
 * busy machine. It may not grow: see `bounds`.
 */
#include "support.h"

#include <elf.h>
#include <limits.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS_MAX 1000000
/* A file that nobody changes has its bias after two looks that are 100 ms apart, one each 64
 * pins. */
#define WARM_NS UINT64_C(400000000)
#define WARM_PINS 1000
#define COUNTED 2 /* and the less counts: each 64th pin that fences looks for the bias */

/*
 * The most that each compiler may make of it. It was counted when this test was written, with the
 * optimization of the default build and of a release. A version that was not tried may use
 * registers in another way. That has moved the number by less than a tenth so far.
 */
struct bound {
    const char *compiler, *optimization;
    /* hf_pin(), hf_pin_at(), hf_pin() with a fence, and hf_pin() that counts twice, as refcount */
    unsigned biased, at, fenced, counting;
};
static const struct bound bounds[] = {
#if defined(__x86_64__) && defined(__clang__)
    {"clang 14", "2", 98, 91, 110, 240},
    {"clang 14", "3", 98, 91, 110, 240},
#elif defined(__x86_64__)
    {"gcc 12", "2", 78, 74, 90, 217},
    {"gcc 12", "3", 78, 74, 90, 217},
#endif
    {NULL, NULL, 0, 0, 0, 0},
};

#ifdef __clang__
#define COMPILER "clang"
#define COMPILER_VERSION __clang_major__
#else
#define COMPILER "gcc"
#define COMPILER_VERSION __GNUC__
#endif

static struct library {
    uint64_t begin, end;
} library;

static int find_library(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    if (!strstr(info->dlpi_name, "libholdfast.so"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];

        if (part->p_type == PT_LOAD && part->p_flags & PF_X)
            library = (struct library){info->dlpi_addr + part->p_vaddr,
                                       info->dlpi_addr + part->p_vaddr + part->p_memsz};
    }
    return 1;
}

static bool only_address; /* hf_pin_at() instead of hf_pin() */

static void pin_and_unpin(struct hf_file *file)
{
    struct iovec iov;
    struct hf_pin pin;
    bool held = only_address ? hf_pin_at(file, 100, 200, HF_PIN_READ, &pin) > 0
                             : hf_pin(file, 100, 200, HF_PIN_READ, &iov, 1, &pin) == 1;

    if (!held || hf_unpin(&pin) != 0)
        FAIL("no pin");
}

/* Stops where the steps are to begin, and where they end. */
static void be_counted(void *file)
{
    uint64_t until = test_now_ns() + WARM_NS;

    for (unsigned i = 0; i < WARM_PINS || test_now_ns() < until; i++)
        pin_and_unpin(file);
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
        _exit(TEST_SKIP);
    raise(SIGSTOP);
    for (unsigned i = 0; i < COUNTED; i++) {
        pin_and_unpin(file);
        raise(SIGSTOP);
    }
}

static uint64_t place_of(pid_t child)
{
    struct user_regs_struct registers;
    struct iovec iov = {&registers, sizeof(registers)};

    EXPECT_EQ(ptrace(PTRACE_GETREGSET, child, NT_PRSTATUS, &iov), 0);
#ifdef __x86_64__
    return registers.rip;
#else
    return registers.pc;
#endif
}

/* Of the child, until it stops itself. */
static unsigned count_to_stop(pid_t child)
{
    unsigned count = 0;
    int status;

    for (unsigned steps = 0; steps < STEPS_MAX; steps++) {
        EXPECT_EQ(ptrace(PTRACE_SINGLESTEP, child, 0, 0), 0);
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT(WIFSTOPPED(status));
        if (WSTOPSIG(status) == SIGSTOP)
            return count;
        EXPECT_EQ(WSTOPSIG(status), SIGTRAP);
        count += place_of(child) - library.begin < library.end - library.begin;
    }
    FAIL("a pin and its unpin have more than %d instructions", STEPS_MAX);
}

static unsigned count_steps(pid_t child)
{
    unsigned least = UINT_MAX;
    int status;

    EXPECT_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIP)
        test_skip("a process may not trace its child here");
    EXPECT(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    for (unsigned i = 0; i < COUNTED; i++) {
        unsigned count = count_to_stop(child);

        least = count < least ? count : least;
    }
    EXPECT_EQ(ptrace(PTRACE_DETACH, child, 0, 0), 0);
    test_join(child);
    return least;
}

static void pin_in_pool(void *engine)
{
    struct hf_pool *pool = test_pool_open(engine);
    struct hf_file *file = test_file(pool, "/file");

    be_counted(file);
    EXPECT_EQ(hf_close(file), 0);
    test_pool_close(pool);
}

static unsigned count(const char *engine, bool at)
{
    only_address = at;
    return count_steps(test_fork(pin_in_pool, (void *)engine));
}

static void make_pool(const char *engine)
{
    struct hf_pool *pool = test_engine_pool(test_engine(engine), engine, TEST_MIB(8));

    EXPECT_EQ(hf_close(test_file_filled(pool, "/file", 1, 2)), 0);
    test_pool_close(pool);
}

/* The bound of this compiler; else, of its kind, the largest and a tenth. */
static struct bound find_bound(void)
{
    struct bound loose = {NULL, NULL, 0, 0, 0, 0};
    char compiler[32];

    snprintf(compiler, sizeof(compiler), "%s %d", COMPILER, COMPILER_VERSION);
    for (const struct bound *bound = bounds; bound->compiler; bound++) {
        if (strcmp(bound->compiler, compiler) == 0 &&
            strcmp(bound->optimization, OPTIMIZATION) == 0)
            return *bound;
        if (bound->biased > loose.biased)
            loose.biased = bound->biased;
        if (bound->at > loose.at)
            loose.at = bound->at;
        if (bound->fenced > loose.fenced)
            loose.fenced = bound->fenced;
        if (bound->counting > loose.counting)
            loose.counting = bound->counting;
    }
    loose.biased += loose.biased / 10;
    loose.at += loose.at / 10;
    loose.fenced += loose.fenced / 10;
    loose.counting += loose.counting / 10;
    return loose;
}

static void pin_instructions(void)
{
    struct bound bound = find_bound();
    unsigned biased, at, fenced, counting;

    if (test_is_slow() || strcmp(SANITIZER, "none") != 0)
        test_skip("a sanitizer has instructions of its own");
    if (strcmp(OPTIMIZATION, "2") != 0 && strcmp(OPTIMIZATION, "3") != 0)
        test_skip("the library is not optimized");
    dl_iterate_phdr(find_library, NULL);
    EXPECT(library.end > library.begin);
    make_pool("slots");
    make_pool("slots-fenced");
    make_pool("refcount");
    biased = count("slots", false);
    at = count("slots", true);
    fenced = count("slots-fenced", false);
    counting = count("refcount", false);
    printf("%s %d -O%s: instructions for a pin and its unpin:\n"
           "%u (at most %u); with hf_pin_at() %u (at most %u); with a fence %u (at most %u); "
           "by refcount %u (at most %u)\n",
           COMPILER, COMPILER_VERSION, OPTIMIZATION, biased, bound.biased, at, bound.at, fenced,
           bound.fenced, counting, bound.counting);
    EXPECT(at > 0 && biased > at && fenced > biased && counting > 0);
    if (!bound.biased)
        test_skip("it was never counted on a processor of this kind");
    EXPECT(biased <= bound.biased);
    EXPECT(at <= bound.at);
    EXPECT(fenced <= bound.fenced);
    EXPECT(counting <= bound.counting);
}

TEST_SCENARIO(pin_instructions)
