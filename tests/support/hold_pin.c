/* SPDX-License-Identifier: MIT */
/*
 * A process that is in the way. It holds a range of a file, says "held", and releases it when its
 * standard input has a byte or ends. It does not answer recalls.
 *
 * usage: hold-pin POOL PATH OFF LEN [write] [lease] [io_uring | rdma | gpu] [label=TEXT]
 */
#include <holdfast/holdfast.h>

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
    bool leases;
    const char *label;
    struct hf_pin pin;
    struct hf_lease lease;
};

static int take_hold(struct hf_file *file, struct hold *hold)
{
    const struct hf_lease_options options = {
        .size = sizeof(options), .flags = hold->flags, .label = hold->label};
    struct iovec iov[64];

    if (hold->leases)
        return hf_lease(file, hold->off, hold->len, &options, iov, 64, &hold->lease);
    return hf_pin(file, hold->off, hold->len, hold->flags, iov, 64, &hold->pin);
}

static int release_hold(struct hold *hold)
{
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
        fprintf(stderr, "usage: hold-pin POOL PATH OFF LEN [write] [lease] [io_uring|rdma|gpu] "
                        "[label=TEXT]\n");
        return 2;
    }
    if (hf_pool_open(argv[1], 0, &pool) != 0)
        return give_up(argv[1]);
    if (hf_open(pool, argv[2], O_RDWR, 0, &file) != 0)
        return give_up(argv[2]);
    if (take_hold(file, &hold) < 0)
        return give_up("the pin");
    hf_close(file); /* pins outlive it, and rm has a policy only for files nobody has open */
    printf("held\n");
    fflush(stdout);
    wait_for_input();
    if (release_hold(&hold) != 0)
        return give_up("letting go");
    return hf_pool_close(pool) == 0 ? 0 : give_up(argv[1]);
}
