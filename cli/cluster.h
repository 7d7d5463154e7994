/* SPDX-License-Identifier: MIT */
/* What the verbs serve and cluster share. */
#ifndef HOLDFAST_CLI_CLUSTER_H
#define HOLDFAST_CLI_CLUSTER_H

#include "cli.h"

#include <holdfast/cluster.h>

#define CLUSTER_SECRET_MAX 4096
/* The first line of the file, "" without a path. The exit code, or EX_OK. */
int cluster_read_secret(const char *path, char secret[CLUSTER_SECRET_MAX]);

#endif
