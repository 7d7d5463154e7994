/* SPDX-License-Identifier: MIT */
/* What the files of libholdfast-fabric share; regions.c says how a region lives. */
#ifndef HF_FABRIC_PRIVATE_H
#define HF_FABRIC_PRIVATE_H

#include <holdfast/fabric.h>
#include <pthread.h>
#include <rdma/fi_domain.h>
#include <stdbool.h>

struct hf_fabric {
    struct hf_pool *pool;
    struct fid_domain *domain;
    void (*event)(void *arg, const struct hf_fabric_event *event);
    uint64_t answer_ns, quarantine_ns, mr_mode, key_mask;
    pid_t pid; /* of the process that opened it */
    pthread_t thread;
    pthread_cond_t wake; /* with regions_mutex */
    bool ends;
};

enum region_state { REGION_NEW, REGION_EXPOSED, REGION_ASKED, REGION_LOST, REGION_CLOSING };

struct region {
    struct region *next;
    struct hf_fabric *fabric;
    uint64_t id, until_ns; /* asked: when it is lost; lost: when the quarantine ends */
    void *arg;
    struct hf_lease lease;
    enum region_state state;
    bool recalled, abandoned; /* abandoned: the program knows that it is lost */
    bool given_up;            /* lost, and its registrations are closed: the pool has the lease */
    int pieces;
    struct iovec iov[HF_FABRIC_PIECES];
    struct fid_mr *mr[HF_FABRIC_PIECES];
};

/* The regions of all fabrics of the process: a recall finds its region by number, so that a late
 * recall finds none. */
extern pthread_mutex_t regions_mutex;
extern struct region *regions;

uint64_t region_now_ns(void);
/* Closes the registrations that are open; 0, or the error of fi_close(). */
int region_close_mrs(struct region *region);
/* Takes it out of the list, with the mutex held. */
void region_unlink(struct region *region);
/* Sets the sentence for hf_fabric_detail(); returns rc. */
int fabric_fail(int rc, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The thread: asks peers for recalled regions, gives up those without an answer, ends
 * quarantines. */
void *fabric_watch(void *fabric);

#endif
