/* SPDX-License-Identifier: MIT */
/*
 * One copy inside a pool; see copy_tree.h. Files are named by their inodes, so that names that
 * change meanwhile lead nowhere else. Each file is cloned in one step, so the copy shows one
 * moment. Many files are cloned together. A file that is held, or that has to be copied, is cloned
 * by itself. Times are set last, those of a directory when all is in it.
 */
#include "copy_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <stdlib.h>
#include <string.h>

/* One entry, where it is and where it goes. */
struct entry {
    uint64_t from_dir, to_dir;
    const char *from_name, *to_name;
    const char *shown;
    struct stat st;
};

static bool stopped(struct copy_tree *copy)
{
    if (!cli_interrupted())
        return false;
    copy->transfer.stop = true;
    copy->transfer.status = EX_TEMPFAIL;
    return true;
}

/* Then half of a tree is of no use. */
static bool failed(struct copy_tree *copy, const struct entry *entry, int rc)
{
    if (!stopped(copy))
        transfer_fail(&copy->transfer, entry->shown, rc);
    copy->transfer.stop = true;
    return false;
}

/* ---------------------------------------------------------------------------- content ---- */

static int write_all(struct hf_file *to, const char *buf, size_t len, uint64_t off)
{
    while (len > 0) {
        ssize_t done = hf_write(to, buf, len, off);

        if (done < 0)
            return (int)done;
        buf += done;
        off += (uint64_t)done;
        len -= (size_t)done;
    }
    return 0;
}

/* Copies bytes that are not to be shared, and leaves the holes out. */
static int copy_bytes(struct copy_tree *copy, struct hf_file *from, struct hf_file *to,
                      uint64_t size)
{
    char *chunk = copy->transfer.chunk;
    uint64_t off = 0, hole;
    int rc = 0;

    while (rc == 0 && off < size && !cli_interrupted()) {
        rc = hf_seek(from, off, HF_SEEK_DATA, &off);
        if (rc == -ENXIO)
            break;
        rc = rc ? rc : hf_seek(from, off, HF_SEEK_HOLE, &hole);
        while (rc == 0 && off < hole && !cli_interrupted()) {
            size_t want = hole - off < TRANSFER_CHUNK_BYTES ? hole - off : TRANSFER_CHUNK_BYTES;
            ssize_t got = hf_read(from, chunk, want, off);

            rc = got > 0 ? write_all(to, chunk, (size_t)got, off) : (int)got;
            if (got == 0) /* cut short meanwhile */
                hole = size = off;
            off += got > 0 ? (uint64_t)got : 0;
        }
    }
    rc = rc == -ENXIO ? 0 : rc;
    return rc == 0 && !cli_interrupted() ? hf_truncate(to, size, NULL) : rc;
}

static int copy_content(struct copy_tree *copy, struct hf_file *from, struct hf_file *to,
                        uint64_t size)
{
    int rc = -EOPNOTSUPP;

    if (copy->sharing != COPY_COPIES)
        rc = hf_clone_range(from, 0, to, 0, 0, copy->policy);
    if (rc == -EOPNOTSUPP && copy->sharing != COPY_SHARES)
        rc = copy_bytes(copy, from, to, size);
    return rc;
}

/* ------------------------------------------------------------------------- attributes ---- */

/* A directory above has a default ACL, which was inherited. */
static int drop_inherited(struct copy_tree *copy, uint64_t to, bool *changed)
{
    struct hf_pool *pool = copy->transfer.pool;
    ssize_t len;
    char *list = cli_xattr_list(pool, to, "", &len);
    int rc = len < 0 ? (int)len : 0;

    *changed |= len > 0;
    for (char *name = list; rc == 0 && len > 0 && name < list + len; name += strlen(name) + 1)
        rc = hf_removexattrat(pool, to, "", name);
    free(list);
    return rc;
}

static int copy_tree_xattrs(struct copy_tree *copy, const struct entry *entry, uint64_t to,
                            bool *changed)
{
    struct hf_pool *pool = copy->transfer.pool;
    char *value = copy->transfer.chunk;
    ssize_t len, size;
    char *list = cli_xattr_list(pool, entry->st.st_ino, "", &len);
    int rc = len < 0 ? (int)len : 0;

    *changed |= len > 0;
    for (char *name = list; rc == 0 && len > 0 && name < list + len; name += strlen(name) + 1) {
        size = hf_getxattrat(pool, entry->st.st_ino, "", name, value, TRANSFER_CHUNK_BYTES);
        if (size == -ENODATA) /* removed meanwhile */
            continue;
        rc = size < 0 ? (int)size : hf_setxattrat(pool, to, "", name, value, (size_t)size, 0);
    }
    free(list);
    return rc;
}

/* Owner first, which clears set-user-ID; an ACL before the mode, which it changes; times last. */
static int copy_tree_attributes(struct copy_tree *copy, const struct entry *entry)
{
    const struct timespec times[2] = {entry->st.st_atim, entry->st.st_mtim};
    struct hf_pool *pool = copy->transfer.pool;
    bool changed = false;
    struct stat st;
    int rc = hf_statat(pool, entry->to_dir, entry->to_name, HF_AT_NOFOLLOW, &st);

    if (rc == 0 && (st.st_uid != entry->st.st_uid || st.st_gid != entry->st.st_gid)) {
        changed = true;
        rc = hf_chownat(pool, st.st_ino, "", entry->st.st_uid, entry->st.st_gid, HF_AT_NOFOLLOW);
    }
    if (!S_ISLNK(entry->st.st_mode)) {
        rc = rc ? rc : drop_inherited(copy, st.st_ino, &changed);
        rc = rc ? rc : copy_tree_xattrs(copy, entry, st.st_ino, &changed);
        if (rc == 0 && (changed || st.st_mode != entry->st.st_mode))
            rc = hf_chmodat(pool, st.st_ino, "", entry->st.st_mode & 07777u);
    }
    return rc ? rc : hf_utimensat(pool, st.st_ino, "", times, HF_AT_NOFOLLOW);
}

/* ------------------------------------------------------------------ one kind of file each -- */

static int copy_opened(struct copy_tree *copy, const struct entry *entry, struct hf_file *from)
{
    struct hf_file *to;
    int rc = hf_openat(copy->transfer.pool, entry->to_dir, entry->to_name,
                       O_WRONLY | O_CREAT | O_EXCL, entry->st.st_mode & 07777u, &to);

    if (rc)
        return rc;
    if (entry->st.st_size > 0)
        rc = copy_content(copy, from, to, (uint64_t)entry->st.st_size);
    hf_close(to);
    return rc;
}

static int copy_file(struct copy_tree *copy, const struct entry *entry)
{
    struct hf_file *from;
    int rc = hf_openat(copy->transfer.pool, entry->st.st_ino, "", O_RDONLY, 0, &from);

    if (rc)
        return rc;
    rc = copy_opened(copy, entry, from);
    hf_close(from);
    copy->transfer.progress.bytes += (uint64_t)entry->st.st_size;
    return rc ? rc : copy_tree_attributes(copy, entry);
}

static int copy_symlink(struct copy_tree *copy, const struct entry *entry)
{
    struct hf_pool *pool = copy->transfer.pool;
    char text[HF_SYMLINK_MAX + 1];
    ssize_t len = hf_readlinkat(pool, entry->st.st_ino, "", text, HF_SYMLINK_MAX);
    int rc;

    if (len < 0)
        return (int)len;
    text[len] = '\0';
    rc = hf_symlinkat(pool, text, entry->to_dir, entry->to_name);
    return rc ? rc : copy_tree_attributes(copy, entry);
}

static int copy_node(struct copy_tree *copy, const struct entry *entry)
{
    int rc = hf_mknodat(copy->transfer.pool, entry->to_dir, entry->to_name, entry->st.st_mode,
                        entry->st.st_rdev);

    return rc ? rc : copy_tree_attributes(copy, entry);
}

/* The other names of a file that was copied become names of the copy. The table has its inode, as
 * text. */
static void note_copied_link(struct transfer *transfer, uint64_t from, uint64_t to)
{
    char number[24];

    snprintf(number, sizeof(number), "%ju", (uintmax_t)to);
    transfer_add_link(transfer, 0, from, number);
}

static int copy_new(struct copy_tree *copy, const struct entry *entry)
{
    struct transfer *transfer = &copy->transfer;
    struct stat st;
    int rc = S_ISREG(entry->st.st_mode)   ? copy_file(copy, entry)
             : S_ISLNK(entry->st.st_mode) ? copy_symlink(copy, entry)
                                          : copy_node(copy, entry);

    if (rc || entry->st.st_nlink < 2)
        return rc;
    rc = hf_statat(transfer->pool, entry->to_dir, entry->to_name, HF_AT_NOFOLLOW, &st);
    if (rc == 0)
        note_copied_link(transfer, entry->st.st_ino, st.st_ino);
    return rc;
}

/* Removed meanwhile, before anything was made of it. */
static bool is_gone(struct copy_tree *copy, const struct entry *entry)
{
    struct hf_pool *pool = copy->transfer.pool;
    struct stat st;

    return copy->depth > 0 && hf_statat(pool, entry->st.st_ino, "", HF_AT_NOFOLLOW, &st) != 0 &&
           hf_statat(pool, entry->to_dir, entry->to_name, HF_AT_NOFOLLOW, &st) == -ENOENT;
}

/* Anything but a directory. */
static bool copy_leaf(struct copy_tree *copy, const struct entry *entry)
{
    struct transfer *transfer = &copy->transfer;
    const char *first =
        entry->st.st_nlink > 1 ? transfer_find_link(transfer, 0, entry->st.st_ino) : NULL;
    int rc = first ? hf_linkat(transfer->pool, strtoull(first, NULL, 10), "", entry->to_dir,
                               entry->to_name)
                   : copy_new(copy, entry);

    if (rc && is_gone(copy, entry))
        return false;
    if (rc)
        return failed(copy, entry, rc);
    transfer->progress.items++;
    cli_progress_step(&transfer->progress, entry->shown);
    return !stopped(copy);
}

/* The copy's first directory is closed to other users until the copy is whole, and so is all below
 * it. */
static bool make_copied_directory(struct copy_tree *copy, const struct entry *entry)
{
    struct hf_pool *pool = copy->transfer.pool;
    mode_t mode = copy->depth > 0 ? entry->st.st_mode & 07777u : 0700;
    int rc = hf_mkdirat(pool, entry->to_dir, entry->to_name, mode);
    struct stat st;

    rc = rc ? rc : hf_statat(pool, entry->to_dir, entry->to_name, HF_AT_NOFOLLOW, &st);
    if (rc)
        return failed(copy, entry, rc);
    copy->dirs = cli_grow(copy->dirs, copy->depth, &copy->room, sizeof(copy->dirs[0]));
    copy->dirs[copy->depth++] = (struct copy_pair){entry->st.st_ino, st.st_ino};
    return true;
}

/* ---------------------------------------------------------------- many files at once ----- */

/* By itself. */
static bool copy_found(struct copy_tree *copy, const struct cli_found *found, uint64_t to_dir)
{
    struct entry entry = {.from_dir = found->dir,
                          .to_dir = to_dir,
                          .from_name = found->name,
                          .to_name = found->name,
                          .shown = found->path};
    int rc = hf_statat(copy->transfer.pool, found->ino, "", HF_AT_NOFOLLOW, &entry.st);

    if (rc == -ENOENT || rc == -ESTALE) /* removed meanwhile */
        return false;
    if (rc)
        return failed(copy, &entry, rc);
    return S_ISDIR(entry.st.st_mode) ? make_copied_directory(copy, &entry)
                                     : copy_leaf(copy, &entry);
}

/* A file that could not be made together with others is made by itself. */
static void end_pending(struct copy_tree *copy, const struct copy_pending *pending,
                        const struct hf_clone_entry *made)
{
    struct transfer *transfer = &copy->transfer;

    if (made->result) {
        copy_found(copy, &pending->found, pending->to_dir);
        return;
    }
    if (made->links > 1)
        note_copied_link(transfer, pending->found.ino, made->to);
    transfer->progress.bytes += made->bytes;
    transfer->progress.items++;
    cli_progress_step(&transfer->progress, pending->found.path);
}

static void copy_pending(struct copy_tree *copy)
{
    struct hf_clone_entry entries[COPY_PENDING];
    size_t count = copy->pending_count;

    copy->pending_count = 0;
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct hf_clone_entry){.from = copy->pending[i].found.ino,
                                             .dir = copy->pending[i].to_dir,
                                             .name = copy->pending[i].found.name,
                                             .result = -EBUSY};
    if (!copy->transfer.stop && !stopped(copy))
        (void)hf_clone_files(copy->transfer.pool, entries, count); /* each says what became of it */
    for (size_t i = 0; i < count; i++) {
        if (!copy->transfer.stop && !stopped(copy))
            end_pending(copy, &copy->pending[i], &entries[i]);
        free((char *)copy->pending[i].found.path);
    }
}

static bool is_pending(const struct copy_tree *copy, uint64_t ino)
{
    for (size_t i = 0; i < copy->pending_count; i++)
        if (copy->pending[i].found.ino == ino)
            return true;
    return false;
}

static void put_off(struct copy_tree *copy, const struct cli_found *found, uint64_t to_dir)
{
    struct copy_pending *pending = &copy->pending[copy->pending_count++];
    char *path = cli_strdup(found->path);

    *pending = (struct copy_pending){*found, to_dir};
    pending->found.path = path;
    pending->found.name = path + strlen(path) - strlen(found->name);
    if (copy->pending_count == COPY_PENDING)
        copy_pending(copy);
}

/* Of a file with several names, the first that is met is copied, and the others become links to
 * that. */
static bool copy_entry(struct copy_tree *copy, const struct cli_found *found, uint64_t to_dir)
{
    if (!S_ISREG(found->type) || copy->sharing == COPY_COPIES)
        return copy_found(copy, found, to_dir);
    if (is_pending(copy, found->ino))
        copy_pending(copy);
    if (transfer_find_link(&copy->transfer, 0, found->ino))
        return copy_found(copy, found, to_dir);
    put_off(copy, found, to_dir);
    return !copy->transfer.stop;
}

/* ------------------------------------------------------------------------ directories ---- */

/* A directory that was removed before it could be read is not reported when it is left. */
static uint64_t copy_of_dir(struct copy_tree *copy, uint64_t from)
{
    while (copy->depth > 1 && copy->dirs[copy->depth - 1].from != from)
        copy->depth--;
    return copy->dirs[copy->depth - 1].to;
}

static bool on_entry(void *arg, const struct cli_found *found)
{
    struct copy_tree *copy = arg;

    if (copy->transfer.stop || found->ino == copy->top)
        return false;
    return copy_entry(copy, found, copy_of_dir(copy, found->dir));
}

static bool finish_directory(struct copy_tree *copy, const struct entry *entry)
{
    int rc = copy_tree_attributes(copy, entry);

    return rc == 0 || failed(copy, entry, rc);
}

static bool on_leave(void *arg, const struct cli_found *directory, bool fine)
{
    struct copy_tree *copy = arg;
    struct entry entry = {.from_dir = directory->dir,
                          .from_name = directory->name,
                          .to_name = directory->name,
                          .shown = directory->path};

    (void)fine;
    copy_pending(copy);
    if (copy->transfer.stop)
        return false;
    copy_of_dir(copy, directory->ino);
    copy->depth--;
    entry.to_dir = copy_of_dir(copy, directory->dir);
    if (hf_statat(copy->transfer.pool, directory->ino, "", HF_AT_NOFOLLOW, &entry.st) != 0)
        return true; /* removed meanwhile: the copy keeps what it has */
    return finish_directory(copy, &entry);
}

static bool fail_copy_read(void *arg, const char *path, int rc)
{
    struct copy_tree *copy = arg;

    transfer_fail(&copy->transfer, path, rc);
    copy->transfer.stop = true;
    return false;
}

/* Walks the directories that have been entered, so that the copy itself is not copied. */
static bool copy_directory(struct copy_tree *copy, const struct entry *entry)
{
    const struct cli_visitor visitor = {.below = true,
                                        .entry = on_entry,
                                        .leave = on_leave,
                                        .failed = fail_copy_read,
                                        .status = &copy->transfer.status,
                                        .arg = copy};

    copy->depth = 0;
    if (!make_copied_directory(copy, entry))
        return false;
    copy->top = copy->dirs[0].to;
    cli_walk(copy->transfer.pool, entry->st.st_ino, entry->shown, &visitor);
    copy_pending(copy);
    if (copy->transfer.stop || stopped(copy))
        return false;
    return finish_directory(copy, entry);
}

/* ------------------------------------------------------------------------- the whole ------ */

static bool drop_entry(void *arg, const struct cli_found *found)
{
    return S_ISDIR(found->type) || hf_unlinkat(arg, found->dir, found->name, NULL) == 0;
}

static bool drop_emptied(void *arg, const struct cli_found *directory, bool emptied)
{
    return emptied && hf_rmdirat(arg, directory->dir, directory->name) == 0;
}

static bool cannot_drop(void *arg, const char *path, int rc)
{
    (void)arg, (void)path, (void)rc;
    return false;
}

/* Says so if something is left. */
static void drop_copy(struct copy_tree *copy, uint64_t dir, const char *temp)
{
    struct hf_pool *pool = copy->transfer.pool;
    const struct cli_visitor visitor = {.below = true,
                                        .entry = drop_entry,
                                        .leave = drop_emptied,
                                        .failed = cannot_drop,
                                        .status = &copy->transfer.status,
                                        .arg = pool,
                                        .finishes = true};
    struct stat st;
    int rc = hf_statat(pool, dir, temp, HF_AT_NOFOLLOW, &st);

    if (rc != 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        cli_walk(pool, st.st_ino, temp, &visitor);
        rc = hf_rmdirat(pool, dir, temp);
    } else {
        rc = hf_unlinkat(pool, dir, temp, NULL);
    }
    if (rc != 0)
        cli_note("%s: the unfinished copy could not be removed", temp);
}

/* The directory that the copy's name is in. */
static int find_parent(struct hf_pool *pool, const char *to, uint64_t *ino)
{
    char *dir = cli_strdup(to);
    size_t len = strlen(dir);
    struct stat st;
    int rc;

    while (len > 0 && dir[len - 1] == '/')
        len--;
    while (len > 0 && dir[len - 1] != '/')
        len--;
    dir[len] = '\0';
    rc = hf_stat(pool, len ? dir : "/", 0, &st);
    free(dir);
    *ino = st.st_ino;
    return rc;
}

static bool make_under(struct copy_tree *copy, struct entry *entry, const char *name, bool below,
                       bool replace)
{
    struct transfer *transfer = &copy->transfer;
    char temp[TRANSFER_TEMP_TEXT];
    bool good;
    int rc;

    entry->to_name = transfer_temp_name(transfer, temp);
    if (S_ISDIR(entry->st.st_mode) && !below)
        return failed(copy, entry, -EISDIR);
    good = S_ISDIR(entry->st.st_mode) ? copy_directory(copy, entry) : copy_leaf(copy, entry);
    rc = good ? hf_renameat(transfer->pool, entry->to_dir, temp, entry->to_dir, name,
                            replace ? 0 : HF_RENAME_NOREPLACE)
              : 0;
    if (rc) {
        entry->shown = name;
        good = failed(copy, entry, rc);
    }
    if (!good)
        drop_copy(copy, entry->to_dir, temp);
    return good;
}

bool copy_tree_make(struct copy_tree *copy, const char *from, const char *to, bool below,
                    bool replace)
{
    struct hf_pool *pool = copy->transfer.pool;
    struct entry entry = {.from_dir = HF_ROOT_INO, .from_name = from, .shown = from};
    char *name = cli_last_name(to);
    int rc = hf_stat(pool, from, HF_AT_NOFOLLOW, &entry.st);
    bool good;

    if (rc == 0) {
        entry.shown = to;
        rc = find_parent(pool, to, &entry.to_dir);
    }
    if (rc == 0 && name[0] == '\0')
        rc = -EEXIST;
    if (rc == 0)
        entry.shown = from;
    good = rc == 0 ? make_under(copy, &entry, name, below, replace) : failed(copy, &entry, rc);
    if (!good && cli_interrupted()) {
        cli_progress_wipe(&copy->transfer.progress);
        cli_note("interrupted: %s was not made", to);
    }
    free(name);
    return good;
}
