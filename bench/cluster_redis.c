/* SPDX-License-Identifier: MIT */
/*
 * Debian's redis behind TCP. The client sends a request and reads its answer, as a library for it
 * does. Since an object has a known size, so has the answer, and only its beginning is looked at.
 */
#include "cluster.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT 7379
#define REQUEST 64u
#define START_NS (20 * LAB_SEC)

void redis_serve(const char *node)
{
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execlp("redis-server", "redis-server", "--bind", node, "--port", "7379", "--save", "", "--dir",
           bench.folder, "--daemonize", "no", "--protected-mode", "no", (char *)NULL);
}

static bool has_ended(pid_t server)
{
    siginfo_t info = {.si_pid = 0};

    return waitid(P_PID, (id_t)server, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == server;
}

int redis_connect(const char *node, pid_t server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    const uint64_t end = lab_now_ns() + START_NS;
    int one = 1;

    inet_pton(AF_INET, node, &address.sin_addr);
    for (; lab_now_ns() < end; usleep(1000)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            return fd;
        }
        close(fd);
        if (has_ended(server))
            return -1;
    }
    lab_fail("redis-server does not answer");
}

static void send_whole(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t rc = write(fd, bytes, len);

        bench_must_host(rc, "writing to redis");
        bytes += rc;
        len -= (size_t)rc;
    }
}

static void receive_whole(int fd, char *bytes, size_t len)
{
    while (len) {
        ssize_t rc = read(fd, bytes, len);

        if (rc <= 0)
            lab_fail("redis has ended the connection");
        bytes += rc;
        len -= (size_t)rc;
    }
}

static int get_request(char *out, char kind, unsigned number)
{
    return snprintf(out, REQUEST, "*2\r\n$3\r\nGET\r\n$4\r\n%c%03u\r\n", kind, number);
}

/* "$4096", the object, and the ends of two lines. */
static size_t answer_head(char out[REQUEST], size_t len)
{
    return (size_t)snprintf(out, REQUEST, "$%zu\r\n", len);
}

void redis_put(int fd, char kind, unsigned number, const char *bytes, size_t len)
{
    char text[REQUEST], answer[5];
    int head =
        snprintf(text, REQUEST, "*3\r\n$3\r\nSET\r\n$4\r\n%c%03u\r\n$%zu\r\n", kind, number, len);

    send_whole(fd, text, (size_t)head);
    send_whole(fd, bytes, len);
    send_whole(fd, "\r\n", 2);
    receive_whole(fd, answer, sizeof answer);
    if (memcmp(answer, "+OK\r\n", sizeof answer) != 0)
        lab_fail("redis answers: %.5s", answer);
}

void redis_get(int fd, char kind, unsigned number, char *bytes, size_t len)
{
    char text[REQUEST], head[REQUEST], got[REQUEST], end[2];
    size_t head_len = answer_head(head, len);
    struct iovec iov[] = {{got, head_len}, {bytes, len}, {end, 2}};
    size_t left = head_len + len + 2;
    int at = 0;

    send_whole(fd, text, (size_t)get_request(text, kind, number));
    while (left) {
        ssize_t rc = readv(fd, iov + at, 3 - at);

        if (rc <= 0)
            lab_fail("redis has ended the connection");
        left -= (size_t)rc;
        for (; at < 3 && (size_t)rc >= iov[at].iov_len; at++)
            rc -= (ssize_t)iov[at].iov_len;
        if (at < 3) {
            iov[at].iov_base = (char *)iov[at].iov_base + rc;
            iov[at].iov_len -= (size_t)rc;
        }
    }
    if (memcmp(got, head, head_len) != 0)
        lab_fail("redis answers: %.*s", (int)head_len, got);
}

void redis_get_many(int fd, char kind, unsigned objects, unsigned depth, unsigned count, size_t len)
{
    char *text = lab_alloc((size_t)depth * REQUEST), head[REQUEST];
    size_t whole = answer_head(head, len) + len + 2, room = depth * whole, held = 0;
    char *bytes = lab_alloc(room);
    unsigned begun = 0, ended = 0, wanted = depth;

    while (ended < count) {
        size_t used = 0;
        ssize_t rc;

        for (; wanted && begun < count; wanted--, begun++)
            used += (size_t)get_request(text + used, kind, begun % objects);
        send_whole(fd, text, used);
        rc = read(fd, bytes + held, room - held);
        if (rc <= 0)
            lab_fail("redis has ended the connection");
        held += (size_t)rc;
        for (wanted = 0; held - wanted * whole >= whole; wanted++)
            if (memcmp(bytes + wanted * whole, head, strlen(head)) != 0)
                lab_fail("redis answers: %.10s", bytes + wanted * whole);
        ended += wanted;
        held -= wanted * whole;
        memmove(bytes, bytes + wanted * whole, held);
    }
    free(bytes);
    free(text);
}
