/* SPDX-License-Identifier: MIT */
/* What the verbs serve and cluster share, and what the program that lists them knows of them. */
#ifndef HOLDFAST_CLI_CLUSTER_H
#define HOLDFAST_CLI_CLUSTER_H

#include "cli.h"

#include <holdfast/cluster.h>

#define SERVE_SUMMARY "serve a cache of the pool to other machines"
#define CLUSTER_SUMMARY "get, put and list objects of all members of a cluster"

/* As the options say (cluster_options.c). */
struct cluster_place {
    const char *members, *secret_path;
    struct hfx_etcd etcd; /* without urls: none */
};
extern struct cluster_place cluster_place;

/* The options, in both verbs. */
#define CLUSTER_TEXT(option, short_name, place, of, says)                                          \
    {                                                                                              \
        .name = (option), .letter = (short_name), .kind = CLI_TEXT, .value = &(place),             \
        .value_name = (of), .help = (says)                                                         \
    }
#define CLUSTER_OPTIONS                                                                            \
    CLUSTER_TEXT("etcd", 'e', cluster_place.etcd.urls, "URL[,URL]",                                \
                 "where the members are known"),                                                   \
        CLUSTER_TEXT("members", 'm', cluster_place.members, "LIST",                                \
                     "or: all of them, as NAME=HOST:PORT,..."),                                    \
        CLUSTER_TEXT("secret", 's', cluster_place.secret_path, "FILE",                             \
                     "its first line is known to all of the cluster and nobody else"),             \
        CLUSTER_TEXT("prefix", 0, cluster_place.etcd.prefix, "TEXT",                               \
                     "of all keys in etcd, ends with a slash (holdfast/)"),                        \
        CLUSTER_TEXT("ca", 0, cluster_place.etcd.ca, "FILE",                                       \
                     "certificates that are trusted, for etcd by https"),                          \
        CLUSTER_TEXT("cert", 0, cluster_place.etcd.cert, "FILE",                                   \
                     "this machine's certificate for etcd"),                                       \
        CLUSTER_TEXT("key", 0, cluster_place.etcd.key, "FILE", "its key")

/* EX_OK, or an exit code: they do not go together. */
int cluster_check_place(void);

#define CLUSTER_SECRET_MAX 4096
/* The first line of its file, "" without one. The exit code, or EX_OK. */
int cluster_read_secret(char secret[CLUSTER_SECRET_MAX]);

#endif
