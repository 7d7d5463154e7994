/* SPDX-License-Identifier: MIT */
/* What the verbs serve and cluster share, and what the program that lists them knows of them. */
#ifndef HOLDFAST_CLI_CLUSTER_H
#define HOLDFAST_CLI_CLUSTER_H

#include "cli.h"

#include <holdfast/cluster.h>

#define SERVE_SUMMARY "serve a cache of the pool to other machines"
#define CLUSTER_SUMMARY "get, put and list objects of all members of a cluster"

#define CLUSTER_SECRET_MAX 4096
/* The first line of the file, "" without a path. The exit code, or EX_OK. */
int cluster_read_secret(const char *path, char secret[CLUSTER_SECRET_MAX]);

#endif
