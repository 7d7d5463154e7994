/* SPDX-License-Identifier: MIT */
/*
 * fi_read() of a leased range of a file, beside the same of memory that is never revoked. One
 * process serves both by one endpoint, so that only what lies behind the key differs.
 */
#include "bench.h"

#include <fcntl.h>
#include <holdfast/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES (64u << 10)
#define REGION_BYTES (64 * READ_BYTES)
#define READS_MOST 1000u
#define READS (bench.quick ? 20u : READS_MOST)
#define NAME_BYTES 128

/* What a server tells: where it is reached, and the two windows; 0 bytes of name: not at all. */
struct introduction {
    size_t name_bytes;
    char name[NAME_BYTES];
    struct hf_fabric_window plain, leased;
};

struct end {
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_av *av;
    struct fid_cq *cq;
    struct fid_ep *ep;
};

struct provider {
    const char *name, *key;
    pid_t server;
    struct end end;
    fi_addr_t to;
    struct introduction at;
    void *buffer;
};
static struct provider providers[] = {{.name = "tcp;ofi_rxm", .key = "tcp"},
                                      {.name = "shm", .key = "shm"}};
#define PROVIDERS (sizeof providers / sizeof providers[0])

static int fabric_must(int rc, const char *what)
{
    if (rc < 0)
        lab_fail("%s: %s", what, fi_strerror(-rc));
    return rc;
}

static bool open_end(struct end *end, const char *provider)
{
    struct fi_info *hints = fi_allocinfo();
    struct fi_av_attr av = {.type = FI_AV_TABLE};
    struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_CONTEXT};
    bool shm = strcmp(provider, "shm") == 0;
    int rc;

    hints->caps = FI_MSG | FI_RMA;
    hints->ep_attr->type = FI_EP_RDM;
    hints->domain_attr->threading = FI_THREAD_SAFE;
    hints->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->tx_attr->msg_order = hints->rx_attr->msg_order = FI_ORDER_RAW;
    hints->fabric_attr->prov_name = strdup(provider);
    rc = fi_getinfo(FI_VERSION(1, 17), shm ? NULL : "127.0.0.1", NULL, shm ? 0 : FI_SOURCE, hints,
                    &end->info);
    fi_freeinfo(hints);
    if (rc)
        return false;
    fabric_must(fi_fabric(end->info->fabric_attr, &end->fabric, NULL), "fi_fabric");
    fabric_must(fi_domain(end->fabric, end->info, &end->domain, NULL), "fi_domain");
    fabric_must(fi_av_open(end->domain, &av, &end->av, NULL), "fi_av_open");
    fabric_must(fi_cq_open(end->domain, &cq, &end->cq, NULL), "fi_cq_open");
    fabric_must(fi_endpoint(end->domain, end->info, &end->ep, NULL), "fi_endpoint");
    fabric_must(fi_ep_bind(end->ep, &end->av->fid, 0), "fi_ep_bind");
    fabric_must(fi_ep_bind(end->ep, &end->cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
    fabric_must(fi_enable(end->ep), "fi_enable");
    return true;
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

/* ------------------------------------------------------------------------ the server ------ */

static void ignore_event(void *arg, const struct hf_fabric_event *event)
{
    (void)arg;
    (void)event;
}

static void lease_region(const struct end *end, struct hf_fabric_window *out)
{
    const struct hf_pool_options options = {.size = sizeof options,
                                            .pool_bytes = 2 * REGION_BYTES + (8u << 20)};
    const struct hf_fabric_options fabric_options = {.size = sizeof fabric_options,
                                                     .domain = end->domain,
                                                     .info = end->info,
                                                     .event = ignore_event};
    struct hf_pool *pool;
    struct hf_file *file;
    struct hf_fabric *fabric;
    char *bytes = lab_alloc(REGION_BYTES);

    memset(bytes, 'b', REGION_BYTES);
    bench_must(&bench_real, hf_pool_open_anonymous(&options, &pool), "making a pool");
    bench_must(&bench_real, hf_open(pool, "/f", O_RDWR | O_CREAT, 0600, &file), "making a file");
    bench_must(&bench_real, hf_write(file, bytes, REGION_BYTES, 0), "writing");
    if (hf_fabric_open(pool, &fabric_options, &fabric) != 0 ||
        hf_fabric_expose(fabric, file, 0, REGION_BYTES, FI_REMOTE_READ, NULL, NULL, out) != 0)
        lab_fail("exposing a file: %s", hf_fabric_detail());
}

/* A memfd, as the pool's memory is one. */
static void plain_region(const struct end *end, struct hf_fabric_window *out)
{
    int fd = memfd_create("plain", MFD_CLOEXEC);
    bool by_address = end->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR;
    struct fid_mr *mr;
    void *bytes;

    bench_must_host(fd, "memfd_create");
    bench_must_host(ftruncate(fd, REGION_BYTES), "ftruncate");
    bytes = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    bench_must_host(bytes == MAP_FAILED ? -1 : 0, "mmap");
    memset(bytes, 'b', REGION_BYTES);
    fabric_must(fi_mr_reg(end->domain, bytes, REGION_BYTES, FI_REMOTE_READ, 0, 42, 0, &mr, NULL),
                "fi_mr_reg");
    *out = (struct hf_fabric_window){.region = 1, .len = REGION_BYTES, .pieces = 1};
    out->piece[0] =
        (struct hf_fabric_piece){by_address ? (uintptr_t)bytes : 0, fi_mr_key(mr), REGION_BYTES};
}

static _Noreturn void run_server(const char *provider, int to)
{
    struct introduction at = {.name_bytes = NAME_BYTES};
    struct fi_cq_entry entry;
    struct end end;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_stay_on_cpu(1);
    if (!open_end(&end, provider)) {
        at.name_bytes = 0;
    } else {
        fabric_must(fi_getname(&end.ep->fid, at.name, &at.name_bytes), "fi_getname");
        plain_region(&end, &at.plain);
        lease_region(&end, &at.leased);
    }
    if (write(to, &at, sizeof at) != (ssize_t)sizeof at || at.name_bytes == 0)
        _exit(1);
    for (;;)
        fi_cq_read(end.cq, &entry, 1); /* this moves the bytes */
}

/* -------------------------------------------------------------------------- the rows ------ */

static void await_read(const struct provider *provider)
{
    struct fi_cq_entry entry;
    ssize_t rc;

    do
        rc = fi_cq_read(provider->end.cq, &entry, 1);
    while (rc == -FI_EAGAIN);
    fabric_must((int)rc, "a read");
}

static double read_once(struct provider *provider, const struct hf_fabric_window *window,
                        uint64_t off)
{
    uint64_t start = lab_now_ns(), address, key;
    ssize_t rc = hf_fabric_place(window, off, READ_BYTES, &address, &key);

    if (rc != READ_BYTES)
        lab_fail("the file does not lie in one piece");
    while ((rc = fi_read(provider->end.ep, provider->buffer, READ_BYTES, NULL, provider->to,
                         address, key, NULL)) == -FI_EAGAIN)
        fi_cq_read(provider->end.cq, &(struct fi_cq_entry){0}, 1);
    fabric_must((int)rc, "fi_read");
    await_read(provider);
    return (double)(lab_now_ns() - start) / 1000;
}

/* The median of many: both sides poll, so a read in which a CPU was taken away says nothing. The
 * server is stopped while others are measured. */
static double read_window(struct provider *provider, const struct hf_fabric_window *window)
{
    double us[READS_MOST];

    bench_must_host(kill(provider->server, SIGCONT), "kill");
    read_once(provider, window, 0);
    for (unsigned i = 0; i < READS; i++)
        us[i] = read_once(provider, window, i * READ_BYTES % REGION_BYTES);
    bench_must_host(kill(provider->server, SIGSTOP), "kill");
    return bench_quantile(us, READS, 0.5);
}

static double measure_leased(void *state)
{
    struct provider *provider = state;

    return read_window(provider, &provider->at.leased);
}

static double measure_plain(void *state)
{
    struct provider *provider = state;

    return read_window(provider, &provider->at.plain);
}

static bool begin_provider(struct provider *provider)
{
    int pipes[2];
    bool there;

    bench_must_host(pipe2(pipes, O_CLOEXEC), "pipe");
    provider->server = fork();
    bench_must_host(provider->server, "fork");
    if (provider->server == 0)
        run_server(provider->name, pipes[1]);
    close(pipes[1]);
    there = read(pipes[0], &provider->at, sizeof provider->at) == (ssize_t)sizeof provider->at &&
            provider->at.name_bytes > 0 && open_end(&provider->end, provider->name);
    close(pipes[0]);
    if (!there)
        return false;
    provider->buffer = lab_alloc(READ_BYTES);
    if (fi_av_insert(provider->end.av, provider->at.name, 1, &provider->to, 0, NULL) != 1)
        lab_fail("fi_av_insert");
    return true;
}

static void begin_fabric(struct bench_group *group)
{
    for (size_t i = 0; i < PROVIDERS; i++) {
        struct provider *provider = &providers[i];
        const char *situation = bench_text("fi_read of 64 KiB, %s", provider->name);
        const char *plain = bench_text("fabric.read.%s.plain", provider->key);

        if (!begin_provider(provider)) {
            bench_note("%s is left out: this libfabric does not have it", provider->name);
            continue;
        }
        bench_add(group, (struct bench_row){.key = plain,
                                            .situation = situation,
                                            .subject = "memory that is never revoked",
                                            .measure = measure_plain,
                                            .state = provider});
        bench_add(group,
                  (struct bench_row){.key = bench_text("fabric.read.%s.leased", provider->key),
                                     .situation = situation,
                                     .subject = "a leased file",
                                     .beside = plain,
                                     .measure = measure_leased,
                                     .state = provider});
    }
}

static void end_fabric(void)
{
    for (size_t i = 0; i < PROVIDERS; i++) {
        if (providers[i].end.ep)
            close_end(&providers[i].end);
        kill(providers[i].server, SIGKILL);
        waitpid(providers[i].server, NULL, 0);
        free(providers[i].buffer);
    }
}

struct bench_group bench_fabric_group = {
    .name = "fabric",
    .title = "reads by a peer, through libfabric",
    .help = "64 KiB that a peer reads from a leased file, beside plain memory",
    .unit = "us",
    .ratio = "x plain",
    .begin = begin_fabric,
    .end = end_fabric,
};
