/* SPDX-License-Identifier: MIT */
/* Three etcd of this test's own, on addresses of the loopback network that no other test has. */
#ifndef HF_TESTS_ETCDS_H
#define HF_TESTS_ETCDS_H

#include <stdbool.h>

#define ETCDS 3

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
