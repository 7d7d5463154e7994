/* SPDX-License-Identifier: MIT */
/*
 * Three etcd of this test's own. Where no addresses are given, theirs are of the loopback network,
 * and no other test has them.
 */
#ifndef HF_TESTS_ETCDS_H
#define HF_TESTS_ETCDS_H

#include <stdbool.h>

#define ETCDS 3

/* Before they begin: they have these addresses, and each calls enter(index) before it listens. */
void etcds_place(const char *const addresses[ETCDS], void (*enter)(unsigned index));
/* Skips the test where etcd is not installed. tls: clients need a certificate. */
void etcds_begin(bool tls);
void etcds_start(unsigned index);
void etcds_kill(unsigned index); /* SIGKILL */
void etcds_stop(unsigned index); /* SIGSTOP */
void etcds_continue(unsigned index);

const char *etcds_urls(void);
/* Files of the test, if it was begun with TLS. */
const char *etcds_ca(void);
const char *etcds_cert(void);
const char *etcds_key(void);

#endif
