/* SPDX-License-Identifier: MIT */
/*
 * A service that lends memory of a file to a device for as long as nobody else needs it. It has a
 * lease, and a recall stops the device before the memory goes. The device is a thread here. A real
 * one is a network card, and stop_device() returns when the card has said that it writes no more.
 */
#include <fcntl.h>
#include <holdfast/holdfast.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 64 * HF_BLOCK_BYTES, PIECES = 64 };

static void must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, hf_strerror_detail());
    exit(1);
}

struct device {
    pthread_t thread;
    struct iovec memory[PIECES];
    int pieces;
    atomic_bool stop;
    atomic_uint rounds;
};

static void *write_on(void *arg)
{
    struct device *device = arg;

    while (!atomic_load(&device->stop)) {
        for (int i = 0; i < device->pieces; i++)
            memset(device->memory[i].iov_base, 'd', device->memory[i].iov_len);
        atomic_fetch_add(&device->rounds, 1);
    }
    return NULL;
}

static void start_device(struct device *device)
{
    if (pthread_create(&device->thread, NULL, write_on, device))
        exit(1);
}

static void stop_device(struct device *device)
{
    atomic_store(&device->stop, true);
    pthread_join(device->thread, NULL);
}

struct loan {
    pthread_mutex_t mutex; /* a recall may come before hf_lease() has returned, and twice */
    bool lent;
    struct hf_lease lease;
    struct device device;
};

static void recalled(void *arg, const struct hf_recall *recall)
{
    struct loan *loan = arg;

    pthread_mutex_lock(&loan->mutex);
    if (loan->lent) {
        stop_device(&loan->device);
        printf("%s wants bytes %" PRIu64 " to %" PRIu64 ": the device has stopped\n",
               recall->why == HF_CHANGE_TRUNCATE ? "a truncate" : "another layout change",
               recall->off, recall->off + recall->len - 1);
        hf_lease_release(&loan->lease);
        loan->lent = false;
    }
    pthread_mutex_unlock(&loan->mutex);
}

static int lend(struct hf_file *file, struct loan *loan)
{
    const struct hf_lease_options options = {.size = sizeof options,
                                             .flags = HF_PIN_WRITE | HF_PIN_RDMA,
                                             .recall = recalled,
                                             .arg = loan};
    int pieces;

    pthread_mutex_lock(&loan->mutex);
    pieces = hf_lease(file, 0, BYTES, &options, loan->device.memory, PIECES, &loan->lease);
    if (pieces > 0) {
        loan->device.pieces = pieces;
        loan->lent = true;
        start_device(&loan->device);
    }
    pthread_mutex_unlock(&loan->mutex);
    return pieces;
}

/* Fills the pool to the last block with another file, which must stay as it was written. */
static void check_others(struct hf_pool *pool)
{
    static char page[HF_BLOCK_BYTES], found[HF_BLOCK_BYTES];
    struct hf_file *other;
    uint64_t end = 0;

    memset(page, 'o', sizeof page);
    must(hf_open(pool, "/other", O_RDWR | O_CREAT, 0644, &other), "open");
    while (hf_write(other, page, sizeof page, end) == (ssize_t)sizeof page)
        end += sizeof page;
    for (uint64_t off = 0; off < end; off += sizeof page) {
        must((int)hf_read(other, found, sizeof found, off), "read");
        if (memcmp(found, page, sizeof page) != 0)
            exit(1);
    }
    printf("%" PRIu64 " bytes of another file are what they were\n", end);
    must(hf_close(other), "close");
}

int main(void)
{
    const struct hf_pool_options options = {.size = sizeof options, .pool_bytes = 8 << 20};
    /* It lives until the pool is closed: a recall that is under way may still look at it after the
     * release. */
    struct loan loan = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct hf_pool *pool;
    struct hf_file *file;

    must(hf_pool_open_anonymous(&options, &pool), "pool");
    must(hf_open(pool, "/file", O_RDWR | O_CREAT, 0644, &file), "open");
    must(hf_truncate(file, BYTES, NULL), "size");
    must(lend(file, &loan), "lease");
    while (!atomic_load(&loan.device.rounds))
        ;
    must(hf_truncate(file, 0, NULL),
         "truncate"); /* asks for the lease, and waits until it is released */
    check_others(pool);
    must(hf_close(file), "close");
    must(hf_pool_close(pool), "close the pool");
    return 0;
}
