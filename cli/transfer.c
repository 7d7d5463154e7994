/* SPDX-License-Identifier: MIT */
/* What the verbs that copy share; see transfer.h. */
#include "transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct link_node {
    uint64_t dev, ino;
    char *path;
};

void transfer_begin(struct transfer *transfer, struct hf_pool *pool)
{
    *transfer = (struct transfer){
        .pool = pool,
        .chunk = cli_alloc(TRANSFER_CHUNK_BYTES),
        .keep_owner = geteuid() == 0,
        .status = EX_OK,
    };
    cli_progress_begin(&transfer->progress, "files");
}

static void free_link(void *node)
{
    struct link_node *link = node;

    free(link->path);
    free(link);
}

int transfer_end(struct transfer *transfer, const char *pool_path)
{
    cli_progress_end(&transfer->progress);
    tdestroy(transfer->links, free_link);
    free(transfer->chunk);
    return cli_pool_close(transfer->pool, pool_path, transfer->status);
}

bool transfer_fail(struct transfer *transfer, const char *path, int rc)
{
    if (rc == -EINTR && transfer_stopped(transfer, path))
        return false;
    cli_progress_wipe(&transfer->progress);
    transfer->status = cli_fail(path, rc);
    transfer->stop = transfer->stop || rc == -ENOSPC || rc == -EROFS || rc == -EUCLEAN;
    return false;
}

bool transfer_fail_host(struct transfer *transfer, const char *path, int error)
{
    if (error == EINTR && transfer_stopped(transfer, path))
        return false;
    cli_progress_wipe(&transfer->progress);
    transfer->status = cli_fail_host(path, error);
    transfer->stop = transfer->stop || error == ENOSPC || error == EDQUOT || error == EROFS;
    return false;
}

bool transfer_stopped(struct transfer *transfer, const char *path)
{
    if (!cli_interrupted())
        return false;
    if (!transfer->stop) {
        cli_progress_wipe(&transfer->progress);
        cli_note("interrupted: %s was not copied; %" PRIu64 " files before it are complete", path,
                 transfer->progress.items);
    }
    transfer->stop = true;
    transfer->status = EX_TEMPFAIL;
    return true;
}

const char *transfer_temp_name(struct transfer *transfer, char buf[TRANSFER_TEMP_TEXT])
{
    snprintf(buf, TRANSFER_TEMP_TEXT, TRANSFER_TEMP_PREFIX "%s-%d-%u", cli_current_verb->name,
             (int)getpid(), transfer->temp_number++);
    return buf;
}

static int compare_links(const void *a, const void *b)
{
    const struct link_node *left = a, *right = b;

    if (left->dev != right->dev)
        return left->dev < right->dev ? -1 : 1;
    return (left->ino > right->ino) - (left->ino < right->ino);
}

const char *transfer_find_link(struct transfer *transfer, uint64_t dev, uint64_t ino)
{
    const struct link_node key = {.dev = dev, .ino = ino};
    struct link_node *const *found = tfind(&key, &transfer->links, compare_links);

    return found != NULL ? (*found)->path : NULL;
}

void transfer_add_link(struct transfer *transfer, uint64_t dev, uint64_t ino, const char *path)
{
    struct link_node *link = cli_alloc(sizeof(*link));

    *link = (struct link_node){.dev = dev, .ino = ino, .path = cli_strdup(path)};
    tsearch(link, &transfer->links, compare_links);
}

int transfer_write_all(int fd, const char *buf, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, buf, len);

        if (done < 0) {
            if (errno == EINTR && !cli_interrupted())
                continue;
            return errno;
        }
        buf += done;
        len -= (size_t)done;
    }
    return 0;
}
