/* SPDX-License-Identifier: MIT */
/*
 * Private to src/media: one reservation of addresses, parts of a file mapped into it, and what only
 * a device-dax node or persistent memory needs. addresses.c maps by mmap(2). For devices and files
 * on disks it calls pmem2.c, which is by libpmem2. In builds without it (-Dpmem=disabled)
 * no_pmem2.c takes its place.
 */
#ifndef HF_MEDIA_ADDRESSES_H
#define HF_MEDIA_ADDRESSES_H

#include "media/media.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct media_addresses;

/* Reserves `bytes` of addresses, with nothing mapped there. -ENOMEM. */
int media_reserve(enum media_kind kind, uint64_t bytes, struct media_addresses **out);
char *media_reserved_at(const struct media_addresses *addresses);

/* Maps [from, from+bytes) of the file to the reservation's byte `at`. *persistent: stores need no
 * write-back of pages, so the file is on persistent memory. */
int media_map_part(struct media_addresses *addresses, int fd, uint64_t from, uint64_t bytes,
                   uint64_t at, bool *persistent);

/* Returns when the stores to [addr, addr+len) are on the medium, which is persistent memory. */
void media_flush(const struct media_addresses *addresses, const void *addr, size_t len);

void media_release(struct media_addresses *addresses); /* unmaps all */

/* An open character device: is it a device-dax node that can be mapped? -EOPNOTSUPP. */
int media_device_check(int fd, const char *path);
/* Of such a node: what addresses and lengths must be multiples of, and its length. */
int media_device_alignment(int fd, uint64_t *out);
int media_device_bytes(int fd, uint64_t *out);

/* ---- for addresses.c: the same by libpmem2 ---- */

struct media_pmem2;

/* *out is null where libpmem2 is not to be had. */
int media_pmem2_reserve(uint64_t bytes, struct media_pmem2 **out);
char *media_pmem2_at(const struct media_pmem2 *pmem2);
int media_pmem2_map(struct media_pmem2 *pmem2, int fd, uint64_t from, uint64_t bytes, uint64_t at,
                    bool *persistent);
void media_pmem2_flush(const struct media_pmem2 *pmem2, const void *addr, size_t len);
void media_pmem2_release(struct media_pmem2 *pmem2);

#endif
