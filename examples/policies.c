/* SPDX-License-Identifier: MIT */
/*
 * One pin, held by another thread, and every policy that a truncate can meet it with. Prints what
 * each does, and that the holder's bytes stay what they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/holdfast.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

static void must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, hf_strerror_detail());
    exit(1);
}

struct holder {
    struct hf_file *file;
    pthread_barrier_t held, done;
};

static void *hold(void *arg)
{
    struct holder *holder = arg;
    struct iovec piece;
    struct hf_pin pin;

    must(hf_pin(holder->file, 0, 6, HF_PIN_READ, &piece, 1, &pin), "pin");
    pthread_barrier_wait(&holder->held);
    pthread_barrier_wait(&holder->done);
    printf("  the holder still reads: %.6s\n", (const char *)piece.iov_base);
    must(hf_unpin(&pin), "unpin");
    return NULL;
}

static void try(struct hf_pool *pool, struct hf_file *file, const char *name,
                const struct hf_policy *policy, int expected)
{
    struct holder holder = {.file = file};
    struct hf_pool_info info = {.size = sizeof info};
    pthread_t thread;
    int rc;

    must((int)hf_write(file, "secret", 6, 0), "write");
    pthread_barrier_init(&holder.held, NULL, 2);
    pthread_barrier_init(&holder.done, NULL, 2);
    if (pthread_create(&thread, NULL, hold, &holder))
        exit(1);
    pthread_barrier_wait(&holder.held);
    rc = hf_truncate(file, 0, policy);
    must(hf_pool_info(pool, &info), "info");
    printf("%s: %s, %" PRIu64 " bytes detached\n", name, rc ? strerror(-rc) : "done",
           info.detached_bytes);
    pthread_barrier_wait(&holder.done);
    pthread_join(thread, NULL);
    if (rc != expected)
        exit(1);
}

int main(void)
{
    const struct hf_pool_options options = {.size = sizeof options, .pool_bytes = 64 << 20};
    const struct hf_policy nowait = {.kind = HF_POLICY_NOWAIT};
    const struct hf_policy deadline = {.kind = HF_POLICY_DEADLINE, .deadline_ns = 10 * MS};
    const struct hf_policy detach = {.kind = HF_POLICY_DETACH};
    const struct hf_policy soon = {.kind = HF_POLICY_DEADLINE_DETACH, .deadline_ns = 10 * MS};
    struct hf_pool *pool;
    struct hf_file *file;

    must(hf_pool_open_anonymous(&options, &pool), "pool");
    must(hf_open(pool, "/file", O_RDWR | O_CREAT, 0644, &file), "open");
    try(pool, file, "nowait", &nowait, -EBUSY);
    try(pool, file, "deadline 10 ms", &deadline, -ETIMEDOUT);
    try(pool, file, "detach", &detach, 0);
    try(pool, file, "deadline 10 ms, then detach", &soon, 0);
    must(hf_close(file), "close");
    must(hf_pool_close(pool), "close the pool");
    return 0;
}
