/* SPDX-License-Identifier: MIT */
/*
 * Requests to the mount, as the kernel would send them for any program. Each goes through a socket
 * that stands for /dev/fuse, and one reply comes back, of the right length and with an errno.
 * Names, numbers and offsets are any; handles are those that the mount has given. At the end
 * nothing is open, and when all names are gone all blocks are free.
 */
#include "fuzz.h"

#include "../../fuse/serve.c" /* its workers are this target */

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM 65536u
#define KNOWN 16u
#define NAME 300u

static struct mount mount;
static struct hf_pool *pool;
static int kernel; /* the other end of the socket */
static sem_t go, done;
static struct fuzz_input input;

static struct request {
    struct fuse_in_header head;
    char body[4096];
} request;
static char reply[ROOM + 4096];
static uint64_t unique;

static uint64_t nodes[KNOWN];
static struct handle {
    uint64_t node, fh;
    bool is_dir;
} handles[KNOWN];

static void put(const void *bytes, size_t len)
{
    EXPECT(request.head.len + len <= sizeof(request));
    memcpy((char *)&request + request.head.len, bytes, len);
    request.head.len += (uint32_t)len;
}

static void begin_request(uint32_t opcode, uint64_t node)
{
    request.head = (struct fuse_in_header){.len = sizeof(request.head),
                                           .opcode = opcode,
                                           .unique = ++unique,
                                           .nodeid = node,
                                           .pid = (uint32_t)gettid()};
}

/* The bytes after the header, or -1 for an error. */
static ssize_t send_request(bool has_reply)
{
    static char came[sizeof(request)];
    const struct fuse_out_header *head = (const void *)reply;
    ssize_t n;

    EXPECT_EQ(send(kernel, &request, request.head.len, 0), request.head.len);
    n = read(mount.fd, came, sizeof(came));
    EXPECT_EQ(n, request.head.len);
    if (mount_call_run(&mount, came, (size_t)n, false))
        EXPECT(!mount_call_run(&mount, came, (size_t)n, true));
    n = recv(kernel, reply, sizeof(reply), MSG_DONTWAIT);
    if (!has_reply) {
        EXPECT_EQ(n, -1);
        return -1;
    }
    EXPECT(n >= (ssize_t)sizeof(*head));
    EXPECT_EQ(head->len, n);
    EXPECT(head->unique == unique);
    EXPECT(head->error <= 0 && head->error > -1000);
    EXPECT(head->error == 0 || (size_t)n == sizeof(*head));
    return head->error ? -1 : n - (ssize_t)sizeof(*head);
}

static const void *reply_body(void)
{
    return reply + sizeof(struct fuse_out_header);
}

static uint64_t any_node(void)
{
    return nodes[fuzz_take(&input, 1) % KNOWN];
}

static void put_name(void)
{
    char name[NAME] = "";
    size_t len = fuzz_take(&input, 1);

    if (len >= 64) { /* few names, so that they meet */
        snprintf(name, sizeof(name), "%c", (int)('a' + len % 4));
    } else {
        for (size_t i = 0; i < len; i++)
            name[i] = (char)fuzz_take(&input, 1);
        for (size_t i = 0; i < len; i++)
            name[i] = name[i] == '/' || !name[i] ? '_' : name[i];
        if (!len)
            memset(name, 'n', NAME - 1);
    }
    put(name, strlen(name) + 1);
}

static uint64_t number(void)
{
    unsigned bits = (unsigned)fuzz_take(&input, 1) % 64;

    return fuzz_take(&input, 2) << (bits > 47 ? 0 : bits);
}

static struct handle *any_handle(bool is_dir)
{
    struct handle *handle = &handles[fuzz_take(&input, 1) % KNOWN];

    return handle->fh && handle->is_dir == is_dir ? handle : NULL;
}

static void note_entry(void)
{
    const struct fuse_entry_out *entry = reply_body();

    nodes[1 + unique % (KNOWN - 1)] = entry->nodeid;
}

static void release(struct handle *handle)
{
    struct fuse_release_in in = {.fh = handle->fh};

    begin_request(handle->is_dir ? FUSE_RELEASEDIR : FUSE_RELEASE, handle->node);
    put(&in, sizeof(in));
    EXPECT_EQ(send_request(true), 0);
    handle->fh = 0;
}

static void note_handle(uint64_t node, uint64_t fh, bool is_dir)
{
    struct handle *handle = &handles[unique % KNOWN];

    if (handle->fh)
        release(handle);
    *handle = (struct handle){node, fh, is_dir};
}

static void one_with_name(uint32_t opcode)
{
    const struct fuse_mknod_in mknod_in = {.mode = S_IFREG | 0644, .umask = 022};
    const struct fuse_mkdir_in mkdir_in = {.mode = 0755};
    const struct fuse_create_in create_in = {.flags = O_RDWR, .mode = S_IFREG | 0644};
    uint64_t other = any_node();
    struct fuse_rename2_in rename_in = {.newdir = other,
                                        .flags = (uint32_t)fuzz_take(&input, 1) % 8};
    bool entry = opcode != FUSE_UNLINK && opcode != FUSE_RMDIR && opcode != FUSE_RENAME2;
    ssize_t n;

    begin_request(opcode, any_node());
    if (opcode == FUSE_MKNOD)
        put(&mknod_in, sizeof(mknod_in));
    if (opcode == FUSE_MKDIR)
        put(&mkdir_in, sizeof(mkdir_in));
    if (opcode == FUSE_CREATE)
        put(&create_in, sizeof(create_in));
    if (opcode == FUSE_RENAME2)
        put(&rename_in, sizeof(rename_in));
    if (opcode == FUSE_LINK)
        put(&(struct fuse_link_in){other}, sizeof(struct fuse_link_in));
    put_name();
    if (opcode == FUSE_RENAME2 || opcode == FUSE_SYMLINK)
        put_name();
    n = send_request(true);
    if (n < 0 || !entry)
        return;
    EXPECT((size_t)n >= sizeof(struct fuse_entry_out));
    note_entry();
    if (opcode == FUSE_CREATE) {
        const struct fuse_entry_out *made = reply_body();
        const struct fuse_open_out *opened = (const void *)(made + 1);

        note_handle(made->nodeid, opened->fh, false);
    }
}

static void open_one(bool is_dir)
{
    struct fuse_open_in in = {.flags = is_dir ? O_RDONLY : O_RDWR};
    uint64_t node = any_node();

    if (!is_dir && fuzz_take(&input, 1) % 8 == 0)
        in.flags |= O_TRUNC;
    begin_request(is_dir ? FUSE_OPENDIR : FUSE_OPEN, node);
    put(&in, sizeof(in));
    if (send_request(true) >= 0)
        note_handle(node, ((const struct fuse_open_out *)reply_body())->fh, is_dir);
}

static void read_one(uint32_t opcode)
{
    struct handle *handle = any_handle(opcode != FUSE_READ);
    struct fuse_read_in in = {.offset = number() & INT64_MAX,
                              .size = (uint32_t)fuzz_take(&input, 2)};

    if (!handle)
        return;
    in.fh = handle->fh;
    begin_request(opcode, handle->node);
    put(&in, sizeof(in));
    EXPECT(send_request(true) <= (ssize_t)in.size);
}

static void write_one(void)
{
    static const char content[2048];
    struct handle *handle = any_handle(false);
    struct fuse_write_in in = {.offset = number() & INT64_MAX,
                               .size = (uint32_t)fuzz_take(&input, 2) % sizeof(content)};

    if (!handle)
        return;
    in.fh = handle->fh;
    begin_request(FUSE_WRITE, handle->node);
    put(&in, sizeof(in));
    put(content, in.size);
    if (send_request(true) >= 0)
        EXPECT(((const struct fuse_write_out *)reply_body())->size <= in.size);
}

static void allocate(void)
{
    struct handle *handle = any_handle(false);
    struct fuse_fallocate_in in = {.offset = number() & INT64_MAX,
                                   .length = number() & INT64_MAX,
                                   .mode = (uint32_t)fuzz_take(&input, 1)};

    if (!handle)
        return;
    in.fh = handle->fh;
    begin_request(FUSE_FALLOCATE, handle->node);
    put(&in, sizeof(in));
    send_request(true);
}

static void set_attributes(void)
{
    struct fuse_setattr_in in = {.valid = (uint32_t)fuzz_take(&input, 2) & ~FATTR_FH,
                                 .size = number() & INT64_MAX,
                                 .mode = (uint32_t)fuzz_take(&input, 2) & 07777,
                                 .uid = (uint32_t)fuzz_take(&input, 1),
                                 .gid = (uint32_t)fuzz_take(&input, 1)};

    begin_request(FUSE_SETATTR, any_node());
    put(&in, sizeof(in));
    send_request(true);
}

static void take_step(void)
{
    static const uint32_t with_name[] = {FUSE_LOOKUP, FUSE_MKNOD,  FUSE_MKDIR, FUSE_CREATE,
                                         FUSE_UNLINK, FUSE_RMDIR,  FUSE_LINK,  FUSE_RENAME2,
                                         FUSE_CREATE, FUSE_SYMLINK};
    unsigned what = (unsigned)fuzz_take(&input, 1) % 20;
    struct handle *handle;

    if (what < 10) {
        one_with_name(with_name[what]);
    } else if (what == 10) {
        open_one(false);
    } else if (what == 11) {
        open_one(true);
    } else if (what < 15) {
        read_one(what == 12 ? FUSE_READ : what == 13 ? FUSE_READDIR : FUSE_READDIRPLUS);
    } else if (what == 15) {
        write_one();
    } else if (what == 16) {
        allocate();
    } else if (what == 17) {
        set_attributes();
    } else if (what == 18) {
        handle = any_handle(fuzz_take(&input, 1) % 2);
        if (handle)
            release(handle);
    } else {
        begin_request(FUSE_READLINK, any_node());
        send_request(true);
    }
}

static void clean_up(void)
{
    struct hf_pool_info info = {.size = sizeof(info)};

    for (unsigned i = 0; i < KNOWN; i++)
        if (handles[i].fh)
            release(&handles[i]);
    mount_lookups_expire(&mount, true);
    test_remove_below(pool, HF_ROOT_INO);
    EXPECT_EQ(hf_chmod(pool, "/", 0755), 0);
    EXPECT_EQ(hf_pool_info(pool, &info), 0);
    EXPECT_EQ(info.free_bytes, info.pool_bytes);
    for (unsigned i = 0; i < KNOWN; i++)
        nodes[i] = HF_ROOT_INO;
}

static void greet(void)
{
    struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION,
                              .minor = FUSE_KERNEL_MINOR_VERSION,
                              .max_readahead = 1 << 20,
                              .flags = ~0u & ~FUSE_INIT_EXT};

    begin_request(FUSE_INIT, 0);
    put(&in, sizeof(in));
    EXPECT(send_request(true) > 0);
}

/* In the place of fuse/workers.c: the thread of mount_serve(). */
int mount_workers_run(struct mount *served)
{
    EXPECT(served == &mount);
    greet();
    clean_up();
    for (;;) {
        sem_post(&done);
        while (sem_wait(&go))
            ;
        while (input.left)
            take_step();
        clean_up();
    }
}

static void *serve(void *arg)
{
    mount_serve(arg);
    return NULL;
}

static void ready(const void *arg)
{
    (void)arg;
}

static void begin(void)
{
    int pair[2], room = 1 << 20;
    pthread_t thread;

    pool = test_pool_new("pool", TEST_MIB(8));
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    EXPECT_EQ(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
    kernel = pair[1];
    mount = (struct mount){.pool = pool,
                           .fd = pair[0],
                           .threads_max = 8,
                           .files_max = 64,
                           .kept_max = 8,
                           .ready = ready};
    sem_init(&go, 0, 0);
    sem_init(&done, 0, 0);
    EXPECT_EQ(pthread_create(&thread, NULL, serve, &mount), 0);
    while (sem_wait(&done))
        ;
}

static void run(const uint8_t *bytes, size_t len)
{
    input = (struct fuzz_input){bytes, len};
    sem_post(&go);
    while (sem_wait(&done))
        ;
}

const struct fuzz_target fuzz_target = {begin, run};
