/* SPDX-License-Identifier: MIT */
/* Pins for copying, shared by the calls that copy. */
#ifndef HF_FS_IO_H
#define HF_FS_IO_H

#include "fs/fs.h"

#define IO_PIECES 64u /* of a pin */

/* Pins as much of [off, off+*len) as has blocks and lies in IO_PIECES pieces, and sets *len to
 * that. Returns the number of pieces. -ENODATA: the page of `off` is a hole. -EMLINK: it
 * needs a block of its own first. 0: the file has changed, look again. */
int fs_pin_some(struct hf_file *file, uint64_t off, uint64_t *len, uint32_t flags,
                struct iovec *iov, struct hf_pin *pin, struct meta_extent *hole);

/* fs_write() for a caller that holds something, and so must not wait for watchers. Call
 * fs_written() when nothing is held. `size`: of the file before, or less. */
ssize_t fs_write_untold(struct hf_file *file, const void *buf, size_t len, uint64_t off);
void fs_written(struct hf_file *file, uint64_t size, uint64_t off, uint64_t len);

/* -EINVAL: the ranges overlap in one file. */
int fs_check_apart(const struct hf_file *a, uint64_t a_off, const struct hf_file *b, uint64_t b_off,
                   uint64_t len);

#endif
