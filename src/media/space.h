/* SPDX-License-Identifier: MIT */
/* Private to src/media: what kind of memory a file is, and making room in it (space.c). */
#ifndef HF_MEDIA_SPACE_H
#define HF_MEDIA_SPACE_H

#include "media/media.h"

/* The kind of an open file or device. A file on persistent memory is MEDIA_FILE here, since only
 * mapping it tells. -EOPNOTSUPP: neither a regular file nor a device-dax
 * node that this build can map. */
int media_detect(int fd, const char *path, enum media_kind *out);

/* Bytes that lengths and addresses of a mapping must be multiples of; at least 2 MiB. */
int media_alignment(int fd, enum media_kind kind, uint64_t *out);

/* Bytes that can be mapped now. */
int media_length(int fd, enum media_kind kind, uint64_t *out);

/* Makes the file at least `bytes` long and sees to it that the added memory is there. */
int media_extend(int fd, enum media_kind kind, uint64_t bytes);
/* The same for a file that is used up to `from`. */
int media_extend_from(int fd, enum media_kind kind, uint64_t from, uint64_t bytes);

#endif
