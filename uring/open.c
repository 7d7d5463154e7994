/* SPDX-License-Identifier: MIT */
/* A pool and a ring: what is asked of the ring, and the end of both. */
#include "private.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
uint32_t uring_forks;
static bool told_of_forks;

static void note_fork(void)
{
    uring_forks++;
}

static void watch_ring_forks(void)
{
    told_of_forks = pthread_atfork(NULL, NULL, note_fork) == 0;
}

int uring_refuse(const struct hf_uring *uring)
{
    return uring ? uring_fail(-ECHILD, "the parent opened it before the fork")
                 : uring_fail(-EINVAL, "uring is null");
}

/* Of those that liburing 2.3 does not know. */
#define SETUP_KNOWN ((1u << 18) - 1)

/* exit.c reads the ring's queues by itself: entries have one size, and sq_head counts them. */
static int check_ring(const struct io_uring *ring)
{
    if (!ring->sq.ring_ptr || !ring->cq.ring_ptr)
        return uring_fail(-EINVAL, "the ring has not been set up (io_uring_queue_init(3))");
    if (ring->flags & ~SETUP_KNOWN)
        return uring_fail(-EOPNOTSUPP, "the ring was set up with flags 0x%x, which are not known",
                          ring->flags & ~SETUP_KNOWN);
    return 0;
}

static int check_options(const struct hf_uring_options *options)
{
    if (options->size != sizeof *options || options->reserved ||
        options->flags & ~HF_URING_HAS_TABLE)
        return uring_fail(-EINVAL,
                          "size is sizeof(struct hf_uring_options), flags 0x%x are not "
                          "known, or reserved is not 0",
                          options->flags & ~HF_URING_HAS_TABLE);
    if (options->buffer_bytes & (options->buffer_bytes - 1) ||
        (options->buffer_bytes && options->buffer_bytes < HF_HUGE_BYTES) ||
        options->buffer_bytes > HF_URING_BUFFER_BYTES_MAX)
        return uring_fail(-EINVAL,
                          "buffer_bytes is %" PRIu64 ": a power of two, from %u to %" PRIu64,
                          options->buffer_bytes, HF_HUGE_BYTES, HF_URING_BUFFER_BYTES_MAX);
    if (options->requests > 1u << 24)
        return uring_fail(-EINVAL, "requests is %u: at most %u", options->requests, 1u << 24);
    return 0;
}

/* Memory for what has lines of its own; free(3). */
static void *zeroed(size_t bytes)
{
    void *memory = aligned_alloc(_Alignof(struct request), bytes);

    return memory ? memset(memory, 0, bytes) : NULL;
}

static int make_requests(struct hf_uring *uring, uint32_t count)
{
    uring->requests = zeroed(count * sizeof *uring->requests);
    if (!uring->requests)
        return uring_fail(-ENOMEM, "no memory for %u requests", count);
    uring->request_count = count;
    for (uint32_t i = 0; i < count; i++) {
        uring->requests[i].pieces = uring->requests[i].own;
        uring->requests[i].room = URING_PIECES;
        uring->requests[i].next_free = i + 1 < count ? i + 1 : URING_NONE;
    }
    return 0;
}

static void drop_requests(struct hf_uring *uring)
{
    for (uint32_t i = 0; i < uring->request_count; i++)
        if (uring->requests[i].pieces != uring->requests[i].own)
            free(uring->requests[i].pieces);
    free(uring->requests);
}

static void look_at_kernel(struct hf_uring *uring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(uring->ring);

    if (!probe)
        return;
    uring->zero_copy = io_uring_opcode_supported(probe, IORING_OP_SENDMSG_ZC);
    uring->vectors = io_uring_opcode_supported(probe, URING_OP_WRITEV_FIXED);
    io_uring_free_probe(probe);
}

/* The pool's memory is held before any of it is registered. */
static int register_pool(struct hf_uring *uring, const struct hf_uring_options *options)
{
    struct hf_pool_memory memory = {.size = sizeof memory};
    int rc = hf_pool_register(uring->pool, HF_PIN_IO_URING, &memory);

    if (rc)
        return uring_fail_pool(rc);
    if (!(options->flags & HF_URING_HAS_TABLE))
        rc = memory_make_table(uring, memory.limit_bytes);
    rc = rc ? rc : memory_register(uring);
    if (rc == 0)
        return 0;
    memory_withdraw(uring);
    memory_drop_table(uring);
    hf_pool_unregister(uring->pool, HF_PIN_IO_URING);
    return rc;
}

static int open_parts(struct hf_uring *uring, const struct hf_uring_options *options)
{
    uint32_t requests = options->requests ? options->requests : uring->ring->cq.ring_entries;
    int rc = make_requests(uring, requests);

    if (rc)
        return rc;
    rc = view_open(uring);
    if (rc == 0) {
        look_at_kernel(uring);
        rc = register_pool(uring, options);
        if (rc)
            view_close(uring);
    }
    if (rc)
        drop_requests(uring);
    return rc;
}

int hf_uring_open(struct hf_pool *pool, struct io_uring *ring,
                  const struct hf_uring_options *options, struct hf_uring **out)
{
    static const struct hf_uring_options plain = {.size = sizeof plain};
    struct hf_uring *uring;
    int rc;

    options = options ? options : &plain;
    if (!pool || !ring || !out)
        return uring_fail(-EINVAL, "pool, ring or out is null");
    rc = check_options(options);
    rc = rc ? rc : check_ring(ring);
    if (rc)
        return rc;
    pthread_once(&once, watch_ring_forks);
    uring = told_of_forks ? zeroed(sizeof *uring) : NULL;
    if (!uring)
        return uring_fail(-ENOMEM, "no memory");
    uring->pool = pool;
    uring->ring = ring;
    uring->setup_flags = ring->flags;
    uring->forks = uring_forks;
    uring->position = ring->sq.sqe_tail;
    uring->first_buffer = options->first_buffer;
    uring->buffer_shift = (uint8_t)__builtin_ctzll(
        options->buffer_bytes ? options->buffer_bytes : HF_URING_BUFFER_BYTES_MAX);
    rc = open_parts(uring, options);
    if (rc) {
        free(uring);
        return rc;
    }
    *out = uring;
    return 0;
}

static void end(struct hf_uring *uring)
{
    memory_withdraw(uring);
    if (uring->first_buffer == 0) /* the program has no entries in it */
        memory_drop_table(uring);
    hf_pool_unregister(uring->pool, HF_PIN_IO_URING);
    view_close(uring);
    drop_requests(uring);
    free(uring);
}

int hf_uring_close(struct hf_uring *uring)
{
    int rc = uring_check(uring);

    if (rc)
        return rc;
    if (uring->under_way || uring->cancels)
        return uring_fail(-EBUSY, "%u requests and %u cancels are under way: reap them first",
                          uring->under_way, uring->cancels);
    end(uring);
    return 0;
}

int hf_uring_exit(struct hf_uring *uring)
{
    int rc = uring_check(uring);

    rc = rc ? rc : exit_drain(uring);
    if (rc == 0)
        end(uring);
    return rc;
}
