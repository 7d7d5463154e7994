/* SPDX-License-Identifier: MIT */
/*
 * Private to src/media: one reservation of addresses, parts of a file mapped into it, and what only
 * a device-dax node or persistent memory needs. pmem2.c is by libpmem2; plain.c takes its place in
 * builds without it (-Dpmem=disabled).
 */
#ifndef HF_MEDIA_ADDRESSES_H
#define HF_MEDIA_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct media_addresses;

/* Reserves `bytes` of addresses, with nothing mapped there. -ENOMEM. */
int media_reserve(uint64_t bytes, struct media_addresses **out);
char *media_reserved_at(const struct media_addresses *addresses);

/* Maps [from, from+bytes) of the file to the reservation's byte `at`. *persistent: stores need no
 * write-back of pages, so the file is on persistent memory. */
int media_map_part(struct media_addresses *addresses, int fd, uint64_t from, uint64_t bytes,
                   uint64_t at, bool *persistent);

/* Returns when the stores to [addr, addr+len) are on the medium, which is persistent memory. */
void media_flush(const struct media_addresses *addresses, const void *addr, size_t len);

void media_release(struct media_addresses *addresses); /* unmaps all */

/* An open character device: is it a device-dax node that this build can map? -EOPNOTSUPP. */
int media_device_check(int fd, const char *path);
/* Of such a node: what addresses and lengths must be multiples of, and its length. */
int media_device_alignment(int fd, uint64_t *out);
int media_device_bytes(int fd, uint64_t *out);

#endif
