/* SPDX-License-Identifier: MIT */
/* The page of `holdfast top --listen`: a pool in a browser. */
#ifndef HOLDFAST_CLI_PAGE_H
#define HOLDFAST_CLI_PAGE_H

#include <stdint.h>

/* Serves the page of the pool at `path` until a signal comes. The browser asks again after
 * `interval_ns`. Returns an exit code; the sentence is printed. */
int page_serve(const char *address, const char *path, uint64_t interval_ns);

#endif
