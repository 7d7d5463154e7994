/* SPDX-License-Identifier: MIT */
/* The files at and below some paths, for verbs that go over many files. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

struct finding {
    struct cli_files *files;
    int *status;
};

static void add_ino(struct cli_files *files, uint64_t ino)
{
    files->inos = cli_grow(files->inos, files->count, &files->room, sizeof(files->inos[0]));
    files->inos[files->count++] = ino;
}

static bool add_found_file(void *arg, const struct cli_found *found)
{
    const struct finding *finding = arg;

    if (S_ISREG(found->type))
        add_ino(finding->files, found->ino);
    return true;
}

static bool fail_find(void *arg, const char *path, int rc)
{
    const struct finding *finding = arg;

    if (rc != -ENOENT)
        *finding->status = cli_fail(path, rc);
    return false;
}

static void add_path(struct finding *finding, struct hf_pool *pool, const char *path)
{
    const struct cli_visitor visitor = {.below = true,
                                        .entry = add_found_file,
                                        .failed = fail_find,
                                        .status = finding->status,
                                        .arg = finding};
    struct stat st;
    int rc = hf_stat(pool, path, 0, &st);

    if (rc != 0)
        *finding->status = cli_fail(path, rc);
    else if (S_ISREG(st.st_mode))
        add_ino(finding->files, st.st_ino);
    else if (S_ISDIR(st.st_mode))
        cli_walk(pool, st.st_ino, path, &visitor);
}

static int compare_inos(const void *a, const void *b)
{
    return cli_compare(*(const uint64_t *)a, *(const uint64_t *)b);
}

void cli_files_find(struct cli_files *files, struct hf_pool *pool, int count, char **paths,
                    int *status)
{
    struct finding finding = {files, status};
    size_t kept = 0;

    files->count = 0;
    for (int i = 0; i < count; i++)
        add_path(&finding, pool, paths[i]);
    if (count == 0)
        add_path(&finding, pool, "/");
    if (files->count > 0)
        qsort(files->inos, files->count, sizeof(files->inos[0]), compare_inos);
    for (size_t i = 0; i < files->count; i++)
        if (kept == 0 || files->inos[i] != files->inos[kept - 1])
            files->inos[kept++] = files->inos[i];
    files->count = kept;
}
