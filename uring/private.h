/* SPDX-License-Identifier: MIT */
/* What the files of libholdfast-uring share; request.c says how a request lives. */
#ifndef HF_URING_PRIVATE_H
#define HF_URING_PRIVATE_H

#include <holdfast/uring.h>
#include <liburing.h>
#include <stdbool.h>

#define URING_PIECES 8u        /* that a request has room for at first */
#define URING_PIECES_MAX 1024u /* what the kernel takes in one vector */
#define URING_NONE UINT32_MAX

/* Of Linux 6.15; the header may be older. */
#define URING_OP_READV_FIXED 60
#define URING_OP_WRITEV_FIXED 61

#define URING_LINE __attribute__((aligned(64))) /* of the cache */

/* The fields that every request needs are in one line. The size is a power of two: a slot is found
 * by a shift, and generation counts modulo it. */
struct request {
    uint64_t user_data;
    uint64_t position; /* of its submission entry, counted since the ring began */
    union {
        struct hf_pin pin;
        struct hf_lease lease;
    };
    struct iovec *pieces; /* own, or from the heap; stays for the next request of this slot */
    int32_t result;       /* of a zero-copy send, until its memory is free */
    uint32_t next_free;
    uint16_t room;
    uint8_t generation; /* of the requests that this slot has had; below sizeof(struct request) */
    bool busy, leased;
    struct iovec own[URING_PIECES];
    struct msghdr message;
} URING_LINE;

_Static_assert(sizeof(struct request) == 256, "generation has eight bits");

/* A second mapping of the ring: it holds when the program's own is gone. */
struct view {
    void *memory;
    size_t bytes;
    unsigned *sq_head, *sq_tail, *cq_head, *cq_tail, *lost;
    struct io_uring_cqe *cqes;
    unsigned cq_mask, cqe_shift, lost_before;
};

/* What each request needs stands first, in one line of the cache. Between two requests the kernel
 * has had the cache. */
struct hf_uring {
    struct io_uring *ring; /* the program's; not touched by hf_uring_exit() */
    struct request *requests;
    /* How many submission entries the ring has had, as of the last call here. Fewer than 2^32 are
     * between two calls. */
    uint64_t position;
    char *base; /* of the pool's memory */
    uint64_t registered_bytes;
    uint32_t request_count, free_list;
    uint32_t under_way; /* requests whose last completion has not come */
    uint32_t forks;     /* when it was opened */
    uint32_t first_buffer;
    uint8_t buffer_shift; /* each entry of the table has 1 << this bytes */
    bool made_table;      /* the library did, not the program */
    bool vectors;         /* the kernel takes vectors of registered memory */
    bool zero_copy;       /* it sends without a copy */

    uint32_t cancels; /* under way */
    struct hf_pool *pool;
    int fd; /* the library's own descriptor of the ring */
    unsigned setup_flags;
    struct view view;
} URING_LINE;

int uring_fail(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with the sentence of libholdfast. */
int uring_fail_pool(int rc);
/* Of this process; changes only in the child, which has one thread then. */
extern uint32_t uring_forks;
int uring_refuse(const struct hf_uring *uring);
/* 0, or -ECHILD: another process opened it. */
static inline int uring_check(const struct hf_uring *uring)
{
    return uring && uring->forks == uring_forks ? 0 : uring_refuse(uring);
}

/* memory.c: the table of buffers. */
int memory_make_table(struct hf_uring *uring, uint64_t limit_bytes);
/* Puts what the pool has beyond registered_bytes into it. */
int memory_register(struct hf_uring *uring);
/* Takes all of it out. */
void memory_withdraw(struct hf_uring *uring);
/* Takes the table away, if the library made it. */
void memory_drop_table(const struct hf_uring *uring);
/* *entry is the one that all of the pieces lie in, URING_NONE where there is none; -errno. */
int memory_entry_of_all(struct hf_uring *uring, const struct iovec *pieces, int count,
                        uint32_t *entry);
/* The same for one piece in one entry. URING_NONE: memory_entry_of_all() has to look. */
static inline uint32_t memory_entry(const struct hf_uring *uring, const char *at, uint64_t len)
{
    uint64_t start = (uint64_t)(at - uring->base), end = start + len;

    if (end > uring->registered_bytes || (start ^ (end - 1)) >> uring->buffer_shift)
        return URING_NONE;
    return uring->first_buffer + (uint32_t)(start >> uring->buffer_shift);
}

/* view.c: the second mapping. */
int view_open(struct hf_uring *uring);
void view_close(struct hf_uring *uring);

/* request.c. What a completion means; also for those that hf_uring_exit() takes from the ring. */
int request_complete(struct hf_uring *uring, const struct io_uring_cqe *cqe,
                     struct hf_uring_done *out);
/* Releases its range, and frees its slot. */
void request_end(struct hf_uring *uring, struct request *request);

/* exit.c: ends all requests. */
int exit_drain(struct hf_uring *uring);

#endif
