/* SPDX-License-Identifier: MIT */
/* The verb cat: contents to standard output, copied so that a slow reader holds no pin. */
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* 0, or the errno of standard output; what the pool refused is in *rc. */
static int print_content(struct transfer *cat, struct hf_file *file, int *rc)
{
    uint64_t off = 0;

    while (!cli_interrupted()) {
        ssize_t got = hf_read(file, cat->chunk, TRANSFER_CHUNK_BYTES, off);
        int error;

        if (got == -EINTR)
            continue;
        if (got <= 0) {
            *rc = (int)got;
            return 0;
        }
        error = transfer_write_all(STDOUT_FILENO, cat->chunk, (size_t)got);
        if (error != 0)
            return error;
        off += (uint64_t)got;
    }
    return 0;
}

static void cat_path(struct transfer *cat, const char *path)
{
    struct hf_file *file;
    int rc = hf_open(cat->pool, path, O_RDONLY, 0, &file), error;

    if (rc != 0) {
        transfer_fail(cat, path, rc);
        return;
    }
    error = print_content(cat, file, &rc);
    if (rc != 0)
        transfer_fail(cat, path, rc);
    hf_close(file);
    cat->stop = cat->stop || error != 0;
    if (error != 0 && error != EPIPE && error != EINTR)
        transfer_fail_host(cat, "standard output", error);
}

static int cat_run(int count, char **operands)
{
    struct transfer cat;
    struct hf_pool *pool;
    int status = cli_pool_open(operands[0], HF_OPEN_RDONLY, &pool);

    if (status != EX_OK)
        return status;
    transfer_begin(&cat, pool);
    cat.progress.shown = false; /* it would be among the output */
    for (int i = 1; i < count && !cat.stop; i++)
        cat_path(&cat, operands[i]);
    return transfer_end(&cat, operands[0]);
}

const struct cli_verb cli_verb_cat = {
    .name = "cat",
    .operands = "POOL PATH...",
    .summary = "write files of the pool to standard output",
    .operands_min = 2,
    .operands_max = 1 << 20,
    .run = cat_run,
};
