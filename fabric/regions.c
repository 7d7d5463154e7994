/* SPDX-License-Identifier: MIT */
/*
 * Regions: a lease, and a registration for each of its pieces.
 *
 * A region is in the list from before its lease is taken, since a recall may come before hf_lease()
 * has returned. It is new until it is registered, then exposed, then asked for. The thread that
 * acknowledges it frees it; when it is lost, the fabric's own thread does. `state` says which. It
 * changes under the mutex, and CLOSING and LOST say that nobody else may touch the region.
 *
 * The lease is released after the registration has been closed, when a peer has answered. Without
 * an answer it goes into quarantine (hf_lease_quarantine()). So no other file gets its blocks while
 * a transfer may be on its way: closing alone does not stop one that has begun.
 */
#include "private.h"

#include <errno.h>
#include <inttypes.h>
#include <rdma/fi_errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define ACCESS_WRITES (FI_REMOTE_WRITE | FI_READ | FI_RECV)
#define ACCESS_ALL (ACCESS_WRITES | FI_REMOTE_READ | FI_WRITE | FI_SEND)
#define KEY_TRIES 16

pthread_mutex_t regions_mutex = PTHREAD_MUTEX_INITIALIZER;
struct region *regions;
static uint64_t last_id;

/* --------------------------------------------------------------------------- the list ----- */

static struct region *find_region(const struct hf_fabric *fabric, uint64_t id)
{
    for (struct region *region = regions; region; region = region->next)
        if (region->id == id && (!fabric || region->fabric == fabric))
            return region;
    return NULL;
}

void region_unlink(struct region *region)
{
    struct region **at = &regions;

    while (*at != region)
        at = &(*at)->next;
    *at = region->next;
}

static struct region *new_region(struct hf_fabric *fabric, void *arg)
{
    struct region *region = calloc(1, sizeof *region);

    if (!region)
        return NULL;
    region->fabric = fabric;
    region->arg = arg;
    pthread_mutex_lock(&regions_mutex);
    region->id = ++last_id;
    region->next = regions;
    regions = region;
    pthread_mutex_unlock(&regions_mutex);
    return region;
}

static void drop_region(struct region *region)
{
    pthread_mutex_lock(&regions_mutex);
    region_unlink(region);
    pthread_mutex_unlock(&regions_mutex);
    free(region);
}

static void recall_region(void *id, const struct hf_recall *recall)
{
    struct region *region;

    (void)recall;
    pthread_mutex_lock(&regions_mutex);
    region = find_region(NULL, (uintptr_t)id);
    if (region) {
        region->recalled = true;
        pthread_cond_signal(&region->fabric->wake);
    }
    pthread_mutex_unlock(&regions_mutex);
}

/* --------------------------------------------------------------------- registrations ------ */

int region_close_mrs(struct region *region)
{
    int first = 0;

    for (int i = 0; i < region->pieces; i++) {
        int rc = region->mr[i] ? fi_close(&region->mr[i]->fid) : 0;

        if (rc == 0)
            region->mr[i] = NULL;
        else if (first == 0)
            first = rc;
    }
    return first;
}

static uint64_t new_key(const struct hf_fabric *fabric)
{
    uint64_t key = 0;

    if (getrandom(&key, sizeof key, 0) != (ssize_t)sizeof key)
        key = region_now_ns() * UINT64_C(0x9E3779B97F4A7C15);
    return key & fabric->key_mask;
}

/* A key is by chance, so that a peer's old key opens no other range. */
static int register_piece(struct region *region, int i, uint64_t access)
{
    const struct hf_fabric *fabric = region->fabric;
    const struct iovec *iov = &region->iov[i];
    int rc = -FI_ENOKEY;

    for (int tries = 0; tries < KEY_TRIES && rc == -FI_ENOKEY; tries++)
        rc = fi_mr_reg(fabric->domain, iov->iov_base, iov->iov_len, access, 0, new_key(fabric), 0,
                       &region->mr[i], NULL);
    if (rc)
        region->mr[i] = NULL;
    return rc;
}

static int register_all(struct region *region, uint64_t access)
{
    for (int i = 0; i < region->pieces; i++) {
        int rc = register_piece(region, i, access);

        if (rc) {
            region_close_mrs(region);
            return fabric_fail(rc, "fi_mr_reg: %s", fi_strerror(-rc));
        }
    }
    return 0;
}

static void describe_window(const struct region *region, uint64_t access,
                            struct hf_fabric_window *out)
{
    *out = (struct hf_fabric_window){
        .region = region->id, .access = access, .pieces = (uint32_t)region->pieces};
    for (int i = 0; i < region->pieces; i++) {
        const struct iovec *iov = &region->iov[i];
        bool by_address = region->fabric->mr_mode & FI_MR_VIRT_ADDR;

        out->piece[i].address = by_address ? (uintptr_t)iov->iov_base : 0;
        out->piece[i].key = fi_mr_key(region->mr[i]);
        out->piece[i].len = iov->iov_len;
        out->len += iov->iov_len;
    }
}

/* -------------------------------------------------------------------------- the calls ----- */

static int check_process(const struct hf_fabric *fabric)
{
    return fabric->pid == getpid() ? 0
                                   : fabric_fail(-ECHILD, "the parent opened it before the fork");
}

static int take_lease(struct region *region, struct hf_file *file, uint64_t off, uint64_t len,
                      uint64_t access, const char *peer)
{
    struct hf_lease_options options = {.size = sizeof options,
                                       .flags = HF_PIN_RDMA,
                                       .recall = recall_region,
                                       .arg = (void *)(uintptr_t)region->id,
                                       .label = peer};
    int rc;

    if (access & ACCESS_WRITES)
        options.flags |= HF_PIN_WRITE;
    rc = hf_lease(file, off, len, &options, region->iov, HF_FABRIC_PIECES, &region->lease);
    if (rc < 0)
        return fabric_fail(rc, "%s", hf_strerror_detail());
    region->pieces = rc;
    return 0;
}

int hf_fabric_expose(struct hf_fabric *fabric, struct hf_file *file, uint64_t off, uint64_t len,
                     uint64_t access, const char *peer, void *arg, struct hf_fabric_window *out)
{
    struct region *region;
    int rc = check_process(fabric);

    if (rc)
        return rc;
    if (access == 0 || (access & ~(uint64_t)ACCESS_ALL))
        return fabric_fail(-EINVAL, "access is one or more of FI_REMOTE_READ, FI_REMOTE_WRITE, "
                                    "FI_READ, FI_WRITE, FI_SEND, FI_RECV");
    region = new_region(fabric, arg);
    if (!region)
        return fabric_fail(-ENOMEM, "no memory");
    rc = take_lease(region, file, off, len, access, peer);
    if (rc) {
        drop_region(region);
        return rc;
    }
    rc = register_all(region, access);
    if (rc) {
        hf_lease_release(&region->lease);
        drop_region(region);
        return rc;
    }
    describe_window(region, access, out);
    pthread_mutex_lock(&regions_mutex);
    region->state = REGION_EXPOSED;
    if (region->recalled)
        pthread_cond_signal(&fabric->wake);
    pthread_mutex_unlock(&regions_mutex);
    return 0;
}

static int no_region(uint64_t id)
{
    return fabric_fail(-ENOENT, "there is no region %" PRIu64, id);
}

int hf_fabric_local(struct hf_fabric *fabric, uint64_t id, struct iovec *iov, void **desc,
                    int count)
{
    const struct region *region;
    int rc = check_process(fabric);

    if (rc)
        return rc;
    pthread_mutex_lock(&regions_mutex);
    region = find_region(fabric, id);
    if (!region || (region->state != REGION_EXPOSED && region->state != REGION_ASKED))
        rc = no_region(id);
    else if (region->pieces > count)
        rc = fabric_fail(-E2BIG, "the region has %d pieces", region->pieces);
    for (int i = 0; rc == 0 && i < region->pieces; i++) {
        iov[i] = region->iov[i];
        desc[i] = fi_mr_desc(region->mr[i]);
    }
    rc = rc ? rc : region->pieces;
    pthread_mutex_unlock(&regions_mutex);
    return rc;
}

/* A registration that cannot be closed leaves the region as it was. */
static int close_and_release(struct region *region, enum region_state before)
{
    int rc = region_close_mrs(region);

    if (rc == 0) { /* a thread that waits for the lease finds the region gone */
        const struct hf_lease lease = region->lease;

        drop_region(region);
        hf_lease_release(&lease);
        return 0;
    }
    pthread_mutex_lock(&regions_mutex);
    region->state = before;
    pthread_cond_signal(&region->fabric->wake);
    pthread_mutex_unlock(&regions_mutex);
    return fabric_fail(rc, "fi_close of a registration: %s", fi_strerror(-rc));
}

int hf_fabric_acknowledge(struct hf_fabric *fabric, uint64_t id)
{
    enum region_state before = REGION_NEW;
    struct region *region;
    int rc = check_process(fabric);

    if (rc)
        return rc;
    pthread_mutex_lock(&regions_mutex);
    region = find_region(fabric, id);
    if (region)
        before = region->state;
    if (before == REGION_EXPOSED || before == REGION_ASKED)
        region->state = REGION_CLOSING;
    pthread_mutex_unlock(&regions_mutex);
    if (before == REGION_LOST)
        return fabric_fail(-ESTALE, "region %" PRIu64 " is lost: its quarantine has begun", id);
    if (before != REGION_EXPOSED && before != REGION_ASKED)
        return no_region(id);
    return close_and_release(region, before);
}

int hf_fabric_withdraw(struct hf_fabric *fabric, uint64_t id)
{
    struct region *region;
    int rc = check_process(fabric);

    if (rc)
        return rc;
    pthread_mutex_lock(&regions_mutex);
    region = find_region(fabric, id);
    if (region) {
        region->recalled = true;
        pthread_cond_signal(&fabric->wake);
    }
    pthread_mutex_unlock(&regions_mutex);
    return region ? 0 : no_region(id);
}

int hf_fabric_abandon(struct hf_fabric *fabric, uint64_t id)
{
    struct region *region;
    int rc = check_process(fabric);

    if (rc)
        return rc;
    pthread_mutex_lock(&regions_mutex);
    region = find_region(fabric, id);
    if (region && (region->state == REGION_EXPOSED || region->state == REGION_ASKED)) {
        region->state = REGION_ASKED;
        region->until_ns = 0;
        region->abandoned = true;
        pthread_cond_signal(&fabric->wake);
    }
    pthread_mutex_unlock(&regions_mutex);
    return region ? 0 : no_region(id);
}
