/* SPDX-License-Identifier: MIT */
/* What else goes on in a pool whose cache is in use. */
#ifndef HF_TESTS_CACHE_BESIDE_H
#define HF_TESTS_CACHE_BESIDE_H

#include "support.h"

/* FOLDER/pool is trimmed and deduplicated all the time. If this process may mount, it is mounted,
 * and the cache's files are read through the mount. The environment says in HOLDFAST where the
 * program is. */
void beside_begin(const char *pool);
/* Each of them has done something, and ends. */
void beside_end(void);

#endif
