/* SPDX-License-Identifier: MIT */
/*
 * Processes that put, get and remove objects of a cluster all the time, from machines of their own.
 * They look at every byte, compare with the history, and take the time of each call.
 */
#ifndef HF_TESTS_CLUSTER_USERS_H
#define HF_TESTS_CLUSTER_USERS_H

#include <holdfast/cluster.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define USERS 4u
#define USER_TIMEOUT_NS UINT64_C(1000000000)
/* No call takes as long, however busy the machine is: its time-out has come long before. */
#define USER_HANG_NS UINT64_C(60000000000)

struct user_counts {
    uint64_t hits, misses, puts, removals; /* that ended well; a miss is an answer */
    uint64_t failures;
    uint64_t wrong, stale, hangs;
    uint64_t slowest_ns; /* call, of those while which the process was not stopped */
};

void users_begin(const struct hfx_options *options);
pid_t user_start(unsigned user, unsigned machine);
/* Before it is stopped, and after it goes on. */
void user_stops(unsigned user);
/* After it was killed. */
void user_ended(unsigned user);
void user_leaves(unsigned user);
struct user_counts users_counts(void);
/* Gets with an object and puts that this user has done. */
uint64_t user_done(unsigned user);

/* One change or get of an object by this process; as a user does. */
int user_put(struct hfx *cluster, uint64_t object);
int64_t user_get(struct hfx *cluster, uint64_t object);

#endif
