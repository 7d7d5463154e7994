/* SPDX-License-Identifier: MIT */
/*
 * Calls that a process makes beside one that is stopped: those that take a policy, and all others.
 */
#ifndef HF_TESTS_KILL_STOP_H
#define HF_TESTS_KILL_STOP_H

#include "kill.h"

#include <pthread.h>

struct call {
    const char *name, *policy_name;
    long (*make)(struct call *call);
    struct hf_policy policy;
    char path[64];
    struct hf_file *file;
    pthread_t thread;
    pid_t tid;
    uint32_t started, ended;
    unsigned cancels, cancels_found;
    long rc;
    char sentence[512];
};

struct stop_row {
    const char *name;
    long (*make)(struct call *call);
};

extern const struct stop_row stop_with_policy[], stop_without_policy[];
extern const unsigned stop_with_policy_count, stop_without_policy_count;
extern struct hf_pool *stop_pool;

long stop_unlink(struct call *call);
long stop_pin_present(struct call *call);
/* A lease that could not be taken back stays offered. */
long stop_take_lease(struct call *call);
extern bool stop_lease_is_offered;
/* Of this process, which could not be given up. */
extern unsigned stop_registrations;

#endif
