/* SPDX-License-Identifier: MIT */
/*
 * Members that hold a number for each key, in processes of their own. For users, each key must be
 * like one register, which may lose its number. So a get that begins after a put was acknowledged
 * returns nothing, or the number of that put or of a later one.
 */
#ifndef HF_TESTS_REGISTERS_H
#define HF_TESTS_REGISTERS_H

#include "members.h"

#include <sys/types.h>

#define REGISTERS 64u
#define REGISTER_MEMBERS 5u

struct register_counts {
    uint64_t gets, puts, stale;
};

/* No member drops anything: what goes wrong then must be seen. */
extern bool registers_never_sweep;

void registers_begin(bool tls);
/* A process of this number, which joins, serves and goes on until it is killed, or leaves. */
pid_t registers_start(unsigned member);
void registers_leave(unsigned member, pid_t pid);

/* Waits until each key has been put by its member, and got, once more. */
void registers_await_all(void);
struct register_counts registers_counts(void);

#endif
