/* SPDX-License-Identifier: MIT */
/*
 * Sums the bytes of files in place, each in pins of at most 64 pages. A reader does this when it
 * wants neither a copy nor a system call. Usage: sum POOL PATH...
 */
#include <fcntl.h>
#include <holdfast/holdfast.h>
#include <inttypes.h>
#include <stdio.h>

static int sum(struct hf_file *file, uint64_t size, uint64_t *out)
{
    enum { PIECES = 64, STEP = PIECES * HF_BLOCK_BYTES };

    for (uint64_t off = 0; off < size; off += STEP) {
        uint64_t len = size - off < STEP ? size - off : STEP;
        struct iovec iov[PIECES];
        struct hf_pin pin;
        int pieces = hf_pin(file, off, len, HF_PIN_READ, iov, PIECES, &pin);

        if (pieces < 0)
            return pieces;
        for (int i = 0; i < pieces; i++)
            for (size_t at = 0; at < iov[i].iov_len; at++)
                *out += ((const unsigned char *)iov[i].iov_base)[at];
        hf_unpin(&pin);
    }
    return 0;
}

static int print_sum(struct hf_pool *pool, const char *path)
{
    struct hf_file *file;
    struct stat st;
    uint64_t total = 0;
    int rc = hf_open(pool, path, O_RDONLY, 0, &file);

    if (rc)
        return rc;
    rc = hf_fstat(file, &st);
    if (rc == 0)
        rc = sum(file, (uint64_t)st.st_size, &total);
    hf_close(file);
    if (rc == 0)
        printf("%20" PRIu64 " %s\n", total, path);
    return rc;
}

int main(int argc, char **argv)
{
    struct hf_pool *pool;
    int rc, status = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: %s POOL PATH...\n", argv[0]);
        return 2;
    }
    rc = hf_pool_open(argv[1], 0, &pool);
    if (rc) {
        fprintf(stderr, "%s: %s\n", argv[1], hf_strerror_detail());
        return 1;
    }
    for (int i = 2; i < argc; i++) {
        rc = print_sum(pool, argv[i]);
        if (rc)
            fprintf(stderr, "%s: %s\n", argv[i], hf_strerror_detail());
        status |= rc != 0;
    }
    hf_pool_close(pool);
    return status;
}
