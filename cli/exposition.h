/* SPDX-License-Identifier: MIT */
/*
 * Prometheus' text exposition format, version 0.0.4. All samples of a metric stand together in it.
 * They may be added in any order, so several pools can be added one after the other.
 */
#ifndef HOLDFAST_CLI_EXPOSITION_H
#define HOLDFAST_CLI_EXPOSITION_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct exposition;

struct exposition *exposition_begin(void);
/* The samples that follow are of this metric; the name is without "holdfast_". */
void exposition_metric(struct exposition *exposition, const char *name, const char *type,
                       const char *help);
/* A line of the metric: `suffix` follows its name, `labels` follow the pool's label and begin with
 * a comma. */
void exposition_sample(struct exposition *exposition, const char *suffix, const char *pool,
                       const char *labels, uint64_t value);
/* The same in seconds. */
void exposition_sample_ns(struct exposition *exposition, const char *suffix, const char *pool,
                          const char *labels, uint64_t ns);
/* `,name="value"` with the format's escapes; to be freed. */
char *exposition_label(const char *name, const char *value);
/* Prints all of it, with `out` null nothing, and frees it. */
void exposition_end(struct exposition *exposition, FILE *out);

/* Seconds from nanoseconds, as a decimal without rounding. */
#define EXPOSITION_SECONDS "%" PRIu64 ".%09" PRIu64
#define EXPOSITION_SECONDS_OF(ns) (ns) / UINT64_C(1000000000), (ns) % UINT64_C(1000000000)

#endif
