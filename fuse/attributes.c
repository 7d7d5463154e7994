/* SPDX-License-Identifier: MIT */
/* Owns the requests about attributes and extended ones. The kernel has checked permissions. */
#include "private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define CAPABILITIES "security.capability"
#define SECONDS_MAX INT64_C(9223372035) /* since 1970: what nanoseconds of 64 bits hold */
#define ACCESS_ACL "system.posix_acl_access"
#define DEFAULT_ACL "system.posix_acl_default"

/* The kernel checks permissions of every directory on a path. If it might keep no attributes at
 * all, it would ask again for each directory that the walk has just looked up. The shortest time
 * that it knows ends with the next tick of its clock. */
#define DIRECTORY_NS 1000u

double mount_attr_seconds(const struct mount *mount, mode_t mode)
{
    if (mount->attr_seconds > 0)
        return mount->attr_seconds;
    return S_ISDIR(mode) ? DIRECTORY_NS / 1e9 : 0;
}

/* Attributes by node, also of one that is gone. */
static int stat_node(struct mount *mount, uint64_t ino, struct stat *out)
{
    int rc = hf_statat(mount->pool, ino, "", 0, out);

    if (rc == -ESTALE &&
        (mount_inode_last(mount->inodes, ino, out) || mount_lookup_attr(mount->lookups, ino, out)))
        return 0;
    return rc;
}

static void reply_attr(fuse_req_t req, struct mount *mount, fuse_ino_t ino, int result)
{
    struct stat attr;
    ssize_t rc = result ? result : stat_node(mount, ino, &attr);

    if (!mount_call_leave(req, &rc))
        return;
    if (rc)
        fuse_reply_err(req, (int)-rc);
    else
        fuse_reply_attr(req, &attr, mount_attr_seconds(mount, attr.st_mode));
}

/* ---- with the time of birth ---- */

struct birth_time {
    int64_t sec;
    uint32_t nsec;
    int32_t zero;
};

/* The answer to MOUNT_FUSE_STATX: struct fuse_statx_out of Linux 6.6. */
struct statx_reply {
    uint64_t valid;
    uint32_t valid_nsec, flags;
    uint64_t spare[2];
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, spare_16;
    uint64_t ino, size, blocks, attributes_mask;
    struct birth_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t spare_64[14];
};
_Static_assert(sizeof(struct statx_reply) == 288, "as the kernel has it");

static struct birth_time time_of(const struct statx_timestamp *time)
{
    return (struct birth_time){time->tv_sec, time->tv_nsec, 0};
}

static void fill_reply(struct statx_reply *out, const struct statx *st, double seconds)
{
    *out =
        (struct statx_reply){.valid = (uint64_t)seconds,
                             .valid_nsec = (uint32_t)((seconds - (double)(uint64_t)seconds) * 1e9),
                             .mask = st->stx_mask,
                             .blksize = st->stx_blksize,
                             .nlink = st->stx_nlink,
                             .uid = st->stx_uid,
                             .gid = st->stx_gid,
                             .mode = st->stx_mode,
                             .ino = st->stx_ino,
                             .size = st->stx_size,
                             .blocks = st->stx_blocks,
                             .atime = time_of(&st->stx_atime),
                             .btime = time_of(&st->stx_btime),
                             .ctime = time_of(&st->stx_ctime),
                             .mtime = time_of(&st->stx_mtime),
                             .rdev_major = st->stx_rdev_major,
                             .rdev_minor = st->stx_rdev_minor};
}

static struct statx_timestamp statx_time(const struct timespec *time)
{
    return (struct statx_timestamp){.tv_sec = time->tv_sec, .tv_nsec = (uint32_t)time->tv_nsec};
}

/* The last attributes of an inode that has gone; the time of birth is not among them. */
static int last_statx(struct mount *mount, uint64_t ino, struct statx *out)
{
    struct stat st;
    int rc = stat_node(mount, ino, &st);

    if (rc)
        return rc;
    *out = (struct statx){.stx_mask = STATX_BASIC_STATS,
                          .stx_blksize = (uint32_t)st.st_blksize,
                          .stx_nlink = (uint32_t)st.st_nlink,
                          .stx_uid = st.st_uid,
                          .stx_gid = st.st_gid,
                          .stx_mode = (uint16_t)st.st_mode,
                          .stx_ino = st.st_ino,
                          .stx_size = (uint64_t)st.st_size,
                          .stx_blocks = (uint64_t)st.st_blocks,
                          .stx_atime = statx_time(&st.st_atim),
                          .stx_ctime = statx_time(&st.st_ctim),
                          .stx_mtime = statx_time(&st.st_mtim),
                          .stx_rdev_major = major(st.st_rdev),
                          .stx_rdev_minor = minor(st.st_rdev)};
    return 0;
}

static void reply_statx(fuse_req_t req, struct mount *mount, fuse_ino_t ino)
{
    struct statx_reply reply;
    struct statx st = {0};
    ssize_t rc = hf_statxat(mount->pool, ino, "", 0, &st);

    if (rc == -ESTALE)
        rc = last_statx(mount, ino, &st);
    if (!mount_call_leave(req, &rc))
        return;
    fill_reply(&reply, &st, mount_attr_seconds(mount, st.stx_mode));
    if (rc)
        fuse_reply_err(req, (int)-rc);
    else
        fuse_reply_buf(req, (const char *)&reply, sizeof reply);
}

void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    bool extended = mount_call_header()->opcode == MOUNT_FUSE_STATX;
    struct mount *mount = mount_call_enter(req);

    (void)fi;
    if (extended)
        reply_statx(req, mount, ino);
    else
        reply_attr(req, mount, ino, 0);
}

/* A change of the owner, to the same one, takes these bits away, and no others. A mode made from
 * the one that was read might bring back what another process has just taken away. */
int mount_kill_ids(struct mount *mount, uint64_t ino)
{
    struct stat attr;
    int rc = hf_statat(mount->pool, ino, "", 0, &attr);
    mode_t kill = rc ? 0 : attr.st_mode & (S_ISUID | (attr.st_mode & S_IXGRP ? S_ISGID : 0));

    return kill ? hf_chownat(mount->pool, ino, "", (uid_t)-1, (gid_t)-1, HF_AT_NOFOLLOW) : rc;
}

/* The file is open already, or is opened for this. */
static int change_size(struct mount *mount, fuse_ino_t ino, uint64_t size,
                       struct fuse_file_info *fi)
{
    const struct fuse_setattr_in *in = mount_call_body();
    struct hf_file *file = fi ? mount_file_of(fi) : NULL;
    int rc = file ? 0 : mount_file_open(mount, ino, "", O_RDWR, 0, &file);

    if (rc)
        return rc;
    rc = hf_truncate(file, size, NULL);
    if (!fi)
        mount_file_close(mount, file);
    return rc == 0 && in->valid & FATTR_KILL_SUIDGID ? mount_kill_ids(mount, ino) : rc;
}

static int change_owner(struct mount *mount, fuse_ino_t ino, const struct stat *attr, int set)
{
    int rc = hf_chownat(mount->pool, ino, "", set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1,
                        set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1, HF_AT_NOFOLLOW);

    if (rc == 0 && hf_getxattrat(mount->pool, ino, "", CAPABILITIES, NULL, 0) >= 0)
        rc = hf_removexattrat(mount->pool, ino, "", CAPABILITIES);
    return rc == -ENODATA ? 0 : rc;
}

static struct timespec time_to_set(const struct timespec *given, int set, int bit, int now_bit)
{
    struct timespec time = *given;

    if (time.tv_sec > SECONDS_MAX ||
        time.tv_sec < -SECONDS_MAX) /* as file systems of the kernel do */
        time.tv_sec = time.tv_sec < 0 ? -SECONDS_MAX : SECONDS_MAX;
    if (!(set & bit))
        time.tv_nsec = UTIME_OMIT;
    else if (set & now_bit)
        time.tv_nsec = UTIME_NOW;
    return time;
}

static int change_times(struct mount *mount, fuse_ino_t ino, const struct stat *attr, int set)
{
    const struct timespec times[2] = {
        time_to_set(&attr->st_atim, set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
        time_to_set(&attr->st_mtim, set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW)};

    return hf_utimensat(mount->pool, ino, "", times, HF_AT_NOFOLLOW);
}

/* The size comes first: only that may wait, and an interrupted wait has then changed nothing. */
void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set,
                struct fuse_file_info *fi)
{
    struct mount *mount = mount_call_enter(req);
    int rc = 0;

    if (set & FUSE_SET_ATTR_SIZE)
        rc = change_size(mount, ino, (uint64_t)attr->st_size, fi);
    if (rc == 0 && set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        rc = change_owner(mount, ino, attr, set);
    if (rc == 0 && set & FUSE_SET_ATTR_MODE)
        rc = hf_chmodat(mount->pool, ino, "", attr->st_mode & 07777);
    if (rc == 0 && set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME))
        rc = change_times(mount, ino, attr, set);
    reply_attr(req, mount, ino, rc);
}

void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct mount *mount = mount_call_enter(req);
    struct statvfs space;
    ssize_t rc = hf_statvfs(mount->pool, &space);

    (void)ino;
    if (!mount_call_leave(req, &rc))
        return;
    if (rc)
        fuse_reply_err(req, (int)-rc);
    else
        fuse_reply_statfs(req, &space);
}

/* ---- extended attributes ---- */

/* The library keeps any name; programs expect a file system to refuse namespaces that mean nothing.
 * For system.* the kernel asks no permission, but for ACLs it has. */
static bool known_namespace(const char *name)
{
    static const char *const known[] = {"user.", "trusted.", "security."};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(name, known[i], strlen(known[i])) == 0)
            return true;
    return strcmp(name, ACCESS_ACL) == 0 || strcmp(name, DEFAULT_ACL) == 0;
}

#define GROUPS 64

static bool is_in_group(fuse_req_t req, gid_t gid)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    gid_t groups[GROUPS];
    int count;

    if (ctx->uid == 0 || ctx->gid == gid)
        return true;
    count = fuse_req_getgroups(req, GROUPS, groups);
    for (int i = 0; i < count && i < GROUPS; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

/* As chmod(2): a program that gives a file an ACL without being in its group loses set-group-id.
 * The kernel leaves that to the server. */
static int kill_setgid(fuse_req_t req, struct mount *mount, fuse_ino_t ino)
{
    struct stat attr;
    int rc = hf_statat(mount->pool, ino, "", 0, &attr);

    if (rc || !(attr.st_mode & S_ISGID) || is_in_group(req, attr.st_gid))
        return rc;
    return hf_chmodat(mount->pool, ino, "", attr.st_mode & 07777 & ~(mode_t)S_ISGID);
}

void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t len,
                 int flags)
{
    struct mount *mount = mount_call_enter(req);
    int rc = known_namespace(name)
                 ? hf_setxattrat(mount->pool, ino, "", name, value, len, (uint32_t)flags)
                 : -EOPNOTSUPP;

    if (rc == 0 && strcmp(name, ACCESS_ACL) == 0)
        rc = kill_setgid(req, mount, ino);
    mount_call_reply(req, rc);
}

void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct mount *mount = mount_call_enter(req);

    mount_call_reply(req, known_namespace(name) ? hf_removexattrat(mount->pool, ino, "", name)
                                                : -EOPNOTSUPP);
}

/* `room` 0: only the size was asked for. */
static void reply_bytes(fuse_req_t req, ssize_t rc, const char *bytes, size_t room)
{
    if (!mount_call_leave(req, &rc))
        return;
    if (rc < 0)
        fuse_reply_err(req, (int)-rc);
    else if (room)
        fuse_reply_buf(req, bytes, (size_t)rc);
    else
        fuse_reply_xattr(req, (size_t)rc);
}

void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t room)
{
    struct mount *mount = mount_call_enter(req);
    char *value = malloc(room ? room : 1);
    ssize_t rc = value ? hf_getxattrat(mount->pool, ino, "", name, value, room) : (ssize_t)-ENOMEM;

    reply_bytes(req, rc, value, room);
    free(value);
}

/* A program sees only names of attributes that it may read: trusted ones are for root. */
static size_t without_trusted(char *list, size_t len)
{
    static const char trusted[] = "trusted.";
    size_t kept = 0;

    for (size_t at = 0, next; at < len; at = next) {
        next = at + strlen(list + at) + 1;
        if (strncmp(list + at, trusted, sizeof trusted - 1) == 0)
            continue;
        memmove(list + kept, list + at, next - at);
        kept += next - at;
    }
    return kept;
}

/* All names, in memory to be freed. They may become more between the two looks. */
static ssize_t list_all(struct mount *mount, fuse_ino_t ino, char **list)
{
    ssize_t rc;

    *list = NULL;
    do {
        free(*list);
        rc = hf_listxattrat(mount->pool, ino, "", NULL, 0);
        *list = malloc(rc > 0 ? (size_t)rc : 1);
        if (!*list)
            return -ENOMEM;
        if (rc > 0)
            rc = hf_listxattrat(mount->pool, ino, "", *list, (size_t)rc);
    } while (rc == -ERANGE);
    return rc;
}

void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t room)
{
    struct mount *mount = mount_call_enter(req);
    char *list;
    ssize_t rc = list_all(mount, ino, &list);

    if (rc > 0 && fuse_req_ctx(req)->uid != 0)
        rc = (ssize_t)without_trusted(list, (size_t)rc);
    if (room && rc > (ssize_t)room)
        rc = -ERANGE;
    reply_bytes(req, rc, list, room);
    free(list);
}
