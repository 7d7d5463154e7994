/* SPDX-License-Identifier: MIT */
/* The verbs serve and cluster are those of holdfast-cluster: what it links takes a hundred times as
 * long to load as all the rest. */
#include "cluster.h"

const struct cli_verb cli_verb_serve = {
    .name = "serve", .summary = SERVE_SUMMARY, .topic = "cluster"};

const struct cli_verb cli_verb_cluster = {
    .name = "cluster", .summary = CLUSTER_SUMMARY, .topic = "cluster"};
