/* SPDX-License-Identifier: MIT */
/*
 * A pool mounted through FUSE. Uses only the public header and libfuse's low-level API; inode
 * numbers of the pool are the kernel's node numbers, so the mount keeps next to nothing about
 * files.
 *
 * Two processes: a guard (guard.c), which mounts and unmounts, and the one that serves (serve.c),
 * which belongs to the owner of the pool and has no capabilities. Requests are read by a few worker
 * threads, which never wait for pins or gates: what would have to (-EAGAIN) is run again from its
 * bytes by a thread that may (waiting.c).
 */
#ifndef HF_FUSE_MOUNT_H
#define HF_FUSE_MOUNT_H

#define FUSE_USE_VERSION 314

#include <holdfast/serve.h>

#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdbool.h>

/* ---- what to mount, guard.c ---- */

struct mount_plan {
    const char *pool, *dir; /* as given */
    const char *options;    /* for the kernel: "ro,allow_other", may be "" */
    bool readonly, foreground, cached;
    /* Prints why something failed, with the library's sentence or errno; returns the exit code. */
    int (*fail)(const char *what, int rc);
    int (*fail_host)(const char *what, int error);
};
/* Mounts, and with plan->foreground serves until it is unmounted. The exit code. */
int mount_run(const struct mount_plan *plan);

/* ---- the serving process, serve.c ---- */

struct mount {
    struct hf_pool *pool;
    struct fuse_session *session;
    int fd; /* of /dev/fuse */
    bool readonly, cached;
    unsigned threads_max;      /* that may wait at once */
    uint32_t files, files_max; /* open, and how many may be: others of the pool need some too */
    uint32_t kept_max;         /* of them, for the kernel's cache alone */
    struct mount_inodes *inodes;
    struct mount_lookups *lookups;
    struct mount_waiting *waiting;
    void (*ready)(void *arg); /* the kernel has said hello */
    void *ready_arg;
    pthread_t watch;       /* watch.c */
    bool over, watch_over; /* it is unmounted; the thread has seen that */
};
/* Serves until it is unmounted. 0, or -errno. */
int mount_serve(struct mount *mount);

/* One request while a thread is at it. */
struct mount_call {
    struct mount *mount;
    const char *request; /* its bytes: struct fuse_in_header and what follows */
    bool may_wait;
    bool put_off;       /* it would have had to wait: to be run again */
    uint32_t cancelled; /* the kernel wants it to end */
};
/* Runs a request. True: it was put off. */
bool mount_call_run(struct mount *mount, const char *request, size_t len, bool may_wait);
/* What follows the header of the request that this thread is at. */
const void *mount_call_body(void);

/* The first thing that the handling of a request does: the library acts for its program. */
struct mount *mount_enter(fuse_req_t req);
/* The last thing before the reply. False: no reply, the request was put off. *rc may become
 * -EINTR. */
bool mount_leave(fuse_req_t req, ssize_t *rc);
/* mount_leave(), and a reply that is nothing but success or an error. */
void mount_reply(fuse_req_t req, int rc);

/* Node numbers are the pool's inode numbers. */
_Static_assert(HF_ROOT_INO == FUSE_ROOT_ID, "the roots have one number");

/* ---- workers.c ---- */

/* Reads requests and runs them until it is unmounted. 0, or -errno. */
int mount_workers_run(struct mount *mount);

/* ---- what has to wait, waiting.c ---- */

struct mount_waiting *mount_waiting_new(struct mount *mount);
bool mount_is_waiting(struct mount_waiting *waiting);
/* Takes a copy. */
void mount_wait(struct mount_waiting *waiting, const char *request, size_t len);

/* ---- inodes, inodes.c ---- */

/* Null: out of memory. */
struct mount_inodes *mount_inodes_new(uint32_t kept_max);
/* It has lost its last name, and the kernel may still ask for its attributes, until it forgets
 * it. */
void mount_inode_gone(struct mount_inodes *inodes, const struct stat *last);
bool mount_inode_last(struct mount_inodes *inodes, uint64_t ino, struct stat *out);
void mount_inode_forget(struct mount_inodes *inodes, uint64_t ino);
/* cache=auto: a program has opened it. True: what the kernel has kept of it has been watched since,
 * and it has dropped what was not. */
bool mount_inode_opened(struct mount_inodes *inodes, uint64_t ino);
/* The program was interrupted, and does not know that it has opened it. */
void mount_inode_abandoned(struct mount_inodes *inodes, uint64_t ino);
/* A program has closed it. The handle is kept if that was the last one, `keep` says so, and nothing
 * had to be let go since mount_inodes_told() was `told`. Returns the handle that is to be closed
 * now, maybe another one; null: none. */
struct hf_file *mount_inode_closed(struct mount_inodes *inodes, uint64_t ino, struct hf_file *file,
                                   bool keep, uint64_t told);
uint64_t mount_inodes_told(struct mount_inodes *inodes);
/* The kept handle of the inode, or the one not used for longest, to be closed; null: there is
 * none. */
struct hf_file *mount_inode_let_go(struct mount_inodes *inodes, uint64_t ino);
struct hf_file *mount_inodes_let_go_oldest(struct mount_inodes *inodes);
/* Those that are open or kept, to be freed; null: out of memory. */
uint64_t *mount_inodes_open(struct mount_inodes *inodes, size_t *count);

/* ---- what lookups hold on to, lookups.c ---- */

/* Null: out of memory. */
struct mount_lookups *mount_lookups_new(void);
/* A program met an inode that had gone since it was looked up: from now on, and for a while,
 * lookups hold on to what they find. */
void mount_lookups_lost(struct mount_lookups *lookups);
/* What a name is now. 0, or -errno. */
int mount_lookup(struct mount *mount, uint64_t parent, const char *name, struct stat *attr);
/* Of an inode that has gone, as it was looked up. False: it is not held. */
bool mount_lookup_attr(struct mount_lookups *lookups, uint64_t ino, struct stat *out);
/* As readlink(2); -ESTALE: it is not held. */
ssize_t mount_lookup_target(struct mount_lookups *lookups, uint64_t ino, char *buf, size_t len);
/* Lets go of what was held long enough, or of all. True: some is left. */
bool mount_lookups_expire(struct mount *mount, bool all);
/* Whether mount_lookups_expire() is to be called now and then. */
bool mount_lookups_active(const struct mount_lookups *lookups);

/* ---- what others change, watch.c ---- */

/* Starts the thread that has the kernel drop what is no longer so. -errno. */
int mount_watch_start(struct mount *mount);
void mount_watch_stop(struct mount *mount);
/* Has the kernel drop some of a file, soon: it may wait for a request that this thread has to
 * answer. */
void mount_drop_soon(struct mount *mount, uint64_t ino, uint64_t off, uint64_t len);

/* ---- requests ---- */

/* names.c */
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

/* attributes.c */
/* How long the kernel may keep them. */
double mount_attr_seconds(const struct stat *attr);
void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set,
                struct fuse_file_info *fi);
void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t len,
                 int flags);
void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t room);
void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t room);
void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void on_statfs(fuse_req_t req, fuse_ino_t ino);
/* Somebody who may not keep them changes the file: set-user-id and set-group-id go. File
 * capabilities the library drops. */
int mount_kill_ids(struct mount *mount, uint64_t ino);

/* content.c */
void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* For a program: as hf_openat() and hf_close(), and -ENFILE when the mount has as many open as it
 * may. */
int mount_open_file(struct mount *mount, uint64_t at, const char *path, int flags, mode_t mode,
                    struct hf_file **out);
void mount_close_file(struct mount *mount, struct hf_file *file);
/* Closes what is kept open of an inode for the kernel's cache alone, or of all. */
void mount_let_go(struct mount *mount, uint64_t ino);
void mount_let_go_all(struct mount *mount);
/* The reply's side of an open: how the kernel is to use the file. */
int mount_opened(struct mount *mount, struct hf_file *file, uint64_t ino,
                 struct fuse_file_info *fi);
/* The program was interrupted: nobody will release what was opened for it. */
void mount_abandon(struct mount *mount, uint64_t ino, struct fuse_file_info *fi);
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

/* directories.c */
void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t room, off_t off, struct fuse_file_info *fi);
void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t room, off_t off,
                    struct fuse_file_info *fi);
void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);

#endif
