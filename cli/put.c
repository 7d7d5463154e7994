/* SPDX-License-Identifier: MIT */
/*
 * The verb put: files and trees from the host into the pool, with modes, times, links, extended
 * attributes and holes. The host side is read through directory descriptors without following
 * symbolic links, so a tree that changes meanwhile cannot lead elsewhere.
 *
 * A file has no name in the pool until it is whole, so an unfinished one vanishes if this process
 * is killed. Symbolic links and nodes are made under a name of their own, since only a rename can
 * replace another file.
 */
#include "transfer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* One name on the host and where it goes. */
struct source {
    int dir_fd;
    const char *name;  /* in dir_fd */
    const char *shown; /* as the user would name it */
    const char *target;
    struct stat st;
};

/* The file that gets attributes: a path from an inode, or "" for the inode itself. */
struct place {
    uint64_t at;
    const char *path;
};

/* The target's directory with a name of its own for what is under way; to be freed. */
static char *temp_path(struct transfer *put, const char *target)
{
    char name[TRANSFER_TEMP_TEXT];
    char *dir = cli_strdup(target), *slash = strrchr(dir, '/'), *path;

    transfer_temp_name(put, name);
    if (slash == NULL) {
        path = cli_strdup(name);
    } else {
        slash[1] = '\0';
        path = cli_join(dir, name);
    }
    free(dir);
    return path;
}

/* ---------------------------------------------------------------------------- content ---- */

/* From the host's current place up to len bytes, to off in the file. Returns what was moved. */
static int64_t put_range(struct transfer *put, const struct source *source, int fd,
                         struct hf_file *file, uint64_t off, uint64_t len)
{
    uint64_t moved = 0;

    while (moved < len) {
        size_t want =
            len - moved < TRANSFER_CHUNK_BYTES ? (size_t)(len - moved) : TRANSFER_CHUNK_BYTES;
        ssize_t got = read(fd, put->chunk, want);

        if (got < 0 && errno == EINTR && !cli_interrupted())
            continue;
        if (got < 0) {
            if (errno != EINTR || !transfer_stopped(put, source->target))
                transfer_fail_host(put, source->shown, errno);
            return -1;
        }
        if (got == 0)
            break;
        for (ssize_t written = 0; written < got;) {
            ssize_t done = hf_write(file, put->chunk + written, (size_t)(got - written),
                                    off + moved + (uint64_t)written);

            if (done < 0 && !(done == -EINTR && !cli_interrupted())) {
                transfer_fail(put, source->target, (int)done);
                return -1;
            }
            written += done > 0 ? done : 0;
        }
        moved += (uint64_t)got;
        put->progress.bytes += (uint64_t)got;
        cli_progress_step(&put->progress, source->shown);
        if (transfer_stopped(put, source->target))
            return -1;
    }
    return (int64_t)moved;
}

/* The next stretch of data at or after *off; the end of the file when only a hole follows. A file
 * system that knows no holes says EINVAL: all is data. */
static void find_data(int fd, uint64_t size, uint64_t *off, uint64_t *len)
{
    off_t data = lseek(fd, (off_t)*off, SEEK_DATA);
    off_t hole;

    if (data < 0 && errno == ENXIO) {
        *off = size;
        *len = 0;
        return;
    }
    if (data < 0) {
        lseek(fd, (off_t)*off, SEEK_SET);
        *len = size - *off;
        return;
    }
    hole = lseek(fd, data, SEEK_HOLE);
    lseek(fd, data, SEEK_SET);
    *off = (uint64_t)data;
    *len = (hole < 0 || (uint64_t)hole > size ? size : (uint64_t)hole) - (uint64_t)data;
}

/* As large as fstat(2) said; one that shrank meanwhile ends with a hole. */
static bool put_sparse(struct transfer *put, const struct source *source, int fd,
                       struct hf_file *file)
{
    uint64_t size = (uint64_t)source->st.st_size, off = 0, end = 0;
    int rc;

    while (off < size) {
        uint64_t len;
        int64_t moved;

        find_data(fd, size, &off, &len);
        if (off >= size || len == 0)
            break;
        moved = put_range(put, source, fd, file, off, len);
        if (moved < 0)
            return false;
        end = off + (uint64_t)moved;
        if ((uint64_t)moved < len)
            break;
        off = end;
    }
    rc = end < size ? hf_truncate(file, size, NULL) : 0;
    return rc == 0 || transfer_fail(put, source->target, rc);
}

/* A file without a size beforehand: a pipe, a file of /proc. */
static bool copy_stream(struct transfer *put, const struct source *source, int fd,
                        struct hf_file *file)
{
    return put_range(put, source, fd, file, 0, HF_FILE_BYTES_MAX) >= 0;
}

/* Makes a file without a name, which will get this one. */
static int open_unnamed(struct transfer *put, const char *target, struct hf_file **file)
{
    char *dir = cli_strdup(target), *slash = strrchr(dir, '/');
    int rc;

    *(slash != NULL ? slash + 1 : dir) = '\0';
    rc = hf_openat(put->pool, HF_ROOT_INO, dir, O_WRONLY | O_TMPFILE, 0600, file);
    free(dir);
    return rc;
}

/* The file, without a name; null: the reason is printed. */
static struct hf_file *put_content(struct transfer *put, const struct source *source, int fd)
{
    bool sized = S_ISREG(source->st.st_mode) && source->st.st_size > 0;
    struct hf_file *file;
    int rc = open_unnamed(put, source->target, &file);

    if (rc != 0) {
        transfer_fail(put, source->target, rc);
        return NULL;
    }
    if (sized ? put_sparse(put, source, fd, file) : copy_stream(put, source, fd, file))
        return file;
    hf_close(file);
    return NULL;
}

/* ------------------------------------------------------------------------- attributes ---- */

static void put_xattr(struct transfer *put, int fd, const struct source *source, struct place place,
                      const char *name)
{
    ssize_t len = fgetxattr(fd, name, put->chunk, TRANSFER_CHUNK_BYTES);
    int rc = len >= 0
                 ? hf_setxattrat(put->pool, place.at, place.path, name, put->chunk, (size_t)len, 0)
                 : 0;

    if (rc != 0)
        transfer_fail(put, source->target, rc);
}

/* The list of names, to be freed; null: there are none, or the host does not show them. ERANGE:
 * they have become more. */
static char *list_host_xattrs(int fd, ssize_t *len)
{
    char *list;

    do {
        *len = flistxattr(fd, NULL, 0);
        if (*len <= 0)
            return NULL;
        list = cli_alloc((size_t)*len);
        *len = flistxattr(fd, list, (size_t)*len);
        if (*len >= 0)
            return list;
        free(list);
    } while (errno == ERANGE);
    return NULL;
}

/* Attributes that cannot be read are left out: only the owner may see all of them. */
static void put_host_xattrs(struct transfer *put, int fd, const struct source *source,
                            struct place place)
{
    ssize_t len;
    char *list = list_host_xattrs(fd, &len);

    for (char *name = list; len > 0 && name < list + len; name += strlen(name) + 1)
        put_xattr(put, fd, source, place, name);
    free(list);
}

/* Owner first: it clears set-user-id; times last: all else changes them. */
static bool put_host_attributes(struct transfer *put, const struct source *source,
                                struct place place)
{
    const struct timespec times[2] = {source->st.st_atim, source->st.st_mtim};
    int rc = 0;

    if (put->keep_owner)
        rc = hf_chownat(put->pool, place.at, place.path, source->st.st_uid, source->st.st_gid,
                        HF_AT_NOFOLLOW);
    if (rc == 0 && !S_ISLNK(source->st.st_mode))
        rc = hf_chmodat(put->pool, place.at, place.path, source->st.st_mode & 07777u);
    if (rc == 0)
        rc = hf_utimensat(put->pool, place.at, place.path, times, HF_AT_NOFOLLOW);
    return rc == 0 || transfer_fail(put, source->target, rc);
}

/* ------------------------------------------------------------------ one kind of file each -- */

static bool settle_source(struct transfer *put, const struct source *source, int rc)
{
    if (rc != 0)
        return transfer_fail(put, source->target, rc);
    put->progress.items++;
    cli_progress_step(&put->progress, source->shown);
    return true;
}

/* Gives a finished file its name, or removes it. */
static bool settle_stored(struct transfer *put, const struct source *source, const char *temp,
                          bool good)
{
    good = good && settle_source(put, source, hf_rename(put->pool, temp, source->target, 0));
    if (!good)
        hf_unlink(put->pool, temp, NULL);
    return good;
}

/* Its size and times are recorded before it has a name, so a power cut leaves a whole file or
 * none. */
static bool settle_file(struct transfer *put, const struct source *source, struct hf_file *file,
                        uint64_t ino)
{
    int rc = hf_fsync(file);

    rc = rc ? rc : hf_renameat(put->pool, ino, "", HF_ROOT_INO, source->target, 0);
    return settle_source(put, source, rc);
}

static bool inode_of(struct transfer *put, const struct source *source, struct hf_file *file,
                     struct place *place)
{
    struct stat st;
    int rc = hf_fstat(file, &st);

    *place = (struct place){st.st_ino, ""};
    return rc == 0 || transfer_fail(put, source->target, rc);
}

static bool put_regular_file(struct transfer *put, struct source *source)
{
    int fd = openat(source->dir_fd, source->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct hf_file *file;
    struct place place;
    bool good = false;

    if (fd < 0)
        return transfer_fail_host(put, source->shown, errno);
    if (fstat(fd, &source->st) != 0 || !S_ISREG(source->st.st_mode)) {
        close(fd);
        return transfer_fail_host(put, source->shown, ESTALE);
    }
    file = put_content(put, source, fd);
    if (file && inode_of(put, source, file, &place)) {
        put_host_xattrs(put, fd, source, place);
        good = put_host_attributes(put, source, place) && settle_file(put, source, file, place.at);
    }
    close(fd);
    if (file)
        hf_close(file);
    return good;
}

/* It takes a name under way only to replace another file. By POSIX, a rename of one name of a file
 * onto another does nothing, and the name under way is then still there. */
static bool put_link(struct transfer *put, const struct source *source, const char *first)
{
    int rc = hf_link(put->pool, first, source->target);
    char *temp;
    bool good;

    if (rc != -EEXIST)
        return settle_source(put, source, rc);
    temp = temp_path(put, source->target);
    rc = hf_link(put->pool, first, temp);
    good =
        rc == 0 ? settle_stored(put, source, temp, true) : transfer_fail(put, source->target, rc);
    hf_unlink(put->pool, temp, NULL);
    free(temp);
    return good;
}

static bool put_symlink(struct transfer *put, const struct source *source)
{
    char text[HF_SYMLINK_MAX + 2];
    ssize_t len = readlinkat(source->dir_fd, source->name, text, sizeof(text) - 1);
    struct place place;
    char *temp;
    bool good;
    int rc;

    if (len < 0)
        return transfer_fail_host(put, source->shown, errno);
    text[len] = '\0';
    temp = temp_path(put, source->target);
    place = (struct place){HF_ROOT_INO, temp};
    rc = hf_symlink(put->pool, text, temp);
    good = rc == 0 ? settle_stored(put, source, temp, put_host_attributes(put, source, place))
                   : transfer_fail(put, source->target, rc);
    free(temp);
    return good;
}

static bool put_node(struct transfer *put, const struct source *source)
{
    char *temp = temp_path(put, source->target);
    struct place place = {HF_ROOT_INO, temp};
    int rc = hf_mknod(put->pool, temp, source->st.st_mode, source->st.st_rdev);
    bool good = rc == 0 ? settle_stored(put, source, temp, put_host_attributes(put, source, place))
                        : transfer_fail(put, source->target, rc);

    free(temp);
    return good;
}

static bool put_entry(struct transfer *put, struct source *source);

static void put_entries(struct transfer *put, const struct source *source, DIR *dir)
{
    struct dirent *entry;

    while (!put->stop && (errno = 0, entry = readdir(dir)) != NULL) {
        struct source inner = {.dir_fd = dirfd(dir), .name = entry->d_name};
        char *shown, *target;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        inner.shown = shown = cli_join(source->shown, entry->d_name);
        inner.target = target = cli_join(source->target, entry->d_name);
        put_entry(put, &inner);
        free(shown);
        free(target);
    }
    if (!put->stop && errno != 0)
        transfer_fail_host(put, source->shown, errno);
}

static bool make_pool_directory(struct transfer *put, const struct source *source)
{
    struct stat st;
    int rc = hf_mkdir(put->pool, source->target, 0700);

    if (rc == -EEXIST && hf_stat(put->pool, source->target, 0, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    return rc == 0 || transfer_fail(put, source->target, rc);
}

/* Attributes come last, since putting files inside changes the time. */
static bool put_directory(struct transfer *put, const struct source *source)
{
    int fd = openat(source->dir_fd, source->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir;

    if (fd < 0)
        return transfer_fail_host(put, source->shown, errno);
    dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return transfer_fail_host(put, source->shown, ENOMEM);
    }
    if (!make_pool_directory(put, source)) {
        closedir(dir);
        return false;
    }
    put_entries(put, source, dir);
    if (!put->stop) {
        struct place place = {HF_ROOT_INO, source->target};

        put_host_xattrs(put, dirfd(dir), source, place);
        put_host_attributes(put, source, place);
    }
    closedir(dir);
    return true;
}

static bool put_named_file(struct transfer *put, struct source *source)
{
    uint64_t dev = source->st.st_dev, ino = source->st.st_ino;
    bool has_more_names = source->st.st_nlink > 1;
    const char *first = has_more_names ? transfer_find_link(put, dev, ino) : NULL;

    if (first != NULL)
        return put_link(put, source, first);
    if (!put_regular_file(put, source))
        return false;
    if (has_more_names)
        transfer_add_link(put, dev, ino, source->target);
    return true;
}

static bool put_entry(struct transfer *put, struct source *source)
{
    if (transfer_stopped(put, source->target))
        return false;
    if (fstatat(source->dir_fd, source->name, &source->st, AT_SYMLINK_NOFOLLOW) != 0)
        return transfer_fail_host(put, source->shown, errno);
    switch (source->st.st_mode & S_IFMT) {
    case S_IFREG:
        return put_named_file(put, source);
    case S_IFDIR:
        return put_directory(put, source);
    case S_IFLNK:
        return put_symlink(put, source);
    default:
        return put_node(put, source);
    }
}

/* ---------------------------------------------------------------------- the command line -- */

static bool put_stdin(struct transfer *put, const char *target)
{
    struct source source = {.shown = "standard input", .target = target};
    struct hf_file *file = put_content(put, &source, STDIN_FILENO);
    struct place place;
    bool good;
    int rc;

    if (!file)
        return false;
    good = inode_of(put, &source, file, &place);
    rc = good ? hf_chmodat(put->pool, place.at, "", 0644) : 0;
    if (rc != 0)
        good = transfer_fail(put, target, rc);
    good = good && settle_file(put, &source, file, place.at);
    hf_close(file);
    return good;
}

static bool is_pool_directory(struct hf_pool *pool, const char *path)
{
    struct stat st;

    return hf_stat(pool, path, 0, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Into a directory under its own name; "DIR/." means what is inside. */
static void put_operand(struct transfer *put, const char *from, const char *to, bool into)
{
    struct source source = {.dir_fd = AT_FDCWD, .name = from, .shown = from};
    char *name = cli_last_name(from);
    bool contents = name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    char *target = into && !contents ? cli_join(to, name) : cli_strdup(to);

    source.target = target;
    put_entry(put, &source);
    free(target);
    free(name);
}

static int check_operands(int sources, char **from, const char *to, bool into)
{
    for (int i = 0; i < sources; i++) {
        if (strcmp(from[i], "-") == 0 && (sources > 1 || into))
            return cli_usage("-: standard input needs the name of one file in the pool");
    }
    if (sources > 1 && !into)
        return cli_usage("%s: must be a directory of the pool, since there are %d things to put"
                         " (`holdfast mkdir` makes one)",
                         to, sources);
    return EX_OK;
}

static int run_put(int count, char **operands)
{
    int sources = count > 2 ? count - 2 : 1;
    const char *to = count > 2 ? operands[count - 1] : "/";
    struct transfer put;
    struct hf_pool *pool;
    int status = cli_pool_open(operands[0], 0, &pool);
    bool into;

    if (status != EX_OK)
        return status;
    into = is_pool_directory(pool, to);
    status = check_operands(sources, operands + 1, to, into);
    if (status != EX_OK)
        return cli_pool_close(pool, operands[0], status);
    transfer_begin(&put, pool);
    if (strcmp(operands[1], "-") == 0)
        put_stdin(&put, to);
    for (int i = 1; i <= sources && !put.stop && strcmp(operands[1], "-") != 0; i++)
        put_operand(&put, operands[i], to, into);
    return transfer_end(&put, operands[0]);
}

const struct cli_verb cli_verb_put = {
    .name = "put",
    .operands = "POOL SOURCE... [PATH]",
    .summary = "copy files and trees of the host, or standard input (-), into the pool",
    .details =
        "Keeps modes, times, links, extended attributes and holes, and owners when root\n"
        "does it. Copies into PATH if that is a directory (/ if none is given), else to\n"
        "PATH; SOURCE/. means all that is in SOURCE. A file that exists is replaced in one step.",
    .operands_min = 2,
    .operands_max = 1 << 20,
    .run = run_put,
};
