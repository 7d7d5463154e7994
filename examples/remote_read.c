/* SPDX-License-Identifier: MIT */
/*
 * A file for a peer on another machine, both ways. The peer reads it where it lies, and the server
 * writes it into a buffer of the peer. Server and peer are two processes here that send each other
 * messages through a socket; in earnest that is a connection.
 *
 * Which way? A read by the peer costs a message (which window?) and a round trip of the read. A
 * write by the server needs the request alone, and the completion says that it has come. The first
 * is better for a window that is read often, the second for one that is read once.
 *
 * usage: remote_read [PROVIDER]    "tcp;ofi_rxm" by default
 */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BYTES = 16 * HF_BLOCK_BYTES, NAME_BYTES = 128, MISSING = 77 };
enum kind { HELLO, WINDOW, READ_DONE, BUFFER, WRITE_DONE, REVOKE, ANSWER };

struct message {
    enum kind kind;
    size_t name_bytes;
    char name[NAME_BYTES];          /* HELLO: the sender's endpoint */
    struct hf_fabric_window window; /* WINDOW, REVOKE, ANSWER: of the file; BUFFER: of the peer */
};

static void must(int64_t rc, const char *what, const char *why)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void must_fabric(int64_t rc, const char *what)
{
    must(rc, what, fi_strerror((int)-rc));
}

static void send_message(int to, const struct message *message)
{
    must(write(to, message, sizeof *message) == sizeof *message ? 0 : -1, "write", "no peer");
}

static struct message receive(int from, enum kind kind)
{
    struct message message;
    ssize_t len = recv(from, &message, sizeof message, MSG_WAITALL);

    must(len == sizeof message && message.kind == kind ? 0 : -1, "read", "no such message");
    return message;
}

/* ------------------------------------------------------------------------ endpoints ------- */

struct end {
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_av *av;
    struct fid_cq *cq;
    struct fid_ep *ep;
    fi_addr_t other;
    char name_of_other[NAME_BYTES];
};

static void open_end(struct end *end, const char *provider)
{
    struct fi_info *hints = fi_allocinfo();
    struct fi_av_attr av = {.type = FI_AV_TABLE};
    struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_CONTEXT};
    int rc;

    hints->caps = FI_MSG | FI_RMA;
    hints->ep_attr->type = FI_EP_RDM;
    hints->domain_attr->threading = FI_THREAD_SAFE;
    hints->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_LOCAL;
    hints->tx_attr->msg_order = hints->rx_attr->msg_order = FI_ORDER_RAW; /* shm looks at keys */
    hints->fabric_attr->prov_name = strdup(provider);
    rc = fi_getinfo(FI_VERSION(1, 17), strcmp(provider, "shm") ? "127.0.0.1" : NULL, NULL,
                    strcmp(provider, "shm") ? FI_SOURCE : 0, hints, &end->info);
    fi_freeinfo(hints);
    if (rc == -FI_ENODATA)
        exit(MISSING);
    must_fabric(rc, "fi_getinfo");
    must_fabric(fi_fabric(end->info->fabric_attr, &end->fabric, NULL), "fi_fabric");
    must_fabric(fi_domain(end->fabric, end->info, &end->domain, NULL), "fi_domain");
    must_fabric(fi_av_open(end->domain, &av, &end->av, NULL), "fi_av_open");
    must_fabric(fi_cq_open(end->domain, &cq, &end->cq, NULL), "fi_cq_open");
    must_fabric(fi_endpoint(end->domain, end->info, &end->ep, NULL), "fi_endpoint");
    must_fabric(fi_ep_bind(end->ep, &end->av->fid, 0), "fi_ep_bind");
    must_fabric(fi_ep_bind(end->ep, &end->cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
    must_fabric(fi_enable(end->ep), "fi_enable");
}

static void close_end(struct end *end)
{
    fi_close(&end->ep->fid);
    fi_close(&end->cq->fid);
    fi_close(&end->av->fid);
    fi_close(&end->domain->fid);
    fi_close(&end->fabric->fid);
    fi_freeinfo(end->info);
}

static void exchange_names(struct end *end, int socket)
{
    struct message mine = {.kind = HELLO, .name_bytes = NAME_BYTES}, other;

    must_fabric(fi_getname(&end->ep->fid, mine.name, &mine.name_bytes), "fi_getname");
    send_message(socket, &mine);
    other = receive(socket, HELLO);
    memcpy(end->name_of_other, other.name, sizeof other.name);
    must(fi_av_insert(end->av, other.name, 1, &end->other, 0, NULL) - 1, "fi_av_insert", "failed");
}

/* Moves what is to be moved; true when one of our own transfers is complete. */
static bool completed(struct end *end)
{
    struct fi_cq_entry entry;
    ssize_t rc = fi_cq_read(end->cq, &entry, 1);

    if (rc == -FI_EAVAIL)
        must(-1, "a transfer", "failed");
    return rc == 1;
}

/* While the other side's transfers come, somebody has to move their bytes: most providers do that
 * when the completion queue is read. */
static struct message serve_until(struct end *end, int socket, enum kind kind)
{
    struct message message;

    while (recv(socket, &message, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
        completed(end);
    return receive(socket, kind);
}

/* Moves len bytes of a window into buf, or out of it; returns when they are there. */
static void transfer(struct end *end, const struct hf_fabric_window *window, void *buf, void *desc,
                     uint64_t off, uint64_t len, bool reads)
{
    while (len > 0) {
        uint64_t address, key;
        ssize_t part = hf_fabric_place(window, off, len, &address, &key), rc;
        struct iovec iov = {buf, (size_t)part};
        struct fi_rma_iov remote = {address, (size_t)part, key};
        struct fi_msg_rma msg = {.msg_iov = &iov,
                                 .desc = &desc,
                                 .iov_count = 1,
                                 .addr = end->other,
                                 .rma_iov = &remote,
                                 .rma_iov_count = 1};

        must(part, "window", hf_fabric_detail());
        do {
            rc = reads ? fi_readmsg(end->ep, &msg, FI_COMPLETION)
                       : fi_writemsg(end->ep, &msg, FI_COMPLETION | FI_DELIVERY_COMPLETE);
            if (rc == -FI_EAGAIN)
                completed(end);
        } while (rc == -FI_EAGAIN);
        must_fabric(rc, "fi_read, fi_write");
        while (!completed(end))
            ;
        buf = (char *)buf + part;
        off += (uint64_t)part;
        len -= (uint64_t)part;
    }
}

/* ------------------------------------------------------------------------- the peer ------- */

static void expect(const char *bytes, char what, const char *way)
{
    for (int i = 0; i < BYTES; i++)
        if (bytes[i] != what)
            exit(1);
    printf("peer: %s, %d bytes are right\n", way, BYTES);
    fflush(stdout);
}

/* This process has no pool: what it lends is memory of its own. */
static struct hf_fabric_window lend(struct end *end, char *bytes, struct fid_mr **mr)
{
    struct hf_fabric_window window = {.region = 1, .len = BYTES, .pieces = 1};
    bool by_address = end->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR;

    must_fabric(fi_mr_reg(end->domain, bytes, BYTES, FI_REMOTE_WRITE | FI_READ, 0, 42, 0, mr, NULL),
                "fi_mr_reg");
    window.piece[0] =
        (struct hf_fabric_piece){by_address ? (uintptr_t)bytes : 0, fi_mr_key(*mr), BYTES};
    return window;
}

static void be_peer(int socket, const char *provider)
{
    static char bytes[BYTES];
    struct message buffer = {.kind = BUFFER}, message;
    struct fid_mr *mr;
    struct end end;

    open_end(&end, provider);
    exchange_names(&end, socket);
    buffer.window = lend(&end, bytes, &mr);

    message = receive(socket, WINDOW); /* the one way: this side reads */
    transfer(&end, &message.window, bytes, fi_mr_desc(mr), 0, BYTES, true);
    expect(bytes, '1', "read it where it lies");
    message.kind = READ_DONE;
    send_message(socket, &message);

    send_message(socket, &buffer); /* the other: that side writes */
    serve_until(&end, socket, WRITE_DONE);
    expect(bytes, '1', "got it written into a buffer");

    message = serve_until(&end, socket, REVOKE); /* nothing is under way here: all had completed */
    message.kind = ANSWER;
    send_message(socket, &message);
    must_fabric(fi_close(&mr->fid), "fi_close");
    close_end(&end);
}

/* ----------------------------------------------------------------------- the server ------- */

struct server {
    struct end end;
    struct hf_pool *pool;
    struct hf_fabric *fabric;
    int socket;
};

/* A layout change wants the memory: the peer is asked, and its answer is handed on. A loop that
 * waits for messages anyway would send here, and hand on the answer when it comes. */
static void on_event(void *arg, const struct hf_fabric_event *event)
{
    struct server *server = arg;
    struct message message = {.kind = REVOKE, .window.region = event->region};

    if (event->kind == HF_FABRIC_LOST) {
        printf("server: no answer; the memory is kept for the quarantine\n");
        fi_close(&server->end.ep->fid); /* whatever is on its way ends here */
        return;
    }
    send_message(server->socket, &message);
    message = receive(server->socket, ANSWER);
    printf("server: the peer has let go\n");
    must(hf_fabric_acknowledge(server->fabric, message.window.region), "answer",
         hf_fabric_detail());
}

static struct hf_file *make_file(struct server *server)
{
    static char bytes[BYTES];
    struct hf_file *file;

    memset(bytes, '1', sizeof bytes);
    must(hf_open(server->pool, "/file", O_RDWR | O_CREAT, 0644, &file), "open",
         hf_strerror_detail());
    must(hf_write(file, bytes, BYTES, 0), "write", hf_strerror_detail());
    return file;
}

/* The file's memory is the source of our own write: pieces of this process, with descriptors. */
static void write_to_peer(struct server *server, uint64_t region,
                          const struct hf_fabric_window *buffer)
{
    struct iovec iov[HF_FABRIC_PIECES];
    void *desc[HF_FABRIC_PIECES];
    int pieces = hf_fabric_local(server->fabric, region, iov, desc, HF_FABRIC_PIECES);
    uint64_t off = 0;

    must(pieces, "region", hf_fabric_detail());
    for (int i = 0; i < pieces; i++) {
        transfer(&server->end, buffer, iov[i].iov_base, desc[i], off, iov[i].iov_len, false);
        off += iov[i].iov_len;
    }
}

static void serve(struct server *server)
{
    struct message message = {.kind = WINDOW};
    char peer[NAME_BYTES] = "";
    size_t peer_bytes = sizeof peer;
    struct hf_file *file = make_file(server);
    uint64_t region;

    /* `holdfast pins` shows it */
    fi_av_straddr(server->end.av, server->end.name_of_other, peer, &peer_bytes);
    must(hf_fabric_expose(server->fabric, file, 0, BYTES, FI_REMOTE_READ | FI_WRITE, peer, server,
                          &message.window),
         "expose", hf_fabric_detail());
    region = message.window.region;
    send_message(server->socket, &message);
    serve_until(&server->end, server->socket, READ_DONE);

    message = serve_until(&server->end, server->socket, BUFFER);
    write_to_peer(server, region, &message.window);
    message.kind = WRITE_DONE;
    send_message(server->socket, &message);

    must(hf_truncate(file, 0, NULL), "truncate", hf_strerror_detail()); /* waits for the peer */
    printf("server: the file is cut\n");
    must(hf_close(file), "close", hf_strerror_detail());
}

static void be_server(int socket, const char *provider)
{
    const struct hf_pool_options pool = {.size = sizeof pool, .pool_bytes = 8 << 20};
    struct hf_fabric_options options = {.size = sizeof options, .event = on_event};
    struct server server = {.socket = socket};

    open_end(&server.end, provider);
    exchange_names(&server.end, socket);
    must(hf_pool_open_anonymous(&pool, &server.pool), "pool", hf_strerror_detail());
    options.domain = server.end.domain;
    options.info = server.end.info;
    must(hf_fabric_open(server.pool, &options, &server.fabric), "fabric", hf_fabric_detail());
    serve(&server);
    must(hf_fabric_close(server.fabric), "close", hf_fabric_detail());
    close_end(&server.end);
    must(hf_pool_close(server.pool), "close the pool", hf_strerror_detail());
}

int main(int argc, char **argv)
{
    const char *provider = argc > 1 ? argv[1] : "tcp;ofi_rxm";
    int sockets[2], status;
    pid_t peer;

    must(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), "socketpair", "failed");
    peer = fork();
    if (peer == 0) {
        close(sockets[0]);
        be_peer(sockets[1], provider);
        return 0;
    }
    close(sockets[1]);
    be_server(sockets[0], provider);
    waitpid(peer, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
