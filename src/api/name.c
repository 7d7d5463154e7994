/* SPDX-License-Identifier: MIT */
/* Argument checks of the calls on names and attributes. A call on a path calls its twin, whose name
 * ends in "at", with the root as the directory. */
#include "api/api.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#define OPEN_FLAGS (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC)

/* The path has a name in it, where the empty one, an inode itself, will not do. */
static int check_named(const struct hf_pool *pool, const char *path)
{
    int rc = api_check_path(pool, path);

    return rc || *path ? rc : hf_fail(ENOENT, "the path is empty");
}

int hf_openat(struct hf_pool *pool, uint64_t at, const char *path, int flags, mode_t mode,
              struct hf_file **out)
{
    api_begins(__func__);
    int rc = api_check_path(pool, path);

    if (rc == 0 && !out)
        rc = api_null("out");
    if (rc == 0 && (flags & ~(OPEN_FLAGS | O_TMPFILE) ||
                    (flags & O_TMPFILE && (flags & O_TMPFILE) != O_TMPFILE)))
        rc = api_flags("hf_open", (uint32_t)flags);
    if (rc == 0 && flags & (O_CREAT | O_TMPFILE))
        rc = api_mode(mode);
    return rc ? rc : fs_open(&pool->fs, (struct fs_at){at, path}, flags, mode, out);
}

int hf_open(struct hf_pool *pool, const char *path, int flags, mode_t mode, struct hf_file **out)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_openat(pool, HF_ROOT_INO, path, flags, mode, out);
}

ssize_t hf_clone_files(struct hf_pool *pool, struct hf_clone_entry *entries, size_t count)
{
    api_begins(__func__);
    int rc = api_check_pool(pool);

    if (rc == 0 && count && !entries)
        rc = api_null("entries");
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (!entries[i].name)
            rc = api_null("name");
    return rc ? rc : fs_clone_files(&pool->fs, entries, count);
}

int hf_close(struct hf_file *file)
{
    api_begins(__func__);
    int rc = api_check_file(file);

    return rc ? rc : fs_close(file);
}

int hf_mkdirat(struct hf_pool *pool, uint64_t at, const char *path, mode_t mode)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    rc = rc ? rc : api_mode(mode);
    return rc ? rc : fs_mkdir(&pool->fs, (struct fs_at){at, path}, mode);
}

int hf_mkdir(struct hf_pool *pool, const char *path, mode_t mode)
{
    api_begins(__func__);
    return hf_mkdirat(pool, HF_ROOT_INO, path, mode);
}

int hf_rmdirat(struct hf_pool *pool, uint64_t at, const char *path)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : fs_rmdir(&pool->fs, (struct fs_at){at, path});
}

int hf_rmdir(struct hf_pool *pool, const char *path)
{
    api_begins(__func__);
    return hf_rmdirat(pool, HF_ROOT_INO, path);
}

int hf_mknodat(struct hf_pool *pool, uint64_t at, const char *path, mode_t mode, dev_t rdev)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    if (rc == 0 && !(mode & S_IFMT))
        mode |= S_IFREG;
    if (rc == 0 && !S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode) && !S_ISCHR(mode) &&
        !S_ISBLK(mode))
        rc = hf_fail(EINVAL, "mode %o: no such type of node", (unsigned)mode);
    rc = rc ? rc : api_mode(mode & ~(mode_t)S_IFMT);
    return rc ? rc : fs_mknod(&pool->fs, (struct fs_at){at, path}, mode, rdev);
}

int hf_mknod(struct hf_pool *pool, const char *path, mode_t mode, dev_t rdev)
{
    api_begins(__func__);
    return hf_mknodat(pool, HF_ROOT_INO, path, mode, rdev);
}

int hf_linkat(struct hf_pool *pool, uint64_t from_at, const char *from, uint64_t to_at,
              const char *to)
{
    api_begins(__func__);
    int rc = api_check_path(pool, from);

    rc = rc ? rc : check_named(pool, to);
    return rc ? rc : fs_link(&pool->fs, (struct fs_at){from_at, from}, (struct fs_at){to_at, to});
}

int hf_link(struct hf_pool *pool, const char *from, const char *to)
{
    api_begins(__func__);
    int rc = check_named(pool, from);

    return rc ? rc : hf_linkat(pool, HF_ROOT_INO, from, HF_ROOT_INO, to);
}

int hf_symlinkat(struct hf_pool *pool, const char *target, uint64_t at, const char *path)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    if (rc == 0 && !target)
        rc = api_null("target");
    if (rc == 0 && !*target)
        rc = hf_fail(ENOENT, "the target of a symbolic link cannot be empty");
    if (rc == 0 && strlen(target) > HF_SYMLINK_MAX)
        rc = hf_fail(ENAMETOOLONG, "the target is longer than %u bytes", HF_SYMLINK_MAX);
    return rc ? rc : fs_symlink(&pool->fs, target, (struct fs_at){at, path});
}

int hf_symlink(struct hf_pool *pool, const char *target, const char *path)
{
    api_begins(__func__);
    return hf_symlinkat(pool, target, HF_ROOT_INO, path);
}

ssize_t hf_readlinkat(struct hf_pool *pool, uint64_t at, const char *path, char *buf, size_t len)
{
    api_begins(__func__);
    int rc = api_check_path(pool, path);

    if (rc == 0 && len && !buf)
        rc = api_null("buf");
    return rc ? rc : fs_readlink(&pool->fs, (struct fs_at){at, path}, buf, len);
}

ssize_t hf_readlink(struct hf_pool *pool, const char *path, char *buf, size_t len)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_readlinkat(pool, HF_ROOT_INO, path, buf, len);
}

int hf_unlinkat(struct hf_pool *pool, uint64_t at, const char *path, const struct hf_policy *policy)
{
    api_begins(__func__);
    struct hf_policy definite;
    struct shm_bound before;
    int rc = check_named(pool, path);

    rc = rc ? rc : api_policy(&pool->fs, policy, &definite);
    if (rc)
        return rc;
    before = api_bound(&definite);
    rc = fs_unlink(&pool->fs, (struct fs_at){at, path}, &definite);
    shm_bound = before;
    return rc;
}

int hf_unlink(struct hf_pool *pool, const char *path, const struct hf_policy *policy)
{
    api_begins(__func__);
    return hf_unlinkat(pool, HF_ROOT_INO, path, policy);
}

int hf_renameat(struct hf_pool *pool, uint64_t from_at, const char *from, uint64_t to_at,
                const char *to, uint32_t flags)
{
    api_begins(__func__);
    int rc = api_check_path(pool, from);

    rc = rc ? rc : check_named(pool, to);
    if (rc == 0 && !*from && flags & ~HF_RENAME_NOREPLACE)
        rc = hf_fail(EINVAL, "a file without a name takes no flag but HF_RENAME_NOREPLACE");
    if (rc == 0 && (flags & ~(HF_RENAME_NOREPLACE | HF_RENAME_EXCHANGE | HF_RENAME_WHITEOUT) ||
                    (flags & HF_RENAME_EXCHANGE && flags != HF_RENAME_EXCHANGE)))
        rc = api_flags("hf_rename", flags);
    return rc ? rc
              : fs_rename(&pool->fs, (struct fs_at){from_at, from}, (struct fs_at){to_at, to},
                          flags);
}

int hf_rename(struct hf_pool *pool, const char *from, const char *to, uint32_t flags)
{
    api_begins(__func__);
    int rc = check_named(pool, from);

    return rc ? rc : hf_renameat(pool, HF_ROOT_INO, from, HF_ROOT_INO, to, flags);
}

/* ---- attributes ---- */

static int check_at(const struct hf_pool *pool, const char *path, const char *call, uint32_t flags)
{
    int rc = api_check_path(pool, path);

    if (rc == 0 && flags & ~HF_AT_NOFOLLOW)
        rc = api_flags(call, flags);
    return rc;
}

int hf_statat(struct hf_pool *pool, uint64_t at, const char *path, uint32_t flags, struct stat *out)
{
    api_begins(__func__);
    int rc = check_at(pool, path, "hf_stat", flags);

    if (rc == 0 && !out)
        rc = api_null("out");
    return rc ? rc : fs_stat(&pool->fs, (struct fs_at){at, path}, !(flags & HF_AT_NOFOLLOW), out);
}

int hf_stat(struct hf_pool *pool, const char *path, uint32_t flags, struct stat *out)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_statat(pool, HF_ROOT_INO, path, flags, out);
}

int hf_statxat(struct hf_pool *pool, uint64_t at, const char *path, uint32_t flags,
               struct statx *out)
{
    api_begins(__func__);
    int rc = check_at(pool, path, "hf_statx", flags);

    if (rc == 0 && !out)
        rc = api_null("out");
    return rc ? rc : fs_statx(&pool->fs, (struct fs_at){at, path}, !(flags & HF_AT_NOFOLLOW), out);
}

int hf_statx(struct hf_pool *pool, const char *path, uint32_t flags, struct statx *out)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_statxat(pool, HF_ROOT_INO, path, flags, out);
}

int hf_fstat(struct hf_file *file, struct stat *out)
{
    api_begins(__func__);
    int rc = api_check_file(file);

    if (rc == 0 && !out)
        rc = api_null("out");
    return rc ? rc : fs_fstat(file, out);
}

int hf_chmodat(struct hf_pool *pool, uint64_t at, const char *path, mode_t mode)
{
    api_begins(__func__);
    int rc = api_check_path(pool, path);

    rc = rc ? rc : api_mode(mode);
    return rc ? rc : fs_chmod(&pool->fs, (struct fs_at){at, path}, mode);
}

int hf_chmod(struct hf_pool *pool, const char *path, mode_t mode)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_chmodat(pool, HF_ROOT_INO, path, mode);
}

int hf_chownat(struct hf_pool *pool, uint64_t at, const char *path, uid_t uid, gid_t gid,
               uint32_t flags)
{
    api_begins(__func__);
    int rc = check_at(pool, path, "hf_chown", flags);

    return rc ? rc
              : fs_chown(&pool->fs, (struct fs_at){at, path}, uid, gid, !(flags & HF_AT_NOFOLLOW));
}

int hf_chown(struct hf_pool *pool, const char *path, uid_t uid, gid_t gid, uint32_t flags)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_chownat(pool, HF_ROOT_INO, path, uid, gid, flags);
}

int hf_utimensat(struct hf_pool *pool, uint64_t at, const char *path,
                 const struct timespec times[2], uint32_t flags)
{
    api_begins(__func__);
    int rc = check_at(pool, path, "hf_utimens", flags);

    return rc ? rc
              : fs_utimens(&pool->fs, (struct fs_at){at, path}, times, !(flags & HF_AT_NOFOLLOW));
}

int hf_utimens(struct hf_pool *pool, const char *path, const struct timespec times[2],
               uint32_t flags)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_utimensat(pool, HF_ROOT_INO, path, times, flags);
}

/* ---- extended attributes ---- */

static int check_xattr(const struct hf_pool *pool, const char *path, const char *name)
{
    const char *dot;
    int rc = api_check_path(pool, path);

    if (rc == 0 && !name)
        rc = api_null("name");
    if (rc)
        return rc;
    if (strlen(name) > HF_NAME_MAX)
        return hf_fail(ERANGE, "the name of an attribute has at most %u bytes", HF_NAME_MAX);
    dot = strchr(name, '.');
    if (!dot || dot == name || !dot[1])
        return hf_fail(EOPNOTSUPP, "%.100s: the name of an attribute has a namespace, as in user.x",
                       name);
    return 0;
}

int hf_setxattrat(struct hf_pool *pool, uint64_t at, const char *path, const char *name,
                  const void *value, size_t len, uint32_t flags)
{
    api_begins(__func__);
    int rc = check_xattr(pool, path, name);

    if (rc == 0 && len && !value)
        rc = api_null("value");
    if (rc == 0 && len > HF_XATTR_VALUE_MAX)
        rc = hf_fail(E2BIG, "a value has at most %u bytes", HF_XATTR_VALUE_MAX);
    if (rc == 0 && (flags & ~(HF_XATTR_CREATE | HF_XATTR_REPLACE) ||
                    flags == (HF_XATTR_CREATE | HF_XATTR_REPLACE)))
        rc = api_flags("hf_setxattr", flags);
    return rc ? rc
              : fs_setxattr(&pool->fs, (struct fs_at){at, path}, name, len ? value : "", len,
                            flags);
}

int hf_setxattr(struct hf_pool *pool, const char *path, const char *name, const void *value,
                size_t len, uint32_t flags)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_setxattrat(pool, HF_ROOT_INO, path, name, value, len, flags);
}

ssize_t hf_getxattrat(struct hf_pool *pool, uint64_t at, const char *path, const char *name,
                      void *value, size_t len)
{
    api_begins(__func__);
    int rc = check_xattr(pool, path, name);

    if (rc == 0 && len && !value)
        rc = api_null("value");
    return rc ? rc : fs_getxattr(&pool->fs, (struct fs_at){at, path}, name, value, len);
}

ssize_t hf_getxattr(struct hf_pool *pool, const char *path, const char *name, void *value,
                    size_t len)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_getxattrat(pool, HF_ROOT_INO, path, name, value, len);
}

ssize_t hf_listxattrat(struct hf_pool *pool, uint64_t at, const char *path, char *list, size_t len)
{
    api_begins(__func__);
    int rc = api_check_path(pool, path);

    if (rc == 0 && len && !list)
        rc = api_null("list");
    return rc ? rc : fs_listxattr(&pool->fs, (struct fs_at){at, path}, list, len);
}

ssize_t hf_listxattr(struct hf_pool *pool, const char *path, char *list, size_t len)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_listxattrat(pool, HF_ROOT_INO, path, list, len);
}

int hf_removexattrat(struct hf_pool *pool, uint64_t at, const char *path, const char *name)
{
    api_begins(__func__);
    int rc = check_xattr(pool, path, name);

    return rc ? rc : fs_removexattr(&pool->fs, (struct fs_at){at, path}, name);
}

int hf_removexattr(struct hf_pool *pool, const char *path, const char *name)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_removexattrat(pool, HF_ROOT_INO, path, name);
}

/* ---- directories ---- */

static int check_dir(const struct hf_dir *dir)
{
    return dir ? api_check_fs(fs_of_dir(dir)) : api_null("dir");
}

int hf_opendirat(struct hf_pool *pool, uint64_t at, const char *path, struct hf_dir **out)
{
    api_begins(__func__);
    int rc = api_check_path(pool, path);

    if (rc == 0 && !out)
        rc = api_null("out");
    return rc ? rc : fs_opendir(&pool->fs, (struct fs_at){at, path}, out);
}

int hf_opendir(struct hf_pool *pool, const char *path, struct hf_dir **out)
{
    api_begins(__func__);
    int rc = check_named(pool, path);

    return rc ? rc : hf_opendirat(pool, HF_ROOT_INO, path, out);
}

int hf_readdir(struct hf_dir *dir, struct hf_dirent *out)
{
    api_begins(__func__);
    int rc = check_dir(dir);

    if (rc == 0 && !out)
        rc = api_null("out");
    return rc ? rc : fs_readdir(dir, out);
}

int hf_seekdir(struct hf_dir *dir, const char *name)
{
    api_begins(__func__);
    int rc = check_dir(dir);

    return rc ? rc : fs_seekdir(dir, name);
}

int hf_closedir(struct hf_dir *dir)
{
    api_begins(__func__);
    int rc = check_dir(dir);

    return rc ? rc : fs_closedir(dir);
}
