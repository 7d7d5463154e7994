/* SPDX-License-Identifier: MIT */
/*
 * A process that is in the way. It holds a range of a file, says "held", and releases it when its
 * standard input has a byte or ends. It does not answer recalls. With `put` it has begun to put
 * bytes there in place, and half of them are x. In the end it makes all of them x and publishes
 * them.
 *
 * usage: hold-pin POOL PATH OFF LEN [write] [lease | put] [io_uring | rdma | gpu] [label=TEXT]
 */
#include <holdfast/holdfast.h>
#include <holdfast/put.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int give_up(const char *what)
{
    fprintf(stderr, "hold-pin: %s: %s\n", what, hf_strerror_detail());
    return 1;
}

/* A byte or the end; not only the end, since other processes may have inherited the other end. */
static void wait_for_input(void)
{
    char byte;

    if (read(STDIN_FILENO, &byte, 1) < 0)
        exit(1);
}

struct hold {
    uint64_t off, len;
    uint32_t flags;
    bool leases, puts;
    const char *label;
    struct hf_pin pin;
    struct hf_lease lease;
    struct hf_put put;
    struct iovec iov[64];
    int pieces;
    struct hf_file *file; /* of a put */
};

static int take_hold(struct hf_file *file, struct hold *hold)
{
    const struct hf_lease_options options = {
        .size = sizeof(options), .flags = hold->flags, .label = hold->label};

    if (hold->puts)
        return hf_put_begin(file, hold->off, hold->len, hold->flags, hold->iov, 64, &hold->put);
    if (hold->leases)
        return hf_lease(file, hold->off, hold->len, &options, hold->iov, 64, &hold->lease);
    return hf_pin(file, hold->off, hold->len, hold->flags, hold->iov, 64, &hold->pin);
}

static void fill_put(const struct hold *hold, uint64_t bytes)
{
    for (int i = 0; i < hold->pieces && bytes; i++) {
        size_t len = hold->iov[i].iov_len < bytes ? hold->iov[i].iov_len : bytes;

        memset(hold->iov[i].iov_base, 'x', len);
        bytes -= len;
    }
}

static int release_hold(struct hold *hold)
{
    if (hold->puts) {
        fill_put(hold, hold->len);
        return hf_put_commit(hold->file, &hold->put, hold->len) || hf_close(hold->file);
    }
    return hold->leases ? hf_lease_release(&hold->lease) : hf_unpin(&hold->pin);
}

static bool read_word(const char *word, struct hold *hold)
{
    static const struct {
        const char *word;
        uint32_t flags;
    } words[] = {
        {"write", HF_PIN_WRITE},
        {"io_uring", HF_PIN_IO_URING},
        {"rdma", HF_PIN_RDMA},
        {"gpu", HF_PIN_GPU},
        {"lease", 0},
    };

    if (strncmp(word, "label=", 6) == 0) {
        hold->label = word + 6;
        return true;
    }
    if (strcmp(word, "put") == 0) {
        hold->puts = true;
        return true;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(word, words[i].word) == 0) {
            hold->flags |= words[i].flags;
            hold->leases = hold->leases || words[i].flags == 0;
            return true;
        }
    }
    return false;
}

static bool read_arguments(int argc, char **argv, struct hold *hold)
{
    if (argc < 5)
        return false;
    hold->off = strtoull(argv[3], NULL, 0);
    hold->len = strtoull(argv[4], NULL, 0);
    for (int i = 5; i < argc; i++) {
        if (!read_word(argv[i], hold))
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct hold hold = {0};
    struct hf_pool *pool;
    struct hf_file *file;

    if (!read_arguments(argc, argv, &hold)) {
        fprintf(stderr, "usage: hold-pin POOL PATH OFF LEN [write] [lease|put] [io_uring|rdma|gpu] "
                        "[label=TEXT]\n");
        return 2;
    }
    if (hf_pool_open(argv[1], 0, &pool) != 0)
        return give_up(argv[1]);
    if (hf_open(pool, argv[2], O_RDWR, 0, &file) != 0)
        return give_up(argv[2]);
    hold.pieces = take_hold(file, &hold);
    if (hold.pieces < 0)
        return give_up("the pin");
    if (hold.puts) {
        fill_put(&hold, hold.len / 2);
        hold.file = file;
    } else {
        hf_close(file); /* pins outlive it, and rm has a policy only for files nobody has open */
    }
    printf("held\n");
    fflush(stdout);
    wait_for_input();
    if (release_hold(&hold) != 0)
        return give_up("letting go");
    return hf_pool_close(pool) == 0 ? 0 : give_up(argv[1]);
}
