/* SPDX-License-Identifier: MIT */
/*
 * A process that is in the way: pins a range of a file, says "held", and lets go when its standard
 * input has a byte or ends. usage: hold-pin POOL PATH OFF LEN [write]
 */
#include <holdfast/holdfast.h>

#include <fcntl.h>
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

int main(int argc, char **argv)
{
    struct hf_pool *pool;
    struct hf_file *file;
    struct hf_pin pin;
    struct iovec iov[64];
    uint32_t flags = argc > 5 && strcmp(argv[5], "write") == 0 ? HF_PIN_WRITE : HF_PIN_READ;
    int pieces;

    if (argc < 5) {
        fprintf(stderr, "usage: hold-pin POOL PATH OFF LEN [write]\n");
        return 2;
    }
    if (hf_pool_open(argv[1], 0, &pool) != 0)
        return give_up(argv[1]);
    if (hf_open(pool, argv[2], O_RDWR, 0, &file) != 0)
        return give_up(argv[2]);
    pieces =
        hf_pin(file, strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0), flags, iov, 64, &pin);
    if (pieces < 0)
        return give_up("hf_pin");
    hf_close(file); /* pins outlive it, and rm has a policy only for files nobody has open */
    printf("held\n");
    fflush(stdout);
    wait_for_input();
    hf_unpin(&pin);
    return hf_pool_close(pool) == 0 ? 0 : give_up(argv[1]);
}
