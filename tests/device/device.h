/* SPDX-License-Identifier: MIT */
/*
 * Real device I/O into leased memory. Holders lease ranges and have io_uring read into them: from a
 * pipe that trickles, and with O_DIRECT from a disk. Changers cut, punch, move and delete the
 * holders' files under every policy. They fill the pool to its last block with files of their own,
 * in which every page carries a stamp. A device writes another pattern, so one byte of it in a
 * changer's file is seen. Changers also copy pages of the holders' files, and let both share their
 * blocks: from then on nothing may change the copy. Holders and changers are killed, and stopped
 * for a while. The next changer checks what a killed one has left.
 *
 * With `leased` false the holders keep nothing but the addresses, and such a byte has to be seen.
 * The same holds in a lab build with `broken`, where leases are given shared blocks.
 */
#ifndef HF_TESTS_DEVICE_H
#define HF_TESTS_DEVICE_H

#include "support.h"

#define DEVICE_POOL "device"
#define DEVICE_MIB 8
#define DEVICE_HOLDERS 2
#define DEVICE_SOCKET 1 /* this holder has two ends of a socket for a pipe */
#define DEVICE_CHANGERS 2
#define DEVICE_SLOTS 4 /* leases of a holder at a time, each in a file of its own */
#define DEVICE_PAGES 8 /* the most of a holder's file */
#define DEVICE_FILES 8 /* of a changer */
#define DEVICE_DISK_BYTES TEST_MIB(1)
#define DEVICE_POLICIES (HF_POLICY_DEADLINE_DETACH + 1)

/* What a changer's files hold, also when it has been killed. */
struct device_written {
    uint64_t stamps[DEVICE_FILES]; /* each from before its file is made */
    /* Pages as they were in some holder's file. */
    uint32_t there[DEVICE_PAGES];
    unsigned char copies[DEVICE_PAGES][HF_BLOCK_BYTES];
};

struct device {
    uint64_t seed;
    uint32_t stop;
    bool leased, broken;
    int pipes[DEVICE_HOLDERS][2]; /* one a holder */
    int disk;                     /* full of DEVICE_DISK_BYTE; -1: no disk with O_DIRECT */
    uint64_t pipe_reads, disk_reads, bytes, cancelled;
    uint64_t leases, called, polled, told_detached, killed, stopped, changers_killed;
    uint64_t landed; /* pages of reads that were looked at in place */
    uint64_t changed[DEVICE_POLICIES], refused[DEVICE_POLICIES];
    uint64_t full, checked, corrupt;
    uint32_t killing;  /* a process is being killed: its reads from the disk may still go on */
    uint64_t outlived; /* of the killed: those whose reads may have gone on after the quarantine */
    uint64_t late;     /* pages that such a read may have written */
    uint64_t shared, left_alone; /* pages of holders' files: merged with a copy; held */
    struct device_written written[DEVICE_CHANGERS];
};

#define DEVICE_DISK_BYTE 0xD0
#define DEVICE_PIPE_BYTE(holder) (0xE0 | (holder))

struct hf_pool *device_pool_new(uint64_t quarantine_ns);
/* Waits for a process that is stopped and has a lock. */
struct hf_pool *device_pool_open(void);
/* -errno, but never -EBUSY. */
int device_open(struct hf_pool *pool, const char *path, int flags, struct hf_file **out);
int device_truncate(struct hf_file *file, uint64_t size);
int device_unlink(struct hf_pool *pool, const char *path);
/* A quarantine is only as good as its length, and a busy disk may take longer. True: these bytes,
 * which are wrong, may come from a read that did. Once that has happened, nobody can tell. */
bool device_came_late(struct device *device, const void *bytes, size_t len);
void device_file_path(unsigned holder, unsigned slot, char path[64]);
/* Writes into the holder's pipe, a little at a time, until it is killed. */
void device_trickle(int pipe, unsigned char byte);

/* Both run until `stop`. */
void device_hold(struct device *device, unsigned holder);
void device_change(struct device *device, unsigned changer);

#endif
