/* SPDX-License-Identifier: MIT */
/*
 * What put, get, cat, cp and snapshot share: the state of one copy, files with several names, and
 * writing to the host. A file appears under its name only when it is whole. On the host it is
 * written under a name of its own in the same directory, and then renamed. In the pool it has no
 * name before.
 */
#ifndef HOLDFAST_CLI_TRANSFER_H
#define HOLDFAST_CLI_TRANSFER_H

#include "cli.h"

#define TRANSFER_CHUNK_BYTES (1u << 20)
#define TRANSFER_TEMP_PREFIX ".holdfast-"
#define TRANSFER_TEMP_TEXT 48

struct transfer {
    struct hf_pool *pool;
    struct cli_progress progress;
    void *links;         /* tsearch(3) tree of files with several names */
    char *chunk;         /* TRANSFER_CHUNK_BYTES */
    bool keep_owner;     /* root keeps owners, others become the owner */
    bool stop;           /* no point in going on: full, interrupted */
    bool xattrs_refused; /* said once */
    unsigned temp_number;
    int status; /* exit code so far */
};

void transfer_begin(struct transfer *transfer, struct hf_pool *pool);
/* Ends the copy and closes the pool, which was opened as `pool_path`. Returns the exit code. */
int transfer_end(struct transfer *transfer, const char *pool_path);

/* Record a failure at path; they return false for the caller to return. */
bool transfer_fail(struct transfer *transfer, const char *path, int rc);
bool transfer_fail_host(struct transfer *transfer, const char *path, int error);
/* True when a signal came; prints that `path` was not copied. */
bool transfer_stopped(struct transfer *transfer, const char *path);

/* A name that no other file has, for the file under way. */
const char *transfer_temp_name(struct transfer *transfer, char buf[TRANSFER_TEMP_TEXT]);

/* Where the file (dev, ino) was copied to, or null; then remember it. */
const char *transfer_find_link(struct transfer *transfer, uint64_t dev, uint64_t ino);
void transfer_add_link(struct transfer *transfer, uint64_t dev, uint64_t ino, const char *path);

/* All of it, or the errno. */
int transfer_write_all(int fd, const char *buf, size_t len);

#endif
