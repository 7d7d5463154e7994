/* SPDX-License-Identifier: MIT */
/*
 * Addresses by libpmem2, which knows when a store is persistent: it tries MAP_SYNC and reads the
 * platform's flush domains. Owns what is mapped into a reservation. Calls libpmem2 and base.
 *
 * The library is loaded by the first pool that may need it. It brings seven others with it, and a
 * program whose pools are in memory starts in half the time without them.
 */
#include "media/addresses.h"

#include "base/descriptor.h"
#include "base/error.h"

#include <dlfcn.h>
#include <errno.h>
#include <libpmem2.h>
#include <pthread.h>
#include <stdlib.h>

#define LIBRARY "libpmem2.so.1" /* of the header that this is built with */

/* The functions of the library that are called here. */
#define EACH_CALL(CALL)                                                                            \
    CALL(errormsg)                                                                                 \
    CALL(vm_reservation_new)                                                                       \
    CALL(vm_reservation_get_address)                                                               \
    CALL(vm_reservation_delete)                                                                    \
    CALL(config_new)                                                                               \
    CALL(config_set_required_store_granularity)                                                    \
    CALL(config_set_offset)                                                                        \
    CALL(config_set_length)                                                                        \
    CALL(config_set_vm_reservation)                                                                \
    CALL(config_delete)                                                                            \
    CALL(source_from_fd)                                                                           \
    CALL(source_alignment)                                                                         \
    CALL(source_size)                                                                              \
    CALL(source_delete)                                                                            \
    CALL(map_new)                                                                                  \
    CALL(map_get_store_granularity)                                                                \
    CALL(map_delete)                                                                               \
    CALL(get_persist_fn)

#define AS_MEMBER(name) __typeof__(&pmem2_##name) name;
static struct {
    EACH_CALL(AS_MEMBER)
} lib;
static bool loaded;

static void load_pmem2(void)
{
    void *library;

    hf_fd_guard_begin();
    library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    hf_fd_guard_end();
#define FIND(name) &&(lib.name = (__typeof__(lib.name))dlsym(library, "pmem2_" #name)) != NULL
    loaded = library != NULL EACH_CALL(FIND);
}

static bool can_call_pmem2(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, load_pmem2);
    return loaded;
}

struct part {
    struct pmem2_map *map;
    struct part *next;
};

struct media_pmem2 {
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
    return hf_fail(EOPNOTSUPP, "%s: %s", doing, lib.errormsg());
}

/* --- the reservation --- */

int media_pmem2_reserve(uint64_t bytes, struct media_pmem2 **out)
{
    struct media_pmem2 *pmem2 = can_call_pmem2() ? calloc(1, sizeof *pmem2) : NULL;
    int rc;

    *out = NULL;
    if (!loaded)
        return 0;
    if (!pmem2)
        return hf_fail(ENOMEM, "out of memory");
    rc = lib.vm_reservation_new(&pmem2->reservation, NULL, bytes);
    if (rc == 0) {
        *out = pmem2;
        return 0;
    }
    free(pmem2);
    if (rc == -ENOMEM)
        return hf_fail_map(ENOMEM, "all that the pool may grow to");
    return pmem2_result(rc, "addresses for the pool's limit");
}

char *media_pmem2_at(const struct media_pmem2 *pmem2)
{
    return lib.vm_reservation_get_address(pmem2->reservation);
}

void media_pmem2_release(struct media_pmem2 *pmem2)
{
    while (pmem2->parts) {
        struct part *part = pmem2->parts;
        pmem2->parts = part->next;
        lib.map_delete(&part->map);
        free(part);
    }
    lib.vm_reservation_delete(&pmem2->reservation);
    free(pmem2);
}

/* --- parts --- */

static int configure(struct media_pmem2 *pmem2, uint64_t from, uint64_t bytes, uint64_t at,
                     struct pmem2_config **out)
{
    struct pmem2_config *config;
    int rc = lib.config_new(&config);

    if (rc)
        return rc;
    rc = lib.config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE);
    if (rc == 0)
        rc = lib.config_set_offset(config, from);
    if (rc == 0)
        rc = lib.config_set_length(config, bytes);
    if (rc == 0)
        rc = lib.config_set_vm_reservation(config, pmem2->reservation, at);
    if (rc)
        lib.config_delete(&config);
    else
        *out = config;
    return rc;
}

static int map_file(struct media_pmem2 *pmem2, int fd, uint64_t from, uint64_t bytes, uint64_t at,
                    struct pmem2_map **out)
{
    struct pmem2_source *source;
    struct pmem2_config *config;
    int rc = lib.source_from_fd(&source, fd);

    if (rc)
        return pmem2_result(rc, "the pool's memory");
    rc = configure(pmem2, from, bytes, at, &config);
    if (rc == 0) {
        hf_fd_guard_begin(); /* it looks into files of the system */
        rc = lib.map_new(out, config, source);
        hf_fd_guard_end();
        lib.config_delete(&config);
    }
    lib.source_delete(&source);
    if (rc == PMEM2_E_MAP_RANGE) /* another process has cut it since its length was looked at */
        return hf_fail(EUCLEAN, "the pool's memory is shorter than its metadata say");
    return pmem2_result(rc, "map the pool's memory");
}

int media_pmem2_map(struct media_pmem2 *pmem2, int fd, uint64_t from, uint64_t bytes, uint64_t at,
                    bool *persistent)
{
    struct part *part = malloc(sizeof *part);
    int rc;

    if (!part)
        return hf_fail(ENOMEM, "out of memory");
    rc = map_file(pmem2, fd, from, bytes, at, &part->map);
    if (rc) {
        free(part);
        return rc;
    }
    part->next = pmem2->parts;
    pmem2->parts = part;
    pmem2->persist = lib.get_persist_fn(part->map);
    *persistent = lib.map_get_store_granularity(part->map) != PMEM2_GRANULARITY_PAGE;
    return 0;
}

void media_pmem2_flush(const struct media_pmem2 *pmem2, const void *addr, size_t len)
{
    pmem2->persist(addr, len);
}

/* --- devices, whose length only sysfs tells --- */

int media_device_check(int fd, const char *path)
{
    struct pmem2_source *source;
    int rc;

    if (!can_call_pmem2())
        return hf_fail(EOPNOTSUPP,
                       "%s is a device, and libpmem2, which such pools need, cannot be "
                       "loaded (%s)",
                       path, LIBRARY);
    rc = lib.source_from_fd(&source, fd); /* refuses devices that are not device-dax */
    if (rc)
        return hf_fail(EOPNOTSUPP, "%s is a device, but not a device-dax node", path);
    lib.source_delete(&source);
    return 0;
}

static int device_number(int fd, int (*ask)(const struct pmem2_source *, size_t *), uint64_t *out)
{
    struct pmem2_source *source;
    size_t value;
    int rc = lib.source_from_fd(&source, fd);

    if (rc)
        return pmem2_result(rc, "device-dax");
    hf_fd_guard_begin();
    rc = ask(source, &value);
    hf_fd_guard_end();
    lib.source_delete(&source);
    if (rc == 0)
        *out = value;
    return pmem2_result(rc, "device-dax");
}

int media_device_alignment(int fd, uint64_t *out)
{
    return device_number(fd, lib.source_alignment, out);
}

int media_device_bytes(int fd, uint64_t *out)
{
    return device_number(fd, lib.source_size, out);
}
