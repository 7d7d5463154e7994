/* SPDX-License-Identifier: MIT */
/*
 * A cluster for tests, with a list of members that does not change. Each member is a process of
 * this machine, with a pool and a cache of its own. Objects say of each byte which key and which
 * put it belongs to.
 */
#ifndef HF_TESTS_CLUSTER_RIG_H
#define HF_TESTS_CLUSTER_RIG_H

#include "support.h"

#include <holdfast/cluster.h>

#define RIG_MEMBERS_MAX 4u
#define RIG_SECRET "a secret of this test"

struct rig_member {
    pid_t pid;
    uint32_t listens, starts; /* flags, in memory that is shared */
    char address[HFX_ADDRESS_MAX + 1];
};

struct rig {
    unsigned count;
    uint64_t capacity, stall_ns;
    char members[RIG_MEMBERS_MAX * 160];
    struct rig_member member[RIG_MEMBERS_MAX];
};

/* Starts so many members and returns when they answer. In shared memory, as are the options, which
 * may be changed before. */
struct rig *rig_new(unsigned count, uint64_t capacity, uint64_t stall_ns);
void rig_start(struct rig *rig);
/* Ends them by their numbers. */
void rig_end(struct rig *rig);

struct hfx *rig_open(const struct rig *rig, uint64_t timeout_ns);

/* Keys and objects by number. Every 8 bytes of an object depend on number and version. */
struct rig_key {
    char bytes[40];
    struct hfc_key key;
};
struct hfc_key *rig_key(struct rig_key *key, uint64_t number);
void rig_fill(void *bytes, size_t len, uint64_t number, uint64_t version);
/* All bytes are of one object of that number. */
bool rig_is_whole(const void *bytes, size_t len, uint64_t number);
/* The version, if all bytes are of one object of that number; else the test fails. */
uint64_t rig_version(const void *bytes, size_t len, uint64_t number);
void rig_put(struct hfx *cluster, uint64_t number, uint64_t version, size_t len);
/* Its version, or -errno. */
int64_t rig_get(struct hfx *cluster, uint64_t number, size_t len);

#endif
