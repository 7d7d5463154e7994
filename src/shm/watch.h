/* SPDX-License-Identifier: MIT */
/* Telling processes that keep copies of a file what has changed in it (watch.c). */
#ifndef HF_SHM_WATCH_H
#define HF_SHM_WATCH_H

#include "shm/key.h"
#include "shm/segment.h"

struct shm_vnode;

/* A change, told to a process that watches: ticket << 32 | first page, last page, vnode. Each word
 * has its ticket, since the watcher does not wait for a writer that is late, or dead. */
#define SHM_REPORTS 1024u
struct shm_report {
    uint64_t words[3];
};

/* The reports for a process, and how far it is with them. */
struct shm_watcher {
    /* Tickets given; more than SHM_REPORTS above `taken`: some are lost. */
    uint64_t reported;
    /* Futex of the watcher: raised when a report has been written. */
    uint32_t report_seq;
    /* Futex of a thread that waits for it: raised when it asks for the next report. */
    uint32_t came_back;
    /* came_back + 1 when a writer gave up waiting: then none waits till it comes back. */
    uint32_t late;
    /* Only the process itself writes the rest: what it has taken; `taken` when it last came back;
     * and when it looked which processes have died. */
    SHM_LINE uint64_t taken;
    uint64_t dealt_with;
    uint64_t looked_ns;
    struct shm_report reports[SHM_REPORTS];
} SHM_LINE;

/* One handle of this process more, or less, that watches the vnode. SHM_WATCHED then says whether
 * any does. True: this process did not watch it before. Under the vnode's mutex. */
bool shm_watch(struct shm *shm, struct shm_vnode *vnode, int change);
/* Likewise one that wants to be told before a change too: SHM_ASKED. */
void shm_ask(struct shm *shm, struct shm_vnode *vnode, int change);
/* One handle less that watches, and with `asks` wants to be told before. The thread cannot have the
 * vnode's mutex, so the flags stay until another thread settles them. */
void shm_watch_leave(struct shm *shm, struct shm_vnode *vnode, bool asks);
/* Clears SHM_WATCHED and SHM_ASKED if the processes for which they are set have died. Under the
 * vnode's mutex. */
void shm_watch_settle(struct shm *shm, struct shm_vnode *vnode);
bool shm_is_watched_by(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process);
/* The first process from `process` on that watches it, or wants to be told before; SHM_NONE. */
uint32_t shm_watcher_from(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process);
uint32_t shm_asker_from(const struct shm *shm, const struct shm_vnode *vnode, uint32_t process);
/* Tells a process that pages [first, last] (UINT64_MAX: to the end and beyond) have changed. */
void shm_report_to(struct shm *shm, uint32_t process, const struct shm_vnode *vnode, uint64_t first,
                   uint64_t last);
/* Tells the processes that watch the vnode, but for process `by`, that pages [first, last]
 * (UINT64_MAX: to the end and beyond) have changed. Async-signal-safe, takes no lock. */
void shm_report(struct shm *shm, const struct shm_vnode *vnode, uint64_t first, uint64_t last,
                uint32_t by);

enum shm_reports { SHM_REPORT_NONE, SHM_REPORT_ONE, SHM_REPORT_LOST, SHM_REPORT_LATE };
/* Takes this process's next report. LATE: its writer is about to write it, or has died. LOST:
 * reports are missing, or `late` says that such a writer need not be waited for any longer. */
enum shm_reports shm_report_take(struct shm *shm, bool late, uint32_t *vnode, uint64_t *first,
                                 uint64_t *last);

#endif
