/* SPDX-License-Identifier: MIT */
#include "endpoint.h"

#include <errno.h>
#include <glob.h>
#include <rdma/fi_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No message is sent here. With libfabric's 16 KiB an endpoint clears some 100 MiB as it opens. */
#define MESSAGE_BYTES "1024"

static struct fi_info *hints_of(const char *provider)
{
    struct fi_info *hints = fi_allocinfo();

    EXPECT(hints);
    hints->caps = FI_MSG | FI_RMA | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
    hints->ep_attr->type = strcmp(provider, "tcp") == 0 ? FI_EP_MSG : FI_EP_RDM;
    hints->domain_attr->threading = FI_THREAD_SAFE;
    hints->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->tx_attr->msg_order = FI_ORDER_RAW;
    hints->rx_attr->msg_order = FI_ORDER_RAW;
    hints->fabric_attr->prov_name = strdup(provider);
    return hints;
}

/* What a killed process leaves of shm is removed with the folder of the test. */
static void note_shm(const char *name)
{
    FILE *list = fopen(test_path(TEST_SEGMENT_LIST), "ae");

    EXPECT(list != NULL);
    fprintf(list, "/dev/shm/%s*\n", name);
    fclose(list);
}

void endpoint_domain(struct endpoint *end, const char *provider, const char *node)
{
    bool shm = strcmp(provider, "shm") == 0;
    struct fi_info *hints = hints_of(provider);
    char name[64];
    int rc;

    EXPECT_OK(setenv("FI_OFI_RXM_BUFFER_SIZE", MESSAGE_BYTES, 0));
    snprintf(name, sizeof(name), "holdfast-fabric-%d", (int)getpid());
    if (shm)
        note_shm(name);
    rc = fi_getinfo(FI_VERSION(1, 17),
                    shm    ? NULL
                    : node ? node
                           : "127.0.0.1",
                    shm ? name : NULL, FI_SOURCE, hints, &end->info);
    fi_freeinfo(hints);
    if (rc == -FI_ENODATA)
        test_skip("this libfabric does not have the provider");
    EXPECT_EQ(rc, 0);
    EXPECT_EQ(fi_fabric(end->info->fabric_attr, &end->fabric, NULL), 0);
    EXPECT_EQ(fi_domain(end->fabric, end->info, &end->domain, NULL), 0);
}

static bool is_connected_kind(const struct endpoint *end)
{
    return end->info->ep_attr->type == FI_EP_MSG;
}

/* Of one's own, or of the peer that asks. */
static void make_endpoint(struct endpoint *end, struct fi_info *info)
{
    struct fid *bound = end->eq ? &end->eq->fid : &end->av->fid;

    EXPECT_EQ(fi_endpoint(end->domain, info, &end->ep, NULL), 0);
    EXPECT_EQ(fi_ep_bind(end->ep, bound, 0), 0);
    EXPECT_EQ(fi_ep_bind(end->ep, &end->cq->fid, FI_TRANSMIT | FI_RECV), 0);
    EXPECT_EQ(fi_enable(end->ep), 0);
}

void endpoint_open(struct endpoint *end)
{
    struct fi_av_attr av = {.type = FI_AV_TABLE};
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_UNSPEC};
    struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_CONTEXT};

    end->av = NULL, end->eq = NULL, end->ep = NULL, end->listens = NULL;
    EXPECT_EQ(fi_cq_open(end->domain, &cq, &end->cq, NULL), 0);
    end->connected = !is_connected_kind(end);
    if (!end->connected) {
        EXPECT_EQ(fi_eq_open(end->fabric, &eq, &end->eq, NULL), 0);
        return;
    }
    EXPECT_EQ(fi_av_open(end->domain, &av, &end->av, NULL), 0);
    make_endpoint(end, end->info);
}

static void close_one(struct fid *fid)
{
    EXPECT_EQ(fi_close(fid), 0);
}

void endpoint_close(struct endpoint *end)
{
    if (end->ep)
        close_one(&end->ep->fid);
    if (end->listens)
        close_one(&end->listens->fid);
    close_one(&end->cq->fid);
    close_one(end->eq ? &end->eq->fid : &end->av->fid);
    end->ep = NULL;
    end->cq = NULL;
}

struct endpoint_name endpoint_name(struct endpoint *end)
{
    struct endpoint_name name = {.len = 0};
    size_t len = sizeof(name.bytes);

    if (end->eq && !end->ep) {
        EXPECT_EQ(fi_passive_ep(end->fabric, end->info, &end->listens, NULL), 0);
        EXPECT_EQ(fi_pep_bind(end->listens, &end->eq->fid, 0), 0);
        EXPECT_EQ(fi_listen(end->listens), 0);
    }
    EXPECT_EQ(fi_getname(end->listens ? &end->listens->fid : &end->ep->fid, name.bytes, &len), 0);
    name.len = len;
    return name;
}

fi_addr_t endpoint_to(struct endpoint *end, const struct endpoint_name *name)
{
    fi_addr_t to = FI_ADDR_UNSPEC;

    if (end->eq) {
        make_endpoint(end, end->info);
        EXPECT_EQ(fi_connect(end->ep, name->bytes, NULL, 0), 0);
    } else {
        EXPECT_EQ(fi_av_insert(end->av, name->bytes, 1, &to, 0, NULL), 1);
    }
    return to;
}

/* A peer asks for a connection, or it is there. That it has ended is seen by the transfers. */
static void serve_connection(struct endpoint *end)
{
    struct fi_eq_cm_entry entry;
    struct fi_eq_err_entry failed = {.err = 0};
    uint32_t event = 0;
    ssize_t rc = fi_eq_read(end->eq, &event, &entry, sizeof(entry), 0);

    if (rc == -FI_EAVAIL)
        fi_eq_readerr(end->eq, &failed, 0);
    if (rc != (ssize_t)sizeof(entry))
        return;
    if (event == FI_CONNECTED) {
        end->connected = true;
    } else if (event == FI_CONNREQ && !end->ep) {
        make_endpoint(end, entry.info);
        EXPECT_EQ(fi_accept(end->ep, NULL, 0), 0);
    }
    if (event == FI_CONNREQ)
        fi_freeinfo(entry.info);
}

void *endpoint_completed(struct endpoint *end, int *error)
{
    struct fi_cq_entry entry;
    struct fi_cq_err_entry failed = {.err = 0};
    ssize_t rc;

    if (end->eq)
        serve_connection(end);
    rc = fi_cq_read(end->cq, &entry, 1);
    *error = 0;
    if (rc == 1)
        return entry.op_context;
    if (rc == -FI_EAVAIL && fi_cq_readerr(end->cq, &failed, 0) == 1) {
        *error = failed.err;
        return failed.op_context;
    }
    return NULL;
}

void endpoint_forget(pid_t killed)
{
    char pattern[40];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "/dev/shm/%d:*", (int)killed);
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        EXPECT_OK(unlink(found.gl_pathv[i]));
    globfree(&found);
}

void endpoint_kill(pid_t pid)
{
    test_kill(pid);
    endpoint_forget(pid);
}
