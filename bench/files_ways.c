/* SPDX-License-Identifier: MIT */
/*
 * Small files in a pool and on the tmpfs that the pool lies on. Both get their best: a call begins
 * at the folder of its layout, by a number or a descriptor. So it walks no further than it has to.
 * Each call of the one has its twin of the other.
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <holdfast/serve.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS 64u /* of the tree */
#define POOL_BYTES (256 * LAB_MIB)

static const char *const layouts[FILES_LAYOUTS] = {"flat", "tree"};
static const char bytes[FILES_BYTES] = "a small file";

static int64_t ways_must(int64_t rc, const char *what)
{
    return bench_must(&bench_real, rc, what);
}

static const char *files_pool_path(void)
{
    return bench_text("%s/files-pool", bench.folder);
}

/* --------------------------------------------------------------------------- names ------- */

void files_name_there(char path[FILES_PATH], enum files_layout layout, unsigned number)
{
    if (layout == FILES_FLAT)
        snprintf(path, FILES_PATH, "file-%06u", number);
    else
        snprintf(path, FILES_PATH, "%u/file-%06u", number % FOLDERS, number);
}

void files_name_own(char path[FILES_PATH], enum files_layout layout, unsigned process,
                    unsigned number)
{
    if (layout == FILES_FLAT)
        snprintf(path, FILES_PATH, "own-%u-%06u", process, number);
    else
        snprintf(path, FILES_PATH, "%u/own-%u-%06u", number % FOLDERS, process, number);
}

/* ------------------------------------------------------------------ calls of a pool ------ */

static void create_in_pool(const struct files_user *user, enum files_layout layout,
                           const char *path)
{
    struct hf_file *file;

    ways_must(hf_openat(user->pool, user->folders[layout], path, O_WRONLY | O_CREAT | O_EXCL, 0600,
                        &file),
              path);
    ways_must(hf_write(file, bytes, sizeof bytes, 0), path);
    ways_must(hf_close(file), path);
}

static void open_in_pool(const struct files_user *user, enum files_layout layout, const char *path)
{
    struct hf_file *file;

    ways_must(hf_openat(user->pool, user->folders[layout], path, O_RDONLY, 0, &file), path);
    ways_must(hf_close(file), path);
}

static void read_in_pool(const struct files_user *user, enum files_layout layout, const char *path)
{
    char buffer[FILES_BYTES];
    struct hf_file *file;

    ways_must(hf_openat(user->pool, user->folders[layout], path, O_RDONLY, 0, &file), path);
    if (ways_must(hf_read(file, buffer, sizeof buffer, 0), path) != sizeof buffer)
        lab_fail("%s is too short", path);
    ways_must(hf_close(file), path);
}

static void stat_in_pool(const struct files_user *user, enum files_layout layout, const char *path)
{
    struct stat st;

    ways_must(hf_statat(user->pool, user->folders[layout], path, 0, &st), path);
}

static void delete_in_pool(const struct files_user *user, enum files_layout layout,
                           const char *path)
{
    ways_must(hf_unlinkat(user->pool, user->folders[layout], path, NULL), path);
}

/* ------------------------------------------------------------------ calls of tmpfs ------- */

static void create_on_tmpfs(const struct files_user *user, enum files_layout layout,
                            const char *path)
{
    int fd = openat(user->fds[layout], path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    bench_must_host(fd, path);
    bench_must_host(write(fd, bytes, sizeof bytes), path);
    bench_must_host(close(fd), path);
}

static void open_on_tmpfs(const struct files_user *user, enum files_layout layout, const char *path)
{
    int fd = openat(user->fds[layout], path, O_RDONLY | O_CLOEXEC);

    bench_must_host(fd, path);
    bench_must_host(close(fd), path);
}

static void read_on_tmpfs(const struct files_user *user, enum files_layout layout, const char *path)
{
    int fd = openat(user->fds[layout], path, O_RDONLY | O_CLOEXEC);
    char buffer[FILES_BYTES];

    bench_must_host(fd, path);
    if (bench_must_host(read(fd, buffer, sizeof buffer), path) != sizeof buffer)
        lab_fail("%s is too short", path);
    bench_must_host(close(fd), path);
}

static void stat_on_tmpfs(const struct files_user *user, enum files_layout layout, const char *path)
{
    struct stat st;

    bench_must_host(fstatat(user->fds[layout], path, &st, 0), path);
}

static void delete_on_tmpfs(const struct files_user *user, enum files_layout layout,
                            const char *path)
{
    bench_must_host(unlinkat(user->fds[layout], path, 0), path);
}

static void (*const calls[FILES_STORES][FILES_ACTS])(const struct files_user *user,
                                                     enum files_layout layout, const char *path) = {
    [FILES_HOLDFAST] = {create_in_pool, open_in_pool, read_in_pool, stat_in_pool, delete_in_pool},
    [FILES_TMPFS] = {create_on_tmpfs, open_on_tmpfs, read_on_tmpfs, stat_on_tmpfs, delete_on_tmpfs},
};

void files_do(const struct files_user *user, const struct files_task *task, const char *path)
{
    calls[task->store][task->act](user, task->layout, path);
}

/* ------------------------------------------------------------------------- a process ----- */

static void open_folder(struct files_user *user, enum files_layout layout)
{
    struct stat st;

    ways_must(hf_stat(user->pool, layouts[layout], 0, &st), layouts[layout]);
    user->folders[layout] = st.st_ino;
    user->fds[layout] = open(bench_text("%s/files-%s", bench.folder, layouts[layout]),
                             O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bench_must_host(user->fds[layout], layouts[layout]);
}

void files_user_open(struct files_user *user)
{
    ways_must(hf_pool_open(files_pool_path(), 0, &user->pool), "opening a pool");
    for (unsigned layout = 0; layout < FILES_LAYOUTS; layout++)
        open_folder(user, layout);
}

void files_user_close(struct files_user *user)
{
    for (unsigned layout = 0; layout < FILES_LAYOUTS; layout++)
        close(user->fds[layout]);
    ways_must(hf_pool_close(user->pool), "closing a pool");
}

/* ------------------------------------------------------------------------- the stores ---- */

static void make_small_folders(struct hf_pool *pool, enum files_layout layout)
{
    const char *name = layouts[layout];
    char *host = bench_text("%s/files-%s", bench.folder, name);

    ways_must(hf_mkdir(pool, name, 0700), name);
    bench_must_host(mkdir(host, 0700), host);
    for (unsigned i = 0; layout == FILES_TREE && i < FOLDERS; i++) {
        ways_must(hf_mkdir(pool, bench_text("%s/%u", name, i), 0700), name);
        bench_must_host(mkdir(bench_text("%s/%u", host, i), 0700), host);
    }
}

static void make_files_there(const struct files_user *user, enum files_layout layout)
{
    char path[FILES_PATH];

    for (unsigned i = 0; i < FILES_THERE; i++) {
        files_name_there(path, layout, i);
        create_in_pool(user, layout, path);
        create_on_tmpfs(user, layout, path);
    }
}

void files_stores_begin(void)
{
    const struct hf_pool_options options = {.size = sizeof options, .pool_bytes = POOL_BYTES};
    struct files_user user;
    struct hf_pool *pool;

    ways_must(hf_pool_create(files_pool_path(), &options), "making a pool");
    ways_must(hf_pool_open(files_pool_path(), 0, &pool), "opening a pool");
    for (unsigned layout = 0; layout < FILES_LAYOUTS; layout++)
        make_small_folders(pool, layout);
    files_user_open(&user);
    for (unsigned layout = 0; layout < FILES_LAYOUTS; layout++)
        make_files_there(&user, layout);
    files_user_close(&user);
    ways_must(hf_pool_close(pool), "closing a pool");
}
