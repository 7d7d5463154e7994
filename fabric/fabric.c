/* SPDX-License-Identifier: MIT */
/* A pool and a domain: the demands on the domain, and the thread that watches regions. */
#include "private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_NS UINT64_C(1000000000)
#define RETRY_NS UINT64_C(1000000000) /* of a registration that could not be closed */
#define NEVER_NS UINT64_MAX

uint64_t region_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ------------------------------------------------------------------------- the thread ----- */

static void tell_program(struct hf_fabric *fabric, const struct region *region, uint32_t kind)
{
    const struct hf_fabric_event event = {region->id, region->arg, kind, 0};

    pthread_mutex_unlock(&regions_mutex);
    fabric->event(event.arg, &event);
    pthread_mutex_lock(&regions_mutex);
}

/* Layout changes that wait for the lease go on. The pool keeps its blocks for the quarantine, also
 * when this process dies. The registrations are closed first: a key would open the next file's
 * bytes. */
static void give_up_region(struct hf_fabric *fabric, struct region *region)
{
    bool closed;

    region->until_ns = NEVER_NS;
    pthread_mutex_unlock(&regions_mutex);
    closed = region_close_mrs(region) == 0;
    if (closed)
        hf_lease_quarantine(&region->lease);
    pthread_mutex_lock(&regions_mutex);
    region->given_up = closed;
    region->until_ns = region_now_ns() + (closed ? fabric->quarantine_ns : RETRY_NS);
}

/* From here on only this thread ends the region. */
static void lose_region(struct hf_fabric *fabric, struct region *region)
{
    region->state = REGION_LOST;
    region->until_ns = NEVER_NS;
    pthread_mutex_unlock(&regions_mutex);
    region_close_mrs(region);
    pthread_mutex_lock(&regions_mutex);
    if (!region->abandoned)
        tell_program(fabric, region, HF_FABRIC_LOST);
    give_up_region(fabric, region); /* what `event` closes is closed */
}

static void end_quarantine(struct hf_fabric *fabric, struct region *region)
{
    if (!region->given_up) {
        give_up_region(fabric, region);
        return;
    }
    region_unlink(region);
    free(region);
}

/* Does one thing that is due: then true. False: nothing is, and *next_ns says when something will
 * be. */
static bool serve_due_region(struct hf_fabric *fabric, uint64_t *next_ns)
{
    uint64_t now = region_now_ns();

    *next_ns = NEVER_NS;
    for (struct region *region = regions; region; region = region->next) {
        if (region->fabric != fabric)
            continue;
        if (region->state == REGION_EXPOSED && region->recalled) {
            region->state = REGION_ASKED;
            region->until_ns = now + fabric->answer_ns;
            tell_program(fabric, region, HF_FABRIC_REVOKE);
            return true;
        }
        if (region->state != REGION_ASKED && region->state != REGION_LOST)
            continue;
        if (region->until_ns <= now) {
            if (region->state == REGION_ASKED)
                lose_region(fabric, region);
            else
                end_quarantine(fabric, region);
            return true;
        }
        if (region->until_ns < *next_ns)
            *next_ns = region->until_ns;
    }
    return false;
}

static void sleep_until_due(struct hf_fabric *fabric, uint64_t ns)
{
    const struct timespec until = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

    if (ns == NEVER_NS)
        pthread_cond_wait(&fabric->wake, &regions_mutex);
    else
        pthread_cond_timedwait(&fabric->wake, &regions_mutex, &until);
}

void *fabric_watch(void *arg)
{
    struct hf_fabric *fabric = arg;
    uint64_t next_ns;

    pthread_mutex_lock(&regions_mutex);
    while (!fabric->ends)
        if (!serve_due_region(fabric, &next_ns))
            sleep_until_due(fabric, next_ns);
    pthread_mutex_unlock(&regions_mutex);
    return NULL;
}

/* ------------------------------------------------------------------------- open, close ---- */

/* With shm and no order, a peer copies by process_vm_readv(2) and asks nobody. */
static bool needs_no_key(const struct fi_info *info)
{
    const char *name = info->fabric_attr ? info->fabric_attr->prov_name : NULL;

    return name && strcmp(name, "shm") == 0 && (info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) &&
           !(info->tx_attr && info->tx_attr->msg_order & (FI_ORDER_RAW | FI_ORDER_RAR));
}

static int check(const struct hf_pool *pool, const struct hf_fabric_options *options)
{
    if (!pool || !options || options->size != sizeof *options || !options->domain ||
        !options->info || !options->info->domain_attr || !options->event || options->reserved)
        return fabric_fail(-EINVAL,
                           "the pool, size, domain, info and event are needed; the rest is 0");
    if (options->info->domain_attr->threading != FI_THREAD_SAFE)
        return fabric_fail(-EOPNOTSUPP,
                           "the domain is not FI_THREAD_SAFE: ask for it in the hints");
    if (options->info->domain_attr->mr_mode & (FI_MR_RAW | FI_MR_ENDPOINT | FI_MR_RMA_EVENT))
        return fabric_fail(-EOPNOTSUPP,
                           "the domain's registrations are raw, or bound to endpoints");
    if (needs_no_key(options->info))
        return fabric_fail(-EOPNOTSUPP, "with shm, ask for FI_ORDER_RAW in the hints: without an "
                                        "order, peers need no key and cannot be kept out");
    return 0;
}

static uint64_t quarantine_of(struct hf_pool *pool)
{
    struct hf_pool_info info = {.size = sizeof info};

    return hf_pool_info(pool, &info) == 0 ? info.quarantine_ns : UINT64_C(30000000000);
}

static uint64_t key_mask(const struct fi_info *info)
{
    size_t bytes = info->domain_attr->mr_key_size;

    return bytes >= 8 ? UINT64_MAX : (UINT64_C(1) << 8 * bytes) - 1;
}

static int start(struct hf_fabric *fabric)
{
    pthread_condattr_t attributes;
    int rc;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&fabric->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    rc = pthread_create(&fabric->thread, NULL, fabric_watch, fabric);
    if (rc == 0)
        return 0;
    pthread_cond_destroy(&fabric->wake);
    return fabric_fail(-EAGAIN, "no thread could be made: %s", strerror(rc));
}

int hf_fabric_open(struct hf_pool *pool, const struct hf_fabric_options *options,
                   struct hf_fabric **out)
{
    struct hf_fabric *fabric;
    int rc = check(pool, options);

    if (rc)
        return rc;
    fabric = calloc(1, sizeof *fabric);
    if (!fabric)
        return fabric_fail(-ENOMEM, "no memory");
    fabric->pool = pool;
    fabric->domain = options->domain;
    fabric->event = options->event;
    fabric->answer_ns = options->answer_ns ? options->answer_ns : ANSWER_NS;
    fabric->quarantine_ns = quarantine_of(pool);
    fabric->mr_mode = (uint64_t)options->info->domain_attr->mr_mode;
    fabric->key_mask = key_mask(options->info);
    fabric->pid = getpid();
    rc = start(fabric);
    if (rc) {
        free(fabric);
        return rc;
    }
    *out = fabric;
    return 0;
}

int hf_fabric_close(struct hf_fabric *fabric)
{
    unsigned count = 0;

    if (fabric->pid != getpid())
        return fabric_fail(-ECHILD, "the parent opened it before the fork");
    pthread_mutex_lock(&regions_mutex);
    for (const struct region *region = regions; region; region = region->next)
        count += region->fabric == fabric;
    fabric->ends = count == 0;
    pthread_cond_signal(&fabric->wake);
    pthread_mutex_unlock(&regions_mutex);
    if (count)
        return fabric_fail(-EBUSY, "%u regions are left: exposed, not answered, or in quarantine",
                           count);
    pthread_join(fabric->thread, NULL);
    pthread_cond_destroy(&fabric->wake);
    free(fabric);
    return 0;
}
