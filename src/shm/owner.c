/* SPDX-License-Identifier: MIT */
/*
 * Gives the users of a pool the files that the first process to attach has made. The pool's mode
 * says which users may open it, whichever of them came first. If the first one is root, the pool's
 * owner becomes the file's owner. A member of the pool's group cannot give the file away, but gives
 * it to the group. The pool's owner may not be in that group, so the owner gets an entry in an ACL.
 * Where even the group cannot be set, the group's bits are cleared, so that another group does not
 * get them.
 */
#include "shm/owner.h"

#include <errno.h>
#include <stdint.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The form in which the kernel keeps an ACL in this attribute. */
#define ACL_NAME "system.posix_acl_access"
#define ACL_VERSION 2u
enum { USER_OWNER = 1, USER = 2, GROUP_OWNER = 4, MASK = 16, OTHER = 32 };

struct entry {
    uint16_t tag, bits;
    uint32_t id;
};

/* Without ACLs on the file system, the owner may be left without access. */
static void let_user_in(int fd, uid_t user, mode_t mode)
{
    const uint16_t owner = mode >> 6 & 7, group = mode >> 3 & 7, other = mode & 7;
    const struct {
        uint32_t version;
        struct entry entries[5];
    } acl = {ACL_VERSION,
             {{USER_OWNER, owner, UINT32_MAX},
              {USER, owner, user},
              {GROUP_OWNER, group, UINT32_MAX},
              {MASK, owner | group, UINT32_MAX},
              {OTHER, other, UINT32_MAX}}};

    (void)fsetxattr(fd, ACL_NAME, &acl, sizeof acl, 0);
}

int shm_give_file(int fd, const struct stat *pool, mode_t mode)
{
    struct stat st;

    if (fchown(fd, pool->st_uid, pool->st_gid) && fchown(fd, (uid_t)-1, pool->st_gid))
        mode &= ~(mode_t)S_IRWXG;
    if (fchmod(fd, mode) || fstat(fd, &st))
        return -errno;
    if (st.st_uid != pool->st_uid)
        let_user_in(fd, pool->st_uid, mode);
    return 0;
}
