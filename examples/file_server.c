/* SPDX-License-Identifier: MIT */
/*
 * The files of a pool over HTTP/1.1, from one thread and one io_uring. A response is sent out of
 * the file's own memory, without a copy where the kernel can. It is one request of
 * libholdfast-uring: the whole file is held from before its length is told until its last byte is
 * sent. Meanwhile others truncate, delete and replace files. A client gets one version of a file
 * or, if it is too slow, an error. It never gets parts of two versions. Files are replaced by a
 * rename here: a file that is written in place has no versions.
 *
 * A truncate of a file that is being sent asks for it (hf_recall_fd(), which the ring polls). The
 * client has another second then, and is cut off after that.
 *
 * usage: file_server POOL [PORT]    GET and HEAD on 127.0.0.1; any port without PORT
 */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/uring.h>
#include <inttypes.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 256, HEAD_BYTES = 8192, PATH_BYTES = 2048 };
#define GRACE_NS 1000000000ll
#define RETRY_NS 1000000ll

/* user_data of the server's own requests: 4 * client + what. The library keeps its own apart. */
enum { HEARD, SAID, ACCEPTED, RECALLS };

struct client {
    int socket; /* -1: free */
    char asked[HEAD_BYTES + 1];
    size_t asked_bytes, used_bytes; /* received; of the request that is being answered */
    char path[PATH_BYTES];
    char head[256];
    uint64_t size; /* of the file that is being sent */
    int64_t cut_off_ns;
    unsigned under_way; /* requests of the ring */
    bool head_only, last, broken;
    bool waits; /* a layout change holds the file */
};

struct server {
    struct hf_pool *pool;
    struct io_uring ring;
    struct hf_uring *uring;
    int listener;
    unsigned waiting; /* clients that wait, or have a time to be cut off */
    struct client clients[CLIENTS];
};

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static void must(int rc, const char *what, const char *why)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "file_server: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static unsigned number_of(const struct server *server, const struct client *client)
{
    return (unsigned)(client - server->clients);
}

/* --- the ring --- */

static struct io_uring_sqe *next_sqe(struct server *server)
{
    struct io_uring_sqe *sqe;

    while (!(sqe = io_uring_get_sqe(&server->ring)))
        io_uring_submit(&server->ring);
    return sqe;
}

static void accept_one(struct server *server)
{
    struct io_uring_sqe *sqe = next_sqe(server);

    io_uring_prep_accept(sqe, server->listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, ACCEPTED);
}

static void poll_recalls(struct server *server)
{
    struct io_uring_sqe *sqe = next_sqe(server);
    int fd = hf_recall_fd(server->pool);

    must(fd, "recalls", hf_strerror_detail());
    io_uring_prep_poll_add(sqe, fd, POLLIN);
    io_uring_sqe_set_data64(sqe, RECALLS);
}

static void listen_to(struct server *server, struct client *client)
{
    struct io_uring_sqe *sqe = next_sqe(server);

    io_uring_prep_recv(sqe, client->socket, client->asked + client->asked_bytes,
                       HEAD_BYTES - client->asked_bytes, 0);
    io_uring_sqe_set_data64(sqe, 4ull * number_of(server, client) + HEARD);
    client->under_way++;
}

/* The entry for the head, which is written later: it comes before that of the content. */
static void say_head(struct server *server, struct client *client, struct io_uring_sqe *sqe,
                     bool content_follows)
{
    io_uring_prep_send(sqe, client->socket, client->head, strlen(client->head),
                       MSG_WAITALL | MSG_NOSIGNAL | (content_follows ? MSG_MORE : 0));
    sqe->flags = content_follows ? IOSQE_IO_LINK : 0;
    io_uring_sqe_set_data64(sqe, 4ull * number_of(server, client) + SAID);
    client->under_way++;
}

/* --- a response --- */

static void write_head(struct client *client, const char *status, uint64_t bytes)
{
    snprintf(client->head, sizeof client->head,
             "HTTP/1.1 %s\r\nContent-Length: %" PRIu64
             "\r\nContent-Type: application/octet-stream\r\n"
             "%s\r\n",
             status, bytes, client->last ? "Connection: close\r\n" : "");
}

static void refuse(struct server *server, struct client *client, const char *status)
{
    struct io_uring_sqe *sqe = next_sqe(server);

    write_head(client, status, 0);
    say_head(server, client, sqe, false);
}

/* Holds all of the file as it is now, and sends it. */
static int send_file(struct server *server, struct client *client, struct hf_file *file)
{
    struct hf_uring_io io = {.size = sizeof io,
                             .op = HF_URING_SEND,
                             .flags = HF_URING_RECALL | HF_URING_ZERO_COPY,
                             .file = file,
                             .fd = client->socket,
                             .op_flags = MSG_WAITALL | MSG_NOSIGNAL,
                             .user_data = number_of(server, client)};
    struct io_uring_sqe *head;
    struct stat st;
    int rc;

    if (io_uring_sq_space_left(&server->ring) < 2)
        io_uring_submit(&server->ring);
    head = next_sqe(server);
    do {
        rc = hf_fstat(file, &st);
        io.len = client->size = (uint64_t)st.st_size;
        if (rc || client->head_only || io.len == 0)
            break;
        rc = hf_uring_prep(server->uring, &io);
    } while (rc == -EFAULT); /* it has been cut since: look again */
    if (rc) {
        io_uring_prep_nop(head);
        io_uring_sqe_set_data64(head, 4ull * number_of(server, client) + SAID);
        client->under_way++;
        return rc;
    }
    write_head(client, "200 OK", client->size);
    if (client->head_only || io.len == 0) {
        say_head(server, client, head, false);
        return 0;
    }
    say_head(server, client, head, true);
    client->under_way++;
    return 0;
}

static void answer(struct server *server, struct client *client)
{
    struct hf_file *file;
    int rc = hf_open(server->pool, client->path, O_RDONLY, 0, &file);

    if (rc == -ENOENT || rc == -ENOTDIR || rc == -EISDIR || rc == -ENXIO || rc == -ELOOP) {
        refuse(server, client, "404 Not Found");
        return;
    }
    if (rc == 0) {
        rc = send_file(server, client, file);
        hf_close(file); /* what is held stays held */
    }
    if (rc == -EAGAIN || rc == -EBUSY) {
        client->waits = true;
        server->waiting++;
    } else if (rc) {
        fprintf(stderr, "file_server: %s: %s\n", client->path, hf_uring_detail());
        refuse(server, client, "500 Internal Server Error");
    }
}

/* --- a request --- */

/* Of the path in the pool, which begins with a slash. */
static bool take_path(struct client *client, const char *from, const char *end)
{
    size_t at = 0;

    for (; from < end && *from != '?' && *from != '#'; from++) {
        char hex[3] = {0}, *rest;
        char byte = *from;

        if (byte == '%') {
            if (end - from < 3)
                return false;
            memcpy(hex, from + 1, 2);
            byte = (char)strtol(hex, &rest, 16);
            if (rest != hex + 2)
                return false;
            from += 2;
        }
        if (byte == 0 || at == PATH_BYTES - 1)
            return false;
        client->path[at++] = byte;
    }
    client->path[at] = 0;
    return at > 0 && client->path[0] == '/';
}

/* Answers the request whose head is whole in `asked`, up to `end`. */
static void take_request(struct server *server, struct client *client, char *end)
{
    char *line_end = strstr(client->asked, "\r\n"), *from, *to;
    bool get = strncmp(client->asked, "GET ", 4) == 0;
    const char *version;

    *end = 0;
    client->head_only = strncmp(client->asked, "HEAD ", 5) == 0;
    from = client->asked + (get ? 4 : 5);
    *line_end = 0;
    to = strrchr(client->asked, ' ');
    version = to ? to + 1 : "";
    client->last = strcmp(version, "HTTP/1.1") != 0 ||
                   (line_end < end && strcasestr(line_end + 1, "\nConnection: close"));
    if (line_end < end && (strcasestr(line_end + 1, "\nContent-Length:") ||
                           strcasestr(line_end + 1, "\nTransfer-Encoding:"))) {
        client->last = true; /* there is a body, which is not read */
        refuse(server, client, "400 Bad Request");
    } else if (!get && !client->head_only) {
        refuse(server, client, "405 Method Not Allowed");
    } else if (strncmp(version, "HTTP/1.", 7) != 0 || !take_path(client, from, to)) {
        client->last = true;
        refuse(server, client, "400 Bad Request");
    } else {
        answer(server, client);
    }
}

static void next_request(struct server *server, struct client *client)
{
    char *end;

    client->asked[client->asked_bytes] = 0;
    end = strstr(client->asked, "\r\n\r\n");
    if (end) {
        client->used_bytes = (size_t)(end + 4 - client->asked);
        take_request(server, client, end);
    } else if (client->asked_bytes == HEAD_BYTES) {
        client->last = true;
        refuse(server, client, "431 Request Header Fields Too Large");
    } else {
        listen_to(server, client);
    }
}

/* Nothing of it is under way: the response is complete, or the connection is. */
static void go_on(struct server *server, struct client *client)
{
    if (client->cut_off_ns) {
        client->cut_off_ns = 0;
        server->waiting--;
    }
    if (client->broken || (client->used_bytes && client->last)) {
        close(client->socket);
        client->socket = -1;
        return;
    }
    client->asked_bytes -= client->used_bytes;
    memmove(client->asked, client->asked + client->used_bytes, client->asked_bytes);
    client->used_bytes = 0;
    next_request(server, client);
}

/* --- what the ring says --- */

static void accepted(struct server *server, int socket)
{
    accept_one(server);
    if (socket < 0)
        return;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *client = &server->clients[i];

        if (client->socket >= 0)
            continue;
        *client = (struct client){.socket = socket};
        listen_to(server, client);
        return;
    }
    close(socket); /* there are too many */
}

static void recalled(struct server *server)
{
    struct hf_recall recall;
    uint64_t number;

    while (hf_recall_next(server->pool, &recall) == 1) {
        struct client *client;

        if (recall.state == HF_LEASE_DETACHED || /* nobody waits, and the memory is ours */
            hf_uring_recalled(server->uring, &recall, &number) != 1)
            continue;
        client = &server->clients[number];
        if (client->cut_off_ns == 0)
            server->waiting++;
        client->cut_off_ns = now_ns() + GRACE_NS;
    }
    poll_recalls(server);
}

static void own_completion(struct server *server, uint64_t user_data, int result)
{
    if (user_data == ACCEPTED) {
        accepted(server, result);
    } else if (user_data == RECALLS) {
        recalled(server);
    } else {
        struct client *client = &server->clients[user_data / 4];

        client->under_way--;
        if (user_data % 4 == HEARD && result > 0)
            client->asked_bytes += (size_t)result;
        client->broken |= result < 0 || (user_data % 4 == HEARD && result == 0);
        if (client->under_way == 0 && !client->waits)
            go_on(server, client);
    }
}

static void sent(struct server *server, const struct hf_uring_done *done)
{
    struct client *client = &server->clients[done->user_data];

    if (done->flags & HF_URING_MORE)
        return; /* the file is still held */
    client->under_way--;
    client->broken |= done->result != (int)client->size;
    if (client->under_way == 0)
        go_on(server, client);
}

/* No cancel ends a send that a client does not read: its connection has to go. */
static void disconnect(const struct client *client)
{
    const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

    if (client->socket >= 0)
        connect(client->socket, &nowhere, sizeof nowhere);
}

/* Tries again what was put off, and cuts off those who were too slow. */
static void look_at_clients(struct server *server)
{
    int64_t now = now_ns();

    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *client = &server->clients[i];

        if (client->socket < 0)
            continue;
        if (client->waits && client->under_way == 0) {
            client->waits = false;
            server->waiting--;
            answer(server, client);
        }
        if (client->cut_off_ns && client->cut_off_ns <= now) {
            client->cut_off_ns = now + GRACE_NS; /* not again at once */
            hf_uring_cancel(server->uring, i);
            disconnect(client);
        }
    }
}

static void serve(struct server *server)
{
    struct __kernel_timespec little = {.tv_nsec = RETRY_NS};
    struct hf_uring_done done;
    struct io_uring_cqe *cqe;

    while (!stopped) {
        int rc = io_uring_submit_and_wait_timeout(&server->ring, &cqe, 1,
                                                  server->waiting ? &little : NULL, NULL);

        if (rc < 0 && rc != -ETIME && rc != -EINTR)
            must(rc, "waiting", strerror(-rc));
        while (io_uring_peek_cqe(&server->ring, &cqe) == 0) {
            uint64_t user_data = cqe->user_data;
            int result = cqe->res;

            rc = hf_uring_complete(server->uring, cqe, &done);
            io_uring_cqe_seen(&server->ring, cqe);
            if (rc == 1)
                sent(server, &done);
            else if (rc == -ENOENT && user_data != LIBURING_UDATA_TIMEOUT)
                own_completion(server, user_data, result);
        }
        if (server->waiting)
            look_at_clients(server);
    }
}

/* --- begin and end --- */

static int open_port(unsigned short port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    must(listener, "socket", strerror(errno));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(listener, (struct sockaddr *)&address, sizeof address), "bind", strerror(errno));
    must(listen(listener, 128), "listen", strerror(errno));
    must(getsockname(listener, (struct sockaddr *)&address, &len), "bind", strerror(errno));
    printf("http://127.0.0.1:%u/\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = stop};
    static struct server server;
    int rc;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: file_server POOL [PORT]\n");
        return 2;
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        server.clients[i].socket = -1;
    must(hf_pool_open(argv[1], 0, &server.pool), argv[1], hf_strerror_detail());
    rc = io_uring_queue_init(CLIENTS, &server.ring, 0);
    must(rc, "io_uring", strerror(-rc));
    must(hf_uring_open(server.pool, &server.ring, NULL, &server.uring), argv[1], hf_uring_detail());
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    poll_recalls(&server);
    server.listener = open_port(argc > 2 ? (unsigned short)atoi(argv[2]) : 0);
    accept_one(&server);
    serve(&server);
    for (unsigned i = 0; i < CLIENTS; i++)
        disconnect(&server.clients[i]);
    must(hf_uring_exit(server.uring), "the ring", hf_uring_detail()); /* whatever is being sent */
    io_uring_queue_exit(&server.ring);
    must(hf_pool_close(server.pool), argv[1], hf_strerror_detail());
    return 0;
}
