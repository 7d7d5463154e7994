/* SPDX-License-Identifier: MIT */
/* Memory before the first touch (populate.c). */
#ifndef HF_BASE_POPULATE_H
#define HF_BASE_POPULATE_H

#include <stdint.h>

/* Gives memory to all pages that have a byte of [from, from+bytes), which is mapped shared and may
 * be written. 0; -ENOSPC: the file system below has none left, and some pages may have got theirs;
 * -EOPNOTSUPP: the kernel cannot (before Linux 5.14). */
int hf_populate(const void *from, uint64_t bytes);

/* The same, by reading. The kernel maps pages that have memory many at a time then, and for writing
 * too. Pages without memory take a little longer. */
int hf_populate_around(const void *from, uint64_t bytes);

/* Makes pages of tmpfs in [from, from+bytes) huge, whatever the system is set to do by itself.
 * Both are multiples of the huge page, and each of these has a page with memory. Those without
 * memory get it, with zeros; the others keep what they hold. 0, or the error of madvise(2): some
 * may be huge. -EINVAL: the kernel cannot (before Linux 6.1), or the system denies it. */
int hf_collapse(const void *from, uint64_t bytes);

#endif
