/* SPDX-License-Identifier: MIT */
/*
 * The verb get: files and trees of the pool to the host, with modes, times, links, extended
 * attributes and holes. Each file is made relative to a directory descriptor, and no symbolic link
 * is followed below the named target. So a link in a pool cannot make it write elsewhere.
 */
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* One name in the pool and where it goes. */
struct wanted {
    const char *path; /* in the pool */
    int dir_fd;
    const char *name;  /* in dir_fd */
    const char *shown; /* where that is, as the user would name it */
    struct stat st;
};

/* ---------------------------------------------------------------------------- content ---- */

static bool write_at(struct transfer *get, const struct wanted *wanted, int fd, size_t len,
                     uint64_t off)
{
    for (size_t done = 0; done < len;) {
        ssize_t put = pwrite(fd, get->chunk + done, len - done, (off_t)(off + done));

        if (put < 0 && !(errno == EINTR && !cli_interrupted()))
            return transfer_fail_host(get, wanted->shown, errno);
        done += put > 0 ? (size_t)put : 0;
    }
    return true;
}

/* A file that ends before `end` was cut meanwhile, which is not a failure. */
static bool get_range(struct transfer *get, const struct wanted *wanted, struct hf_file *file,
                      int fd, uint64_t off, uint64_t end)
{
    while (off < end) {
        size_t want = end - off < TRANSFER_CHUNK_BYTES ? (size_t)(end - off) : TRANSFER_CHUNK_BYTES;
        ssize_t got = hf_read(file, get->chunk, want, off);

        if (got == -EINTR && !cli_interrupted())
            continue;
        if (got < 0)
            return transfer_fail(get, wanted->path, (int)got);
        if (got == 0)
            return true;
        if (!write_at(get, wanted, fd, (size_t)got, off))
            return false;
        off += (uint64_t)got;
        get->progress.bytes += (uint64_t)got;
        cli_progress_step(&get->progress, wanted->path);
        if (transfer_stopped(get, wanted->shown))
            return false;
    }
    return true;
}

static bool get_sparse(struct transfer *get, const struct wanted *wanted, struct hf_file *file,
                       int fd)
{
    uint64_t size = (uint64_t)wanted->st.st_size, data = 0, hole = 0;

    while (hole < size) {
        int rc = hf_seek(file, hole, HF_SEEK_DATA, &data);

        if (rc == -ENXIO || (rc == 0 && data >= size))
            break;
        if (rc == 0)
            rc = hf_seek(file, data, HF_SEEK_HOLE, &hole);
        if (rc == -ENXIO)
            break;
        if (rc != 0)
            return transfer_fail(get, wanted->path, rc);
        if (!get_range(get, wanted, file, fd, data, hole < size ? hole : size))
            return false;
    }
    if (ftruncate(fd, (off_t)size) != 0)
        return transfer_fail_host(get, wanted->shown, errno);
    return true;
}

/* ------------------------------------------------------------------------- attributes ---- */

/* A host file system that has no extended attributes is mentioned once and is not a failure. */
static void refuse_xattr(struct transfer *get, const struct wanted *wanted, const char *name,
                         int error)
{
    if (error != EOPNOTSUPP && error != EPERM && error != EACCES) {
        transfer_fail_host(get, wanted->shown, error);
        return;
    }
    if (get->xattrs_refused)
        return;
    get->xattrs_refused = true;
    cli_progress_wipe(&get->progress);
    cli_note("%s: the extended attribute %s cannot be kept there, nor others like it: %s",
             wanted->shown, name, strerror(error));
}

static void get_xattr(struct transfer *get, const struct wanted *wanted, int fd, const char *name)
{
    ssize_t size = hf_getxattr(get->pool, wanted->path, name, get->chunk, TRANSFER_CHUNK_BYTES);

    if (size >= 0 && fsetxattr(fd, name, get->chunk, (size_t)size, 0) != 0)
        refuse_xattr(get, wanted, name, errno);
    if (size < 0 && size != -ENODATA) /* it was there a moment ago */
        transfer_fail(get, wanted->path, (int)size);
}

/* An attribute that comes meanwhile need not be copied. */
static void get_xattrs(struct transfer *get, const struct wanted *wanted, int fd)
{
    ssize_t len;
    char *list = cli_xattr_list(get->pool, HF_ROOT_INO, wanted->path, &len);

    for (char *name = list; len > 0 && name < list + len; name += strlen(name) + 1)
        get_xattr(get, wanted, fd, name);
    free(list);
    if (len < 0)
        transfer_fail(get, wanted->path, (int)len);
}

/* Set-user-ID only if the owner is the same as in the pool. */
static mode_t kept_mode(const struct transfer *get, const struct stat *st)
{
    if (get->keep_owner || st->st_uid == geteuid())
        return st->st_mode & 07777u;
    return st->st_mode & 01777u;
}

/* Owner first: it clears set-user-id; times last. */
static bool get_attributes(struct transfer *get, const struct wanted *wanted, int fd)
{
    const struct timespec times[2] = {wanted->st.st_atim, wanted->st.st_mtim};

    get_xattrs(get, wanted, fd);
    if (get->keep_owner && fchown(fd, wanted->st.st_uid, wanted->st.st_gid) != 0)
        return transfer_fail_host(get, wanted->shown, errno);
    if (fchmod(fd, kept_mode(get, &wanted->st)) != 0 || futimens(fd, times) != 0)
        return transfer_fail_host(get, wanted->shown, errno);
    return true;
}

/* The same for files that cannot be opened: symbolic links, devices. */
static bool name_attributes(struct transfer *get, const struct wanted *wanted, const char *name)
{
    const struct timespec times[2] = {wanted->st.st_atim, wanted->st.st_mtim};

    if (get->keep_owner && fchownat(wanted->dir_fd, name, wanted->st.st_uid, wanted->st.st_gid,
                                    AT_SYMLINK_NOFOLLOW) != 0)
        return transfer_fail_host(get, wanted->shown, errno);
    if (!S_ISLNK(wanted->st.st_mode) &&
        fchmodat(wanted->dir_fd, name, kept_mode(get, &wanted->st), 0) != 0)
        return transfer_fail_host(get, wanted->shown, errno);
    if (utimensat(wanted->dir_fd, name, times, AT_SYMLINK_NOFOLLOW) != 0)
        return transfer_fail_host(get, wanted->shown, errno);
    return true;
}

/* ------------------------------------------------------------------ one kind of file each -- */

static bool settle_local(struct transfer *get, const struct wanted *wanted, const char *temp,
                         bool good)
{
    if (good && renameat(wanted->dir_fd, temp, wanted->dir_fd, wanted->name) == 0) {
        get->progress.items++;
        cli_progress_step(&get->progress, wanted->path);
        return true;
    }
    if (good)
        transfer_fail_host(get, wanted->shown, errno);
    unlinkat(wanted->dir_fd, temp, 0);
    return false;
}

static bool fill_file(struct transfer *get, const struct wanted *wanted, struct hf_file *file,
                      const char *temp)
{
    int fd =
        openat(wanted->dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool good;

    if (fd < 0)
        return transfer_fail_host(get, wanted->shown, errno);
    good = get_sparse(get, wanted, file, fd) && get_attributes(get, wanted, fd);
    if (close(fd) != 0 && good)
        good = transfer_fail_host(get, wanted->shown, errno);
    return settle_local(get, wanted, temp, good);
}

static bool get_file(struct transfer *get, struct wanted *wanted)
{
    char temp[TRANSFER_TEMP_TEXT];
    struct hf_file *file;
    bool good;
    int rc = hf_open(get->pool, wanted->path, O_RDONLY | O_NOFOLLOW, 0, &file);

    if (rc != 0)
        return transfer_fail(get, wanted->path, rc);
    rc = hf_fstat(file, &wanted->st);
    good = rc == 0 ? fill_file(get, wanted, file, transfer_temp_name(get, temp))
                   : transfer_fail(get, wanted->path, rc);
    hf_close(file);
    return good;
}

/* renameat(2) of two names of one file does nothing: the temporary name is taken away again. */
static bool get_link(struct transfer *get, const struct wanted *wanted, const char *first)
{
    char temp[TRANSFER_TEMP_TEXT];
    bool good;

    transfer_temp_name(get, temp);
    if (linkat(AT_FDCWD, first, wanted->dir_fd, temp, 0) != 0)
        return transfer_fail_host(get, wanted->shown, errno);
    good = settle_local(get, wanted, temp, true);
    unlinkat(wanted->dir_fd, temp, 0);
    return good;
}

static bool get_symlink(struct transfer *get, const struct wanted *wanted)
{
    char temp[TRANSFER_TEMP_TEXT], text[HF_SYMLINK_MAX + 1];
    ssize_t len = hf_readlink(get->pool, wanted->path, text, HF_SYMLINK_MAX);

    if (len < 0)
        return transfer_fail(get, wanted->path, (int)len);
    text[len] = '\0';
    transfer_temp_name(get, temp);
    if (symlinkat(text, wanted->dir_fd, temp) != 0)
        return transfer_fail_host(get, wanted->shown, errno);
    return settle_local(get, wanted, temp, name_attributes(get, wanted, temp));
}

static bool get_special_file(struct transfer *get, const struct wanted *wanted)
{
    char temp[TRANSFER_TEMP_TEXT];

    transfer_temp_name(get, temp);
    if (mknodat(wanted->dir_fd, temp, (wanted->st.st_mode & S_IFMT) | 0600, wanted->st.st_rdev))
        return transfer_fail_host(get, wanted->shown, errno);
    return settle_local(get, wanted, temp, name_attributes(get, wanted, temp));
}

static bool get_entry(struct transfer *get, struct wanted *wanted);

static bool get_entries(struct transfer *get, const struct wanted *wanted, int dir_fd)
{
    struct hf_dirent entry;
    struct hf_dir *dir;
    int rc = hf_opendir(get->pool, wanted->path, &dir);

    if (rc != 0)
        return transfer_fail(get, wanted->path, rc);
    while (!get->stop && (rc = hf_readdir(dir, &entry)) > 0) {
        struct wanted inner = {.dir_fd = dir_fd, .name = entry.name};
        char *path, *shown;

        if (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0)
            continue;
        inner.path = path = cli_join(wanted->path, entry.name);
        inner.shown = shown = cli_join(wanted->shown, entry.name);
        get_entry(get, &inner);
        free(path);
        free(shown);
    }
    hf_closedir(dir);
    return rc >= 0 || transfer_fail(get, wanted->path, rc);
}

/* Attributes last: a directory that is read-only could not be filled. */
static bool get_directory(struct transfer *get, const struct wanted *wanted)
{
    bool good;
    int fd;

    if (mkdirat(wanted->dir_fd, wanted->name, 0700) != 0 && errno != EEXIST)
        return transfer_fail_host(get, wanted->shown, errno);
    fd = openat(wanted->dir_fd, wanted->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return transfer_fail_host(get, wanted->shown, errno);
    good = get_entries(get, wanted, fd);
    if (!get->stop)
        good = get_attributes(get, wanted, fd) && good;
    close(fd);
    return good;
}

static bool get_named_file(struct transfer *get, struct wanted *wanted)
{
    uint64_t dev = wanted->st.st_dev, ino = wanted->st.st_ino;
    bool has_more_names = wanted->st.st_nlink > 1;
    const char *first = has_more_names ? transfer_find_link(get, dev, ino) : NULL;

    if (first != NULL)
        return get_link(get, wanted, first);
    if (!get_file(get, wanted))
        return false;
    if (has_more_names)
        transfer_add_link(get, dev, ino, wanted->shown);
    return true;
}

static bool get_entry(struct transfer *get, struct wanted *wanted)
{
    int rc;

    if (transfer_stopped(get, wanted->shown))
        return false;
    rc = hf_stat(get->pool, wanted->path, HF_AT_NOFOLLOW, &wanted->st);
    if (rc != 0)
        return transfer_fail(get, wanted->path, rc);
    switch (wanted->st.st_mode & S_IFMT) {
    case S_IFREG:
        return get_named_file(get, wanted);
    case S_IFDIR:
        return get_directory(get, wanted);
    case S_IFLNK:
        return get_symlink(get, wanted);
    default:
        return get_special_file(get, wanted);
    }
}

/* ---------------------------------------------------------------------- the command line -- */

/* "dir/name" or "name": where the last name lies. */
static int open_parent(const char *target)
{
    char *dir = cli_strdup(target), *slash = strrchr(dir, '/');
    int fd;

    if (slash == NULL)
        fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    else if (slash == dir)
        fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    else
        fd = (*slash = '\0', open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
    free(dir);
    return fd;
}

/* Gets all that is in the directory `path`, into the host's directory `to`. */
static void get_contents(struct transfer *get, const char *path, const char *to)
{
    struct wanted wanted = {.path = path, .dir_fd = AT_FDCWD, .name = to, .shown = to};
    int fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        transfer_fail_host(get, to, errno);
        return;
    }
    get_entries(get, &wanted, fd);
    close(fd);
}

static void get_as(struct transfer *get, const char *path, char *target)
{
    size_t len = strlen(target);
    struct wanted wanted = {.path = path, .shown = target};
    char *name;

    while (len > 1 && target[len - 1] == '/')
        target[--len] = '\0';
    wanted.dir_fd = open_parent(target);
    if (wanted.dir_fd < 0) {
        transfer_fail_host(get, target, errno);
        return;
    }
    wanted.name = name = cli_last_name(target);
    get_entry(get, &wanted);
    free(name);
    close(wanted.dir_fd);
}

static void get_operand(struct transfer *get, const char *path, const char *to, bool into)
{
    char *name = cli_last_name(path);
    bool contents = name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    char *target = into ? cli_join(to, name) : cli_strdup(to);

    if (into && contents)
        get_contents(get, path, to);
    else
        get_as(get, path, target);
    free(target);
    free(name);
}

static bool is_host_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int get_run(int count, char **operands)
{
    int wanted = count > 2 ? count - 2 : 1;
    const char *to = count > 2 ? operands[count - 1] : ".";
    bool into = is_host_directory(to);
    struct transfer get;
    struct hf_pool *pool;
    int status;

    if (strcmp(to, "-") == 0)
        return cli_usage("-: use `holdfast cat` for standard output");
    if (wanted > 1 && !into)
        return cli_usage("%s: must be a directory, since there are %d things to get", to, wanted);
    status = cli_pool_open(operands[0], HF_OPEN_RDONLY, &pool);
    if (status != EX_OK)
        return status;
    transfer_begin(&get, pool);
    for (int i = 1; i <= wanted && !get.stop; i++)
        get_operand(&get, operands[i], to, into);
    return transfer_end(&get, operands[0]);
}

const struct cli_verb cli_verb_get = {
    .name = "get",
    .operands = "POOL PATH... [TARGET]",
    .summary = "copy files and trees of the pool to the host",
    .details =
        "Keeps modes, times, links, extended attributes and holes, and owners when root\n"
        "does it. Copies into TARGET if that is a directory (. if none is given), else to\n"
        "TARGET; PATH/. means all that is in PATH. A file that exists is replaced in one step.",
    .operands_min = 2,
    .operands_max = 1 << 20,
    .run = get_run,
};
