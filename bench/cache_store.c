/* SPDX-License-Identifier: MIT */
/*
 * Stores behind a Unix socket, Debian's: redis and memcached. Each runs as a child with one thread
 * and writes nothing to disk. The clients here send a request and read its answer, as a library for
 * them does. Since an object has a known size, so has the answer, and nothing is parsed.
 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_NS (20 * LAB_SEC)
#define REQUEST 128u

static const char *const names[STORES] = {"redis-server", "memcached"};
static pid_t servers[STORES];

static const char *socket_path(enum cache_store store)
{
    return bench_text("%s/%s", bench.folder, names[store]);
}

/* ---------------------------------------------------------------------------- servers ------ */

static int run_store(void *arg)
{
    enum cache_store store = *(enum cache_store *)arg;
    const char *path = socket_path(store);
    const char *const redis[] = {names[store], "--unixsocket", path, "--port",
                                 "0",          "--save",       "",   "--dir",
                                 bench.folder, "--daemonize",  "no", NULL};
    const char *const memcached[] = {names[store],
                                     "-s",
                                     path,
                                     "-m",
                                     "1024",
                                     "-I",
                                     "2m",
                                     "-t",
                                     "1",
                                     "-u",
                                     geteuid() ? "nobody" : "root",
                                     NULL};
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

    bench_go_anywhere();
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execvp(names[store], (char **)(uintptr_t)(store == STORE_REDIS ? redis : memcached));
    return 127;
}

/* -1: nobody listens yet. */
static int try_connect(enum cache_store store)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    bench_must_host(fd, "making a socket");
    if (strlen(socket_path(store)) >= sizeof address.sun_path)
        lab_fail("%s: the path is too long for a socket", bench.folder);
    strcpy(address.sun_path, socket_path(store));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

bool cache_store_begin(enum cache_store store)
{
    const uint64_t end = lab_now_ns() + START_NS;

    servers[store] = lab_fork(run_store, &store);
    for (; lab_now_ns() < end; usleep(1000)) {
        int fd = try_connect(store);

        if (fd >= 0) {
            close(fd);
            return true;
        }
        if (waitpid(servers[store], NULL, WNOHANG) == servers[store]) {
            bench_note("cache: %s is left out, since it is not installed or did not start",
                       names[store]);
            return false;
        }
    }
    lab_fail("%s does not answer", names[store]);
}

void cache_store_end(enum cache_store store)
{
    kill(servers[store], SIGKILL);
    waitpid(servers[store], NULL, 0);
}

void cache_must_end(pid_t process)
{
    int status;

    bench_must_host(waitpid(process, &status, 0), "waiting for a process");
    if (status != 0)
        lab_fail("a process of the benchmark %s", lab_how_it_ended(status));
}

uint64_t cache_store_cpu_ns(enum cache_store store)
{
    struct timespec used;
    clockid_t clock;

    if (clock_getcpuclockid(servers[store], &clock) || clock_gettime(clock, &used))
        lab_fail("%s has ended", names[store]);
    return (uint64_t)used.tv_sec * LAB_SEC + (uint64_t)used.tv_nsec;
}

/* ---------------------------------------------------------------------------- clients ------ */

int cache_store_connect(enum cache_store store)
{
    int fd = try_connect(store);

    if (fd < 0)
        lab_fail("%s does not answer", names[store]);
    return fd;
}

static void send_all(int fd, struct iovec *iov, int count)
{
    while (count) {
        ssize_t sent = writev(fd, iov, count);

        bench_must_host(sent, "writing to a store");
        for (; count && (size_t)sent >= iov->iov_len; iov++, count--)
            sent -= (ssize_t)iov->iov_len;
        if (count) {
            iov->iov_base = (char *)iov->iov_base + sent;
            iov->iov_len -= (size_t)sent;
        }
    }
}

static void receive_all(int fd, char *buffer, size_t bytes, const char *begin)
{
    size_t got = 0;

    while (got < bytes) {
        ssize_t rc = read(fd, buffer + got, bytes - got);

        bench_must_host(rc, "reading from a store");
        got += (size_t)rc;
        if (rc == 0 || (got >= strlen(begin) && memcmp(buffer, begin, strlen(begin)) != 0))
            lab_fail("a store answers: %.*s", (int)(got < 60 ? got : 60), buffer);
    }
}

void cache_store_get(enum cache_store store, int fd, const char *key, char *buffer)
{
    char request[REQUEST], begin[REQUEST];
    bool redis = store == STORE_REDIS;
    int len =
        redis ? snprintf(request, REQUEST, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(key), key)
              : snprintf(request, REQUEST, "get %s\r\n", key);
    int head = redis ? snprintf(begin, REQUEST, "$%lu\r\n", CACHE_OBJECT)
                     : snprintf(begin, REQUEST, "VALUE %s 0 %lu\r\n", key, CACHE_OBJECT);

    send_all(fd, &(struct iovec){request, (size_t)len}, 1);
    receive_all(fd, buffer, (size_t)head + CACHE_OBJECT + (redis ? 2 : 7), begin);
}

void cache_store_put(enum cache_store store, int fd, const char *key, const char *bytes)
{
    static char end[] = "\r\n";
    const char *begin = store == STORE_REDIS ? "+OK\r\n" : "STORED\r\n";
    char request[REQUEST], answer[REQUEST];
    int len = store == STORE_REDIS
                  ? snprintf(request, REQUEST, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%lu\r\n",
                             strlen(key), key, CACHE_OBJECT)
                  : snprintf(request, REQUEST, "set %s 0 0 %lu\r\n", key, CACHE_OBJECT);
    struct iovec iov[] = {
        {request, (size_t)len}, {(void *)(uintptr_t)bytes, CACHE_OBJECT}, {end, 2}};

    send_all(fd, iov, 3);
    receive_all(fd, answer, strlen(begin), begin);
}
