/* SPDX-License-Identifier: MIT */
/* All that is measured of a pool, as metrics. */
#ifndef HOLDFAST_CLI_POOL_METRICS_H
#define HOLDFAST_CLI_POOL_METRICS_H

#include "exposition.h"

#include <holdfast/holdfast.h>

/* Adds all or nothing; -errno of the library. */
int pool_metrics_add(struct exposition *out, const char *path, struct hf_pool *pool);
/* Adds that the pool cannot be read. */
void pool_metrics_add_down(struct exposition *out, const char *path);

#endif
