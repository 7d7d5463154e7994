/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the mount share. They use only the public header and libfuse's low-level API.
 * Inode numbers of the pool are the kernel's node numbers, so the mount keeps next to nothing about
 * files.
 *
 * There are two processes. The supervisor (supervisor.c) mounts and unmounts. The server
 * (process.c, serve.c) belongs to the owner of the pool and has no capabilities. A few worker
 * threads read requests and never wait for pins or gates. A request that would have to wait
 * (-EAGAIN) is deferred: a thread that may wait runs it again from its bytes (waiting.c).
 *
 * Files are listed here from the lowest up. No file calls one that is listed below it, except that
 * libfuse calls the handlers of requests.
 */
#ifndef HF_FUSE_PRIVATE_H
#define HF_FUSE_PRIVATE_H

#define FUSE_USE_VERSION 314

#include "mount.h"

#include <holdfast/serve.h>

#include <fuse_lowlevel.h>
#include <limits.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

/* Of Linux 6.6; linux/fuse.h of Debian 12 does not have it yet. */
#define MOUNT_FUSE_STATX 52u

/* Node numbers are the pool's inode numbers. */
_Static_assert(HF_ROOT_INO == FUSE_ROOT_ID, "the roots have one number");

struct mount {
    struct hf_pool *pool;
    struct fuse_session *session;
    int fd; /* of /dev/fuse */
    bool readonly, cached;
    double entry_seconds, attr_seconds; /* as struct mount_plan has them */
    /* Threads that may wait at once. */
    unsigned threads_max;
    /* Open files, and how many may be open: other users of the pool need some too. */
    uint32_t files, files_max;
    /* Of them, those that are open for the kernel's cache alone. */
    uint32_t kept_max;
    struct mount_inodes *inodes;
    struct mount_lookups *lookups;
    struct mount_waiting *waiting;
    /* Called when the kernel has sent its first request. */
    void (*ready)(const void *arg);
    const void *ready_arg;
    /* watch.c: its thread; the mount is unmounted; the thread has seen that. */
    pthread_t watch;
    bool over, watch_over;
};

/* ---- inodes.c: what is remembered of inodes ---- */

/* Null: out of memory. */
struct mount_inodes *mount_inodes_new(uint32_t kept_max);
/* The inode has lost its last name. The kernel may ask for its attributes until it forgets it. */
void mount_inode_gone(struct mount_inodes *inodes, const struct stat *last);
bool mount_inode_last(struct mount_inodes *inodes, uint64_t ino, struct stat *out);
void mount_inode_forget(struct mount_inodes *inodes, uint64_t ino);
/* cache=auto: a program has opened the inode. True: the content that the kernel keeps of it was
 * watched all the time. */
bool mount_inode_opened(struct mount_inodes *inodes, uint64_t ino);
/* The program was interrupted, and does not know that it has opened the inode. */
void mount_inode_abandoned(struct mount_inodes *inodes, uint64_t ino);
/* A program has closed the inode. The handle is kept if that was the last one, `keep` says so, and
 * nothing was evicted since mount_inodes_generation() was `generation`. Returns the handle that is
 * to be closed now, which may be another one; null: none. */
struct hf_file *mount_inode_closed(struct mount_inodes *inodes, uint64_t ino, struct hf_file *file,
                                   bool keep, uint64_t generation);
uint64_t mount_inodes_generation(struct mount_inodes *inodes);
/* The kept handle of the inode, or the one not used for longest, to be closed; null: there is
 * none. */
struct hf_file *mount_inode_evict(struct mount_inodes *inodes, uint64_t ino);
struct hf_file *mount_inodes_evict_oldest(struct mount_inodes *inodes);
/* Those that are open or kept, to be freed; null: out of memory. */
uint64_t *mount_inodes_open(struct mount_inodes *inodes, size_t *count);

/* ---- files.c: open files ---- */

/* For a program: as hf_openat() and hf_close(), and -ENFILE when the mount has as many open as it
 * may. */
int mount_file_open(struct mount *mount, uint64_t at, const char *path, int flags, mode_t mode,
                    struct hf_file **out);
void mount_file_close(struct mount *mount, struct hf_file *file);
struct hf_file *mount_file_of(const struct fuse_file_info *fi);
/* For the reply to an open: how the kernel is to use the file. */
int mount_file_answer(struct mount *mount, struct hf_file *file, uint64_t ino,
                      struct fuse_file_info *fi);
/* A program has closed it. With cache=auto it may stay open for the kernel's cache. */
void mount_file_release(struct mount *mount, uint64_t ino, struct hf_file *file);
/* The program was interrupted: nobody will release what was opened for it. */
void mount_file_abandon(struct mount *mount, uint64_t ino, struct fuse_file_info *fi);
/* Closes what is kept open of an inode for the kernel's cache alone, or of all. */
void mount_files_evict(struct mount *mount, uint64_t ino);
void mount_files_evict_all(struct mount *mount);

/* ---- lookups.c: what lookups hold on to ---- */

/* Null: out of memory. */
struct mount_lookups *mount_lookups_new(void);
/* A program met an inode that had gone since it was looked up. From now on, and for a while,
 * lookups keep what they find. */
void mount_lookups_lost(struct mount_lookups *lookups);
/* What a name is now. 0, or -errno. */
int mount_lookup(struct mount *mount, uint64_t parent, const char *name, struct stat *attr);
/* Attributes of an inode that has gone, as it was looked up. False: it is not held. */
bool mount_lookup_attr(struct mount_lookups *lookups, uint64_t ino, struct stat *out);
/* As readlink(2); -ESTALE: it is not held. */
ssize_t mount_lookup_target(struct mount_lookups *lookups, uint64_t ino, char *buf, size_t len);
/* Releases what was held long enough, or all. True: some is left. */
bool mount_lookups_expire(struct mount *mount, bool all);
/* Whether mount_lookups_expire() is to be called now and then. */
bool mount_lookups_active(const struct mount_lookups *lookups);

/* ---- call.c: the frame of a request ---- */

/* Runs a request. True: it was deferred. */
bool mount_call_run(struct mount *mount, char *request, size_t len, bool may_wait);
/* The header of the request that this thread is at, and what follows it; null: it is at none. */
const struct fuse_in_header *mount_call_header(void);
const void *mount_call_body(void);
/* The first thing that the handling of a request does: the library acts for its program. */
struct mount *mount_call_enter(fuse_req_t req);
/* The last thing before the reply. False: no reply, the request was deferred. *rc may become
 * -EINTR. */
bool mount_call_leave(fuse_req_t req, ssize_t *rc);
/* The request has made `name`, and has only to reply with what it finds there. When it is deferred
 * now, it comes again as a lookup: if it came as it was, the name would exist already. */
void mount_call_made(uint64_t parent, const char *name);
/* mount_call_leave(), and a reply that is nothing but success or an error. */
void mount_call_reply(fuse_req_t req, int rc);

/* ---- drop.c: what the kernel is to drop ---- */

/* Has the kernel drop the pages that were reported, and closes handles that were kept open for
 * them. Must not be called while a request is handled: the kernel may wait for its reply. */
void mount_drop(struct mount *mount, const struct hf_watch_report *report);
/* The same, soon, by another thread if there can be one; after the reply. */
void mount_drop_soon(struct mount *mount, uint64_t ino, uint64_t off, uint64_t len);

/* ---- watch.c: what others change ---- */

/* Starts the thread that has the kernel drop what others change. -errno. */
int mount_watch_start(struct mount *mount);
void mount_watch_stop(struct mount *mount);

/* ---- requests: attributes.c ---- */

/* How long the kernel may keep attributes of this type. */
double mount_attr_seconds(const struct mount *mount, mode_t mode);
/* A user that may not keep set-user-id and set-group-id changes the file: both go. The library
 * drops file capabilities. */
int mount_kill_ids(struct mount *mount, uint64_t ino);
void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set,
                struct fuse_file_info *fi);
void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t len,
                 int flags);
void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t room);
void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t room);
void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void on_statfs(fuse_req_t req, fuse_ino_t ino);

/* ---- requests: names.c ---- */

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void on_readlink(fuse_req_t req, fuse_ino_t ino);
void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
               const char *to_name, unsigned flags);
void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi);

/* ---- requests: content.c ---- */

void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off, struct fuse_file_info *fi);
void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t len, off_t off,
              struct fuse_file_info *fi);
void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                  struct fuse_file_info *fi);
void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void on_copy_range(fuse_req_t req, fuse_ino_t ino, off_t off, struct fuse_file_info *fi,
                   fuse_ino_t to_ino, off_t to_off, struct fuse_file_info *to_fi, size_t len,
                   int flags);

/* ---- requests: directories.c ---- */

void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t room, off_t off, struct fuse_file_info *fi);
void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t room, off_t off,
                    struct fuse_file_info *fi);
void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);

/* ---- waiting.c: requests that have to wait ---- */

struct mount_waiting *mount_waiting_new(struct mount *mount);
bool mount_is_waiting(struct mount_waiting *waiting);
/* Takes a copy. */
void mount_wait(struct mount_waiting *waiting, const char *request, size_t len);

/* ---- workers.c: the threads that read requests ---- */

/* Reads requests and runs them until it is unmounted. 0, or -errno. */
int mount_workers_run(struct mount *mount);

/* ---- serve.c: what is agreed with the kernel ---- */

/* Serves until it is unmounted. 0, or -errno. */
int mount_serve(struct mount *mount);

/* ---- mountpoint.c: what is mounted on a directory ---- */

#define MOUNT_DEVICE_BYTES 32 /* of a device number as mountinfo has it: "0:57" */

/* The device number of the mount on top at `dir`, if it is one of holdfast's: "" else. */
void mountpoint_find(const char *dir, char device[MOUNT_DEVICE_BYTES]);
/* Lazily: what is in use stays until it is closed. */
void mountpoint_unmount(const char *dir);
/* No server answers for the mount there. */
bool mountpoint_is_dead(const char *dir);
/* realpath() for a mount with a root that cannot be looked at. */
bool mountpoint_path(const char *path, char out[PATH_MAX]);

/* ---- remount.c: other options for what is mounted ---- */

/* The exit code. */
int mount_remount(const struct mount_plan *plan);

/* ---- channel.c: the socket between supervisor and server ---- */

bool channel_send_descriptor(int socket, int fd);
/* -1: the other process has ended. */
int channel_receive_descriptor(int socket);
void channel_notify(int socket);
/* Until the other process notifies. False: it has ended. */
bool channel_await(int socket);

/* ---- process.c: the server ---- */

struct mount_server {
    const struct mount_plan *plan;
    const char *pool;  /* its real path */
    struct stat owner; /* of the pool */
    int socket;        /* to the supervisor */
};
/* Gives up rights, opens the pool and serves it. The exit code. */
int mount_server_run(const struct mount_server *server);
/* For a process that goes on in the background. */
void mount_leave_terminal(void);

#endif
