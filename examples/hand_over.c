/* SPDX-License-Identifier: MIT */
/*
 * An acceptor leases a range and hands it over to a worker process, which finishes the work. From
 * then on recalls come to the worker, into its own poll loop. Usage: hand_over POOL
 */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/holdfast.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, hf_strerror_detail());
    exit(1);
}

static void send_all(int fd, const void *bytes, size_t len)
{
    if (write(fd, bytes, len) != (ssize_t)len)
        exit(1);
}

static void receive_all(int fd, void *bytes, size_t len)
{
    if (read(fd, bytes, len) != (ssize_t)len)
        exit(1);
}

/* A program has its sockets in the same poll(). */
static int serve(struct hf_pool *pool)
{
    struct pollfd recalls = {.fd = hf_recall_fd(pool), .events = POLLIN};
    struct hf_recall recall;
    int rc = 0;

    if (recalls.fd < 0)
        return recalls.fd;
    while (rc == 0) {
        if (poll(&recalls, 1, -1) < 0 && errno != EINTR)
            return -errno;
        rc = hf_recall_next(pool, &recall);
    }
    if (rc < 0)
        return rc;
    printf("worker: asked for %" PRIu64 " bytes, letting go\n", recall.len);
    return hf_lease_release(recall.arg);
}

static int work(const char *path, int acceptor)
{
    struct hf_lease lease;
    const struct hf_lease_options options = {.size = sizeof options, .arg = &lease};
    struct hf_lease_token token;
    struct hf_pool *pool;
    struct iovec piece;

    must(hf_pool_open(path, 0, &pool), "worker: pool");
    receive_all(acceptor, &token, sizeof token);
    must(hf_lease_take(pool, &token, &options, &piece, 1, &lease), "worker: take");
    printf("worker: goes on with '%.*s'\n", (int)piece.iov_len, (const char *)piece.iov_base);
    fflush(stdout);
    send_all(acceptor, "", 1);
    must(serve(pool), "worker: serve");
    must(hf_pool_close(pool), "worker: close the pool");
    return 0;
}

static void accept_one(struct hf_pool *pool, struct hf_file *file, int worker)
{
    const struct hf_lease_options options = {.size = sizeof options,
                                             .flags = HF_PIN_WRITE | HF_PIN_RDMA};
    const struct hf_policy soon = {.kind = HF_POLICY_DEADLINE, .deadline_ns = 60000000000};
    struct hf_lease_token token;
    struct hf_lease lease;
    struct iovec piece;
    char taken;

    must((int)hf_write(file, "a request", 9, 0), "write");
    must(hf_lease(file, 0, 9, &options, &piece, 1, &lease), "lease");
    must(hf_lease_give(&lease, &token), "give");
    send_all(worker, &token, sizeof token);
    receive_all(worker, &taken, 1); /* until then it is this process's, and dies with it */
    must(hf_truncate(file, 0, &soon), "truncate");
    must(hf_unlink(pool, "/request", NULL), "unlink");
}

int main(int argc, char **argv)
{
    struct hf_pool *pool;
    struct hf_file *file;
    int pair[2], status;
    pid_t worker;

    if (argc != 2) {
        fprintf(stderr, "usage: %s POOL\n", argv[0]);
        return 2;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        return 1;
    worker = fork(); /* before the pool is opened: each process opens it for itself */
    if (worker < 0)
        return 1;
    if (worker == 0) {
        close(pair[0]);
        return work(argv[1], pair[1]);
    }
    close(pair[1]);
    must(hf_pool_open(argv[1], 0, &pool), "pool");
    must(hf_open(pool, "/request", O_RDWR | O_CREAT, 0644, &file), "open");
    accept_one(pool, file, pair[0]);
    must(hf_close(file), "close");
    must(hf_pool_close(pool), "close the pool");
    return waitpid(worker, &status, 0) == worker && status == 0 ? 0 : 1;
}
