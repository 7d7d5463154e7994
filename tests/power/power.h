/* SPDX-License-Identifier: MIT */
/*
 * The power-cut explorer. A workload is recorded (record.h). Then, for each recorded call, the
 * medium is put together as a power cut might have left it there, and looked at.
 */
#ifndef HF_TESTS_POWER_POWER_H
#define HF_TESTS_POWER_POWER_H

#include "record.h"
#include "support.h"

#define POWER_NAMES 12u
#define POWER_CONTENT (UINT64_C(64) << 10) /* of a file that are kept; what follows is zeros */
#define POWER_STEPS_MAX 48u
#define POWER_POOL_BYTES TEST_MIB(8)
#define POWER_GROWN_BYTES TEST_MIB(10)

struct power_content {
    uint64_t size;
    unsigned char bytes[POWER_CONTENT];
};

struct power_name {
    char path[32];
    bool dir;
    struct power_content latest;
    struct power_content synced; /* that a call has promised to keep */
};

struct power_state {
    uint64_t pool_bytes;
    unsigned count;
    struct power_name names[POWER_NAMES];
};

struct power_step {
    const char *name;
    void (*run)(struct hf_pool **pool);
    bool writes;       /* while it runs, a file's sectors may be old or new */
    const char *dirty; /* the file that has content which nothing promises yet */
};
extern const struct power_step power_steps[];
extern const unsigned power_step_count;

/* Where the workload's pool is, and with which flags. */
extern const char *power_pool;
extern uint32_t power_flags;
/* In lab builds: a growth does not see what others have done to its memory. */
extern bool power_growth_is_broken;

/* Reads all of the pool; every failure ends the test. */
void power_look(struct hf_pool *pool, struct power_state *state);
/* The pool is as it was at `state`, but that of a file with something that was not synced each
 * sector may be either. `names`: the state of which names and promises count; `latest`: the one of
 * which content may be there already. */
bool power_matches(const struct power_state *found, const struct power_state *names,
                   const struct power_state *latest);
void power_show(const char *title, const struct power_state *state);

#endif
