/* SPDX-License-Identifier: MIT */
/*
 * The web server of the verbs that listen, on libmicrohttpd. One thread does all of it: it waits
 * for a request or a signal, and answers one request after the other. A pool is therefore looked at
 * by one request at a time.
 *
 * The library is loaded by the first call that listens. It brings nine others with it, and every
 * verb would pay for them with a third of its start.
 *
 * Every program that can connect sees all pages, so a port without an address is on the loopback.
 * There a request must name this machine in its Host field. Else a web page whose name leads to
 * 127.0.0.1 could read what is only for users of this machine.
 */
#include "listen.h"

#include "cli.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64U
#define CONNECTION_SECONDS 10U /* without a byte, it is closed */
#define CONNECTION_BYTES ((size_t)32 << 10)
#define ADDRESS_TEXT 80 /* "[ADDR%scope]:PORT" */

#define LIBRARY "libmicrohttpd.so.12" /* of the header that this is built with */

/* The functions of the library that are called here. */
#define EACH_CALL(CALL)                                                                            \
    CALL(start_daemon)                                                                             \
    CALL(stop_daemon)                                                                              \
    CALL(run)                                                                                      \
    CALL(get_timeout)                                                                              \
    CALL(get_daemon_info)                                                                          \
    CALL(lookup_connection_value)                                                                  \
    CALL(create_response_from_buffer)                                                              \
    CALL(add_response_header)                                                                      \
    CALL(queue_response)                                                                           \
    CALL(destroy_response)

#define AS_MEMBER(name) __typeof__(&MHD_##name) name;
static struct {
    EACH_CALL(AS_MEMBER)
} mhd;

struct server {
    const struct cli_page *pages;
    void *arg;
    struct MHD_Daemon *daemon;
    bool local; /* on the loopback */
};

/* ----------------------------------------------------------------------------- address --- */

static int refuse_address(const char *text)
{
    return cli_usage("--listen %s: an address is ADDR:PORT, like 127.0.0.1:9750, [::1]:9750 or"
                     " 0.0.0.0:9750; a PORT alone, from 0 to 65535, is for this machine only",
                     text);
}

static bool is_port(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && len <= 5 && strspn(text, "0123456789") == len && atoi(text) <= 65535;
}

/* Splits "ADDR:PORT" in place; without ADDR it is the loopback. */
static bool split_address(char *text, const char **host, const char **port)
{
    char *colon = strrchr(text, ':');

    *port = colon != NULL ? colon + 1 : text;
    *host = "127.0.0.1";
    if (colon != NULL)
        *colon = '\0';
    if (colon == NULL || text[0] == '\0' || strcmp(text, "localhost") == 0)
        return is_port(*port);
    *host = text;
    if (text[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        (*host)++;
        return strchr(*host, ':') != NULL && is_port(*port);
    }
    return strchr(text, ':') == NULL && is_port(*port);
}

static bool read_address(const char *address, struct sockaddr_storage *out, socklen_t *len)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char *text = cli_strdup(address);
    const char *host, *port;
    bool good = split_address(text, &host, &port) && getaddrinfo(host, port, &hints, &found) == 0;

    if (good) {
        memcpy(out, found->ai_addr, found->ai_addrlen);
        *len = found->ai_addrlen;
        freeaddrinfo(found);
    }
    free(text);
    return good;
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
    return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
}

/* ------------------------------------------------------------------------------ socket --- */

static int fail_bind(const char *address, int error)
{
    if (error == EADDRINUSE) {
        cli_note("--listen %s: another program listens there already: end it, or take another port",
                 address);
        return EX_TEMPFAIL;
    }
    if (error == EADDRNOTAVAIL)
        return cli_usage("--listen %s: this machine does not have that address", address);
    if (error == EACCES) {
        cli_note("--listen %s: ports below 1024 are for root: take a higher one", address);
        return EX_NOPERM;
    }
    return cli_fail_host(address, error);
}

/* The listening socket, or -1 and the exit code. */
static int open_socket(const char *address, struct server *server, int *status)
{
    struct sockaddr_storage place = {0};
    const int on = 1;
    socklen_t len = 0;
    int fd;

    if (!read_address(address, &place, &len)) {
        *status = refuse_address(address);
        return -1;
    }
    server->local = is_loopback(&place);
    fd = socket(place.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd >= 0 && bind(fd, (struct sockaddr *)&place, len) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    *status = fail_bind(address, errno);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* The port may have been chosen by the kernel. */
static void print_address(int fd, const char *path)
{
    struct sockaddr_storage place = {0};
    socklen_t len = sizeof(place);
    char host[ADDRESS_TEXT], port[8];

    if (getsockname(fd, (struct sockaddr *)&place, &len) != 0 ||
        getnameinfo((struct sockaddr *)&place, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    printf(strchr(host, ':') ? "http://[%s]:%s%s\n" : "http://%s:%s%s\n", host, port, path);
    fflush(stdout);
}

/* ----------------------------------------------------------------------------- answers --- */

/* The text is freed with its answer. */
static enum MHD_Result send_text(struct MHD_Connection *connection, unsigned status,
                                 const char *type, char *text, size_t bytes)
{
    struct MHD_Response *response =
        mhd.create_response_from_buffer(bytes, text, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result queued;

    if (response == NULL) {
        free(text);
        return MHD_NO;
    }
    mhd.add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    mhd.add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    mhd.add_response_header(response, "X-Content-Type-Options", "nosniff");
    mhd.add_response_header(response, "Content-Security-Policy",
                            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        mhd.add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    queued = mhd.queue_response(connection, status, response);
    mhd.destroy_response(response);
    return queued;
}

static enum MHD_Result send_refusal(struct MHD_Connection *connection, unsigned status,
                                    const char *sentence)
{
    return send_text(connection, status, "text/plain; charset=utf-8", cli_strdup(sentence),
                     strlen(sentence));
}

static enum MHD_Result send_page(struct MHD_Connection *connection, const struct cli_page *page,
                                 void *arg)
{
    size_t bytes = 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, &bytes);

    if (out == NULL)
        return MHD_NO;
    page->write(arg, out);
    if (fclose(out) != 0) {
        free(text);
        return MHD_NO;
    }
    return send_text(connection, MHD_HTTP_OK, page->type, text, bytes);
}

/* "localhost", "127.0.0.1", "[::1]", each with a port or without. HTTP/1.0 has no such field. */
static bool names_this_machine(const char *host)
{
    static const char *const names[] = {"localhost", "[::1]"};
    struct in_addr address;
    char text[ADDRESS_TEXT];

    if (host == NULL)
        return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i]);

        if (strncasecmp(host, names[i], len) == 0 && (host[len] == '\0' || host[len] == ':'))
            return true;
    }
    snprintf(text, sizeof(text), "%.*s", (int)strcspn(host, ":"), host);
    return inet_pton(AF_INET, text, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *body,
                              size_t *body_bytes, void **state)
{
    const struct server *server = arg;
    const char *host =
        mhd.lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);

    (void)version;
    (void)body;
    if (*state == NULL) { /* an answer now would close the connection */
        *state = arg;
        return MHD_YES;
    }
    *body_bytes = 0;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return send_refusal(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (server->local && !names_this_machine(host))
        return send_refusal(connection, MHD_HTTP_FORBIDDEN,
                            "this server is for its own machine: call it localhost or 127.0.0.1, "
                            "or give --listen another address\n");
    for (const struct cli_page *page = server->pages; page->path != NULL; page++) {
        if (strcmp(page->path, path) == 0)
            return send_page(connection, page, server->arg);
    }
    return send_refusal(connection, MHD_HTTP_NOT_FOUND, "there is no such page\n");
}

/* --------------------------------------------------------------------------------- loop --- */

static void all_signals(int how, sigset_t *old)
{
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(how, &ends, old);
}

/* A signal that comes after the look at cli_interrupted() ends ppoll(), which alone lets it in. */
static void await_request(const struct server *server)
{
    const union MHD_DaemonInfo *info =
        mhd.get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    struct pollfd ready = {.fd = info->epoll_fd, .events = POLLIN};
    MHD_UNSIGNED_LONG_LONG longest_ms;
    struct timespec timeout;
    bool timed = mhd.get_timeout(server->daemon, &longest_ms) == MHD_YES;
    sigset_t before;

    if (timed)
        timeout = (struct timespec){.tv_sec = (time_t)(longest_ms / 1000),
                                    .tv_nsec = (long)(longest_ms % 1000) * 1000000};
    all_signals(SIG_BLOCK, &before);
    if (!cli_interrupted())
        ppoll(&ready, 1, timed ? &timeout : NULL, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static bool load_library(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW);

#define FIND(name) &&(mhd.name = (__typeof__(mhd.name))dlsym(library, "MHD_" #name)) != NULL
    return library != NULL EACH_CALL(FIND);
}

int cli_listen(const char *address, const struct cli_page *pages, void *arg)
{
    struct server server = {.pages = pages, .arg = arg};
    int status = EX_OK, fd;

    if (!load_library()) {
        cli_note("--listen needs libmicrohttpd: %s", dlerror());
        return EX_UNAVAILABLE;
    }
    fd = open_socket(address, &server, &status);
    if (fd < 0)
        return status;
    server.daemon = mhd.start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, answer, &server, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        CONNECTION_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, MHD_OPTION_END);
    if (server.daemon == NULL) {
        cli_note("--listen %s: the server could not be started", address);
        close(fd);
        return EX_OSERR;
    }
    print_address(fd, pages[0].path);
    while (!cli_interrupted()) {
        await_request(&server);
        mhd.run(server.daemon);
    }
    mhd.stop_daemon(server.daemon); /* closes the socket */
    return EX_OK;
}
