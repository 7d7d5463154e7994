/* SPDX-License-Identifier: MIT */
/* Pins of copies, shared by what copies. */
#ifndef HF_FS_IO_H
#define HF_FS_IO_H

#include "fs/fs.h"

#define IO_PIECES 64u /* of a pin */

/* Pins as much of [off, off+*len) as has blocks and lies in IO_PIECES pieces; *len becomes that.
 * How many they are. -ENODATA: the page of `off` is a hole. 0: things have changed, look again. */
int fs_pin_some(struct hf_file *file, uint64_t off, uint64_t *len, uint32_t flags,
                struct iovec *iov, struct hf_pin *pin, struct meta_extent *hole);

/* fs_write() for a caller that holds something, and so must not wait for those that watch:
 * fs_written() is due, when nothing is held. `size`: of the file before, or less. */
ssize_t fs_write_untold(struct hf_file *file, const void *buf, size_t len, uint64_t off);
void fs_written(struct hf_file *file, uint64_t size, uint64_t off, uint64_t len);

/* -EINVAL: the ranges are of one file, and overlap. */
int fs_check_apart(const struct hf_file *a, uint64_t a_off, const struct hf_file *b, uint64_t b_off,
                   uint64_t len);

#endif
