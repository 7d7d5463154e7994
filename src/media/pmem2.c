/* SPDX-License-Identifier: MIT */
/*
 * Addresses by libpmem2, which knows when a store is persistent: it tries MAP_SYNC and reads the
 * platform's flush domains. Owns what is mapped into a reservation. Calls libpmem2 and base.
 */
#include "media/addresses.h"

#include "base/descriptor.h"
#include "base/error.h"

#include <errno.h>
#include <libpmem2.h>
#include <stdlib.h>

struct part {
    struct pmem2_map *map;
    struct part *next;
};

struct media_addresses {
    struct pmem2_vm_reservation *reservation;
    struct part *parts;
    pmem2_persist_fn persist;
};

/* libpmem2's error as ours. */
static int pmem2_result(int rc, const char *doing)
{
    if (rc == 0)
        return 0;
    if (rc > -4096)
        return hf_fail_errno(-rc, "%s", doing);
    return hf_fail(EOPNOTSUPP, "%s: %s", doing, pmem2_errormsg());
}

/* --- the reservation --- */

int media_reserve(uint64_t bytes, struct media_addresses **out)
{
    struct media_addresses *addresses = calloc(1, sizeof *addresses);
    int rc;

    if (!addresses)
        return hf_fail(ENOMEM, "out of memory");
    rc = pmem2_vm_reservation_new(&addresses->reservation, NULL, bytes);
    if (rc == 0) {
        *out = addresses;
        return 0;
    }
    free(addresses);
    if (rc == -ENOMEM)
        return hf_fail_map(ENOMEM, "all that the pool may grow to");
    return pmem2_result(rc, "addresses for the pool's limit");
}

char *media_reserved_at(const struct media_addresses *addresses)
{
    return pmem2_vm_reservation_get_address(addresses->reservation);
}

void media_release(struct media_addresses *addresses)
{
    while (addresses->parts) {
        struct part *part = addresses->parts;
        addresses->parts = part->next;
        pmem2_map_delete(&part->map);
        free(part);
    }
    pmem2_vm_reservation_delete(&addresses->reservation);
    free(addresses);
}

/* --- parts --- */

static int configure(struct media_addresses *addresses, uint64_t from, uint64_t bytes, uint64_t at,
                     struct pmem2_config **out)
{
    struct pmem2_config *config;
    int rc = pmem2_config_new(&config);

    if (rc)
        return rc;
    rc = pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE);
    if (rc == 0)
        rc = pmem2_config_set_offset(config, from);
    if (rc == 0)
        rc = pmem2_config_set_length(config, bytes);
    if (rc == 0)
        rc = pmem2_config_set_vm_reservation(config, addresses->reservation, at);
    if (rc)
        pmem2_config_delete(&config);
    else
        *out = config;
    return rc;
}

static int map_file(struct media_addresses *addresses, int fd, uint64_t from, uint64_t bytes,
                    uint64_t at, struct pmem2_map **out)
{
    struct pmem2_source *source;
    struct pmem2_config *config;
    int rc = pmem2_source_from_fd(&source, fd);

    if (rc)
        return pmem2_result(rc, "the pool's memory");
    rc = configure(addresses, from, bytes, at, &config);
    if (rc == 0) {
        hf_fd_guard_begin(); /* it looks into files of the system */
        rc = pmem2_map_new(out, config, source);
        hf_fd_guard_end();
        pmem2_config_delete(&config);
    }
    pmem2_source_delete(&source);
    if (rc == PMEM2_E_MAP_RANGE) /* another process has cut it since its length was looked at */
        return hf_fail(EUCLEAN, "the pool's memory is shorter than its metadata say");
    return pmem2_result(rc, "map the pool's memory");
}

int media_map_part(struct media_addresses *addresses, int fd, uint64_t from, uint64_t bytes,
                   uint64_t at, bool *persistent)
{
    struct part *part = malloc(sizeof *part);
    int rc;

    if (!part)
        return hf_fail(ENOMEM, "out of memory");
    rc = map_file(addresses, fd, from, bytes, at, &part->map);
    if (rc) {
        free(part);
        return rc;
    }
    part->next = addresses->parts;
    addresses->parts = part;
    addresses->persist = pmem2_get_persist_fn(part->map);
    *persistent = pmem2_map_get_store_granularity(part->map) != PMEM2_GRANULARITY_PAGE;
    return 0;
}

void media_flush(const struct media_addresses *addresses, const void *addr, size_t len)
{
    addresses->persist(addr, len);
}

/* --- devices, whose length only sysfs tells --- */

int media_device_check(int fd, const char *path)
{
    struct pmem2_source *source;
    int rc = pmem2_source_from_fd(&source, fd); /* refuses devices that are not device-dax */

    if (rc)
        return hf_fail(EOPNOTSUPP, "%s is a device, but not a device-dax node", path);
    pmem2_source_delete(&source);
    return 0;
}

static int device_number(int fd, int (*ask)(const struct pmem2_source *, size_t *), uint64_t *out)
{
    struct pmem2_source *source;
    size_t value;
    int rc = pmem2_source_from_fd(&source, fd);

    if (rc)
        return pmem2_result(rc, "device-dax");
    hf_fd_guard_begin();
    rc = ask(source, &value);
    hf_fd_guard_end();
    pmem2_source_delete(&source);
    if (rc == 0)
        *out = value;
    return pmem2_result(rc, "device-dax");
}

int media_device_alignment(int fd, uint64_t *out)
{
    return device_number(fd, pmem2_source_alignment, out);
}

int media_device_bytes(int fd, uint64_t *out)
{
    return device_number(fd, pmem2_source_size, out);
}
