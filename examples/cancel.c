/* SPDX-License-Identifier: MIT */
/* A truncate that would wait as long as a pin lives, and another thread that gives up on it. */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/holdfast.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, hf_strerror_detail());
    exit(1);
}

struct job {
    struct hf_pool *pool;
    struct hf_file *file;
    atomic_int tid, rc;
    atomic_bool done;
};

static void *cut(void *arg)
{
    struct job *job = arg;

    atomic_store(&job->tid, gettid());
    atomic_store(&job->rc, hf_truncate(job->file, 0, NULL));
    printf("truncate: %s\n", hf_strerror_detail());
    atomic_store(&job->done, true);
    return NULL;
}

/* The thread may not wait yet, or be done before it is reached: ask until it is. */
static void give_up(struct job *job)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    while (!atomic_load(&job->done)) {
        if (atomic_load(&job->tid))
            hf_cancel(job->pool, atomic_load(&job->tid));
        nanosleep(&moment, NULL);
    }
}

int main(void)
{
    const struct hf_pool_options options = {.size = sizeof options, .pool_bytes = 8 << 20};
    struct job job = {0};
    pthread_t thread;
    struct iovec piece;
    struct hf_pin pin;

    must(hf_pool_open_anonymous(&options, &job.pool), "pool");
    must(hf_open(job.pool, "/file", O_RDWR | O_CREAT, 0644, &job.file), "open");
    must((int)hf_write(job.file, "still here\n", 11, 0), "write");
    must(hf_pin(job.file, 0, 11, HF_PIN_READ, &piece, 1, &pin), "pin");
    if (pthread_create(&thread, NULL, cut, &job))
        return 1;
    give_up(&job);
    pthread_join(thread, NULL);
    fwrite(piece.iov_base, 1, piece.iov_len, stdout);
    must(hf_unpin(&pin), "unpin");
    must(hf_close(job.file), "close");
    must(hf_pool_close(job.pool), "close the pool");
    return atomic_load(&job.rc) == -EINTR ? 0 : 1;
}
