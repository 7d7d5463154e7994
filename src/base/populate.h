/* SPDX-License-Identifier: MIT */
/* Memory before the first touch (populate.c). */
#ifndef HF_BASE_POPULATE_H
#define HF_BASE_POPULATE_H

#include <stdint.h>

/* Gives memory to all pages that have a byte of [from, from+bytes), which is mapped shared and may
 * be written. 0; -ENOSPC: the file system below has none left, and some pages may have got theirs;
 * -EOPNOTSUPP: the kernel cannot (before Linux 5.14). */
int hf_populate(const void *from, uint64_t bytes);

#endif
