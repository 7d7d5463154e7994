/* SPDX-License-Identifier: MIT */
/* A ring and a pool for the tests of libholdfast-uring. */
#ifndef HF_TESTS_URING_RIG_H
#define HF_TESTS_URING_RIG_H

#include "support.h"

#include <holdfast/uring.h>
#include <liburing.h>

struct rig {
    struct hf_pool *pool;
    struct io_uring ring;
    struct hf_uring *uring;
};

/* A ring with the flags of io_uring_setup(2); ends the test as skipped where it is not allowed. */
void rig_ring(struct io_uring *ring, unsigned entries, unsigned flags);
/* The same, with the pool's memory in it. */
void rig_open(struct rig *rig, struct hf_pool *pool, unsigned entries, unsigned flags,
              const struct hf_uring_options *options);
void rig_close(struct rig *rig);

/* A request for whole pages, which names itself by user_data. */
struct hf_uring_io rig_io(uint32_t op, struct hf_file *file, uint64_t page, uint64_t pages, int fd,
                          uint64_t user_data);
void rig_prep(struct rig *rig, const struct hf_uring_io *io);
void rig_submit(struct rig *rig);
/* Takes completions until one is of a request, and expects that it has this user_data. */
struct hf_uring_done rig_take(struct rig *rig, uint64_t user_data);
/* The same with this result, and no further completion of that request. */
void rig_expect(struct rig *rig, uint64_t user_data, int result);

/* How many pins and leases of the pool are for io_uring. */
unsigned rig_held(struct hf_pool *pool);
/* A file whose pages lie apart: each is a piece of its own. */
struct hf_file *rig_scattered(struct hf_pool *pool, const char *path, uint64_t stamp,
                              uint64_t pages);
/* A file without a name on a file system that does O_DIRECT; -1: there is none. */
int rig_disk(void);
/* Two ends of a TCP connection. */
void rig_tcp(int ends[2]);

#endif
