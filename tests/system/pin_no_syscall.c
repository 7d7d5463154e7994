/* SPDX-License-Identifier: MIT */
/*
 * hf_pin() and hf_unpin() on present pages make no system call. After a warm-up, a filter kills the
 * process at any system call but exit_group(2) and write(2) to the pipe for the result. Then it
 * pins a million times.
 */
#include "support.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGES 64
#define ROUNDS 200000
#define WAYS 5

static void allow_only_result(int fd)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)fd, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = sizeof(rules) / sizeof(rules[0]), .filter = rules};

    EXPECT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        test_skip("this kernel has no seccomp filters");
}

/* Pins each of the ways; 0, or a code that says which failed. */
static uint64_t pin_round(struct hf_file *file, uint64_t page)
{
    static struct iovec iov[PAGES];
    struct hf_pin pins[WAYS];

    if (hf_pin(file, page * TEST_PAGE, TEST_PAGE, HF_PIN_READ, iov, 1, &pins[0]) != 1)
        return 1;
    if (hf_pin(file, page * TEST_PAGE + 9, 100, HF_PIN_WRITE, iov, 1, &pins[1]) != 1)
        return 2;
    if (hf_pin(file, 0, PAGES * TEST_PAGE, HF_PIN_READ, iov, PAGES, &pins[2]) < 1)
        return 3;
    if (hf_pin(file, TEST_PAGE, 9 * TEST_PAGE, HF_PIN_WRITE | HF_PIN_NOWAIT | HF_PIN_GPU, iov,
               PAGES, &pins[3]) < 1)
        return 4;
    if (hf_pin_at(file, page * TEST_PAGE, TEST_PAGE, HF_PIN_READ, &pins[4]) < 0)
        return 5;
    for (int i = 0; i < WAYS; i++)
        if (hf_unpin(&pins[i]) != 0)
            return 6;
    return 0;
}

static void pin_under_filter(void *arg)
{
    int fd = *(int *)arg;
    struct hf_pool *pool = test_pool_open("quiet");
    struct hf_file *file = test_file(pool, "/file");
    uint64_t result = 0;

    for (uint64_t page = 0; page < PAGES; page++)
        EXPECT_EQ(pin_round(file, page), 0);
    allow_only_result(fd);
    for (uint64_t i = 0; i < ROUNDS && result == 0; i++)
        result = pin_round(file, i % PAGES);
    if (write(fd, &result, sizeof(result)) != sizeof(result))
        _exit(1);
    _exit(0);
}

static void pin_no_syscall(void)
{
    struct hf_pool *pool;
    uint64_t result = 99;
    int fds[2];
    pid_t child;

    if (test_is_slow())
        test_skip("a sanitizer makes system calls of its own");
    pool = test_pool_new("quiet", TEST_MIB(16));
    EXPECT_EQ(hf_close(test_file_filled(pool, "/file", 1, PAGES)), 0);
    EXPECT_EQ(pipe(fds), 0);
    child = test_fork(pin_under_filter, &fds[1]);
    close(fds[1]);
    EXPECT_EQ(read(fds[0], &result, sizeof(result)), sizeof(result));
    test_join(child);
    EXPECT_EQ(result, 0);
    printf("%d pins and unpins without a system call\n", 4 * ROUNDS);
    test_pool_close(pool);
    test_pool_check("quiet");
}

TEST_SCENARIO(pin_no_syscall)
