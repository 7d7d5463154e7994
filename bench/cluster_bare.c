/* SPDX-License-Identifier: MIT */
/* The least that a get can be: libfabric alone, on connected endpoints of tcp. Both sides poll. */
#include "cluster.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct note { /* of the client, and the server's answer */
    uint64_t address, key;
    char rest[48]; /* about as long as a get with its key */
};
static struct note received, sent;

static void bare_must(int64_t rc, const char *what)
{
    if (rc < 0)
        lab_fail("%s: %s", what, fi_strerror((int)-rc));
}

static void open_bare(struct bare_end *end, const char *node, const char *port, bool source)
{
    struct fi_info *hints = fi_allocinfo();
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_UNSPEC};
    struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_CONTEXT};

    hints->caps = FI_MSG | FI_RMA;
    hints->ep_attr->type = FI_EP_MSG;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    hints->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->tx_attr->msg_order = hints->rx_attr->msg_order = FI_ORDER_SAW | FI_ORDER_SAS;
    hints->fabric_attr->prov_name = strdup("tcp");
    bare_must(fi_getinfo(FI_VERSION(1, 17), node, port, source ? FI_SOURCE : 0, hints, &end->info),
              "fi_getinfo");
    fi_freeinfo(hints);
    bare_must(fi_fabric(end->info->fabric_attr, &end->fabric, NULL), "fi_fabric");
    bare_must(fi_domain(end->fabric, end->info, &end->domain, NULL), "fi_domain");
    bare_must(fi_eq_open(end->fabric, &eq, &end->eq, NULL), "fi_eq_open");
    bare_must(fi_cq_open(end->domain, &cq, &end->cq, NULL), "fi_cq_open");
    end->bytes = lab_alloc(CLUSTER_LARGE);
    memset(end->bytes, 'b', CLUSTER_LARGE);
}

static void make_bare_endpoint(struct bare_end *end, struct fi_info *info)
{
    bare_must(fi_endpoint(end->domain, info, &end->ep, NULL), "fi_endpoint");
    bare_must(fi_ep_bind(end->ep, &end->eq->fid, 0), "fi_ep_bind");
    bare_must(fi_ep_bind(end->ep, &end->cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
    bare_must(fi_enable(end->ep), "fi_enable");
}

static void await_event(struct bare_end *end, uint32_t wanted, struct fi_eq_cm_entry *entry)
{
    uint32_t event = 0;

    while (fi_eq_read(end->eq, &event, entry, sizeof *entry, 0) < 0 || event != wanted)
        continue;
}

static void post_note(struct bare_end *end)
{
    bare_must(fi_recv(end->ep, &received, sizeof received, NULL, FI_ADDR_UNSPEC, &received),
              "fi_recv");
}

/* Until a note has come; other completions are of what was sent. */
static void await_note(struct bare_end *end)
{
    struct fi_cq_entry entry = {.op_context = NULL};

    while (entry.op_context != &received) {
        ssize_t rc = fi_cq_read(end->cq, &entry, 1);

        if (rc != -FI_EAGAIN)
            bare_must(rc, "fi_cq_read");
        if (rc < 1)
            entry.op_context = NULL;
    }
}

static void send_note(struct bare_end *end)
{
    bare_must(fi_inject(end->ep, &sent, sizeof sent, FI_ADDR_UNSPEC), "fi_inject");
}

void bare_serve(const char *node, int to)
{
    struct bare_end end = {.info = NULL};
    struct fi_eq_cm_entry entry;
    struct sockaddr_in name;
    size_t len = sizeof name;
    char port[16] = "";

    open_bare(&end, node, "0", true);
    bare_must(fi_passive_ep(end.fabric, end.info, &end.listens, NULL), "fi_passive_ep");
    bare_must(fi_pep_bind(end.listens, &end.eq->fid, 0), "fi_pep_bind");
    bare_must(fi_listen(end.listens), "fi_listen");
    bare_must(fi_getname(&end.listens->fid, &name, &len), "fi_getname");
    snprintf(port, sizeof port, "%u", (unsigned)ntohs(name.sin_port));
    if (write(to, port, sizeof port) != (ssize_t)sizeof port)
        return;
    await_event(&end, FI_CONNREQ, &entry);
    make_bare_endpoint(&end, entry.info);
    post_note(&end);
    bare_must(fi_accept(end.ep, NULL, 0), "fi_accept");
    await_event(&end, FI_CONNECTED, &entry);
    for (;;) {
        await_note(&end);
        bare_must(fi_write(end.ep, end.bytes, CLUSTER_LARGE, NULL, FI_ADDR_UNSPEC, received.address,
                           received.key, NULL),
                  "fi_write");
        post_note(&end);
        send_note(&end);
    }
}

void bare_connect(struct bare_client *client, const char *node, const char *port)
{
    struct bare_end *end = &client->end;
    struct fi_eq_cm_entry entry;

    open_bare(end, node, port, false);
    make_bare_endpoint(end, end->info);
    bare_must(fi_connect(end->ep, end->info->dest_addr, NULL, 0), "fi_connect");
    await_event(end, FI_CONNECTED, &entry);
    bare_must(
        fi_mr_reg(end->domain, end->bytes, CLUSTER_LARGE, FI_REMOTE_WRITE, 0, 1, 0, &end->mr, NULL),
        "fi_mr_reg");
    sent.address =
        end->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)end->bytes : UINT64_C(0);
    sent.key = fi_mr_key(end->mr);
}

void bare_get(struct bare_client *client)
{
    post_note(&client->end);
    send_note(&client->end);
    await_note(&client->end);
}

void bare_close(struct bare_client *client)
{
    struct bare_end *end = &client->end;

    fi_close(&end->ep->fid);
    fi_close(&end->mr->fid);
    fi_close(&end->cq->fid);
    fi_close(&end->eq->fid);
    fi_close(&end->domain->fid);
    fi_close(&end->fabric->fid);
    fi_freeinfo(end->info);
    free(end->bytes);
}
