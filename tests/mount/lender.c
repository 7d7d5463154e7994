/* SPDX-License-Identifier: MIT */
/*
 * A process that lends a file to a device for as long as nobody else needs it. It leases the first
 * bytes, says "leased", and answers a recall: the bytes must be what they were when it leased them.
 * Then it says "recalled", releases the lease and ends.
 *
 * usage: lender POOL PATH LEN
 */
#include <holdfast/holdfast.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECES 1024

static int give_up(const char *what)
{
    fprintf(stderr, "lender: %s: %s\n", what, hf_strerror_detail());
    return 1;
}

/* Copies the pieces one after the other. */
static char *copy_of(const struct iovec *iov, int pieces, size_t len)
{
    char *copy = malloc(len ? len : 1);
    size_t at = 0;

    if (!copy)
        abort();
    for (int i = 0; i < pieces && at < len; at += iov[i].iov_len, i++)
        memcpy(copy + at, iov[i].iov_base, iov[i].iov_len);
    return copy;
}

int main(int argc, char **argv)
{
    const struct hf_lease_options options = {.size = sizeof options, .flags = HF_PIN_RDMA};
    static struct iovec iov[PIECES];
    struct pollfd wait = {.events = POLLIN};
    struct hf_recall recall;
    struct hf_lease lease;
    struct hf_pool *pool;
    struct hf_file *file;
    char *before;
    size_t len;
    int pieces;

    if (argc != 4)
        return 2;
    len = strtoull(argv[3], NULL, 0);
    if (hf_pool_open(argv[1], 0, &pool) || hf_open(pool, argv[2], O_RDONLY, 0, &file))
        return give_up(argv[2]);
    pieces = hf_lease(file, 0, len, &options, iov, PIECES, &lease);
    if (pieces < 0)
        return give_up("the lease");
    before = copy_of(iov, pieces, len);
    puts("leased");
    fflush(stdout);
    wait.fd = hf_recall_fd(pool);
    if (wait.fd < 0)
        return give_up("the recall");
    while (hf_recall_next(pool, &recall) != 1)
        poll(&wait, 1, -1);
    if (memcmp(before, copy_of(iov, pieces, len), len) != 0) {
        fprintf(stderr, "lender: leased bytes have changed\n");
        return 1;
    }
    puts("recalled");
    fflush(stdout);
    if (hf_lease_release(&lease) || hf_close(file) || hf_pool_close(pool))
        return give_up("letting go");
    return 0;
}
